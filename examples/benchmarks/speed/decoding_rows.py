"""The rows of the page of decoding: what is done, by which programs, on which lines.

A row is a table; a program is a line of it, with some ways to run it, of which the best counts.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from piped import Run, answered, whole

ROOT = Path(__file__).resolve().parents[3]
PEER = str(Path(__file__).with_name("peer.py"))
ATTN = [sys.executable, "-m", "attn_cli"]
SIZES = ("default", "d256", "base")
LENGTH = 15  # tokens of each output of a model that has learnt nothing
PROMPT_LENGTH = 100
UNLEARNT_PAIRS = 1000  # for the shortlist of such a model, which attends here and there
WARM = 32  # lines


@dataclass(frozen=True)
class Program:
    """What does a row's work.

    Attributes:
        name: what the table calls it.
        ours: whether it is attn.
        ways: the commands that may be the fastest; the best of them is the one that is timed.
        compared: whether its lines are compared with those of the row's first program.
    """

    name: str
    ours: bool
    ways: Sequence[Sequence[object]]
    compared: bool = False


@dataclass
class Row:
    """A table.

    Attributes:
        name: by which `--rows` asks for it.
        said: what is done.
        unit: of its numbers.
        programs: who does it; called when the row is run, after its models were made.
        lines: what they read; none: they are timed from start to end.
        alone: whether each line waits for the answer to the one before.
    """

    name: str
    said: str
    unit: str
    programs: Callable[[], list[Program]]
    lines: Sequence[str] = field(default_factory=list)
    alone: bool = False

    @property
    def more_is_better(self) -> bool:
        return self.unit.endswith("/s")

    def run(self, command: Sequence[object], threads: int) -> Run:
        """Runs a program once; `seconds` become the row's unit."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
        words = list(map(str, command))
        if not self.lines:
            stdin = words.pop()[1:] if words[-1].startswith("<") else None
            return whole(words, environment, stdin)
        warm = (list(self.lines) * WARM)[: 1 if self.alone else WARM]
        found = answered(words, environment, warm, self.lines, alone=self.alone)
        if self.more_is_better:
            found.seconds = len(self.lines) / found.seconds
        elif self.alone:
            found.seconds *= 1000
        return found


def peer(what: str, **told: object) -> list[object]:
    return [sys.executable, PEER, what, json.dumps(told)]


class Workshop:
    """Makes rows; models and texts that are not given are made when they are needed.

    Args:
        folder: where they are made.
        given: the models that are given, by size or kind.
        texts: source lines.
        pairs: pairs, for tokenizers and the shortlist.
        lines: the most lines of a row of translation.
        scale: the share of the lines of scores and pieces.
        threads: of every program.
    """

    def __init__(
        self,
        folder: Path,
        given: dict[str, str | None],
        texts: Sequence[str],
        pairs: Path,
        *,
        lines: int,
        scale: float,
        threads: int,
    ) -> None:
        self.folder, self.given, self.pairs = folder, given, pairs
        self.texts, self.lines, self.scale, self.threads = texts, lines, scale, threads

    def rows(self) -> Iterator[Row]:
        """All rows, in the order of the page."""
        for size in SIZES:
            for precision in ("float32", "int8"):
                for mode in ("beam", "greedy", "alone"):
                    yield self._translation(size, mode, precision)
        yield Row("startup", "ten lines, whole process", "seconds", self._startup)
        prompts = [" ".join(text.split()[:6]) for text in self._some(64)]
        said = f"{len(prompts)} prompts, {PROMPT_LENGTH} more tokens each, greedy"
        yield Row("language", said, "seconds", self._language, prompts)
        said = "a BERT of MiniLM's size, lines with a class each, from a pipe"
        yield Row("bert", said, "lines/s", self._bert, self._some(872))
        for name, metrics, size in (
            ("score", ("bleu", "chrf"), 100_000),
            ("ter", ("ter",), 20_000),
        ):
            said = f"{' and '.join(metrics)} of {self._scaled(size):,} lines, whole process"
            programs = lambda metrics=metrics, size=size: self._scores(metrics, size)  # noqa: E731
            yield Row(name, said, "seconds", programs)
        said = f"{self._scaled(1_000_000):,} lines to pieces, whole process"
        yield Row("encode", said, "seconds", self._encode)

    # Translation

    def _translation(self, size: str, mode: str, precision: str) -> Row:
        lines = self._some(min(self.lines, {"default": 1000, "d256": 500, "base": 128}[size]))
        lines = lines[:40] if mode == "alone" else lines
        search = "greedy" if mode == "greedy" else "beam 5"
        how = ", each line alone" if mode == "alone" else ""
        length = "" if self.given.get(size) else f"; random weights, {LENGTH} tokens a line"
        return Row(
            f"{size}-{mode}-{precision}",
            f"{size} model, {search}, {precision}{how}; {len(lines):,} lines{length}",
            "milliseconds" if mode == "alone" else "sentences/s",
            lambda: self._translators(size, mode, precision),
            lines,
            alone=mode == "alone",
        )

    def _translators(self, size: str, mode: str, precision: str) -> list[Program]:
        alone, model = mode == "alone", self._translator(size)
        fixed = 0 if self.given.get(size) else LENGTH
        own: list[object] = ["--greedy"] if mode == "greedy" else ["--beam", 5]
        own += ["--precision", precision] if precision != "float32" else []
        own += ["--min-len", fixed, "--max-len", fixed] if fixed else []
        budgets = ([],) if alone else tuple(["--batch-tokens", n] for n in (8192, 16384, 32768))
        counts = sorted({1, self.threads}) if alone else [self.threads]

        def ours(folder: Path, *options: object) -> list[list[object]]:
            command = [*ATTN, "decode", "-m", folder, "--quiet", *own, *options]
            return [
                [*command, "--threads", count, *budget] for count in counts for budget in budgets
            ]

        programs = [Program("attn, --stopping count", True, ours(model, "--stopping", "count"))]
        if mode != "greedy":
            programs.append(Program("attn, its own rule", True, ours(model), compared=True))
        listed = ours(self._shortlisted(size), "--stopping", "count", "--shortlist")
        programs.append(Program("attn, count, --shortlist", True, listed, compared=True))
        engine = ours(model, "--stopping", "count", "--engine", "ctranslate2")
        programs.append(Program("attn, --engine ctranslate2", True, engine, compared=True))
        for inter, intra in sorted({(self.threads, 1), (1, self.threads)}, reverse=True):
            told = {
                "model": str(self._converted(size, precision)),
                "precision": precision,
                "beam": 1 if mode == "greedy" else 5,
                "length": fixed,
                "inter": inter,
                "intra": intra,
                "warm": 1 if alone else WARM,
                "alone": alone,
            }
            ways = [peer("ctranslate2", batch=n, **told) for n in ((1,) if alone else (16, 32, 64))]
            name = f"CTranslate2, {inter} x {intra} threads"
            programs.append(Program(name, False, ways, compared=True))
        return programs

    def _translator(self, size: str) -> Path:
        if given := self.given.get(size):
            return Path(given)

        def make(place: Path) -> None:
            import drawn

            drawn.translator(place, size, self.pairs)

        return self._made(size, make)

    def _converted(self, size: str, precision: str) -> Path:
        options = ["--to", "ctranslate2", "--precision", precision]
        return self._convert(self._translator(size), f"{size}-ct2-{precision}", *options)

    def _shortlisted(self, size: str) -> Path:
        pairs = self.pairs
        if not self.given.get(size):
            lines = pairs.read_text("utf-8").split("\n")[:UNLEARNT_PAIRS]
            pairs = self._file("few.tsv", lines)
        return self._convert(self._translator(size), f"{size}-listed", "--shortlist", pairs)

    # Other work

    def _startup(self) -> list[Program]:
        ten = self._file("ten.txt", self._some(10))
        model, fixed = self._translator("default"), not self.given.get("default")
        own = ["--max-len", LENGTH] if fixed else []
        ct2 = {
            "model": str(self._converted("default", "float32")),
            "precision": "float32",
            "beam": 5,
            "length": LENGTH if fixed else 0,
            "inter": 1,
            "intra": self.threads,
            "batch": 32,
        }
        command = [*ATTN, "decode", "-m", model, "--threads", self.threads, *own, f"<{ten}"]
        return [
            Program("attn decode", True, [command]),
            Program("import torch", False, [[sys.executable, "-c", "import torch"]]),
            Program("CTranslate2", False, [[*peer("ctranslate2", **ct2), f"<{ten}"]]),
        ]

    def _language(self) -> list[Program]:
        theirs = Path(self.given["lm"] or self._made("lm", self._make_language_model))
        model = self._convert(theirs, "lm-attn")
        own = ["--greedy", "--min-len", PROMPT_LENGTH, "--max-len", PROMPT_LENGTH, "--quiet"]
        told = {"model": str(theirs), "length": PROMPT_LENGTH, "threads": self.threads}
        ways = [peer("generate", batch=n, warm=WARM, **told) for n in (32, 64)]
        command = [*ATTN, "decode", "-m", model, "--threads", self.threads, *own]
        return [
            Program("attn", True, [command]),
            Program("transformers, generate", False, ways, compared=True),
        ]

    def _make_language_model(self, place: Path) -> None:
        import drawn

        drawn.language_model(place, self._file("text.txt", self.texts))

    def _bert(self) -> list[Program]:
        theirs = Path(self.given["bert"] or self._made("bert", self._make_classifier))
        model = self._convert(theirs, "bert-attn", "--task", "classify")
        told = {"model": str(theirs), "threads": self.threads, "warm": WARM}
        command = [*ATTN, "decode", "-m", model, "--threads", self.threads, "--quiet"]
        return [
            Program("attn", True, [command]),
            Program("attn, --precision int8", True, [[*command, "--precision", "int8"]], True),
            Program(
                "transformers, pipeline",
                False,
                [peer("classify", batch=n, **told) for n in (1, 8, 32)],
                compared=True,
            ),
        ]

    def _make_classifier(self, place: Path) -> None:
        import drawn

        drawn.classifier(place, self._file("text.txt", self.texts))

    def _scores(self, metrics: Sequence[str], size: int) -> list[Program]:
        some = self._targets(self._scaled(size))
        reference = self._file(f"ref-{size}.txt", some)
        output = self._file(f"hyp-{size}.txt", [worse(x, n) for n, x in enumerate(some)])
        names = [f"--{name}" for name in metrics]
        theirs = [sys.executable, "-m", "sacrebleu", reference, "-i", output, "-m", *metrics]
        return [
            Program("attn score", True, [[*ATTN, "score", output, "--ref", reference, *names]]),
            Program("sacreBLEU", False, [theirs]),
        ]

    def _encode(self) -> list[Program]:
        lines = self._file("many.txt", self._some(self._scaled(1_000_000)))
        place = Path(self.given["default"] or "") / "tokenizer.model"
        if not place.is_file():
            place = self.folder / "pieces.model"
            size = ["--vocab-size", 300]  # no text is too small for it
            self._made(
                place.name,
                lambda _: self._do([*ATTN, "tokenize", "train", self.pairs, *size, "-o", place]),
            )
        ours = [*ATTN, "tokenize", "encode", "-t", place, f"<{lines}"]
        theirs = [*peer("sentencepiece", model=str(place)), f"<{lines}"]
        return [
            Program("attn tokenize encode", True, [ours]),
            Program("SentencePiece, 1 thread", False, [theirs]),
        ]

    # Files

    def _some(self, count: int) -> list[str]:
        """So many lines, the texts again and again if need be."""
        return [self.texts[n % len(self.texts)] for n in range(count)]

    def _targets(self, count: int) -> list[str]:
        """So many lines, targets of the pairs: different ones, of which no metric knows any yet."""
        lines = self.pairs.read_text("utf-8").removesuffix("\n").split("\n")
        return [lines[n % len(lines)].split("\t")[1] for n in range(count)]

    def _scaled(self, count: int) -> int:
        return max(10, int(count * self.scale))

    def _file(self, name: str, lines: Sequence[str]) -> Path:
        place = self.folder / name
        if not place.exists():
            place.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        return place

    def _made(self, name: str, make: Callable[[Path], None]) -> Path:
        place = self.folder / name
        if not place.exists():
            make(place)
        return place

    def _convert(self, model: Path, name: str, *options: object) -> Path:
        """What `attn convert` makes of a model, once."""
        place = self.folder / name
        if not place.exists():
            self._do([*ATTN, "convert", model, "-o", place, *options])
        return place

    def _do(self, command: Sequence[object]) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        whole(list(map(str, command)), environment)


def worse(text: str, number: int) -> str:
    """A text with every seventh word left out, and in every other text some words moved."""
    words = [word for place, word in enumerate(text.split()) if (place + number) % 7]
    return " ".join([*words[:2], *words[5:], *words[2:5]] if number % 2 else words)
