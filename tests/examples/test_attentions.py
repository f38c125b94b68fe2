"""The scripts that put attentions side by side: what they measure, and the program behind them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from program import write_reversal

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "attentions"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(FOLDER.parents[1])}


def loaded(name):
    spec = importlib.util.spec_from_file_location(f"attentions_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def family():
    return loaded("family")


@pytest.fixture(scope="module")
def cost():
    return loaded("cost")


def script(name, *arguments, status=0):
    command = [sys.executable, str(FOLDER / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=600)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_every_member_is_a_model_of_its_own(family):
    from attn_cli.config.seq2seq import ConvolutionalOptions, RecurrentOptions, VariantOptions

    options = {
        "rnn": RecurrentOptions,
        "cnn": ConvolutionalOptions,
        "transformer": VariantOptions,
    }
    made = []
    for flags in family.FAMILY.values():
        given = {flags[i].removeprefix("--"): flags[i + 1] for i in range(0, len(flags), 2)}
        arch = given.pop("arch")
        made.append((arch, options[arch](**given)))
    assert len(made) == 13 and all(one != other for i, one in enumerate(made) for other in made[:i])


@pytest.mark.parametrize(
    ("lengths", "ranges"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], [(1, 2), (3, 4), (5, 6), (7, 8)]),
        ([3, 3, 3, 3, 3, 3, 9, 9], [(3, 3), (4, 9)]),
        ([5, 5], [(5, 5)]),
        ([7], [(7, 7)]),
        ([4, 1, 9], [(1, 1), (2, 4), (5, 9)]),
    ],
)
def test_ranges_of_lengths_hold_every_sentence_once(family, lengths, ranges):
    found = family.length_ranges([["w " * size, "x"] for size in lengths])
    assert all(sum(lo <= size <= hi for lo, hi in found) == 1 for size in lengths)
    assert found == ranges


def test_weights_are_counted_as_torch_counts_them(family, reversal_model):
    from safetensors.torch import load_file

    file = reversal_model / "model.safetensors"
    counted = sum(weight.numel() for weight in load_file(file).values())
    assert family.count_weights(file) == counted > 10_000


def test_a_table_is_markdown_or_tsv(family):
    table = [["member", "BLEU"], ["rnn-dot", "30.1"]]
    assert family.as_tsv(table) == "member\tBLEU\nrnn-dot\t30.1\n"
    assert family.as_markdown(table) == "| member | BLEU |\n| --- | ---: |\n| rnn-dot | 30.1 |\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--only", "rnn-dot,lstm"), "no lstm among rnn-none"),
        (("train.tsv",), "name both"),
        (("no.tsv", "no.tsv"), "there is no such file"),
        (("--jobs", "0"), "begin at 1"),
    ],
)
def test_wrong_usage_trains_nothing(arguments, said, tmp_path):
    done = script("family", *arguments, "-o", tmp_path / "out", status=2)
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_members_are_trained_once_and_measured_as_the_program_measures(tmp_path):
    train = write_reversal(tmp_path / "train.tsv", 300, seed=1)
    dev = write_reversal(tmp_path / "dev.tsv", 40, seed=2, longest=8)
    tiny = ("--max-steps", 4, "--d-model", 16, "--type", "char", "--batch-tokens", 400)
    run = (train, dev, "-o", tmp_path / "out", "--only", "rnn-mean,cnn", "--jobs", 2)
    first = script("family", *run, "--", *tiny)
    header, *rows = (line.split("\t") for line in first.stdout.splitlines())
    assert header[:5] == ["member", "weights", "epochs", "s/epoch", "BLEU"]
    assert [row[0] for row in rows] == ["rnn-mean", "cnn"]
    assert all(len(row) == len(header) for row in rows)
    score = [sys.executable, "-m", "attn_cli", "score", "--bleu", str(tmp_path / "out" / "cnn.tsv")]
    done = subprocess.run(score, capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert float(rows[1][4]) == pytest.approx(float(done.stdout.split("\t")[1]), abs=0.051)

    weights = (tmp_path / "out" / "cnn" / "model.safetensors").read_bytes()
    again = script("family", *run, "--markdown", "--", *tiny)
    assert again.stdout.splitlines()[3] == f"| {' | '.join(rows[1])} |"
    assert (tmp_path / "out" / "cnn" / "model.safetensors").read_bytes() == weights
    assert "this training has finished" in (tmp_path / "out" / "cnn.log").read_text()

    other = script("family", *run, "--", *tiny, "--seed", 5, status=1)
    assert "attn train-mt ended with 2" in other.stderr
    assert other.stdout == ""


def test_exponents_and_constants_are_those_of_made_up_times(cost):
    lengths = [64, 128, 256, 512, 1024]
    assert cost.exponent(lengths, [3e-6 * n**1.7 for n in lengths]) == pytest.approx(1.7)
    counts = [n**2 for n in lengths]
    assert cost.constant(counts, [4e-9 * count for count in counts]) == pytest.approx(4e-9)


def test_multiplications_are_those_that_torch_counts(cost):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    n, d = 24, 16
    recurrent, convolution, fused, explicit = cost.LAYERS
    for layer in (convolution, explicit):  # the counter does not see into fused kernels
        module = layer.build(d)
        counter = FlopCounterMode(display=False)
        with counter, torch.inference_mode():
            layer.run(module, torch.randn(1, n, d))
        assert counter.get_total_flops() == 2 * layer.count(n, d), layer.name
    assert fused.count(n, d) == explicit.count(n, d)
    matrices = [weight for weight in recurrent.build(d).parameters() if weight.ndim > 1]
    assert recurrent.count(n, d) == n * sum(weight.numel() for weight in matrices)


def test_costs_are_printed_for_each_layer_and_way_and_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "cost.svg"
    small = ("--lengths", "4,8", "--d-model", 8, "--repeats", 1, "--clock", "cpu")
    header, *rows = script("cost", *small, "--plot", picture).stdout.splitlines()
    assert header.split("\t")[2:4] == ["n=4 ms", "n=8 ms"]
    assert len(rows) == 8 and all(len(row.split("\t")) == 8 for row in rows)
    assert picture.read_text().count("<svg") == 1


def test_costs_of_one_length_have_no_exponent():
    assert "two lengths" in script("cost", "--lengths", "8", status=2).stderr
