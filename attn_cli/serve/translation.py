"""Translating the texts of a request, whoever's shape it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TypedDict

from attn_cli.config import shown
from attn_cli.errors import AttnError
from attn_cli.lines.rows import is_blank
from attn_cli.serve.desk import raised
from attn_cli.serve.languages import name_of
from attn_cli.serve.models import ServedWriter
from attn_cli.serve.refusal import bad_request
from attn_cli.serve.texts import Text
from attn_cli.serve.writing import Ask, Input, Written, settled

AUTO = "auto"
_ANY = ("src", "tgt")  # what a translator of no said pair is listed as


class Language(TypedDict):
    """A language, and those into which it is translated, by their codes."""

    code: str
    name: str
    targets: list[str]


@dataclass(frozen=True)
class Translated:
    """What a text became.

    Attributes:
        texts: its translations, best first.
        parts: the outputs of each of its lines.
        errors: number of the line -> why there is no translation of it.
    """

    texts: list[str]
    parts: list[list[Written]]
    errors: dict[int, str]


async def translated(
    writer: ServedWriter, texts: Sequence[Text], n_best: int | None, *, align: bool = False
) -> list[Translated]:
    """The translations of texts, `n_best` of each where there are so many.

    Lines that can't be used are left out, as `decode` does, unless there is nothing else.

    Raises:
        Refusal: nothing could be translated, or too many lines wait.
    """
    search = settled(writer.search, n_best or writer.search.n_best)
    by_sentence = any(text.is_html for text in texts)  # as `decode --markup` reads a file
    ask = Ask(search, writer.seed, align or by_sentence, by_sentence)
    lines = [text.read for text in texts]
    inputs = [Input(line, number) for number, line in enumerate(chain.from_iterable(lines), 1)]
    answers = await writer.batcher.answered(ask, inputs)
    _refuse_if_nothing([line.text for line in inputs], answers)
    rest = iter(answers)
    return [
        _whole(text, list(islice(rest, len(own)))) for text, own in zip(texts, lines, strict=True)
    ]


def _refuse_if_nothing(lines: Sequence[str], answers: Sequence[list[Written] | AttnError]) -> None:
    """Raises Refusal if no line could be answered, or the fault is not the line's."""
    errors = [answer for answer in answers if isinstance(answer, AttnError)]
    filled = sum(not is_blank(line) for line in lines)
    faults = [error for error in errors if raised(error).status != 400]
    if faults or (errors and len(errors) >= filled):
        raise raised((faults or errors)[0])


def _whole(text: Text, answers: Sequence[list[Written] | AttnError]) -> Translated:
    """A text of the outputs for its lines; where one has fewer than others, its best is taken."""
    parts = [[] if isinstance(answer, AttnError) else answer for answer in answers]
    ranks = max(map(len, parts), default=0)
    texts = [text.filled([_ranked(part, rank) for part in parts]) for rank in range(max(1, ranks))]
    errors = {
        number: str(answer)
        for number, answer in enumerate(answers, 1)
        if isinstance(answer, AttnError)
    }
    return Translated(list(dict.fromkeys(texts)), parts, errors)


def _ranked(part: Sequence[Written], rank: int) -> Written | None:
    return part[rank if rank < len(part) else 0] if part else None


def writer_for(
    translators: dict[str, ServedWriter], source: str, target: str | None
) -> tuple[ServedWriter, str]:
    """Who translates between two languages, and from which.

    Args:
        translators: by name.
        source: a code, or `auto`: the only one that there is.
        target: a code; None: the only one that there is.

    Raises:
        Refusal: nobody does, or `auto` may be several.
    """
    pairs = {name: writer.pair for name, writer in translators.items()}
    fits = [
        writer
        for writer in translators.values()
        if writer.pair and source in (AUTO, writer.pair[0]) and target in (None, writer.pair[1])
    ]
    fits = fits or [writer for writer in translators.values() if writer.pair is None]
    if len(fits) == 1:
        (writer,) = fits
        return writer, writer.pair[0] if writer.pair else _ANY[0]
    known = ", ".join(f"{pair[0]} to {pair[1]}" for pair in pairs.values() if pair) or "none"
    if not fits:
        raise bad_request(
            f"from {shown(source)} to {shown(target)} nothing is translated here; here are {known}"
        )
    raise bad_request(f"source and target leave several models open; name both: here are {known}")


def languages(translators: dict[str, ServedWriter]) -> Iterator[Language]:
    """What is translated from each language, as LibreTranslate lists it."""
    pairs = [writer.pair or _ANY for writer in translators.values()]
    for code in sorted({code for pair in pairs for code in pair}):
        targets = sorted({target for source, target in pairs if source == code})
        yield {"code": code, "name": name_of(code), "targets": targets}
