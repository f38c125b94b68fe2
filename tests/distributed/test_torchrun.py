"""Two processes under torchrun on one machine (gloo): the same training as one process."""

from __future__ import annotations

import pytest
from agents import torchrun
from program import TINY, inside, write_reversal
from test_processes import losses


@pytest.fixture
def corpus(tmp_path):
    """Batches of many sizes, some of a single pair: fewer than there are ranks."""
    corpus = write_reversal(tmp_path / "train.tsv", 90, seed=6, longest=6)
    with corpus.open("a") as file:
        file.write("banu " * 30 + "\t" + "kevo " * 30 + "\n")
    write_reversal(tmp_path / "dev.tsv", 5, seed=7)
    return corpus


def test_two_processes_train_as_one(tmp_path, corpus):
    recipe = (
        *(*TINY, "--type", "bpe", "--vocab-size", 36, "--dev", tmp_path / "dev.tsv"),
        *("--dropout", 0, "--batch-tokens", 25, "--precision", "float32", "--metric", "loss"),
        *("--max-steps", 30, "--validate-every", 1, "--warmup", 5, "--accumulate", 2),
    )
    inside("train-mt", corpus, "-o", tmp_path / "one", *recipe)
    done = torchrun("train-mt", corpus, "-o", tmp_path / "two", *recipe)
    said = done.stderr.decode()
    assert done.returncode == 0, said
    assert "Traceback" not in said

    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert [entry["step"] for entry in two] == list(range(1, 31))
    for alone, together in zip(one, two, strict=True):
        assert together["epoch"] == alone["epoch"]
        for name in ("train_loss", "train_nll", "dev_loss"):
            assert together[name] == pytest.approx(alone[name], abs=1e-5)

    # Rank 0 alone speaks and writes.
    assert done.stdout.decode() == f"{tmp_path / 'two'}\n"
    assert said.count("finished after 30 steps") == 1
    assert said.count("step 30 ") == 1
    names = [
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
        for folder in (tmp_path / "one", tmp_path / "two")
    ]
    assert names[0] == names[1]


@pytest.mark.slow
def test_two_processes_validate_on_a_longer_line_than_they_trained_on(tmp_path, corpus):
    """What rank 0 computes while it validates is nothing that the ranks exchange."""
    with (tmp_path / "dev.tsv").open("a") as file:
        file.write("banu " * 700 + "\t" + "kevo " * 700 + "\n")
    done = torchrun(
        *("train-mt", corpus, "-o", tmp_path / "two", *TINY, "--type", "word"),
        *("--dev", tmp_path / "dev.tsv", "--metric", "loss", "--max-len", 1000),
        *("--max-steps", 4, "--validate-every", 2, "--batch-tokens", 1000),
    )
    assert done.returncode == 0, done.stderr.decode()
    assert [entry["step"] for entry in losses(tmp_path / "two")] == [2, 4]


@pytest.mark.slow
def test_refused_data_ends_all_processes_with_one_line_and_one_status(tmp_path):
    bad = tmp_path / "bad.tsv"
    bad.write_text("one column\n")
    done = torchrun("train-mt", bad, "-o", tmp_path / "model", *TINY)
    said = done.stderr.decode()
    assert done.returncode == 1  # torchrun's own
    assert said.count("bad.tsv: no tab in it, so no line has a column 2") == 1
    assert said.count("exitcode  : 3 (pid") == 2
    assert "attn_cli/" not in said, "no traceback but that of torchrun"
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_two_processes_continue_on_outputs_of_their_own(tmp_path, corpus, reversal_model):
    """Each draws its own; a rank without a pair of the batch keeps step."""
    recipe = (
        *("--init", reversal_model, "--criterion", "reinforce", "--samples", 2, "--threads", 1),
        *("--dev", tmp_path / "dev.tsv", "--batch-tokens", 25, "--accumulate", 2),
        *("--max-steps", 12, "--validate-every", 6, "--metric", "loss"),
    )
    done = torchrun("train-mt", corpus, "-o", tmp_path / "two", *recipe)
    assert done.returncode == 0, done.stderr.decode()
    found = losses(tmp_path / "two")
    assert [entry["step"] for entry in found] == [0, 6, 12]
    assert found[0]["train_loss"] is None
    assert all(entry["dev_loss"] < found[0]["dev_loss"] + 0.2 for entry in found)
