"""When the words of a transcript are said in its recording.

Shapes: S positions, T tokens (of features: frames).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attn_cli.config.audio import FRAMES_A_POSITION, FRAMES_A_SECOND
from attn_cli.data.audio import Recording
from attn_cli.data.batching import cut_by_budget
from attn_cli.data.padding import pad
from attn_cli.models.seq2seq_base import AutoregressiveModel, Seq2SeqModel
from attn_cli.nn.ctc import ctc_alignment, positions_needed
from attn_cli.search.search import Times
from attn_cli.systems.generation.generator import Generator
from attn_cli.systems.generation.scorer import word_weights
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.words import words_of_tokens

Ids = Sequence[int]
Read = Callable[[Sequence[Recording]], tuple[Tensor, Tensor]]
M = TypeVar("M", bound=Seq2SeqModel)
Run = tuple[int, int]  # the first position (or frame), and the one behind the last

_BATCH_POSITIONS = 1 << 14
_HALF = 0.5
_QUIET = 0.25  # of the way from a recording's quiet places to its loud ones: silence ends here
_QUIET_SHARE, _LOUD_SHARE = 10, 90  # percent of the frames: which places these are


@torch.inference_mode()
def word_times(
    generator: Generator[M], read: Read, items: Sequence[Recording], outputs: Sequence[Ids]
) -> list[Times]:
    """The second at which each word of an output begins, and that at which it ends.

    Its tokens are where the encoder's own output says them (CTC), or else where the decoder looks
    when it writes them. Two words part where it is quietest between their tokens, and silence
    before and behind a word is none of it.

    Args:
        generator: whose first model is asked.
        read: what the model takes of recordings, and the mask of its positions.
        items: recordings as the model reads them.
        outputs: tokens, without bos and eos.
    """
    found: list[list[Run]] = [[] for _ in items]
    tokenizer, model = generator.tgt, generator.models[0]
    numbers = [number for number, tokens in enumerate(outputs) if tokens]
    said = [
        number
        for number in numbers
        if model.ctc is not None and positions_needed(list(outputs[number])) <= len(items[number])
    ]
    seen = sorted(set(numbers) - set(said))
    if said:
        for number, runs in zip(said, _heard(model, read, items, outputs, said), strict=True):
            found[number] = _of_words(tokenizer, outputs[number], runs)
    if not generator.aligns and model.ctc is not None:
        for number in seen:  # more tokens than positions, and nothing that looks at these
            found[number] = _evenly(tokenizer, outputs[number], len(items[number]))
        seen = []
    tables = word_weights(generator, [items[i] for i in seen], [outputs[i] for i in seen])
    for number, table in zip(seen, tables, strict=True):
        looked_at = {word: _looked_at(row) for word, row in enumerate(table) if row.any()}
        found[number] = _of_all(tokenizer, outputs[number], looked_at)
    return [_seconds(runs, item) for runs, item in zip(found, items, strict=True)]


def _heard(
    model: M,
    read: Read,
    items: Sequence[Recording],
    outputs: Sequence[Ids],
    numbers: Sequence[int],
) -> list[NDArray[np.int64]]:
    """The positions of the tokens of some outputs, by CTC. Shape of each: (T, 2)."""
    assert isinstance(model, AutoregressiveModel) and model.ctc is not None
    runs: dict[int, NDArray[np.int64]] = {}
    lengths = [(len(items[number]), len(outputs[number])) for number in numbers]
    for group in cut_by_budget(lengths, _BATCH_POSITIONS, seed=0):
        some = [numbers[place] for place in group]
        frames, mask = read([items[number] for number in some])
        targets, valid = pad([outputs[number] for number in some], 0)
        log_probs = model.ctc(model.encoded(frames, mask)).cpu()
        found = ctc_alignment(log_probs, mask.cpu(), targets, valid.sum(1))
        for number, row in zip(some, found.numpy(), strict=True):
            runs[number] = row[: len(outputs[number])]
    return [runs[number] for number in numbers]


def _of_words(tokenizer: Tokenizer, tokens: Ids, runs: NDArray[np.int64]) -> list[Run]:
    """From the first token of each word to its last one. Shape: (T, 2)."""
    owners = np.array(words_of_tokens(tokenizer, tokens))
    return _of_all(
        tokenizer,
        tokens,
        {
            int(word): (int(own[:, 0].min()), int(own[:, 1].max()))
            for word in np.unique(owners)
            for own in [runs[owners == word]]
        },
    )


def _of_all(tokenizer: Tokenizer, tokens: Ids, runs: Mapping[int, Run]) -> list[Run]:
    """Those of all words; one that has no token of its own is where the word before it is."""
    found: list[Run] = []
    for word in range(len(tokenizer.decode([tokens])[0].split())):
        found.append(runs[word] if word in runs else found[-1] if found else runs[min(runs)])
    return found


def _evenly(tokenizer: Tokenizer, tokens: Ids, size: int) -> list[Run]:
    """Equal shares of the positions for all words."""
    count = len(tokenizer.decode([tokens])[0].split())
    return [(size * word // count, -(-size * (word + 1) // count)) for word in range(count)]


def _looked_at(weights: Tensor) -> Run:
    """The positions around the one of the largest weight that have half of it. Shape: (S,)."""
    best = int(weights.argmax())
    low = (weights < _HALF * weights[best]).nonzero().flatten().tolist()
    first = max((place + 1 for place in low if place < best), default=0)
    return first, min((place for place in low if place > best), default=len(weights))


def _spread(runs: Sequence[Run], loudness: NDArray[np.float64]) -> list[Run]:
    """Words as long as they sound, where their tokens are said one after the other.

    Shape: runs of frames, the loudness of each frame (T,).
    """
    if any(end > first for (_, end), (first, _) in zip(runs, runs[1:], strict=False)):
        return list(runs)
    quiet, loud = np.percentile(loudness, (_QUIET_SHARE, _LOUD_SHARE))
    limit = quiet + _QUIET * (loud - quiet)
    cuts = [0]
    for (_, end), (first, _) in zip(runs, runs[1:], strict=False):
        cuts.append(end + int(loudness[end:first].argmin()) if first > end else first)
    spread = []
    for first, end, run in zip(cuts, [*cuts[1:], len(loudness)], runs, strict=True):
        (sounds,) = (loudness[first:end] > limit).nonzero()
        spread.append((first + int(sounds[0]), first + int(sounds[-1]) + 1) if len(sounds) else run)
    return spread


def _seconds(runs: Sequence[Run], item: Recording) -> Times:
    """The times of words that are so many positions long."""
    size, loudness = len(item.features), item.features.mean(1, dtype=np.float64)
    frames = [tuple(min(FRAMES_A_POSITION * place, size) for place in run) for run in runs]
    return tuple(
        ((item.first + first) / FRAMES_A_SECOND, (item.first + end) / FRAMES_A_SECOND)
        for first, end in _spread([(first, end) for first, end in frames], loudness)
    )
