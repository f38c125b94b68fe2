"""Maps of sequence-to-sequence models: of their own outputs, or of given ones.

Shapes: B batch, H heads, S source length, T target length.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence, Sized

import torch
from torch import Tensor

from attn_cli.config import to_dict
from attn_cli.config.attending import MOST_INPUT
from attn_cli.config.decoding import SearchOptions
from attn_cli.device import set_up
from attn_cli.errors import DataError
from attn_cli.lines.rows import Row
from attn_cli.models.seq2seq_base import Seq2SeqModel
from attn_cli.systems.base import load_generator
from attn_cli.systems.translation.attributions import WordAttribution
from attn_cli.systems.translation.translator import Source, Translator
from attn_cli.viz.job import AttendJob
from attn_cli.viz.lines import MOST_PARTS, Drawn, LineSource
from attn_cli.viz.maps import ATTRIBUTION, AttentionMap, Axis, to_array, token_axis
from attn_cli.wording import plural

_BATCH_TOKENS = 4096
_WHOLE = 1 << 62  # tokens: a line that has its target is not drawn in parts
Ids = Sequence[int]


def _translator(job: AttendJob) -> Translator[Seq2SeqModel]:
    device = set_up(job.runtime)
    generator = load_generator(job.model, device, prepared=not job.options.attribute)
    assert isinstance(generator, Translator)  # as the tasks are for which `SOURCES` names this file
    return generator


class PairSource(LineSource):
    """Source and target; the target is the best of a beam search unless the line has one.

    The rows of "cross" and "decoder" are the target's tokens and its end, each at the moment when
    it is said; the columns of "decoder" are what had been read by then. A target that was written
    all at once has no end, and each of its tokens sees all of them.
    """

    def __init__(self, job: AttendJob) -> None:
        super().__init__(job)
        self._translator = _translator(job)
        self.score = str(to_dict(self._translator.models[0].config)["attention"])
        limit = self._translator.input_limit(job.options.max_input)
        self._max_input = limit if job.options.max_input else min(MOST_INPUT, limit)
        self.n_fields = 2 if job.options.pairs else 1
        self._translator.check_files(job.options.image_root)
        probe = self._weights(self._translator.src.blank, [])
        kinds = [kind for kind in probe if kind == "cross" or job.options.word is None]
        self.heads = {kind: [len(layer[0]) for layer in probe[kind]] for kind in kinds}
        self._attribution = WordAttribution(self._translator) if job.options.attribute else None
        if self._attribution:
            self.heads = {**self.heads, ATTRIBUTION: [1]}

    def answers(self, rows: Sequence[Row]) -> Iterator[Drawn]:
        """See `LineSource`."""
        if self.job.options.pairs:
            yield from map(self._forced, rows)
            return
        parts = [self._parts(row) for row in rows]
        outputs = iter(self._decoded([part for own in parts for part in own]))
        for row, own in zip(rows, parts, strict=True):
            found, maps = [next(outputs) for _ in own], []
            src = self._translator.encoded(own)
            for number, (item, part, (text, tokens)) in enumerate(
                zip(src, own, found, strict=True), 1
            ):
                title = f"part {number} of {len(own)}" if len(own) > 1 else ""
                maps += self._maps(row, item, tokens, title, (part.text, text))
            if not own:
                yield (), []
                continue
            read = own[:1] if self._translator.reads_files else own  # parts of a file have its name
            texts = (" ".join(part.text for part in read), " ".join(text for text, _ in found))
            yield texts, maps

    def _parts(self, row: Row) -> list[Source]:
        """The parts in which a line is translated, at most `MOST_PARTS`; none if it is unusable."""
        parts = self._read(row, self._max_input)
        self.say_parts(row, len(parts))
        return [dataclasses.replace(part, key=row.number) for part in parts[:MOST_PARTS]]

    def _read(self, row: Row, limit: int) -> list[Source]:
        folder = self.job.options.image_root or row.stream.folder
        try:
            return self._translator.sources(row.fields[0], limit, folder)
        except DataError as error:
            row.refuse(error)
            return []

    def _decoded(self, sources: Sequence[Source]) -> list[tuple[str, Ids]]:
        """The text and the tokens of each output."""
        search = SearchOptions(beam=self.job.options.beam)
        found = self._translator.generate(
            sources, search, batch_tokens=_BATCH_TOKENS, seed=self.job.runtime.seed
        )
        return [(best[0].text, best[0].tokens) if best else ("", ()) for best in found]

    def _forced(self, row: Row) -> Drawn:
        """The maps of a line that has its target."""
        sources = self._read(row, _WHOLE)
        if not sources:
            return (), []
        src = self._translator.encoded(sources)[0]
        tgt = self._translator.tgt.encode([row.fields[1]])[0]
        # An image has as many regions as any other; the end of a text is none of its tokens.
        is_long = self._translator.src.longest is not None
        n_tokens = len(src) if is_long else 0 if self._translator.reads_files else len(src) - 1
        longest, limit = max(n_tokens, len(tgt)), self._max_input
        if longest > limit:
            more = "; --max-input allows more" if limit < self._translator.most_input else ""
            row.refuse(f"{plural(longest, 'token')}, more than {limit}{more}")
            return (), []
        texts = row.fields[0], row.fields[1]
        return texts, self._maps(row, src, tgt, "", texts)

    def _maps(
        self, row: Row, src: Sized, tgt: Ids, title: str, texts: tuple[str, str]
    ) -> list[AttentionMap]:
        """All kinds. `tgt` has neither bos nor eos."""
        tokenizer = self._translator.tgt
        source = self._translator.src.axis(src, texts[0])
        rows_and_columns = self._translator.target_axes(tgt)
        said, heard = (token_axis(tokenizer, ids, texts[1:]) for ids in rows_and_columns)
        axes = {"cross": (said, source), "encoder": (source, source), "decoder": (said, heard)}
        maps = [
            AttentionMap(kind, tuple(to_array(layer[0]) for layer in layers), *axes[kind], title)
            for kind, layers in self._weights(src, tgt).items()
            if kind in self.heads
        ]
        if self._attribution:
            values = self._attribution(src, tgt)
            self.say_missed(row, float(values.gaps.max()))
            array = to_array(values.values)[None]
            maps.append(AttentionMap(ATTRIBUTION, (array,), said, source, title))
        number = self.job.options.word
        if number is None:
            return maps
        words = said.words or ()
        if number > len(words):
            there = plural(len(words), "word")
            row.refuse(f"its output has {there}, its end included: no --word {number}")
            return []
        first = sum(size for _, size in words[: number - 1])
        name, size = words[number - 1]
        return [_of_word(drawn, name, first, first + size) for drawn in maps]

    @torch.inference_mode()
    def _weights(self, src: Sized, tgt: Ids) -> dict[str, list[Tensor]]:
        """The kinds of attention that the model has, layers of shape (1, H, T, S) each."""
        maps = self._translator.attentions([src], [tgt])
        kinds = {"cross": maps.cross, "encoder": maps.encoder, "decoder": maps.decoder}
        return {kind: layers for kind, layers in kinds.items() if layers}


def _of_word(drawn: AttentionMap, name: str, first: int, end: int) -> AttentionMap:
    """The mean of the rows of a word's tokens, over the text that it looks at."""
    layers = tuple(layer[:, first:end].mean(1, keepdims=True) for layer in drawn.layers)
    title = f"{drawn.title}, {name}" if drawn.title else name
    of_text = drawn.columns.words is not None  # no regions of an image, no frames
    return dataclasses.replace(
        drawn, layers=layers, rows=Axis((name,)), title=title, of_text=of_text
    )
