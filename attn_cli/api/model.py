"""A model directory in the hands of a program: what `decode`, `score`, `embed` and `attend` do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

from attn_cli.api.calls import Lines, answered
from attn_cli.api.opened import ATTEND, DECODE, EMBED, Opened
from attn_cli.api.outputs import Attention, LineScore, Output, UnitVectors
from attn_cli.api.speaking import Say, Voice
from attn_cli.config.keywords import StrPath, Value
from attn_cli.errors import UsageError
from attn_cli.lines.items import Item, ItemReader

if TYPE_CHECKING:
    from attn_cli.api.outputs import Array


def load(
    *directories: StrPath, device: str = "auto", threads: int | None = None, say: Say | None = None
) -> Model:
    """Opens a model directory; several work as an ensemble.

    Weights are read when they are first needed, once, however often the model is used.

    >>> import attn_cli
    >>> model = attn_cli.load("en-fr")
    >>> model.decode(["The cat sleeps.", ""])
    [..., '']

    Args:
        directories: as training or `attn convert` made them; none: $ATTN_MODEL, else attn-model.
        device: where the model runs: auto, cpu, cuda or mps.
        threads: of PyTorch, in the whole process. Where it is given, so many processes of one
            thread each answer many lines, as in `attn decode` (Linux, on a CPU); else this
            process does all of it.
        say: is told what commands say on standard error. None: that is a warning of Python's, an
            `AttnWarning`.

    Returns:
        The model.

    Raises:
        NotThereError: there is no such directory, or none of a model.
        DataError: it is of a newer format, or damaged.
        UsageError: there is no such device.
    """
    path = ",".join(os.fspath(directory) for directory in directories)
    return Model(path, device=device, threads=threads, say=say)


class Model:
    """A model directory, or an ensemble, of any task; made by `load` and by the trainings.

    Lines are texts, or tuples of texts where a model reads several: a pair, question and context,
    source and `prefix`. A line may hold anything and is one item; one line end behind it is taken
    off, so that an open file can be read. A list is answered by a list. Any other iterable, an
    endless one too, is answered by an iterator, in order, which reads a window of lines at a time
    (`buffer=1`: one line). A blank line is answered by nothing; so is one that can't be used: that
    is said, and the others are answered.

    Attributes:
        path: the directory; several are joined by commas.
        task: what the model does: translate, mask-predict, continue, fill, detect or predict.
    """

    def __init__(
        self,
        path: str = "",
        *,
        device: str = "auto",
        threads: int | None = None,
        say: Say | None = None,
    ) -> None:
        self._opened = Opened(path, device, threads, Voice(say))
        self.path = self._opened.path
        self.task = self._opened.task

    def __repr__(self) -> str:
        return f"attn_cli.load({', '.join(map(repr, self.path.split(',')))})"

    @overload
    def decode(self, lines: Sequence[Item], **options: Value) -> list[Output]: ...  # type: ignore[overload-overlap]

    @overload
    def decode(self, lines: Lines, **options: Value) -> Iterator[Output]: ...

    @DECODE.documented
    def decode(self, lines: Lines, **options: Value) -> list[Output] | Iterator[Output]:
        """What the model does with each line: a translation, a continued text, a label, tags, ….

        >>> model = attn_cli.load("en-fr")
        >>> len(model.decode(["The cat sleeps.", "She sings."], beam_size=5))
        2
        >>> best = model.decode(["The cat sleeps."], n_best=2, scores=True)[0]
        >>> [output.log_prob <= 0.0 for output in best.n_best]
        [True, True]
        >>> with open("new.txt", encoding="utf-8") as file:
        ...     n_lines = sum(1 for translation in model.decode(file))
        ...

        Args:
            lines: texts, or tuples of texts; see `Model`.
            options: as below; `beam_size` is `beam`.

        Returns:
            A text for each line, which knows its scores, alignment, n-best list, probability.

        Raises:
            UsageError: unknown or impossible options; the message names the nearest right one.
            DataError: the model directory is damaged, or its model answers nothing.
        """
        return answered(lines, self._opened.outputs(self._opened.resolved(DECODE, options)))

    @overload
    def score(self, pairs: Sequence[Item]) -> list[LineScore]: ...  # type: ignore[overload-overlap]

    @overload
    def score(self, pairs: Lines) -> Iterator[LineScore]: ...

    def score(self, pairs: Lines) -> list[LineScore] | Iterator[LineScore]:
        """What the model thinks of given outputs: log P(output | input), and of how many tokens.

        >>> model = attn_cli.load("en-fr")
        >>> for score in model.score([("The cat sleeps.", "Le chat dort.")]):
        ...     print(score.log_prob < 0.0, score.tokens > 3)
        ...
        True True

        Args:
            pairs: a source and a target; one text for a language model; for a classifier what it
                reads and, last, a label, whose probability it is.

        Raises:
            UsageError: the model gives no probability of a given output.
            DataError: the model directory is damaged.
        """
        return answered(pairs, self._opened.scores())

    @overload
    def embed(self, lines: Sequence[Item], **options: Value) -> Array: ...  # type: ignore[overload-overlap]

    @overload
    def embed(self, lines: Lines, **options: Value) -> Iterator[Array]: ...

    @EMBED.documented
    def embed(self, lines: Lines, **options: Value) -> Array | Iterator[Array]:
        """A contextual vector of each line.

        >>> encoder = attn_cli.load("en-fr")
        >>> vectors = encoder.embed(["The cat sleeps.", "She sings."], normalize=True)
        >>> n_lines, d_model = vectors.shape

        Args:
            lines: texts; see `Model`.
            options: as below.

        Returns:
            Of a list, one array with a row for each line; of another iterable, its rows. That of a
            blank line is not a number.

        Raises:
            UsageError: unknown or impossible options; the message names the nearest right one.
            DataError: the model directory is damaged, or its model has no vectors.
        """
        asked = self._opened.resolved(EMBED, options)
        if asked.embedding.pooling == "none":
            raise UsageError("embed gives a vector a line; embed_units those of words and tokens")
        import numpy as np

        embedder = self._opened.embedder(asked)
        nothing = np.full(embedder.vector_shape, np.nan, np.float32)

        def vectors(reader: ItemReader) -> Iterator[Array]:
            for line in self._opened.vectors(embedder, reader, asked):
                yield line.found.vectors if line.found else nothing

        found = answered(lines, vectors)
        if not isinstance(found, list):
            return found
        return np.stack(found) if found else np.empty((0, *nothing.shape), np.float32)

    @overload
    def embed_units(self, lines: Sequence[Item], **options: Value) -> list[UnitVectors]: ...  # type: ignore[overload-overlap]

    @overload
    def embed_units(self, lines: Lines, **options: Value) -> Iterator[UnitVectors]: ...

    def embed_units(
        self, lines: Lines, **options: Value
    ) -> list[UnitVectors] | Iterator[UnitVectors]:
        """A contextual vector of each token of each line, or of each word (`words=True`).

        >>> encoder = attn_cli.load("en-fr")
        >>> encoder.embed_units(["The cat sleeps."], words=True)[0].units
        ('The', 'cat', 'sleeps.')

        Args:
            lines: texts; see `Model`.
            options: those of `embed`.

        Raises:
            UsageError: unknown or impossible options; the message names the nearest right one.
            DataError: the model directory is damaged, or its model has no vectors.
        """
        asked = self._opened.resolved(EMBED, {"pool": "none", **options})
        if asked.embedding.pooling != "none":
            raise UsageError(f"pool={asked.embedding.pool!r}: for vectors of lines, as embed gives")
        import numpy as np

        embedder = self._opened.embedder(asked)
        nothing = np.empty((0, *embedder.vector_shape), np.float32)

        def vectors(reader: ItemReader) -> Iterator[UnitVectors]:
            for line in self._opened.vectors(embedder, reader, asked):
                if line.found and line.found.units:
                    yield UnitVectors(tuple(line.found.units), line.found.vectors)
                else:
                    yield UnitVectors((), nothing)

        return answered(lines, vectors)

    @ATTEND.documented
    def attend(self, line: Item, **options: Value) -> list[Attention]:
        """What the model attends to while it reads a line; of a translator, while it writes one.

        >>> model = attn_cli.load("en-fr")
        >>> cross = model.attend(("The cat sleeps.", "Le chat dort."), pairs=True, words=True)[0]
        >>> cross.kind, cross.columns[:3]
        ('cross', ('The', 'cat', 'sleeps.'))
        >>> layers, heads, rows, columns = cross.weights.shape

        Args:
            line: a text, or a tuple of texts; see `Model`.
            options: as below; without `kind`, `layer` and `head` all there are.

        Returns:
            An `Attention` for each kind, and each part of a long line; none of a blank line.

        Raises:
            UsageError: unknown or impossible options, or a kind that the model does not have.
            DataError: the line can't be used, or the model directory is damaged.
        """
        return self._opened.attentions(self._opened.resolved(ATTEND, options), line)
