"""Figures of the house: `python house.py CHECKOUT [--no-times]` prints name<TAB>value lines.

(a) One decoded line. A small translator (transformer, 40 steps) decodes three equal lines, as
    `attn decode -m MODEL --beam 5 --buffer 1`. Counted are the distinct functions (file, qualified
    name) of attn_cli that are entered, or resumed, between the first write to standard output and the
    second: the reading of line 2 up to the writing of its output, with everything warm.
    `all`: every one. `without nn and models`: but those in attn_cli/nn and attn_cli/models.
    `stops`: without nn and models, and without lambdas, comprehensions, generator expressions,
    dunder methods and properties (see is_stop): what a reader has to step through.
    `crossings`: without nn and models; those that are entered from another file of attn_cli: where a reader has to
    open another file.
(b) `Any` as a name token (tokenize), with and without the import statements.
(c) Functions whose name begins with `_`, no dunder; those whose name stands exactly twice in their
    file as a whole word: where it is defined and once more.
(d) Lines. (e) Calls of hasattr and getattr. (f) Start-up: median of 5 whole processes, by turns: wall time (noisy where others
    work on the machine) and CPU time; modules in sys.modules at the end; flags in `attn train-mt --help`.
"""
# One line a command reads better here than the formatter's eight.
# fmt: off
# ruff: noqa

from __future__ import annotations

import ast
import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import tokenize
from collections import Counter
from pathlib import Path

CHECKOUT = Path(sys.argv[1]).resolve()
PACKAGE = CHECKOUT / "attn_cli"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", "COLUMNS": "100", "NO_COLOR": "1"}
ENVIRONMENT.pop("ATTN_MODEL", None)
ATTN = [sys.executable, "-m", "attn_cli"]


def say(name: str, value: object) -> None:
    print(f"{name}\t{value}", flush=True)


def sources() -> dict[Path, str]:
    return {path: path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


# ---------------------------------------------------------------- (b) to (e): the text


def count_any(texts: dict[Path, str]) -> tuple[int, int]:
    every = imported = 0
    for text in texts.values():
        statement: list[str] = []
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in (tokenize.NEWLINE, tokenize.ENDMARKER):
                count = statement.count("Any")
                every += count
                imported += count if statement[:1] in (["from"], ["import"]) else 0
                statement = []
            elif token.type in (tokenize.NAME, tokenize.OP):
                statement.append(token.string)
    return every, imported


def count_private(texts: dict[Path, str]) -> tuple[int, int, int]:
    """Private functions; those named once more in their file; those named once in the package's code."""
    defined: list[tuple[Path, str, bool]] = []
    uses: dict[Path, Counter[str]] = {}
    for path, text in texts.items():
        own: Counter[str] = Counter()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if node.name.startswith("_") and not node.name.startswith("__"):
                    defined.append((path, node.name, False))
            elif isinstance(node, ast.Name):
                own[node.id] += 1
            elif isinstance(node, ast.Attribute):
                own[node.attr] += 1
        uses[path] = own
    words = {path: Counter(re.findall(r"\w+", text)) for path, text in texts.items()}
    in_file = sum(words[path][name] == 2 for path, name, _ in defined)
    total = sum(uses.values(), Counter())
    in_package = sum(total[name] == 1 for _, name, _ in defined)
    return len(defined), in_file, in_package


def count_probes(texts: dict[Path, str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for text in texts.values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("hasattr", "getattr", "setattr"):
                found[node.func.id] += 1
    return found


# ---------------------------------------------------------------- (a): one decoded line

TRACER = r'''
import io, json, os, sys
sys.argv = ["attn", *sys.argv[1:]]
seen, marks = [], []

class Raw(io.RawIOBase):
    def writable(self): return True
    def fileno(self): return 1
    def isatty(self): return False
    def write(self, data):
        marks.append(len(seen))
        return os.write(1, data)

sys.stdout = io.TextIOWrapper(io.BufferedWriter(Raw()), "utf-8")
import attn_cli
from attn_cli.cli import main
home = os.path.dirname(attn_cli.__file__) + os.sep

def profile(frame, event, argument):
    if event == "call":
        code = frame.f_code
        if code.co_filename.startswith(home):
            caller = frame.f_back
            while caller and not caller.f_code.co_filename.startswith(home):
                caller = caller.f_back
            other = caller is None or caller.f_code.co_filename != code.co_filename
            seen.append((code.co_filename[len(home):], code.co_qualname, code.co_firstlineno, other))

sys.setprofile(profile)
status = main()
sys.setprofile(None)
assert status == 0, status
with open(os.environ["TRACE"], "w") as file:
    json.dump({"marks": marks, "seen": seen}, file)
os._exit(0)
'''


def properties() -> set[tuple[str, int]]:
    """Places of properties and abstract or cached ones: a reader reads them as attributes."""
    found = set()
    for path, text in sources().items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and any("property" in ast.dump(d) for d in node.decorator_list):
                found.add((str(path.relative_to(PACKAGE)), node.decorator_list[0].lineno))
    return found


def decoded_line(show: bool) -> None:
    import json
    import random

    with tempfile.TemporaryDirectory() as place:
        rng = random.Random(3)
        words = [a + b for a in ("ba", "ke", "li", "mo") for b in ("nu", "ra", "vo")]
        rows = []
        for _ in range(150):
            own = rng.choices(words, k=rng.randint(1, 4))
            rows.append(f"{' '.join(own)}\t{' '.join(reversed(own))}\n")
        Path(place, "train.tsv").write_text("".join(rows))
        Path(place, "new.txt").write_text("banu kera livo\n" * 3)
        sizes = "--d-model 32 --d-ff 64 --n-heads 2 --n-encoder-layers 1 --n-decoder-layers 1 --type bpe --vocab-size 36 --metric loss --max-steps 40 --threads 1"
        subprocess.run([*ATTN, "train-mt", "train.tsv", "-o", "m", *sizes.split()], cwd=place, env=ENVIRONMENT, check=True, capture_output=True)
        traced = {**ENVIRONMENT, "TRACE": str(Path(place, "trace"))}
        run = [sys.executable, "-c", TRACER, *"decode -m m --beam 5 --buffer 1 --threads 1".split()]
        with Path(place, "new.txt").open() as lines:
            subprocess.run(run, cwd=place, env=traced, stdin=lines, check=True, capture_output=True)
        trace = json.loads(Path(place, "trace").read_text())
    assert len(trace["marks"]) == 3, trace["marks"]
    calls = [tuple(own) for own in trace["seen"][trace["marks"][0] : trace["marks"][1]]]
    entered = {own[:3]: None for own in calls}
    crossed = {own[:3] for own in calls if own[3] and not own[1].endswith(">")}
    outside = [own for own in entered if not own[0].startswith(("nn/", "models/"))]
    as_attributes = properties()

    def is_stop(own: tuple[str, str, int]) -> bool:
        name = own[1].rsplit(".", 1)[-1]
        return not (name.startswith("<") or (name.startswith("__") and name != "__call__") or (own[0], own[2]) in as_attributes)

    stops = [own for own in outside if is_stop(own)]
    crossings = [own for own in outside if own in crossed]
    for name, chosen in (("all", list(entered)), ("without nn and models", outside), ("stops", stops), ("crossings", crossings)):
        say(f"decoded line: functions, {name}", len({own[:2] for own in chosen}))
        say(f"decoded line: files, {name}", len({own[0] for own in chosen}))
    if show:
        for own in entered:
            print("#", "stop" if own in stops else "----", "crossing" if own in crossings else "--------", *own, file=sys.stderr)


# ---------------------------------------------------------------- (f): start-up


def times() -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place, "train.tsv").write_text("".join(f"ba ke {i}\tke ba {i}\n" for i in range(150)))
        Path(place, "new.txt").write_text("ba ke 3\n" * 10)
        sizes = "--d-model 32 --d-ff 64 --n-heads 2 --n-encoder-layers 1 --n-decoder-layers 1 --type char --metric loss --max-steps 20 --threads 1"
        subprocess.run([*ATTN, "train-mt", "train.tsv", "-o", "m", *sizes.split()], cwd=place, env=ENVIRONMENT, check=True, capture_output=True)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "attn": ATTN,
            "attn --help": [*ATTN, "--help"],
            "attn train-mt --help": [*ATTN, "train-mt", "--help"],
            "python -c 'import torch'": [sys.executable, "-c", "import torch"],
            "attn decode, ten lines": [*ATTN, "decode", "-m", "m", "--threads", "1", "new.txt"],
        }
        spent: dict[str, list[float]] = {name: [] for name in commands}
        used: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(5):  # by turns: other load hits all of them alike
            for name, command in commands.items():
                begun = time.perf_counter()
                process = subprocess.Popen(command, cwd=place, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                _, _, usage = os.wait4(process.pid, 0)
                spent[name].append(time.perf_counter() - begun)
                used[name].append(usage.ru_utime + usage.ru_stime)
        count = "import sys,atexit,os;atexit.register(lambda: (sys.stderr.write(f'\\nMODULES {len(sys.modules)} {len([m for m in sys.modules if m.startswith(\"torch._dynamo\")])}\\n')))\n"
        for name, command in commands.items():
            say(f"seconds (median of 5): {name}", f"{statistics.median(spent[name]):.2f}")
            say(f"CPU seconds (median of 5): {name}", f"{statistics.median(used[name]):.2f}")
            if command[: len(ATTN)] == ATTN:
                arguments = command[len(ATTN) :]
                code = f"{count}sys.argv=['attn',*{arguments!r}]\nfrom attn_cli.cli import main\nsys.exit(main())"
            else:
                code = count + command[-1]
            said = subprocess.run([sys.executable, "-c", code], cwd=place, env=ENVIRONMENT, capture_output=True, text=True).stderr
            found = re.search(r"MODULES (\d+) (\d+)", said)
            say(f"modules: {name}", found.group(1) if found else f"? {said[-200:]}")
            if "decode" in name and found:
                say(f"modules of torch._dynamo: {name}", found.group(2))
    shown = subprocess.run([*ATTN, "train-mt", "--help"], env=ENVIRONMENT, capture_output=True, text=True).stdout
    flags = re.findall(r"^[│ ]*(?:(?:\*|-\w,?)\s+)*(--[a-z][\w+-]*)", shown, re.MULTILINE)
    say("flags in attn train-mt --help", len(set(flags)))
    say("lines of attn train-mt --help", shown.count("\n"))


def main() -> None:
    where = subprocess.run([sys.executable, "-c", "import attn_cli; print(attn_cli.__file__)"], env=ENVIRONMENT, capture_output=True, text=True, cwd="/").stdout.strip()
    assert Path(where).resolve().is_relative_to(CHECKOUT), where
    decoded_line("--show" in sys.argv)
    texts = sources()
    every, imported = count_any(texts)
    say("Any, with imports", every)
    say("Any, without imports", every - imported)
    private, once, once_in_package = count_private(texts)
    say("private functions", private)
    say("private functions named once more in their file", once)
    say("private functions whose name is used once in the package", once_in_package)
    say("lines", sum(text.count("\n") for text in texts.values()))
    say("files", len(texts))
    for name, count in sorted(count_probes(texts).items()):
        say(f"calls of {name}", count)
    if "--no-times" not in sys.argv:
        times()


main()
