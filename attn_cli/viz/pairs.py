"""Maps of sequence-to-sequence models: of their own outputs, or of given ones.

Shapes: B batch, H heads, S source length, T target length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from attn_cli.config.decoding import SearchOptions
from attn_cli.decode.translator import Source, Translator
from attn_cli.device import set_up
from attn_cli.text import plural
from attn_cli.viz.job import AttendJob
from attn_cli.viz.lines import MOST_PARTS, Example, LineSource
from attn_cli.viz.maps import AttentionMap, to_array, token_axis

_BATCH_TOKENS = 4096
Ids = Sequence[int]
Answer = tuple[tuple[str, ...], list[AttentionMap]]
KINDS = ("cross", "encoder", "decoder")


class PairSource(LineSource):
    """Source and target; the target is the best of a beam search unless the line has one.

    The rows of "cross" and "decoder" are the target's tokens and its end, each at the moment when
    it is said; the columns of "decoder" are what had been read by then.
    """

    def __init__(self, job: AttendJob) -> None:
        super().__init__(job)
        self._translator = Translator.load(job.model, set_up(job.runtime))
        self.n_fields = 2 if job.options.pairs else 1
        probe = self._weights([self._translator.src.eos_id], [])
        self.heads = {kind: [len(layer[0]) for layer in probe[kind]] for kind in probe}

    def answers(self, examples: Sequence[Example]) -> Iterator[Answer]:
        """See `LineSource`."""
        if self.job.options.pairs:
            yield from map(self._forced, examples)
            return
        parts = [self._parts(example) for example in examples]
        outputs = iter(self._decoded([part for own in parts for part in own]))
        for own in parts:
            found, maps = [next(outputs) for _ in own], []
            src = self._translator.source_ids([part.text for part in own])
            for number, (ids, (_, tokens)) in enumerate(zip(src, found, strict=True), 1):
                title = f"part {number} of {len(own)}" if len(own) > 1 else ""
                maps += self._maps(ids, tokens, title)
            texts = (" ".join(part.text for part in own), " ".join(text for text, _ in found))
            yield texts, maps

    def _parts(self, example: Example) -> list[Source]:
        """The parts in which a line is translated, at most `MOST_PARTS`."""
        parts = self._translator.parts(example.fields[0], self.job.options.max_input)
        self.say_parts(example, len(parts))
        return [Source(part, key=example.number) for part in parts[:MOST_PARTS]]

    def _decoded(self, sources: Sequence[Source]) -> list[tuple[str, Ids]]:
        """The text and the tokens of each output."""
        search = SearchOptions(beam_size=self.job.options.beam_size)
        found = self._translator.generate(
            sources, search, batch_tokens=_BATCH_TOKENS, seed=self.job.runtime.seed
        )
        return [(best[0].text, best[0].tokens) if best else ("", ()) for best in found]

    def _forced(self, example: Example) -> Answer:
        """The maps of a line that has its target."""
        src = self._translator.source_ids([example.fields[0]])[0]
        tgt = self._translator.tgt.encode([example.fields[1]])[0]
        longest, limit = max(len(src) - 1, len(tgt)), self.job.options.max_input
        if longest > limit:
            self.refuse(
                example, f"{plural(longest, 'token')}, more than {limit}; --max-input allows more"
            )
            return (), []
        return (example.fields[0], example.fields[1]), self._maps(src, tgt, "")

    def _maps(self, src: Ids, tgt: Ids, title: str) -> list[AttentionMap]:
        """All kinds. `src` ends in eos, `tgt` has neither bos nor eos."""
        tokenizer = self._translator.tgt
        source = token_axis(self._translator.src, src)
        said = token_axis(tokenizer, [*tgt, tokenizer.eos_id])
        heard = token_axis(tokenizer, [tokenizer.bos_id, *tgt])
        axes = {"cross": (said, source), "encoder": (source, source), "decoder": (said, heard)}
        return [
            AttentionMap(kind, tuple(to_array(layer[0]) for layer in layers), *axes[kind], title)
            for kind, layers in self._weights(src, tgt).items()
        ]

    @torch.inference_mode()
    def _weights(self, src: Ids, tgt: Ids) -> dict[str, list[Tensor]]:
        """The kinds of attention that the model has, layers of shape (1, H, T, S) each."""
        model: Any = self._translator.models[0]
        src_ids, src_mask, tgt_ids = self._translator.tensors([src], [tgt])
        tgt_in = tgt_ids[:, :-1]
        if hasattr(model, "attentions"):
            found = vars(model.attentions(src_ids, src_mask, tgt_in)[1])
        else:
            found = {"cross": model(src_ids, src_mask, tgt_in, need_weights=True)[1]}
        return {kind: found[kind] for kind in KINDS if found.get(kind)}
