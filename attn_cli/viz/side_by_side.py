"""Maps of several models of the same lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from attn_cli.errors import UsageError
from attn_cli.lines.rows import Row
from attn_cli.viz.job import MapSource
from attn_cli.viz.lines import Drawn, LineSource
from attn_cli.viz.maps import LineMaps
from attn_cli.viz.selection import Heads


class SideBySide(MapSource):
    """Reads each line once, and gives it to all models.

    Args:
        sources: the models.

    Raises:
        UsageError: they do not read the same lines.
    """

    def __init__(self, sources: Sequence[LineSource]) -> None:
        first = sources[0]
        for other in sources[1:]:
            if other.reads != first.reads:
                raise UsageError(
                    f"-m: {first.name} and {other.name} read lines of different kinds; draw them "
                    "one by one"
                )
        self._sources = sources

    @property
    def models(self) -> Heads:
        """See `MapSource`."""
        return {source.title: source.heads for source in self._sources}

    def lines(self, path: str) -> Iterator[list[LineMaps]]:
        """See `MapSource`."""
        for window in self._sources[0].read(path):
            filled = [row for row in window if any(row.fields)]
            answers = [source.answers(filled) for source in self._sources]
            for row in window:
                found = {}
                if any(row.fields):
                    for source, own in zip(self._sources, answers, strict=True):
                        found[source.title] = next(own)
                yield [_together(row, found)]


def _together(row: Row, found: Mapping[str, Drawn]) -> LineMaps:
    """The maps of all models; a text that they share once, others with their model's name."""
    maps = [replace(drawn, model=model) for model, (_, own) in found.items() for drawn in own]
    texts: list[str] = []
    for place in range(max((len(own) for own, _ in found.values()), default=0)):
        said = {model: own[place] for model, (own, _) in found.items() if place < len(own)}
        if len(set(said.values())) == 1:
            texts += list(said.values())[:1]
        else:
            texts += [f"{model}: {text}" for model, text in said.items()]
    return LineMaps(row.number, tuple(texts), tuple(maps))
