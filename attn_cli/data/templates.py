"""Input templates: tokens of one or two texts -> the one sequence that an encoder reads.

BERT:  ⟨CLS⟩ S ⟨SEP⟩            ⟨CLS⟩ S ⟨SEP⟩ S′ ⟨SEP⟩          (Devlin et al. 2019, figure 2)
GPT:   ⟨start⟩ S ⟨extract⟩      ⟨start⟩ S ⟨delim⟩ S′ ⟨extract⟩  (Radford et al. 2018, figure 1)
ELMo:  ⟨bos⟩ S ⟨eos⟩            ⟨bos⟩ S ⟨eos⟩ S′ ⟨eos⟩          (Peters et al. 2018)
HAN:   a sequence for each sentence of S, ⟨SEP⟩, for each of S′  (Yang et al. 2016, figure 2)

What does not fit into the encoder's length is cut into overlapping windows: nothing is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from attn_cli.errors import DataError
from attn_cli.tokenizers.tokenizer import Tokenizer

Ids = Sequence[int]


@dataclass(frozen=True)
class InputRow:
    """One sequence, as a model reads it.

    Attributes:
        ids: its tokens.
        segments: 0 for the first text and its special tokens, 1 for the second's. As long as `ids`.
        starts: where each text's tokens begin in it.
    """

    ids: list[int]
    segments: list[int]
    starts: tuple[int, ...]


class BertTemplate:
    """⟨CLS⟩ S ⟨SEP⟩ S′ ⟨SEP⟩.

    Raises:
        DataError: the tokenizer lacks one of the special tokens.
    """

    both_orders: ClassVar[bool] = False  # whether a symmetric pair is read in both orders
    by_sentence: ClassVar[bool] = False  # whether a sequence is a sentence: `document` makes them
    # The special tokens before, between and behind texts: a tokenizer's first known one counts.
    special_tokens: ClassVar[tuple[tuple[str, ...], ...]] = (("cls",), ("sep",), ("sep",))

    def __init__(self, tokenizer: Tokenizer, max_len: int) -> None:
        self.first_id, self.separator_id, self.last_id = (
            _special_id(tokenizer, names) for names in self.special_tokens
        )
        self.max_len = max_len

    def overhead(self, n_texts: int) -> int:
        """The number of special tokens around so many texts."""
        return 1 + n_texts

    def fill(self, *texts: Ids) -> InputRow:
        """The sequence of texts that fit."""
        ids, segments, starts = [self.first_id], [0], []
        for number, text in enumerate(texts):
            starts.append(len(ids))
            ids += [*text, self.last_id if number + 1 == len(texts) else self.separator_id]
            segments += [number] * (len(text) + 1)
        return InputRow(ids, segments, tuple(starts))


class GptTemplate(BertTemplate):
    """⟨start⟩ S ⟨delim⟩ S′ ⟨extract⟩; a tokenizer with an end token alone uses it for all three."""

    both_orders = True
    special_tokens = (("bos", "eos"), ("sep", "eos"), ("cls", "eos"))


class BilmTemplate(BertTemplate):
    """⟨bos⟩ S ⟨eos⟩, as a bidirectional language model reads a sentence; ⟨bos⟩ S ⟨eos⟩ S′ ⟨eos⟩."""

    special_tokens = (("bos",), ("eos",), ("eos",))


class DocumentTemplate(BertTemplate):
    """A sequence for each sentence, without special tokens; ⟨SEP⟩ alone between two texts.

    A longer sentence becomes several sequences that follow each other without overlap. A text of
    which no token is left is ⟨SEP⟩.
    """

    by_sentence = True

    def __init__(self, tokenizer: Tokenizer, max_len: int) -> None:
        self.separator_id = _special_id(tokenizer, ("sep", "eos"))
        self.max_len = max_len

    def overhead(self, n_texts: int) -> int:
        """No special token."""
        return 0

    def fill(self, *texts: Ids) -> InputRow:
        """The sequence of parts of a sentence that fit, as they are."""
        ids = [index for text in texts for index in text]
        return InputRow(ids, [0] * len(ids), (0,) * len(texts))

    def document(self, texts: Sequence[Sequence[Ids]]) -> list[InputRow]:
        """The sequences of one or two texts, each a list of sentences."""
        rows: list[InputRow] = []
        for number, sentences in enumerate(texts):
            if number:
                rows.append(self.fill([self.separator_id]))
            for ids in sentences:
                firsts = range(0, len(ids), self.max_len)
                rows += [self.fill(ids[first : first + self.max_len]) for first in firsts]
        return rows or [self.fill([self.separator_id])]


TEMPLATES: dict[str, type[BertTemplate]] = {
    "bert": BertTemplate,
    "gpt": GptTemplate,
    "bilm": BilmTemplate,
    "han": DocumentTemplate,
}


def windows_of(length: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Overlapping spans (first, end) of at most `room` positions that cover `length` positions.

    Each begins `stride` positions after the one before; the last one ends at the end. An empty text
    has one empty window.

    Raises:
        ValueError: a stride outside 1 … room would skip positions.
    """
    if not 1 <= stride <= room:
        raise ValueError(f"windows of {room} positions need a stride of 1 to {room}")
    if length <= room:
        return [(0, length)]
    firsts = [*range(0, length - room, stride), length - room]
    return [(first, first + room) for first in firsts]


def widest_context(windows: Sequence[tuple[int, int]], position: int) -> int:
    """The window in which a position has most context on its shorter side; the first of equals."""
    margins = [min(position - first, end - 1 - position) for first, end in windows]
    return max(range(len(windows)), key=margins.__getitem__)


def owned_spans(windows: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The positions that have their widest context in each of `windows_of`'s windows.

    The spans (first, end) follow each other without gap; `widest_context` gives the same, position
    by position.
    """
    pairs = zip(windows, windows[1:], strict=False)
    borders = [(end + first - 1) // 2 + 1 for (_, end), (first, _) in pairs]
    return list(zip([windows[0][0], *borders], [*borders, windows[-1][1]], strict=True))


def _special_id(tokenizer: Tokenizer, names: tuple[str, ...]) -> int:
    ids = tokenizer.special_ids
    known = [ids[name] for name in names if ids[name] >= 0]
    if not known:
        raise DataError(
            f"{tokenizer.file_name}: this tokenizer has no token for {names[0]}; attn tokenize "
            "train makes one that has"
        )
    return known[0]
