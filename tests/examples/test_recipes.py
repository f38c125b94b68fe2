"""The recipes for summaries and documents, on small files of the shapes that they are about."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import subprocess
import sys
import wave
from pathlib import Path

import pytest
import sounds

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
WORDS = [a + b for a in ("ba", "ke", "li", "mo") for b in ("nu", "ra", "vo")]
SMALL = ("--max-steps", "3", "--threads", "1", "--batch-tokens", "400")


def sentences(generator, count):
    return [" ".join(generator.choices(WORDS, k=4)) + "." for _ in range(count)]


def write_lines(path, entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def recipe(name, *arguments, place, status=0):
    """Runs a recipe with the program of this environment."""
    programs = place / "bin"
    programs.mkdir(exist_ok=True)
    for program, module in (("attn", "-m attn_cli"), ("python3", "")):
        (programs / program).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        (programs / program).chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    root = os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        ["sh", str(EXAMPLES / name / "run.sh"), *map(str, arguments)],
        cwd=place,
        env={**os.environ, "PATH": path, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    return done


@pytest.mark.slow
def test_summaries_are_scored_beside_the_first_sentence(tmp_path):
    generator = random.Random(4)
    texts = [sentences(generator, 3) for _ in range(30)]
    train = [{"source": text, "target": [text[1]]} for text in texts]
    dev = [{"source": text, "target": [text[1], text[0]]} for text in texts[:6]]
    files = write_lines(tmp_path / "a.jsonl", train), write_lines(tmp_path / "b.jsonl", dev)
    tiny = ("--d-model", "16", "--d-ff", "16", "--n-heads", "2", "--type", "char")
    done = recipe("summaries", *files, "out put", *SMALL, *tiny, place=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["first sentence:", "ROUGE-1\t1.000000"]
    assert lines[4] == "summaries:" and re.fullmatch(r"ROUGE-1\t0\.\d+", lines[5])
    rows = (tmp_path / "out put" / "dev.tsv").read_text().splitlines()
    assert [row.split("\t")[1:] for row in rows] == [[text[1], text[0]] for text in texts[:6]]


@pytest.mark.slow
def test_reviews_are_split_by_fold_and_five_documents_shown(tmp_path):
    generator = random.Random(5)
    entries = [
        {"label": generator.choice(["pos", "neg"]), "fold": 1 + number % 9,
         "sentences": sentences(generator, 1 + number % 5)}
        for number in range(72)
    ]  # fmt: skip
    data = write_lines(tmp_path / "films.jsonl", entries)
    done = recipe("documents", "reviews", data, "out", *SMALL, "--size", "tiny", place=tmp_path)
    kept = (tmp_path / "out" / "test.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in kept] == [e for e in entries if e["fold"] == 9]
    assert len((tmp_path / "out" / "train.jsonl").read_text().splitlines()) == 64
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ACCURACY\t")
    shown = [line.split("\t") for line in lines if line[0].isdigit()]
    assert [row[0] for row in shown] == sorted(row[0] for row in shown)
    assert {row[0] for row in shown} == {"1", "2", "3", "4", "5"}
    assert max(sum(row[0] == number for row in shown) for number in "12345") == 3
    for number in "12345":
        weights = [float(row[1]) for row in shown if row[0] == number]
        assert weights == sorted(weights, reverse=True)


def test_authors_are_split_by_book(tmp_path):
    books = {"Eliot": ["Adam_1859", "Felix_1866"], "Hardy": ["Tess_1891", "Madding_1874"]}
    entries = [
        {"id": f"{author}_{book}#{number}", "label": author, "sentences": ["x # y."]}
        for number in range(3)
        for author, both in books.items()
        for book in both
    ]
    (tmp_path / "data").mkdir()
    write_lines(tmp_path / "data" / "train.jsonl", entries[:9])
    write_lines(tmp_path / "data" / "dev.jsonl", entries[9:])
    options = ("authors", "data", "out", "--no-such-option")  # ends before anything is trained
    done = recipe("documents", *options, place=tmp_path, status=2)
    assert "+ attn finetune out/train.jsonl --dev out/test.jsonl" in done.stderr
    found = {}
    for part in ("train", "test"):
        lines = (tmp_path / "out" / f"{part}.jsonl").read_text().splitlines()
        found[part] = {json.loads(line)["id"].split("#")[0] for line in lines}
        assert len(lines) == 6
    assert found["train"] == {"Eliot_Adam_1859", "Hardy_Madding_1874"}
    assert found["test"] == {"Eliot_Felix_1866", "Hardy_Tess_1891"}


def write_pairs(path, count, seed):
    """Sentences, and the same with their words in reverse order."""
    generator = random.Random(seed)
    lines = [generator.choices(WORDS, k=generator.randint(1, 5)) for _ in range(count)]
    path.write_text("".join(f"{' '.join(line)}\t{' '.join(line[::-1])}\n" for line in lines))
    return path


def told(path, given):
    """What is new of an n-best list, each output at least a tenth as likely as the first."""
    found, best = {}, {}
    for line in path.read_text().splitlines():
        number, text, log_prob, _ = line.split(" ||| ")
        value = float(log_prob.removeprefix("logP="))
        row = "\t".join((given[int(number)].split("\t")[0], text))
        if text and value >= best.setdefault(number, value) - 2.3 and row not in given:
            found[row] = None
    return list(found)


@pytest.mark.slow
def test_a_student_learns_from_what_its_teacher_says(tmp_path):
    sizes = (("a.tsv", 160), ("b.tsv", 12), ("c.tsv", 10))
    files = [write_pairs(tmp_path / name, size, size) for name, size in sizes]
    tiny = ("--d-model", "16", "--d-ff", "16", "--n-heads", "2", "--type", "char")
    command = ("distillation", "out put", *files, *SMALL, *tiny)
    done = recipe(*command, place=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0] == "teacher:" and lines[1].startswith("BLEU\t")
    assert lines[3] == "student:" and lines[5].startswith("chrF2\t")
    out = tmp_path / "out put"
    learnt, given = ((out / "distilled.tsv").read_text(), files[0].read_text())
    assert learnt.startswith(given)  # what people wrote, and
    said = learnt.removeprefix(given).splitlines()
    assert said and len({*said, *given.splitlines()}) == len(said) + len({*given.splitlines()})
    assert said == told(out / "train.nbest", given.splitlines())
    sizes = {}
    for model in ("teacher", "student"):
        config = json.loads((out / model / "config.json").read_text())["model"]
        sizes[model] = [config[name] for name in ("d_model", "d_ff", "n_heads", "tgt_vocab")]
    assert sizes["student"] == sizes["teacher"]
    assert (config["n_encoder_layers"], config["n_decoder_layers"]) == (6, 1)
    before = (out / "student" / "model.safetensors").read_bytes()
    again = recipe(*command, place=tmp_path)
    assert again.stdout == done.stdout and "this training has finished" in again.stderr
    assert (out / "student" / "model.safetensors").read_bytes() == before


def test_without_files_distillation_writes_pairs_of_its_own(tmp_path):
    tiny = ("--size", "tiny", "--d-model", "16", "--d-ff", "16", "--n-heads", "2", "--no-such")
    done = recipe("distillation", "out", *SMALL, *tiny, place=tmp_path, status=2)
    assert "+ attn train-mt out/train.tsv --dev out/dev.tsv -o out/teacher" in done.stderr
    parts = [(tmp_path / "out" / f"{part}.tsv").read_text() for part in ("dev", "train", "test")]
    assert [len(part.splitlines()) for part in parts] == [500, 23_500, 500]
    assert not set(parts[0].splitlines()) & set(parts[1].splitlines())


@pytest.mark.slow
def test_a_fast_student_has_a_table_of_scores_and_speeds(tmp_path, monkeypatch):
    pytest.importorskip("ctranslate2")
    monkeypatch.setenv("ROUNDS", "1")
    sizes = (("a.tsv", 160), ("b.tsv", 12), ("c.tsv", 80))
    files = [write_pairs(tmp_path / name, size, size) for name, size in sizes]
    tiny = ("--d-model", "16", "--d-ff", "16", "--n-heads", "2", "--type", "char")
    done = recipe("fast", "out put", *files, *SMALL, *tiny, place=tmp_path)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    assert rows[0][1:] == ["BLEU", "sentences/s, one core", "times CTranslate2's"]
    assert [row[0] for row in rows[2:]] == [
        "teacher, CTranslate2, int8, beam 5",
        *("teacher, beam 5", "student, greedy", "the same, int8", "the same, int8, shortlist"),
    ]
    assert all(0 <= float(row[1]) <= 100 and float(row[3]) > 0 for row in rows[2:])
    assert (tmp_path / "out put" / "fast" / "shortlist.safetensors").exists()
    again = recipe("fast", "out put", *files, *SMALL, *tiny, place=tmp_path)
    assert "attn convert" not in again.stderr  # what is there is not made again


def write_digits(folder, speakers=("ann", "bob"), numbers=range(4, 14)):
    """Recordings as of the Free Spoken Digit Dataset: a tone for each digit."""
    folder.mkdir()
    for speaker, (digit, number) in itertools.product(
        speakers, itertools.product(range(10), numbers)
    ):
        tone = sounds.glide(300 + 300 * digit, 320 + 300 * digit, 0.12 + number / 100)
        sounds.write_wave(folder / f"{digit}_{speaker}_{number}.wav", 0.5 * tone)
    return folder


def table(path):
    return [line.split("\t") for line in path.read_text().splitlines()]


def script(name, *arguments, status=0):
    command = [sys.executable, str(EXAMPLES / "speech" / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done


def test_strings_of_digits_are_recordings_of_one_speaker_joined(tmp_path):
    place = write_digits(tmp_path / "recordings")
    out = tmp_path / "digits"
    script("digits.py", place, out)
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    parts = {}
    for part, size in (("train", 1500), ("dev", 150)):
        rows, labels = table(out / f"{part}.tsv"), table(out / f"labels_{part}.tsv")
        assert len(rows) == size
        assert {len(text.split()) for _, text in rows} == {3, 4, 5, 6}
        assert {word for _, text in rows for word in text.split()} == set(names)
        with wave.open(str(out / rows[0][0])) as file:
            seconds = file.getnframes() / file.getframerate()
        words = len(rows[0][1].split())
        assert 0.17 * words + 0.05 * (words - 1) <= seconds < 0.26 * words + 0.3 * words
        labels = [
            line.split("\t") for line in (out / f"labels_{part}.tsv").read_text().splitlines()
        ]
        parts[part] = {Path(path).stem for path, _ in labels}
        assert all(names[int(Path(path).name[0])] == label for path, label in labels)
    assert {int(name.split("_")[2]) for name in parts["dev"]} == set(range(5, 10))
    assert {int(name.split("_")[2]) for name in parts["train"]} == set(range(10, 14))
    refused = script("digits.py", tmp_path, out, status=1)
    assert "no recording of part train" in refused.stderr


def test_an4_is_split_by_speaker(tmp_path):
    lists = tmp_path / "an4" / "etc"
    lists.mkdir(parents=True)
    people = [f"m{n:02}a" for n in range(20)]
    names = [f"an4_clstk/{who}/an{n}-{who}-b" for who in people for n in range(3)]
    (lists / "an4_train.fileids").write_text("".join(f"{name}\n" for name in names))
    said = [f"<s> HELLO {n} </s> ({Path(name).name})\n" for n, name in enumerate(names)]
    (lists / "an4_train.transcription").write_text("".join(said))
    (lists / "an4_test.fileids").write_text("an4test_clstk/fabc/an1-fabc-b\n")
    (lists / "an4_test.transcription").write_text("YES (an1-fabc-b)\n")
    script("an4.py", tmp_path / "an4", tmp_path / "out")
    rows = {part: table(tmp_path / "out" / f"{part}.tsv") for part in ("train", "dev", "test")}
    speakers = {part: {Path(path).parent.name for path, _ in found} for part, found in rows.items()}
    assert speakers["dev"] == {"m05a", "m15a"}
    assert not speakers["train"] & speakers["dev"] and len(rows["train"]) == 54
    assert rows["train"][0] == [
        str(tmp_path / "an4" / "wav" / f"{names[0]}.sph"), "HELLO 0"
    ]  # fmt: skip
    assert [text for _, text in rows["test"]] == ["YES"]


@pytest.mark.slow
def test_recordings_are_written_down_and_scored(monkeypatch, tmp_path):
    files = [
        sounds.write_words(tmp_path / name, size, seed=size) for name, size in (("a", 40), ("b", 6))
    ]
    tiny = ("--d-model", "16", "--d-ff", "16", "--n-heads", "2", "--type", "char")
    done = recipe("speech", "out put", *files, *SMALL, *tiny, place=tmp_path)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line[-1] == ":"] == ["attention:", "joint:", "ctc:"]
    assert [line.split("\t")[0] for line in lines if line[-1] != ":"][:2] == ["WER", "CER"]
    for name in ("attention", "joint", "ctc"):
        assert len((tmp_path / "out put" / f"{name}.tsv").read_text().splitlines()) == 6
    monkeypatch.setenv("LM", "1s")
    alone = recipe("speech", "alone", *files, *SMALL, *tiny, "--ctc-weight", "0", place=tmp_path)
    assert [line for line in alone.stdout.splitlines() if line[-1] == ":"] == ["attention:", "lm:"]
    assert len((tmp_path / "alone" / "lm.tsv").read_text().splitlines()) == 6


@pytest.mark.parametrize("name", ["summaries", "documents", "distillation", "fast", "speech"])
def test_recipes_without_files_tell_how_to_use_them(name, tmp_path):
    done = recipe(name, place=tmp_path, status=2)
    assert done.stderr.startswith(f"sh examples/{name}/run.sh ")
