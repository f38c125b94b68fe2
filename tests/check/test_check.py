"""`attn check`: what it finds, beside plain loops over all pairs; as a user runs it."""

from __future__ import annotations

import gzip
import json
import random
import re
import subprocess
import sys
import unicodedata
from itertools import product
from pathlib import Path
from statistics import median

import pytest
from program import COMMAND, ENVIRONMENT, attn, inside

from attn_cli.check.nearness import NearIndex, Place, shingles
from attn_cli.check.scripts import script_of

PAIRS = ["a small dog runs\tun petit chien court", "two men sit here\tdeux hommes sont assis ici"]


def write(path: Path, *lines: str) -> Path:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


def found(*arguments: object, stdin: bytes = b"", status: int = 0) -> dict:
    """Part -> finding -> count, of those that there are."""
    run = inside("check", *arguments, "--json", stdin=stdin, status=status)
    return {
        name: {key: each["count"] for key, each in part["findings"].items() if each["count"]}
        for name, part in json.loads(run.out)["parts"].items()
    }


def similarity(one: str, other: str) -> float:
    """The definition, by words as they are."""
    pairs = []
    for text in (one, other):
        words = ["^", *re.findall(r"\w+", text.lower()), "$"]
        pairs.append({" ".join(words[i : i + 2]) for i in range(len(words) - 1)})
    return len(pairs[0] & pairs[1]) / len(pairs[0] | pairs[1])


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_near_texts_are_those_that_a_comparison_of_all_pairs_finds(threshold):
    rng = random.Random(5)
    base = [" ".join(rng.choices("abcdefgh", k=rng.randint(1, 12))) for _ in range(60)]
    others = []
    for text in rng.choices(base, k=300):
        words = text.split()
        for _ in range(rng.randint(0, 3)):
            words[rng.randrange(len(words))] = rng.choice("abcdefghXY")
        others.append(" ".join(words) + rng.choice(["", ".", " !"]))
    index = NearIndex(
        {i: (shingles(text), Place("dev", i)) for i, text in enumerate(base)}, threshold
    )
    for text in others:
        near = {key for key, _ in index.near(shingles(text))}
        assert near == {i for i, b in enumerate(base) if similarity(text, b) >= threshold}


def test_case_marks_and_composition_make_no_difference_characters_do_without_spaces():
    assert shingles("Été, 1 FOIS!") == shingles(unicodedata.normalize("NFD", "été 1 fois"))
    assert shingles("... !") == frozenset()
    assert len(shingles("我喜欢猫")) == 5 and shingles("我喜欢猫") & shingles("我喜欢狗")
    assert shingles("man bites dog") != shingles("dog bites man")


@pytest.mark.parametrize(
    ("text", "script"),
    [
        *(("Hund 12", "LATIN"), ("12 -", ""), ("", ""), ("собака dog", "CYRILLIC")),
        *(("猫です", "CJK"), ("ﬁn é", "LATIN"), ("한국 x", "HANGUL"), ("١٢", "")),
    ],
)
def test_the_script_of_a_text(text, script):
    assert script_of(text) == script


def test_pairs_beside_plain_loops(tmp_path):
    """All findings of pairs, counted here by the definitions over all lines and all pairs."""
    rng = random.Random(2)
    vocabulary = [a + b for a in ("ba", "ke", "li") for b in ("nu", "ra", "vo", "ты")]

    def sentence() -> str:
        return " ".join(rng.choices(vocabulary[:6], k=rng.randint(3, 9)))

    def pair() -> list[str]:
        source, target = sentence(), sentence()
        twists = (
            *(["", target], [source, source], [source, "x " + target * 9], [source, "да нет"]),
            *([source, target + "\ufffd"], [source, target + " e\u0301"], ["", ""]),
        )
        return rng.choice(twists) if rng.random() < 0.2 else [source, target]

    parts = {name: [pair() for _ in range(n)] for name, n in (("train", 300), ("dev", 60))}
    for part, other in (("train", "dev"), ("dev", "train")):
        parts[part] += [list(each) for each in rng.choices(parts[other], k=15)]
        parts[part] += [[source, "x"] for source, _ in rng.choices(parts[other], k=15) if source]
    files = {
        name: write(tmp_path / f"{name}.tsv", *map("\t".join, rows)) for name, rows in parts.items()
    }
    got = found(files["train"], "--dev", files["dev"], "--task", "translate", status=1)
    for name, other in (("train", "dev"), ("dev", "train")):
        rows, theirs = parts[name], parts[other]
        usable = [row for row in rows if any(row)]
        inputs = [source for source, _ in theirs]
        want = dict.fromkeys(
            ("leak", "leak_input", "leak_near", "blank", "empty", "copied", "odd_length"), 0
        )
        ratios = [
            len(t) / len(s) for s, t in usable if min(len(s), len(t)) and max(len(s), len(t)) > 12
        ]
        for row in rows:
            source, target = row
            if not any(row):
                want["blank"] += 1
                continue
            near = any(s and source and similarity(source, s) >= 0.8 for s in inputs)
            want["leak"] += row in theirs
            want["leak_input"] += bool(source) and row not in theirs and source in inputs
            want["leak_near"] += row not in theirs and source not in inputs and near
            want["empty"] += not (source and target)
            want["copied"] += source == target
            if min(len(source), len(target)) and max(len(source), len(target)) > 12:
                relative = len(target) / len(source) / median(ratios)
                want["odd_length"] += not 1 / 3 <= relative <= 3
        want["script"] = sum("да" in target for _, target in usable)
        want["replaced"] = sum("\ufffd" in target for _, target in usable)
        want["not_nfc"] = sum("\u0301" in target for _, target in usable)
        want["duplicate"] = len(usable) - len(set(map(tuple, usable)))
        assert got[name] == {key: count for key, count in want.items() if count}


def test_labels(tmp_path):
    train = write(tmp_path / "train.tsv", "good film\tpos", "bad film\tneg", "good film\tneg",
                  "dull\tneg", "fine\tpos", "what\trare", "none\t ")  # fmt: skip
    dev = write(tmp_path / "dev.tsv", "Bad film!\tneg", "new one\tother", "newer one\tpos")
    assert found(train, "--dev", dev, "--task", "classify", status=1) == {
        "train": {
            "leak_near": 1,
            "empty": 1,
            "contradiction": 1,
            "label_once": 1,
            "label_alone": 1,
        },
        "dev": {"leak_near": 1, "label_once": 3, "label_alone": 1},
    }
    run = inside("check", train, "--dev", dev, "--task", "classify", status=1)
    assert "train\tnote: the input has another answer before\t1\t14.29%\t3" in run.lines
    assert "dev\tnote: a label in no other part\t1\t33.33%\tother (2)" in run.lines
    assert "attn: leaks: 1 example of dev in another part, or nearly so" in run.said
    several = b"a b\tx,y\nc d\ty\n"
    assert found("--task", "multilabel", stdin=several) == {"train": {"label_once": 1}}
    named = b"label\ttext\tid\n1\tsome words\t7\n1\tsome words\t8\n"
    assert found("--task", "classify", "--columns", "text,label", stdin=named) == {
        "train": {"duplicate": 1}
    }
    texts = b'{"a": "one", "b": "one", "y": 1}\n{"a": "one", "b": "two", "y": 1}\n'
    assert found("--task", "pair", "--columns", "a,b,y", stdin=texts) == {"train": {"copied": 1}}


def test_sentences_of_tags(tmp_path):
    train = write(tmp_path / "a.conll", "# newdoc", "Al\tN", "came\tV", "", "he\tP", "went\tV", "",
                  "Al\tN", "came\tX", "")  # fmt: skip
    dev = write(tmp_path / "b.conll", "he\tP", "went\tV", "", "they\tP", "sleep\tV", "")
    assert found(train, "--dev", dev, status=1) == {
        "train": {"leak": 1, "contradiction": 1, "label_once": 2, "label_alone": 2},
        "dev": {"leak": 1},
    }
    run = inside("check", train, "--dev", dev, "--filter")
    assert run.out == b"# newdoc\nAl\tN\ncame\tV\n\nAl\tN\ncame\tX\n\n"
    assert "train\tleak: the same in another part\t1\t33.33%\t5 = dev:1" in run.said


def squad(path: Path, *paragraphs: tuple[str, list[tuple[str, str]]]) -> Path:
    numbers = iter(range(100))
    data = [
        {
            "context": context,
            "qas": [
                {
                    "id": f"{path.stem}{next(numbers)}",
                    "question": question,
                    "answers": [{"text": answer, "answer_start": context.index(answer)}],
                }
                for question, answer in questions
            ],
        }
        for context, questions in paragraphs
    ]
    path.write_text(json.dumps({"data": [{"paragraphs": data}]}))
    return path


def test_questions(tmp_path):
    one = ("Ann lives in Rome with a cat .", [("who lives ?", "Ann"), ("where ?", "Rome")])
    again = (one[0], [("who lives ?", "cat"), ("where ?", "Rome")])
    train = squad(tmp_path / "t.json", one, again, ("Bob ran .", [("who ?", "Bob")]))
    dev = squad(tmp_path / "d.json", ("Ann lives in Rome , with a cat", [("what ?", "cat")]))
    assert found(train, "--dev", dev, status=1) == {
        "train": {"leak_near": 4, "duplicate": 1, "contradiction": 1},
        "dev": {"leak_near": 1},
    }
    first = "train\tfault: stands there before\t1\t20.00%\tt3"
    assert first in inside("check", train).lines
    assert "--filter: SQuAD's JSON is no lines" in inside("check", train, "--filter", status=2).said


def test_encodings_and_lines_that_cannot_be_used():
    raw = b"\xef\xbb\xbfone dog\tun chien\r\nbad \xff\tx\nno column\ntwo dogs\tdeux chiens\n"
    run = inside("check", "--json", "--task", "translate", stdin=raw, status=3)
    findings = json.loads(run.out)["parts"]["train"]["findings"]
    assert {key: each["first"] for key, each in findings.items() if each["count"]} == {
        "unusable": ["2", "3"],
        "crlf": ["1"],
        "bom": ["1"],
    }
    assert "standard input:2: not UTF-8 at byte 5" in run.said
    assert inside("check", "--skip-bad", "--task", "translate", stdin=raw).out
    kept = inside("check", "--filter", "--task", "translate", stdin=raw)
    assert kept.out == b"one dog\tun chien\r\ntwo dogs\tdeux chiens\n"


def test_the_filter_keeps_bytes_and_order_and_its_output_passes(tmp_path):
    lines = [
        *PAIRS,
        PAIRS[0],
        "same thing\tsame thing",
        "\tx",
        "",
        "the  third \r\tle troisi\u00e8me",
    ]
    packed = tmp_path / "train.tsv.gz"
    packed.write_bytes(gzip.compress("\n".join(lines).encode()))
    dev = write(tmp_path / "dev.tsv", PAIRS[1])
    run = inside("check", packed, "--dev", dev, "--filter", "--task", "translate")
    assert run.out.decode() == f"{lines[0]}\n{lines[6]}\n"
    assert "train\tfault: stands there before\t1\t" in run.said
    assert found("--dev", dev, "--task", "translate", stdin=run.out) == {"train": {}, "dev": {}}


def test_a_leak_between_dev_and_test_is_left_by_the_filter(tmp_path):
    dev, test = write(tmp_path / "dev.tsv", PAIRS[0]), write(tmp_path / "test.tsv", PAIRS[0])
    train = write(tmp_path / "train.tsv", PAIRS[1])
    arguments = ("check", train, "--dev", dev, "--test", test, "--task", "translate", "--filter")
    run = inside(*arguments, status=1)
    assert run.out.decode() == f"{PAIRS[1]}\n"
    assert "leaks: 1 example of dev and test in another part, or nearly so" in run.said


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        *(([*PAIRS, "c d\te f"], "translate"), (["one", "two"], "text")),
        *((["a\t1", "b\t0", "c\t1", "d\t0"], "classify"), (["a\t1.5", "b\t2.5"], "regress")),
        (["a\tb\tx", "c\td\tx", "e\tf\tx"], "pair"),
        (["Al\tN", "came\tV", "", "he\tP"], "tag"),
    ],
)
def test_the_kind_is_told_by_the_first_lines(lines, kind):
    run = inside("check", stdin="\n".join(lines).encode())
    assert f"read as data of the kind {kind};" in run.said


def test_empty_input_and_wrong_input(tmp_path):
    for task in ("translate", "text", "classify", "tag"):
        run = inside("check", "--task", task)
        assert run.lines == [
            "part\tfinding\tcount\tshare\tfirst",
            "train\texamples\t0\t\tstandard input",
        ]
        assert inside("check", "--task", task, "--filter").out == b""
    assert "nothing.tsv: No such file" in inside("check", tmp_path / "nothing.tsv", status=2).said
    csv = write(tmp_path / "a.csv", "a,b", "c,d", "e,f")
    assert "commas and no tab" in inside("check", csv, "--task", "classify", status=3).said
    assert "not JSON" in inside("check", "--task", "qa", stdin=b"{", status=3).said
    assert "did you mean classify" in inside("check", csv, "--task", "clasify", status=2).said
    assert "--near: 0.1 is below 0.5" in inside("check", csv, "--near", "0.1", status=2).said


@pytest.mark.parametrize("option", [[], ["--filter"]])
def test_a_reader_that_leaves_ends_it_quietly(tmp_path, option):
    train = write(tmp_path / "t.tsv", *(f"line number {i}\tlinje {i}" for i in range(20_000)))
    command = [*COMMAND, "check", "--task", "translate", "--quiet", str(train), *option]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as run:
        assert run.stdout and run.stderr
        run.stdout.close()
        said = run.stderr.read().decode()
    assert run.returncode in (0, 141) and "Traceback" not in said and "rror" not in said


def test_no_torch_and_a_real_pipe():
    code = (
        "import sys, attn_cli.cli\n"
        "sys.argv = ['attn', 'check', '--task', 'translate', '--quiet']\n"
        "status = attn_cli.cli.main()\n"
        "slow = {'torch', 'rich', 'pydantic', 'sentencepiece'} & set(sys.modules)\n"
        "sys.exit(f'imported: {slow}' if slow else status)\n"
    )
    command = [sys.executable, "-c", code]
    text = "".join(f"{line}\n" for line in PAIRS).encode()
    done = subprocess.run(command, input=text, capture_output=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr.decode()
    assert attn("check", "--task", "translate", stdin=text).out == done.stdout


def test_what_is_kept_of_a_corpus_is_no_text(tmp_path):
    """40,000 further lines of 400 bytes take the space of hashes: far less than their text."""
    peaks = []
    for size in (40_000, 80_000):
        lines = (
            f"{i} " + "many words " * 18 + f"\t{i} " + "viele Worte " * 16 for i in range(size)
        )
        file = write(tmp_path / f"{size}.tsv", *lines)
        code = (
            "import sys, attn_cli.cli\n"
            f"sys.argv = ['attn', 'check', '--task', 'translate', {str(file)!r}]\n"
            "attn_cli.cli.main()\n"
            "print(*(line for line in open('/proc/self/status') if 'VmHWM' in line))\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=ENVIRONMENT)
        peaks.append(int(done.stdout.split()[-2]) << 10)
    assert peaks[1] - peaks[0] < 40_000 * 150


def test_parts_are_compared_with_one_another(tmp_path):
    """Each of three parts with both others; a line that leaks twice is counted once."""
    names = ("train", "dev", "test")
    lines = {name: [f"{name} sentence number {i} of all\t{i}" for i in range(5)] for name in names}
    for one, other in product(names, names):
        lines[one].append(f"shared by {'and'.join(sorted({one, other}))} here\tx")
    train, dev, test = (write(tmp_path / name, *lines[name]) for name in names)
    got = found(train, "--dev", dev, "--test", test, "--task", "translate", status=1)
    for name in names:
        mine = lines[name]
        others = [line for other in names if other != name for line in lines[other]]
        assert got[name]["leak"] == sum(line in others for line in mine)


def test_how_odd_a_ratio_of_lengths_may_be_is_chosen():
    lines = [f"{letter * 20}\t{letter * 30}" for letter in "abcd"] + [f"{'e' * 20}\t{'f' * 70}"]
    text = "".join(f"{line}\n" for line in lines).encode()
    assert found("--task", "translate", stdin=text) == {"train": {}}  # 3.5 is 2.3 times 1.5
    assert found("--task", "translate", "--ratio", 2, stdin=text) == {"train": {"odd_length": 1}}


def test_the_filter_keeps_a_header_and_the_same_places_are_told_each_time(tmp_path):
    text = b"label\ttext\n1\tsome words here\n1\tsome words here\n0\tothers\n"
    chosen = ("--task", "classify", "--columns", "text,label")
    kept = inside("check", *chosen, "--filter", stdin=text)
    assert kept.out == b"label\ttext\n1\tsome words here\n0\tothers\n"
    alike = [f"the very same{mark}\t1" for mark in ("!", " ?", ".", " :", "...")]
    dev = write(tmp_path / "dev.tsv", *alike)
    for seed in ("1", "2", "3"):
        done = subprocess.run(
            [*COMMAND, "check", "--dev", str(dev), "--task", "classify"],
            input=b"the very same\t1\n",
            capture_output=True,
            env={**ENVIRONMENT, "PYTHONHASHSEED": seed},
        )
        assert b"1\t100.00%\t1 = dev:1\n" in done.stdout and done.returncode == 1
