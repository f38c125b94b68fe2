"""Attention maps: what every picture, page and table is made of, and where models give them.

A map is the weights of one kind of attention for one text, layer by layer and head by head, with a
label for each row (what attends) and column (what is attended to). Pictures know maps alone; models
know tensors alone. What lies between is a `MapSource` of the model's system.

Models give weights as tensors: `Seq2SeqModel.attentions` those inside the source, inside the target
and between them; `Backbone.attentions` those of each kind. A system whose models are neither, as
graphs', has a source of its own (`systems.base.SYSTEMS`).

Shapes: L layers, H heads, T rows, S columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attn_cli.data.audio import Recording
from attn_cli.data.images import Picture
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.words import word_groups

if TYPE_CHECKING:
    from torch import Tensor

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class Axis:
    """The rows or the columns of a map.

    Attributes:
        labels: what each stands for.
        words: each word and how many of the labels, in order, are its tokens; None: the labels are
            no tokens.
        picture: whose regions they stand for, in reading order, if they do.
        sound: whose positions they stand for, if they do.
    """

    labels: tuple[str, ...]
    words: tuple[tuple[str, int], ...] | None = None
    picture: Picture | None = None
    sound: Recording | None = None

    @property
    def by_word(self) -> Axis:
        """The axis of the words."""
        return self if self.words is None else Axis(tuple(word for word, _ in self.words))

    @property
    def starts(self) -> NDArray[np.int64]:
        """The first label of each word. Shape: (words,)."""
        sizes = [1] * len(self.labels) if self.words is None else [size for _, size in self.words]
        return np.cumsum([0, *sizes[:-1]]) if sizes else np.zeros(0, np.int64)


ATTRIBUTION = "attribution"  # the kind of map that holds no weights: see `nn.attribution`
WHOLE = Axis(("text",))  # the row of a text that attends as a whole


@dataclass(frozen=True)
class AttentionMap:
    """One kind of attention for one text.

    Attributes:
        kind: its name.
        layers: the weights of every layer; numbers of heads may differ. Shape: (H, T, S) each.
        rows: what attends.
        columns: what is attended to.
        title: which part of its line it is, where there are several.
        of_text: whether it has one row, which is drawn as the columns' text itself, shaded.
        answer: what the model says of the text, if it says anything.
        model: the name of the model, and its score function.
    """

    kind: str
    layers: tuple[Weights, ...]
    rows: Axis
    columns: Axis
    title: str = ""
    of_text: bool = False
    answer: str = ""
    model: str = ""

    @property
    def signed(self) -> bool:
        """Whether its values are no weights from 0 to 1 but may be below 0, or above 1."""
        return self.kind == ATTRIBUTION

    @property
    def picture(self) -> Picture | None:
        """The image that each row is drawn over, whose regions words attend to."""
        return self.columns.picture if self.rows.picture is None else None

    @property
    def sound(self) -> Recording | None:
        """The recording whose time the columns are, which words attend to."""
        return self.columns.sound if self.rows.sound is None else None

    def by_word(self) -> AttentionMap:
        """The map between words.

        Weights to the tokens of a word are added, those from them averaged, so that rows still sum
        to 1 (Clark et al. 2019, section 4.1).
        """
        sizes = np.diff([*self.rows.starts, len(self.rows.labels)])
        layers = []
        for weights in self.layers:
            sums = np.add.reduceat(weights, self.columns.starts, axis=2)
            sums = np.add.reduceat(sums, self.rows.starts, axis=1) / sizes[:, None]
            layers.append(sums.astype(np.float32))
        rows, columns = self.rows.by_word, self.columns.by_word
        return replace(self, layers=tuple(layers), rows=rows, columns=columns)


@dataclass(frozen=True)
class LineMaps:
    """What a line of the input became.

    Attributes:
        number: the line's, from 1.
        texts: what is read and said, for a heading.
        maps: none where the line is blank or unusable.
    """

    number: int
    texts: tuple[str, ...] = ()
    maps: tuple[AttentionMap, ...] = ()


def to_array(weights: Tensor) -> Weights:
    """The array of a tensor of weights."""
    array: Weights = weights.detach().float().cpu().numpy()
    return array


def token_axis(tokenizer: Tokenizer, ids: Sequence[int], texts: Sequence[str] = ()) -> Axis:
    """The axis of tokens that know their words; see `words.word_groups`."""
    return Axis(tuple(tokenizer.pieces(ids)), tuple(word_groups(tokenizer, ids, texts)))
