from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
import torch
from program import ENVIRONMENT, attn, forked_python, inside

from attn_cli.models.directory import load_model
from attn_cli.systems.tasks.recipe import usual_rate

GOOD, BAD = ["fine", "great", "lovely"], ["awful", "poor", "sad"]
OTHER = ["a", "book", "film", "song", "the", "very", "was"]
SMALL = (
    *("--size", "tiny", "--type", "word", "--vocab-size", 20, "--threads", 1),
    *("--device", "cpu", "--batch-tokens", 200, "--warmup", 5),
)


def sentences(size, seed):
    """Sentences with one word that says how they are meant, and their label."""
    rng = random.Random(seed)
    found = []
    for number in range(size):
        words = rng.choices(OTHER, k=rng.randint(1, 5))
        kind = number % 2
        words.insert(rng.randint(0, len(words)), rng.choice((GOOD, BAD)[kind]))
        found.append((" ".join(words), ("good", "bad")[kind]))
    return found


def write(path, rows):
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows), "utf-8")
    return path


def log(folder):
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def best(folder, name):
    return [entry[f"dev_{name}"] for entry in log(folder) if entry["best"]][-1]


def scored(lines, *arguments):
    """`NAME<TAB>VALUE` of `attn score`, in full precision."""
    data = "".join(line + "\n" for line in lines).encode()
    told = json.loads(inside("score", *arguments, "--json", stdin=data).out)
    return {name.lower(): value["score"] for name, value in told.items()}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sentences")
    write(folder / "train.tsv", sentences(400, 1))
    write(folder / "dev.tsv", sentences(60, 2))
    return folder


@pytest.fixture(scope="module")
def classifier(corpora, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier") / "m"
    run = inside(
        *("finetune", corpora / "train.tsv", "--task", "classify", *SMALL, "-o", folder),
        *("--dev", corpora / "dev.tsv", "--max-epochs", 6, "--lr", 3e-3),
    )
    return folder, run


def test_a_classifier_learns_and_says_what_it_is_good_at(classifier):
    folder, run = classifier
    assert best(folder, "accuracy") > 0.95
    assert run.lines == [str(folder)]
    assert (folder / "labels.txt").read_text() == "bad\ngood\n"
    report = [line for line in run.said.splitlines() if line.startswith("task: good: precision")]
    assert len(report) == 1 and report[0].endswith("of 30")


def test_its_validation_is_what_decode_and_score_say(classifier, corpora):
    folder, _ = classifier
    lines = inside("decode", corpora / "dev.tsv", "-m", folder).lines
    figures = scored(lines, "--accuracy", "--f1", "--mcc")
    for name, value in figures.items():
        assert value == best(folder, name)
    assert len(figures) == 4


def test_an_answer_can_have_its_probabilities(classifier):
    folder, _ = classifier
    stdin = b"the film was awful\tkept\n\n"
    label, probability, kept = (
        inside("decode", "-m", folder, "--scores", stdin=stdin).lines[0].split("\t")
    )
    assert (label, kept) == ("bad", "kept")
    told = json.loads(inside("decode", "-m", folder, "--format", "json", stdin=stdin).lines[0])
    assert told["answer"] == "bad" and told["columns"] == ["kept"]
    assert told["probs"]["bad"] == pytest.approx(float(probability), abs=1e-6)
    assert sum(told["probs"].values()) == pytest.approx(1.0)


@pytest.mark.parametrize("arch", ["gpt", "rnn"])
def test_other_architectures_learn_the_same(corpora, tmp_path, arch):
    inside(
        *("finetune", corpora / "train.tsv", "--task", "classify", *SMALL, "-o", tmp_path / "m"),
        *("--dev", corpora / "dev.tsv", "--max-epochs", 6, "--lr", 3e-3, "--arch", arch),
    )
    assert best(tmp_path / "m", "accuracy") > 0.95


def pairs(rows):
    """Pairs of sentences and how alike they are meant: 5 or 1."""
    return [
        (a, b, 5 if la == lb else 1)
        for (a, la), (b, lb) in zip(rows, random.Random(1).sample(rows, len(rows)), strict=True)
    ]


def set_of(text, label):
    """Two labels, or one: how a sentence is meant, and whether it has an article."""
    return (text, f"{label},the") if "the" in text.split() else (text, label)


def choice(number):
    """A line whose right choice is the one with a good word."""
    rng = random.Random(number)
    endings = [f"{rng.choice(OTHER)} {rng.choice(words)}" for words in (GOOD, BAD)]
    return ("the song was", *endings[:: 1 if number % 2 else -1], (number + 1) % 2)


def test_numbers_sets_and_choices_are_learnt_and_measured_as_by_score(tmp_path):
    rows, dev = sentences(300, 3), sentences(60, 4)
    tasks = {
        "rate": ([(text, len(text)) for text, _ in rows], [(text, len(text)) for text, _ in dev],
                 ("--pearson",)),
        "regress": (pairs(rows), pairs(dev), ("--pearson", "--spearman")),
        "multilabel": ([set_of(*row) for row in rows], [set_of(*row) for row in dev],
                       ("--multilabel-f1",)),
        "choice": (list(map(choice, range(200))), list(map(choice, range(900, 940))),
                   ("--accuracy",)),
    }  # fmt: skip
    for kind, (train, held, measures) in tasks.items():
        folder = tmp_path / kind
        inside(
            *("finetune", write(tmp_path / f"{kind}.tsv", train), "--task", kind, *SMALL),
            *("--dev", write(tmp_path / f"{kind}.dev.tsv", held), "-o", folder),
            *("--max-epochs", 4, "--lr", 3e-3),
        )
        lines = inside("decode", tmp_path / f"{kind}.dev.tsv", "-m", folder).lines
        for name, value in scored(lines, *measures).items():
            # Batches differ, and with them a number's last digit.
            assert value == pytest.approx(best(folder, name), abs=1e-5), (kind, name)
    assert best(tmp_path / "choice", "accuracy") > 0.9
    assert best(tmp_path / "multilabel", "micro_f1") > 0.8


def test_json_lines_are_read_by_key_in_training_decoding_and_scoring(corpora, tmp_path):
    def lines(rows):
        entries = [{"id": i, "q": {"text": t}, "ok": label == "good"}
                   for i, (t, label) in enumerate(rows)]  # fmt: skip
        return "".join(json.dumps(entry) + "\n" for entry in entries)

    (tmp_path / "a.jsonl").write_text(lines(sentences(120, 5)))
    (tmp_path / "d.jsonl").write_text(lines(sentences(20, 6)))
    columns = ("--columns", "q.text,ok")
    inside(
        *("finetune", tmp_path / "a.jsonl", "--task", "classify", *SMALL, *columns),
        *("--dev", tmp_path / "d.jsonl", "-o", tmp_path / "m", "--max-epochs", 1),
    )
    assert (tmp_path / "m" / "labels.txt").read_text() == "false\ntrue\n"
    run = inside(
        "decode", "-m", tmp_path / "m", *columns, stdin=(tmp_path / "d.jsonl").read_bytes()
    )
    assert scored(run.lines, "--accuracy")["accuracy"] == best(tmp_path / "m", "accuracy")
    said = [
        json.dumps({"said": line.split("\t")[0], "ok": line.split("\t")[1]}) for line in run.lines
    ]
    by_key = scored(said, "--accuracy", "--columns", "said,ok")
    assert by_key["accuracy"] == best(tmp_path / "m", "accuracy")
    bad = b'{"q": {"text": "a"}}\n{"q": 1}\n'
    run = inside("decode", "-m", tmp_path / "m", "--columns", "q.text", stdin=bad, status=3)
    assert len(run.lines) == 2 and run.lines[1] == ""
    assert "standard input:2: no key 'q.text'" in run.said


def test_several_tasks_share_a_model(corpora, tmp_path):
    write(tmp_path / "b.tsv", [(text, len(text.split()) % 2) for text, _ in sentences(80, 7)])
    inside(
        *("finetune", "--task", f"mood=classify:{corpora / 'train.tsv'}", *SMALL),
        *("--task", f"parity=classify:{tmp_path / 'b.tsv'}:0.1", "-o", tmp_path / "m"),
        *("--dev", f"mood={corpora / 'dev.tsv'}", "--max-epochs", 4, "--lr", 3e-3),
        *("--columns", "mood=1,2;parity=1,2"),
    )
    assert best(tmp_path / "m", "mood.accuracy") > 0.9
    assert (tmp_path / "m" / "labels.parity.txt").read_text() == "0\n1\n"
    run = inside("decode", "-m", tmp_path / "m", "--task", "mood", stdin=b"the film was awful\n")
    assert run.lines == ["bad"]
    run = inside("decode", "-m", tmp_path / "m", stdin=b"a\n", status=2)
    assert "--task: mood, parity" in run.said


def test_low_rank_updates_learn_from_a_model_and_leave_a_plain_one(classifier, corpora, tmp_path):
    folder, _ = classifier
    run = inside(
        *("finetune", corpora / "train.tsv", "--task", "classify", "--init", folder, *SMALL[-6:]),
        *("--dev", corpora / "dev.tsv", "-o", tmp_path / "m", "--max-epochs", 1, "--lora", 2),
    )
    assert "of which" in run.said
    before, after = (load_model(path, torch.device("cpu"))[1] for path in (folder, tmp_path / "m"))
    for (name, old), (other, new) in zip(
        before.named_parameters(), after.named_parameters(), strict=True
    ):
        assert name == other
        updated = "self_attention" in name or "feed_forward" in name
        learns = (updated and not name.endswith("bias")) or name.startswith(
            ("heads", "backbone.pool")
        )
        if not learns:
            assert torch.equal(old, new), name
        elif "layers" in name:
            change = (new - old).detach()
            assert int(torch.linalg.matrix_rank(change, atol=1e-6).max()) <= 2
            assert change.abs().max() > 0


def test_frozen_layers_stay_and_lower_layers_learn_more_slowly(classifier, corpora, tmp_path):
    folder, _ = classifier
    inside(
        *("finetune", corpora / "train.tsv", "--task", "classify", "--init", folder, *SMALL[-6:]),
        *("--dev", corpora / "dev.tsv", "-o", tmp_path / "m", "--max-steps", 3, "--freeze", 2),
        *("--layer-decay", 0.5, "--ema", 0),
    )
    before, after = (load_model(path, torch.device("cpu"))[1] for path in (folder, tmp_path / "m"))
    changed = {
        name
        for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True)
        if not torch.equal(old, new)
    }
    assert not any(".embedding." in name or ".layers.0." in name for name in changed)
    assert any(".layers.1." in name for name in changed)
    said = inside(
        *("finetune", corpora / "train.tsv", "--task", "classify", "--init", folder),
        *("--freeze", 9, "-o", tmp_path / "n"),
        status=2,
    ).said
    assert "this model has 3 layers" in said


def test_word_vectors_start_a_model(corpora, tmp_path):
    (tmp_path / "v.txt").write_text("".join(f"{word} 1 2 3\n" for word in GOOD))
    run = inside(
        *("finetune", corpora / "train.tsv", "--task", "classify", *SMALL, "-o", tmp_path / "m"),
        *("--max-steps", 1, "--embeddings", tmp_path / "v.txt"),
    )
    assert "3 of" in run.said and "start from 3 words with 3 numbers each" in run.said


COMMON = ("--task", "classify", *SMALL, "--max-epochs", 1)


@pytest.mark.parametrize(
    ("train", "dev", "status", "cause"),
    [
        ("a fine\tgood\nb sad\tbad\nc\n", "", 3, "train.tsv:3: 1 column, but column 2 is needed"),
        ("a\tgood\n\t\nb\tbad\n", "", 3, "train.tsv:2: empty text"),
        ("a\tgood\nb\tgood\n", "", 3, "only one label, good: nothing to learn"),
        ("", "", 3, "no example to work with; lines are text<TAB>label"),
        ("a\tgood\nb\tbad\n", "c\tgood\nd\tugly\n", 3, "dev.tsv:2: label 'ugly' is not among"),
    ],
)
def test_examples_that_teach_nothing_are_refused_before_the_first_step(
    tmp_path, train, dev, status, cause
):
    (tmp_path / "train.tsv").write_text(train)
    (tmp_path / "dev.tsv").write_text(dev or "a\tgood\nb\tbad\n")
    run = inside(
        *("finetune", tmp_path / "train.tsv", *COMMON, "--dev", tmp_path / "dev.tsv"),
        *("-o", tmp_path / "m"),
        status=status,
    )
    assert cause in run.said
    assert not (tmp_path / "m" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "status", "cause"),
    [
        (("--task", "regress"), 3, "column 3 is needed"),
        (("--task", "classify", "--metric", "pearson"), 2, "--metric pearson: this has accuracy"),
        (
            ("--task", "clasify"),
            2,
            "--task clasify: there is no such task (did you mean classify?); known: classify, "
            "pair, regress, rate, multilabel, choice, tag, qa, nodes",
        ),
        (("--task", "a=nodes:x.tsv"), 2, "--task nodes: there is no such task; known: classify"),
        (("--task", "multilabel", "--balance"), 2, "--balance weighs labels"),
        (("--task", "classify", "--lora", "2", "--arch", "rnn"), 2, "this model has none"),
        (("--task", "a=classify:x.tsv", "--dev", "d.tsv"), 2, "--dev d.tsv: NAME="),
    ],
)
def test_impossible_wishes_are_told(corpora, tmp_path, options, status, cause):
    files = () if options[1].startswith("a=") else (corpora / "train.tsv",)
    run = inside("finetune", *files, *options, *SMALL, "-o", tmp_path / "m", status=status)
    assert cause in run.said


@pytest.mark.parametrize("extra", [(), ("--lora", 2)])
def test_a_run_that_was_interrupted_goes_on_to_the_same_bytes(corpora, tmp_path, extra):
    """Stopped after a validation in the middle, by the limit that a user then raises."""
    recipe = (*("finetune", corpora / "train.tsv", *COMMON[:-2], "--schedule", "constant"),
              *("--validate-every", 4, "--dev", corpora / "dev.tsv", *extra))  # fmt: skip
    inside(*recipe, "-o", tmp_path / "whole", "--max-steps", 12)
    script = (
        "import sys\n"
        "from attn_cli.train import loop\n"
        "save = loop.Trainer._save\n"
        "def stop(self):\n"
        "    save(self)\n"
        "    if self.progress.step == 8: raise SystemExit(9)\n"
        "loop.Trainer._save = stop\n"
        "from attn_cli.cli import main\n"
        "sys.exit(main())\n"
    )
    arguments = [*map(str, recipe), "-o", str(tmp_path / "cut"), "--max-steps", "12"]
    cut = subprocess.run([*forked_python(), "-c", script, *arguments], env=ENVIRONMENT, timeout=300,
                         capture_output=True)  # fmt: skip
    assert cut.returncode == 9, cut.stderr.decode()
    run = inside(*recipe, "-o", tmp_path / "cut", "--max-steps", 12)
    assert "continuing after step 8" in run.said
    whole, again = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut")
    )
    assert whole == again


@pytest.mark.slow
def test_two_processes_train_several_tasks_as_one(corpora, tmp_path):
    write(tmp_path / "b.tsv", [(text, len(text.split()) % 2) for text, _ in sentences(30, 7)])
    write(tmp_path / "b.dev.tsv", [(text, len(text.split()) % 2) for text, _ in sentences(9, 8)])
    recipe = (
        *("finetune", "--task", f"mood=classify:{corpora / 'train.tsv'}", *SMALL),
        *("--task", f"parity=classify:{tmp_path / 'b.tsv'}:0.5", "--dropout", 0),
        *("--dev", f"mood={corpora / 'dev.tsv'}", "--dev", f"parity={tmp_path / 'b.dev.tsv'}"),
        *("--max-steps", 20, "--validate-every", 2, "--precision", "float32"),
    )
    inside(*recipe, "-o", tmp_path / "one")
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    command = [*launcher, "-m", "attn_cli", *map(str, recipe), "-o", str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, env=ENVIRONMENT, timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    for alone, together in zip(log(tmp_path / "one"), log(tmp_path / "two"), strict=True):
        assert together["train_loss"] == pytest.approx(alone["train_loss"], abs=1e-4)
        assert together["dev_loss"] == pytest.approx(alone["dev_loss"], abs=1e-4)


def test_the_pipe_of_the_help_text(classifier, corpora):
    folder, _ = classifier
    run = attn("decode", corpora / "dev.tsv", "-m", folder, "--threads", 1)
    run = attn("score", "--accuracy", stdin=run.out)
    assert float(run.lines[0].split("\t")[1]) == pytest.approx(best(folder, "accuracy"), abs=1e-6)


ONE_STEP = ("--task", "classify", "--max-steps", 1, "--threads", 1)


def test_an_output_layer_goes_on_learning_where_the_labels_are_the_same(
    classifier, corpora, tmp_path
):
    folder, _ = classifier
    run = inside(
        *("finetune", corpora / "train.tsv", *ONE_STEP, "--init", folder, "-o", tmp_path / "m"),
        *("--dev", corpora / "dev.tsv", "--lr", 1e-9, "--optimizer", "adam"),
    )
    assert f"the output layer of {folder} goes on learning" in run.said
    assert best(tmp_path / "m", "accuracy") == best(folder, "accuracy")
    rows = [(text, {"good": "fine", "bad": "sad"}[label]) for text, label in sentences(60, 5)]
    run = inside(
        *("finetune", write(tmp_path / "other.tsv", rows), *ONE_STEP, "--init", folder),
        *("-o", tmp_path / "n"),
    )
    anew = f"labels 'fine', 'sad' are not those of {folder} ('bad', 'good'): its output layer"
    assert f"{anew} starts anew" in run.said


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--arch", "gpt"), "--arch gpt (there: bert)"),
        (("--size", "base"), "--size"),
    ],
)
def test_what_init_decides_is_not_asked_for_otherwise(classifier, corpora, options, named):
    folder, _ = classifier
    command = ("finetune", corpora / "train.tsv", *ONE_STEP, "--init", folder, *options)
    run = inside(*command, "-o", corpora / "no", status=2)
    assert f"--init {folder} decides otherwise than {named}" in run.said
    assert not (corpora / "no").exists()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [(("good", "bad")[i % 2], f"text {i}") for i in range(20)],
            "20 labels for 20 examples and 2 texts: columns swapped? --columns 2,1",
        ),
        (
            [(f"text {i}", f"text {i + 1}") for i in range(20)],
            "20 labels for 20 examples: columns swapped? --columns 2,1",
        ),
        (
            [(f"text {i}", "odd" if i == 7 else ["good", "bad"][i % 2]) for i in range(20)],
            "1 label of 3 seen once: 'odd'",
        ),
    ],
)
def test_unusual_labels_are_said(tmp_path, rows, said):
    run = inside(
        *("finetune", write(tmp_path / "train.tsv", rows), *ONE_STEP, *SMALL, "-o", tmp_path / "m")
    )
    assert f"train.tsv: {said}\n" in run.said


@pytest.mark.parametrize(
    ("width", "rate"), [(768, 5e-5), (1024, 2.8125e-5), (384, 2e-4), (256, 4.5e-4), (64, 1e-3)]
)
def test_narrow_encoders_take_larger_steps(width, rate):
    assert usual_rate(width) == pytest.approx(rate)
