"""The parts of the comparison of decoding: the watch, the peers' programs, the page."""

import json
import os
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from drawn_models import TEXT, write_translator
from program import inside

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "benchmarks" / "speed"
sys.path.insert(0, str(FOLDER))

import decoding  # noqa: E402
import decoding_rows  # noqa: E402
import peer  # noqa: E402
import piped  # noqa: E402

LINES = [f"line {n} é" for n in range(500)]
# Answers each line as it comes, some of them late.
UPPER = """
import sys, time
for n, line in enumerate(sys.stdin):
    time.sleep(1.0 if LATE else 0)
    print(line.strip().upper(), flush=True)
"""


def test_what_comes_before_the_first_lines_is_not_timed():
    command = [sys.executable, "-c", UPPER.replace("LATE", "n == 0")]
    run = piped.answered(command, os.environ, ["warm"], LINES, alone=False)
    assert run.lines == [line.upper() for line in LINES]
    assert run.seconds < 1.0
    assert run.megabytes > 1


def test_a_line_alone_waits_for_the_answer_before_it():
    command = [sys.executable, "-c", UPPER.replace("LATE", "n % 2").replace("1.0", "0.2")]
    run = piped.answered(command, os.environ, ["warm"], LINES[:3], alone=True)
    assert run.lines == [line.upper() for line in LINES[:3]]
    assert run.seconds >= 0.2  # the median of late, early, late


def test_a_program_that_fails_is_an_error_with_its_words():
    for code in ("raise SystemExit('no such model')", "input(); raise SystemExit('no such model')"):
        with pytest.raises(RuntimeError, match="no such model"):
            piped.answered(
                [sys.executable, "-c", code], os.environ, ["warm"], LINES[:2], alone=False
            )
    with pytest.raises(RuntimeError, match="bad"):
        piped.whole([sys.executable, "-c", "raise SystemExit('bad')"], os.environ)


def test_lines_are_grouped_as_a_peer_is_told():
    lines = [*"abcde"]
    assert list(peer._groups(iter(lines), 2, alone=False)) == [["a", "b"], ["c", "d", "e"]]
    assert list(peer._groups(iter(lines), 3, alone=True)) == [["a", "b", "c"], ["d"], ["e"]]


def row(unit, **changes):
    return decoding_rows.Row("name", "said", unit, list, ["a", "b"], **changes)


@pytest.mark.parametrize(("unit", "ratio"), [("sentences/s", "0.50"), ("seconds", "2.00")])
def test_a_table_has_medians_and_what_they_are_of_the_best_peer(unit, ratio):
    programs = [
        decoding_rows.Program("ours", True, []),
        decoding_rows.Program("peer", False, [], compared=True),
        decoding_rows.Program("slower" if unit != "seconds" else "faster", False, []),
        decoding_rows.Program("broken", False, []),
    ]
    numbers = {"ours": [3, 5, 4], "peer": [8, 8, 8], programs[2].name: [7, 7, 7]}
    numbers[programs[2].name] = [7] * 3 if unit != "seconds" else [9] * 3
    tries = {name: [piped.Run(n, 10, ["x", name]) for n in each] for name, each in numbers.items()}
    lines = decoding._lines(row(unit), programs, tries)
    assert lines[0].split("|")[2].strip() == unit
    assert lines[2] == f"| ours | 4 (3 to 5) | {ratio} |  | 10 |"
    assert lines[3] == "| peer | 8 (8 to 8) |  | 1 of 2 | 10 |"
    assert lines[5].startswith("| broken | failed |")


def test_the_fastest_way_is_found_and_a_program_that_can_not_is_left_out():
    sleeps = [[sys.executable, "-c", f"import time; time.sleep({n})"] for n in (0.6, 0, 0.6)]
    timed = decoding_rows.Row("name", "said", "seconds", list)
    program = decoding_rows.Program("sleeper", True, sleeps)
    assert decoding._best_way(timed, program, 1) == sleeps[1]
    broken = decoding_rows.Program("broken", True, [[sys.executable, "-c", "raise SystemExit(2)"]])
    assert decoding._best_way(timed, broken, 1) is None


def test_a_row_whose_models_are_not_made_does_not_end_the_page():
    def broken():
        raise RuntimeError("attn convert: no such model\nmore")

    lines, failed = decoding._table(
        decoding_rows.Row("name", "said", "seconds", broken), Namespace(threads=1, rounds=1)
    )
    assert (lines, failed) == (["Failed: attn convert: no such model"], 1)


def test_pieces_are_those_of_the_model_that_is_given(tmp_path):
    model = write_translator(tmp_path / "m")
    ours, theirs = workshop(tmp_path, default=str(model))._encode()
    assert ours.ways[0][-2] == model / "tokenizer.model"
    assert json.loads(theirs.ways[0][-2])["model"] == str(model / "tokenizer.model")


def workshop(folder, **given):
    given = {"default": None, "d256": None, "base": None, "lm": None, "bert": None, **given}
    pairs = folder / "pairs.tsv"
    pairs.write_text("".join(f"{line}\t{line}\n" for line in TEXT), "utf-8")
    return decoding_rows.Workshop(folder, given, TEXT, pairs, lines=7, scale=0.001, threads=1)


def test_every_row_has_a_name_and_rows_are_chosen_by_it(tmp_path):
    made = workshop(tmp_path)
    names = [each.name for each in made.rows()]
    assert len(set(names)) == len(names) == 24
    chosen = decoding._chosen(made, ["d256-*-int8", "startup"])
    assert [each.name for each in chosen] == [
        *("d256-beam-int8", "d256-greedy-int8", "d256-alone-int8", "startup"),
    ]
    with pytest.raises(SystemExit, match="no row"):
        decoding._chosen(made, ["d257*"])


def test_both_engines_translate_the_same_model(tmp_path):
    pytest.importorskip("ctranslate2")
    model = write_translator(tmp_path / "m")
    made = workshop(tmp_path, default=str(model))
    (beam,) = decoding._chosen(made, ["default-beam-float32"])
    programs = beam.programs()
    assert [each.ours for each in programs] == [True, True, True, True, False]
    ours, theirs = programs[0], programs[4]
    assert "count" in ours.ways[0] and "count" not in programs[1].ways[0]
    told = json.loads(theirs.ways[0][-1])
    assert (told["beam"], told["precision"], told["length"]) == (5, "float32", 0)
    told |= {"length": 4, "warm": 1}
    answer = peer.ctranslate2(told)(TEXT)
    stdin = "".join(f"{line}\n" for line in TEXT).encode()
    length = ("--min-len", 4, "--max-len", 4, "--stopping", "count")
    run = inside("decode", "-m", model, "--device", "cpu", *length, stdin=stdin)
    assert len(answer) == len(run.lines) == len(TEXT)


def test_the_head_says_what_was_measured_and_with_what(tmp_path):
    options = Namespace(threads=2, rounds=5)
    head = "\n".join(decoding._head(options, ["--model", str(tmp_path), "--rows", "base-*"]))
    assert f"decode --model {tmp_path.name} --rows 'base-*'" in head
    assert "ctranslate2" in head and "2 threads" in head
