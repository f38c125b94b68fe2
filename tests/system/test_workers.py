"""Several workers on one stream: the same bytes as one, in the same order, whatever happens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from drawn_models import write_detector, write_language_model, write_reader, write_tagger
from program import COMMAND, ENVIRONMENT, inside

from attn_cli.errors import AttnError, DataError
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Rows
from attn_cli.lines.unusable import BadLines
from attn_cli.tokenizers.tokenizer_files import load_tokenizer
from attn_cli.workers import Crew, in_order

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")

SENTENCES = [
    f"{a}{b} {c}{a}" for a in ("ba", "ke", "li") for b in ("nu", "ra") for c in ("mo", "vo")
]
BAD = {7: b"bad \xff bytes\tkept", 300: b"", 301: b"  \tblank", 640: b"\xed\xa0\x80", 655: b"\t"}
BERT = {"d_ff": 16, "n_heads": 2, "n_layers": 1}
LONG = 500  # a line that is decoded in parts


def stream() -> bytes:
    lines = [f"{SENTENCES[i % 12]} {SENTENCES[i % 7]}\tcolumn {i}".encode() for i in range(700)]
    for number, line in BAD.items():
        lines[number - 1] = line
    lines[LONG - 1] = b" ".join([b"banu kera."] * 40) + b"\tlong"
    return b"\n".join(lines) + b"\n"


class Ready:
    """A feed that never waits."""

    def ready(self) -> bool:
        return True

    def fileno(self) -> int:
        raise AssertionError("nobody waits for what is ready")


def test_results_come_in_order_from_processes_beside_this_one():
    def work(number: int) -> tuple[int, int]:
        time.sleep(0.02 * (number % 3 == 0))
        return number, os.getpid()

    found = list(in_order(work, iter(range(20)), Crew(3), Ready()))
    assert [number for number, _ in found] == [*range(20)]
    others = {process for _, process in found}
    assert os.getpid() not in others and 1 < len(others) <= 3


def test_one_item_is_done_here_and_so_is_every_item_of_a_crew_of_one():
    assert list(in_order(lambda _: os.getpid(), iter([1]), Crew(4), Ready())) == [os.getpid()]
    assert set(in_order(lambda _: os.getpid(), iter([1, 2, 3]), Crew(1), Ready())) == {os.getpid()}
    assert list(in_order(str, iter([]), Crew(4), Ready())) == []


def test_an_item_that_can_not_be_had_comes_after_the_results_before_it():
    def items():
        yield from range(5)
        raise DataError("the file is damaged")

    for size in (1, 3):
        results = in_order(str, items(), Crew(size), Ready())
        assert [next(results) for _ in range(5)] == ["0", "1", "2", "3", "4"]
        with pytest.raises(DataError, match="the file is damaged"):
            next(results)


def test_a_worker_s_error_is_raised_as_what_it_is():
    def work(number: int) -> int:
        if number == 3:
            raise AttnError("three")
        return 10 // (number - 5)

    results = in_order(work, iter([4, 3, 1]), Crew(2), Ready())
    assert next(results) == -10
    with pytest.raises(AttnError, match="three"):
        next(results)
    results = in_order(work, iter([4, 5]), Crew(2), Ready())
    assert next(results) == -10
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)
    assert "10 // (number - 5)" in str(caught.value.__cause__)


def test_what_both_have_is_named_not_copied():
    thing = object()  # which pickle would copy
    shared = [thing]
    results = in_order(
        lambda item: item[0] is thing, iter([(thing,)] * 4), Crew(2), Ready(), shared
    )
    assert list(results) == [True] * 4


def test_few_items_are_read_ahead():
    taken = 0

    def items():
        nonlocal taken
        while True:
            yield taken
            taken += 1

    results = in_order(lambda n: n, items(), Crew(2), Ready())
    for number in range(100):
        assert next(results) == number
        assert taken <= number + 10
    results.close()


OPTIONS = {
    "beam": ("--beam", 4, "--scores", "--align", "--max-input", 60),
    "n-best": ("--beam", 3, "--n-best", 3, "--format", "moses"),
    "json": ("--greedy", "--format", "json", "--max-input", 60),
    "sample": ("--sample", "--seed", 5, "--temperature", 2, "--scores"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_workers_change_no_byte_of_translations_and_of_what_is_said(name, reversal_model):
    command = ("decode", "-m", reversal_model, *OPTIONS[name], "--max-len", 6, "--buffer", 100)
    runs = [inside(*command, "--threads", n, stdin=stream(), status=3) for n in (1, 2, 3)]
    assert runs[0].out.count(b"\n") == 700 * (3 if name == "n-best" else 1) - (
        2 * len(BAD) if name == "n-best" else 0
    )
    assert [run.out for run in runs[1:]] == [runs[0].out] * 2
    assert [run.said for run in runs[1:]] == [runs[0].said] * 2
    assert "2 unusable lines: answered with an empty line" in runs[0].said
    numbers = [
        int(number) for number in re.findall(r"standard input:(\d+): not UTF-8", runs[0].said)
    ]
    assert numbers == [7, 640]


def test_the_default_windows_are_several_for_a_few_hundred_lines(reversal_model, monkeypatch):
    """Or else nobody would have anything to do."""
    from attn_cli.systems.generation.lines import LineDecoder

    sizes = []
    answered = LineDecoder._answered
    monkeypatch.setattr(
        LineDecoder, "_answered", lambda self, rows: sizes.append(len(rows)) or answered(self, rows)
    )
    command = ("decode", "-m", reversal_model, "--greedy", "--max-len", 2)
    inside(*command, "--threads", 1, stdin=stream(), status=3)
    assert sizes == [256, 256, 188]


def lines_of(kind: str) -> bytes:
    if kind != "tagger":
        return stream()
    words = [f"word{n % 9}\tcolumn {n}\n" if n % 7 else "\n" for n in range(1, 400)]
    return "".join(words).encode() + b"bad \xff\n\nlast\tx\n"


@pytest.mark.parametrize("kind", ["classifier", "tagger", "language model", "detector"])
def test_workers_change_no_byte_of_other_answers(kind, tmp_path):
    if kind == "classifier":
        place = write_reader(tmp_path / "m", "bert", **BERT)
    elif kind == "tagger":
        place = write_tagger(
            tmp_path / "m", load_tokenizer(str(write_language_model(tmp_path / "t")))
        )
    elif kind == "language model":
        place = write_language_model(tmp_path / "m")
    else:
        place = write_detector(tmp_path / "m")
    options = ("--max-len", 4, "--scores", "--max-input", 20) if kind == "language model" else ()
    command = ("decode", "-m", place, *options, "--buffer", 40)
    runs = [inside(*command, "--threads", n, stdin=lines_of(kind), status=3) for n in (1, 3)]
    assert runs[1].out == runs[0].out and runs[1].said == runs[0].said
    assert runs[0].out.count(b"\n") == lines_of(kind).count(b"\n")
    assert "not UTF-8" in runs[0].said
    if kind in ("classifier", "tagger"):
        scored = [
            inside(*command, "--scores", "--threads", n, stdin=lines_of(kind), status=3)
            for n in (1, 2)
        ]
        assert scored[1].out == scored[0].out != runs[0].out


def processes_of(parent: int) -> list[int]:
    return [
        int(each) for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    ]


def is_alive(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


def gone(processes: list[int], within: float = 20.0) -> bool:
    until = time.monotonic() + within
    while any(map(is_alive, processes)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(is_alive, processes))


@pytest.fixture
def endless(reversal_model, tmp_path):
    """A decoding that takes minutes, with its workers, after its first answer."""
    (tmp_path / "in").write_bytes(stream() * 60)
    command = ("decode", "-m", reversal_model, "--beam", 20, "--buffer", 20, "--threads", 2)
    heard = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores Ctrl-C
    started = subprocess.Popen(
        [*COMMAND, *map(str, (*command, tmp_path / "in"))],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, heard)
    with started as process:
        process.stdout.readline()
        while len(workers := processes_of(process.pid)) < 2:
            time.sleep(0.02)
        yield process, workers
        process.kill()
    assert gone(workers)


def test_a_worker_that_is_killed_ends_the_run_with_its_name(endless):
    process, workers = endless
    os.kill(workers[1], signal.SIGKILL)
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 1
    assert f"attn: worker process {workers[1]} was ended by SIGKILL" in said
    assert "--threads 1" in said and "Traceback" not in said
    assert gone(workers)


def test_ctrl_c_ends_all_processes_without_a_word(endless):
    process, workers = endless
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130
    assert [
        line for line in said.split("\n") if "standard input" not in line and "/in:" not in line
    ] == [""]
    assert gone(workers)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_the_program(endless, number):
    process, workers = endless
    process.send_signal(number)
    process.wait(60)
    assert process.returncode == -number
    assert gone(workers)


def test_a_reader_that_has_read_enough_ends_all_processes(endless):
    process, workers = endless
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait(60) == 141
    assert "Traceback" not in said and "BrokenPipe" not in said
    assert gone(workers)


def test_lines_of_a_slow_producer_are_answered_at_once_after_a_burst(reversal_model):
    command = ("decode", "-m", reversal_model, "--greedy", "--buffer", 20, "--threads", 2)
    with subprocess.Popen(
        [*COMMAND, *map(str, command)],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        burst = b"banu kera\tx\n" * 60
        for block in (b"banu kera\tx\n", burst, b"banu kera\tx\n", b"banu kera\tx\n", burst):
            process.stdin.write(block)
            process.stdin.flush()
            for _ in range(block.count(b"\n")):  # hangs if an answer waits for more lines
                assert process.stdout.readline().endswith(b"\tx\n")
        assert len(processes_of(process.pid)) == 2
        process.stdin.close()
    assert process.returncode == 0


def test_windows_grow_to_twice_the_first(tmp_path):
    (tmp_path / "in").write_text("line\n" * 700)
    rows = Rows(LineReader(str(tmp_path / "in")), None, BadLines(print, skip_bad=True))
    sizes = [len(window) for window in rows.windows(100, first=10)]
    assert sizes[:16] == [10] * 16 and sizes[-2] == 20 and sorted(sizes[:-1]) == sizes[:-1]
    assert sum(sizes) == 700
