"""SubRip subtitles (SRT): cues as texts, sentences that run over several of them as one.

What a cue says is translated with the cues before and behind it that its sentence runs over, spread
over them again by the word alignment, and broken into lines as it was. Numbers, time
codes, blank lines, line ends and styles stay as they are. Standard library only.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from attn_cli.data.sentences import ends_sentence
from attn_cli.markup.passages import (
    Fixed,
    Links,
    Passage,
    PassageBuilder,
    Piece,
    Unit,
    in_order,
)
from attn_cli.markup.projection import project

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}")
_NUMBER = re.compile(r"\s*\d+\s*$")
_STYLE = re.compile(r"</?(?:[biu]|font)\b[^<>\n]*>|\{\\[^{}\n]*\}|\{/?[biu]\}", re.IGNORECASE)
_DASH = re.compile(r"(?:\{\\[^{}\n]*\})?[-–—]\s?(?=[^\s-])")  # somebody else speaks
_NO_TIME = "no time code: passed through as it is"
_PAUSE = 2000  # ms between two cues over which no sentence runs
_MOST_CUES = 6  # that a sentence runs over
_PUNCTUATED = 0.3  # of the cues end like a sentence, in a language and file that have full stops
_CLOSED = ")]}♪#"  # ends what goes on in no other cue
_WIDTHS = 30, 42  # characters of the longest line of subtitles, at least and at most


@dataclass
class _Speech:
    """What one says in one cue.

    Attributes:
        raw: its lines, without the end of the last.
        line: the number of the first.
        dash: what stands before it, where several speak.
        passage: its text, styles in it.
        line_end: what ends its lines.
        begin: of the cue, in ms.
        end: likewise.
    """

    raw: str
    line: int
    dash: str
    passage: Passage
    line_end: str
    begin: int
    end: int

    @property
    def text(self) -> str:
        return self.passage.text

    @property
    def width(self) -> int:
        """Characters of its longest line."""
        return max(len(_STYLE.sub("", line).rstrip()) for line in self.raw.split("\n"))

    def written(self, words: Sequence[str], links: Links, width: int) -> str:
        """Its translation in as many lines, or more if one would be wider than a width."""
        n_lines = self.raw.count("\n") + 1
        text = _broken(" ".join(words), n_lines, max(width, self.width))
        return self.dash + project(self.passage, text, links).replace("\n", self.line_end)


@dataclass
class Cues(Unit):
    """A sentence or several, of one cue or of cues that follow each other.

    Attributes:
        parts: what is said, and between that what stays as it is.
        width: that a line may have, if no line of its cue is wider.
    """

    parts: list[_Speech | str]
    width: int
    raw: str = field(init=False)
    line: int = field(init=False)

    def __post_init__(self) -> None:
        self.raw = "".join(part if isinstance(part, str) else part.raw for part in self.parts)
        self.line = self.speeches[0].line

    @property
    def speeches(self) -> list[_Speech]:
        """What is said, cue by cue."""
        return [part for part in self.parts if isinstance(part, _Speech)]

    @property
    def text(self) -> str:
        """See `Unit.text`."""
        return " ".join(speech.text for speech in self.speeches)

    def _filled(self, translation: str, links: Links | None) -> str:
        words = translation.split()
        sizes = [len(speech.text.split()) for speech in self.speeches]
        links = links or in_order(sum(sizes), len(words))
        sources = [0, *accumulate(sizes)]
        cuts = spread(sizes, len(words), links)
        written = []
        for number, speech in enumerate(self.speeches):
            first, last = sources[number : number + 2]
            begin, end = cuts[number : number + 2]
            own = [
                (i - first, j - begin) for i, j in links if first <= i < last and begin <= j < end
            ]
            written.append(speech.written(words[begin:end], own, self.width))
        speeches = iter(written)
        return "".join(part if isinstance(part, str) else next(speeches) for part in self.parts)


def spread(sizes: Sequence[int], n_words: int, links: Links) -> list[int]:
    """Where a translation is cut so that each cue has what it had before.

    A cut is where fewest links cross it; of several such places the one nearest to where it was.

    Args:
        sizes: source words of each cue.
        n_words: target words.
        links: word alignments.

    Returns:
        For each cue where its words begin, and the number of all words.
    """
    cuts = [0]
    for number, behind in enumerate(accumulate(sizes[:-1]), 1):
        changes = [0] * (n_words + 1)  # how many more links cross a cut than the one before it
        for i, j in links:
            if j < n_words:
                changes[j + 1] += -1 if i < behind else 1
        crossing = list(accumulate(changes))
        low = min(cuts[-1] + 1, n_words)
        high = max(low, n_words - len(sizes) + number)
        usual = n_words * behind / sum(sizes)
        places = [(crossing[cut], abs(cut - usual), cut) for cut in range(low, high + 1)]
        cuts.append(min(places)[-1])
    return [*cuts, n_words]


def read_srt(document: str) -> list[Piece]:
    """A file of subtitles as pieces: what is said, and what is between that."""
    return list(_grouped(list(_parts(_LINE.findall(document)))))


def _broken(text: str, n_lines: int, width: int) -> str:
    """A text in some lines, about equally long; in more if one would be wider than a width."""
    n_lines = max(n_lines, -(-len(text) // width))
    lines: list[str] = []
    for each in range(-(-len(text) // n_lines), width + 1):
        lines = textwrap.wrap(text, max(1, each), break_long_words=False, break_on_hyphens=False)
        if len(lines) <= n_lines:
            break
    return "\n".join(lines)


# ---------------------------------------------------------------- lines as cues


def _parts(lines: Sequence[str]) -> Iterator[_Speech | Fixed]:
    """What is said in each cue, and what is between that."""
    at = 0
    while at < len(lines):
        header = _header(lines, at)
        begin = at + header
        end = _text_end(lines, begin)
        if not lines[at].strip():
            end = at + 1
            yield Fixed(lines[at], at + 1)
        elif not header:
            yield Fixed("".join(lines[at:end]), at + 1, _NO_TIME)
        else:
            yield Fixed("".join(lines[at:begin]), at + 1)
            times = _TIMES.match(lines[begin - 1])
            assert times
            yield from _speeches(lines, begin, end, times)
        at = end


def _header(lines: Sequence[str], at: int) -> int:
    """How many lines say the number and the times of a cue that begins here; 0: none does."""
    if _TIMES.match(lines[at]):
        return 1
    if at + 1 < len(lines) and _NUMBER.match(lines[at]) and _TIMES.match(lines[at + 1]):
        return 2
    return 0


def _text_end(lines: Sequence[str], at: int) -> int:
    """Where a text ends that begins here: with a blank line, or with the next cue."""
    while at < len(lines) and lines[at].strip() and not _header(lines, at):
        at += 1
    return at


def _speeches(
    lines: Sequence[str], begin: int, end: int, times: re.Match[str]
) -> Iterator[_Speech | Fixed]:
    """What is said in a cue: all of it, or what stands behind each dash."""
    starts = [at for at in range(begin, end) if at == begin or _DASH.match(lines[at])]
    for at, stop in zip(starts, [*starts[1:], end][: len(starts)], strict=True):
        text = "".join(lines[at:stop])
        raw = text.rstrip("\r\n")
        match = _DASH.match(raw)
        dash = match[0] if match else ""
        passage = _passage(raw[len(dash) :])
        if any(map(str.isalpha, passage.text)):
            line_end = "\r\n" if "\r\n" in lines[begin - 1] else "\n"
            hours = [int(number or 0) for number in times.groups()]
            yield _Speech(raw, at + 1, dash, passage, line_end, _ms(hours[:4]), _ms(hours[4:]))
        else:
            yield Fixed(raw, at + 1)
        yield Fixed(text[len(raw) :], stop)


def _passage(text: str) -> Passage:
    builder = PassageBuilder()
    at = 0
    for match in _STYLE.finditer(text):
        builder.text(text[at : match.start()])
        tag, at = match[0], match.end()
        name = tag[0] + tag.strip("<>{}/").split()[0].lower()
        if tag.startswith("{\\"):
            builder.single(tag)
        elif tag[1] == "/":
            builder.closing(tag, name)
        else:
            builder.opening(tag, name)
    builder.text(text[at:])
    return builder.passage()


def _ms(time: Sequence[int]) -> int:
    hours, minutes, seconds, ms = time
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + ms


# ---------------------------------------------------------------- cues as sentences


def _grouped(parts: Sequence[_Speech | Fixed]) -> Iterator[Piece]:
    """What is said in cues that a sentence runs over, together."""
    speeches = [part for part in parts if isinstance(part, _Speech)]
    width = min(_WIDTHS[1], max([_WIDTHS[0], *(speech.width for speech in speeches)]))
    n_ends = sum(ends_sentence(speech.text) for speech in speeches)
    is_punctuated = n_ends >= _PUNCTUATED * len(speeches)
    group: list[_Speech | str] = []
    between: list[Fixed] = []
    for part in parts:
        if isinstance(part, Fixed):
            between.append(part)
            continue
        before = group[-1] if group else None
        n_cues = sum(isinstance(each, _Speech) for each in group)
        goes_on = isinstance(before, _Speech) and _goes_on(before, part, is_punctuated)
        if goes_on and n_cues < _MOST_CUES and not any(each.cause for each in between):
            group += [*(each.raw for each in between), part]
        else:
            if group:
                yield Cues(group, width)
            yield from between
            group = [part]
        between = []
    if group:
        yield Cues(group, width)
    yield from between


def _goes_on(before: _Speech, after: _Speech, is_punctuated: bool) -> bool:
    """Whether a sentence runs from one cue into the next."""
    if after.dash or after.begin - before.end > _PAUSE or ends_sentence(before.text):
        return False
    first = next(filter(str.isalpha, after.text))
    if first.islower() and first.title() != first:
        return True
    return is_punctuated and not before.text.isupper() and before.text[-1] not in _CLOSED
