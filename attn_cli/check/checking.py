"""Checks the parts of some data, each by itself and beside the others.

Development and test data are read first, and what is needed to know them again is kept; training
data, of any size, then goes by once, and leaves 50 bytes an example.
"""

from __future__ import annotations

import contextlib
import operator
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attn_cli.check.examples import KINDS, examples, guess_task
from attn_cli.check.findings import FINDINGS, LABEL_FINDINGS, PartReport, Weight, mask
from attn_cli.check.nearness import NearIndex, Place, shingles
from attn_cli.check.part import Part
from attn_cli.config.checking import CheckOptions
from attn_cli.errors import UsageError
from attn_cli.lines.packing import is_packed
from attn_cli.lines.reading import LineReader, copy_stream, display_name
from attn_cli.lines.tabs import require_tabs, unread_columns
from attn_cli.lines.unusable import BadLines
from attn_cli.wording import plural

_NEAR_LIMIT = 1 << 18  # different inputs of dev and test that others are compared with


@dataclass(frozen=True)
class PartFile:
    """A file of the data.

    Attributes:
        name: train, dev or test.
        shown: what messages call it.
        path: where it can be read, more than once.
    """

    name: str
    shown: str
    path: Path


@contextlib.contextmanager
def part_files(data: str, options: CheckOptions) -> Iterator[list[PartFile]]:
    """The files, as plain ones where they must be read twice: spooled if they are not.

    Raises:
        DataError: one can't be read.
    """
    named = {"dev": options.dev, "test": options.test, "train": data}
    with tempfile.TemporaryDirectory(prefix="attn-check-") as folder:
        files = []
        for name, path in named.items():
            if path is None:
                continue
            place = Path(path)
            twice = options.filter and name == "train"
            if path == "-" or not place.is_file() or (twice and is_packed(place)):
                place = Path(folder) / (name + "".join(Path(path).suffixes[-1:]))
                if place.suffix == ".gz":
                    place = place.with_suffix("")
                with place.open("wb") as out:
                    copy_stream(path, out)
            files.append(PartFile(name, display_name(path), place))
        yield files


class Checker:
    """Checks the parts of some data.

    Args:
        files: the parts, the training data last.
        options: what is looked at.
        spec: `--columns`.
        say: prints one line on stderr.

    Attributes:
        task: what the data is for.
        held_out_leaks: how many examples of test are in dev, too: none of DATA leaks them.
    """

    def __init__(
        self,
        files: Sequence[PartFile],
        options: CheckOptions,
        spec: str | None,
        say: Callable[[str], None],
    ) -> None:
        self._files = files
        self._options = options
        self._spec = spec
        self._say = say
        self._parts: list[Part] = []
        self._texts: dict[int, tuple[frozenset[int], Place]] = {}
        self.held_out_leaks = 0
        self.task = self._chosen_task()

    def _chosen_task(self) -> str:
        train = self._files[-1]
        if self._options.task != "auto":
            return self._options.task
        quiet = BadLines(lambda text: None, skip_bad=True)
        with LineReader(str(train.path), train.shown) as reader:
            task = guess_task(reader, self._spec, quiet)
        self._say(f"{train.shown}: read as data of the kind {task}; --task says otherwise")
        return task

    def run(self, bad: dict[str, BadLines]) -> list[PartReport]:
        """Reads all parts; returns what was found, the training data first.

        Args:
            bad: name of a part -> what is told of its lines that can't be used.

        Raises:
            DataError: a file can't be read, or is not of the task's form.
            UsageError: columns of JSON are asked for.
        """
        if self.task == "qa" and (self._spec or self._options.filter):
            flag = "--columns" if self._spec else "--filter"
            raise UsageError(f"{flag}: SQuAD's JSON is no lines of columns")
        for file in self._files:
            if file is self._files[-1]:
                self.held_out_leaks = self._count_held_out_leaks()
            self._read(file, bad[file.name])
        for part in self._parts:
            part.close()
        for part in self._parts:
            self._mark_leaks(part)
        *held_out, train = self._parts
        return [self._report(part) for part in (train, *held_out)]

    def filtered(self) -> Iterator[bytes]:
        """The lines of the training data that have neither leaks nor faults, as they are.

        A byte-order mark is left out. With a CoNLL sentence goes the blank line behind it.
        """
        file = self._files[-1]
        spans = self._parts[-1].bad_lines(mask((Weight.LEAK, Weight.FAULT)))
        first, last = next(spans, (0, 0))
        with LineReader(str(file.path), file.shown) as reader, file.path.open("rb") as source:
            for line in reader:
                while last and line.number > last + (self.task == "tag"):
                    first, last = next(spans, (0, 0))
                inside = last and first <= line.number <= last
                behind = line.number == last + 1 and not line.error and not line.text.strip()
                if not (inside or (self.task == "tag" and last and behind)):
                    source.seek(line.start)
                    yield source.read(line.size) + b"\n"

    def _count_held_out_leaks(self) -> int:
        """How many examples of test dev has, or nearly: to be asked before DATA is read."""
        if len(self._parts) < 2:
            return 0
        dev, test = self._parts
        same = set(_shared(test.inputs, dev.inputs))
        return len(same | set(test.near_places))

    def _read(self, file: PartFile, bad: BadLines) -> None:
        kind = KINDS[self.task]
        if self.task not in ("qa", "tag") and not self._spec:
            remedy = "columns are parted by tabs; --task says what the data is for"
            if not is_packed(file.path):
                require_tabs(file.path, file.shown, kind.columns - 1, remedy)
            if unread := unread_columns(file.path, file.shown, kind.columns):
                self._say(unread)
        part = Part(file.name, file.shown, kind, self._options.ratio)
        others = NearIndex(self._texts, self._options.near)
        hits: dict[int, Place] = {}
        before: tuple[int, list[tuple[int, Place]]] = (0, [])  # questions share their contexts
        keeps = file is not self._files[-1]
        own: dict[int, tuple[frozenset[int], Place]] = {}
        with LineReader(str(file.path), file.shown) as reader:
            for index, example in enumerate(examples(reader, self.task, self._spec, bad)):
                key = part.add(example)
                if not key or not (others or keeps):
                    continue
                if key != before[0]:
                    found = shingles(example.inputs)
                    # Which comes first must not depend on how this process hashes.
                    order = operator.attrgetter("part", "number")
                    before = key, sorted(others.near(found), key=lambda each: order(each[1]))
                    if keeps and found and key not in self._texts:
                        own.setdefault(key, (found, Place(part.name, example.number)))
                for other_key, place in before[1]:
                    part.mark_near(index, place)
                    hits.setdefault(other_key, Place(part.name, example.number))
        for other in self._parts:
            other.mark_inputs(hits)
        self._keep(own)
        self._parts.append(part)

    def _keep(self, texts: dict[int, tuple[frozenset[int], Place]]) -> None:
        left = max(0, _NEAR_LIMIT - len(self._texts))
        if len(texts) > left:
            self._say(
                f"near leaks are sought for the first {plural(_NEAR_LIMIT, 'different input')} of "
                "dev and test alone; the same ones for all"
            )
        self._texts |= dict(list(texts.items())[:left])

    def _mark_leaks(self, part: Part) -> None:
        """Marks the examples that another part has, too: each with one kind of leak."""
        for other in self._parts:
            if other is part:
                continue
            for index in _shared(part.rows, other.rows):
                part.mark(index, "leak")
            for index in _shared(part.inputs, other.inputs):
                part.mark(index, "leak_input")
        part.keep_strongest_leak()

    def _report(self, part: Part) -> PartReport:
        others = [other for other in self._parts if other is not part]

        def place(index: int, finding: str) -> str:
            said = part.place(index)
            twin = self._twin(part, others, index, finding)
            return f"{said} = {twin.part}:{twin.number}" if twin else said

        found = {
            name: part.found(name, place)
            for name, each in FINDINGS.items()
            if name not in LABEL_FINDINGS and (others or each.weight is not Weight.LEAK)
        }
        found |= part.label_findings(others)
        return PartReport(part.name, part.file, len(part), found)

    def _twin(self, part: Part, others: Sequence[Part], index: int, finding: str) -> Place | None:
        """Where another part has what leaks."""
        if finding == "leak_near":
            return part.near_places.get(index)
        if finding in ("leak", "leak_input"):
            for other in others:
                mine, theirs = (
                    (part.rows, other.rows) if finding == "leak" else (part.inputs, other.inputs)
                )
                same = np.flatnonzero(theirs == mine[index])
                if len(same):
                    return Place(other.name, other.number(int(same[0])))
        return None


def _shared(mine: NDArray[np.int64], theirs: NDArray[np.int64]) -> list[int]:
    """Which of some hashes are among others; 0 never is."""
    shared: list[int] = np.flatnonzero(np.isin(mine, theirs) & (mine != 0)).tolist()
    return shared
