"""Maps of backbones: encoders and language models as they were pre-trained, and tasks on them.

Shapes: R rows (windows of a text, or sentences of a document), T positions, H heads.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from attn_cli.config.decoding import MAX_INPUT
from attn_cli.data.padding import pad
from attn_cli.data.templates import TEMPLATES, InputRow, windows_of
from attn_cli.device import set_up
from attn_cli.errors import UsageError
from attn_cli.lines.columns import SENTENCE_MARK, Columns
from attn_cli.lines.conll import ConllParser, are_items, are_text, conll_rows, sentence_parts
from attn_cli.lines.reading import LineReader
from attn_cli.lines.rows import Row, Rows
from attn_cli.models.backbone import Backbone
from attn_cli.models.directory import load_model_of, read_config
from attn_cli.models.text import TextModel
from attn_cli.systems.tasks.attributions import LabelAttribution
from attn_cli.systems.tasks.base import Answer
from attn_cli.systems.tasks.formats import FORMATS
from attn_cli.systems.tasks.predictor import load_predictor
from attn_cli.systems.tasks.sentences import TEXT_SAID, text_row
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import load_tokenizer
from attn_cli.viz.job import AttendJob
from attn_cli.viz.lines import MOST_PARTS, WINDOW, Drawn, LineSource
from attn_cli.viz.maps import ATTRIBUTION, WHOLE, AttentionMap, Axis, to_array, token_axis

OVER_ROWS = frozenset({"sentence"})  # kinds whose columns are rows of a document


def open_texts(job: AttendJob) -> RowSource:
    """The source of a model that answers; a converted one may have no head for any task."""
    heads = read_config(Path(job.model)).heads
    answers = job.options.task is not None or any(head.task for head in heads)
    if job.options.attribute and not answers:
        raise UsageError(f"--attribute: {job.model} has no task whose answer it could explain")
    return TaskSource(job) if answers else BackboneSource(job)


class RowSource(LineSource):
    """Reads lines as rows of a backbone, and draws each row, or all of them as one document.

    Args:
        job: what was asked for.
        backbone: see `maps`.
        tokenizer: its tokenizer.

    Raises:
        UsageError: `--pairs`.
    """

    def __init__(self, job: AttendJob, backbone: Backbone, tokenizer: Tokenizer) -> None:
        super().__init__(job)
        if job.options.pairs:
            raise UsageError("--pairs: this model has no target; leave it out")
        self._backbone = backbone
        self._tokenizer = tokenizer
        self._device = next(backbone.parameters()).device
        self._joins = backbone.joins_rows
        self.score = backbone.score_function
        probe = self._weights([InputRow([0], [0], (0,))])
        self.heads = {kind: [layer.shape[1] for layer in probe[kind]] for kind in probe}

    @abstractmethod
    def parts(self, fields: list[str]) -> Sequence[InputRow]:
        """The rows of a line."""

    def said(self, row: Row) -> str:
        """What the model says of a line, above its picture; nothing of most models."""
        return ""

    def attributed(self, rows: Sequence[InputRow], title: str, row: Row) -> list[AttentionMap]:
        """How much the tokens of a part of a line add to what is said, where that is asked for."""
        return []

    def answers(self, rows: Sequence[Row]) -> Iterator[Drawn]:
        """See `LineSource`."""
        for row in rows:
            parts = self.parts(row.fields)
            if self._joins:
                groups = [parts]
            else:
                self.say_parts(row, len(parts))
                groups = [[part] for part in parts[:MOST_PARTS]]
            maps, answer = [], self.said(row)
            for number, group in enumerate(groups, 1):
                title = f"part {number} of {len(parts)}" if len(parts) > 1 else ""
                maps += self._maps(group, title, row.fields)
                maps += self.attributed(group, title, row)
            maps = [replace(drawn, answer=answer) for drawn in maps]
            yield tuple(text.replace(SENTENCE_MARK, " ") for text in row.fields), maps

    def _maps(
        self, rows: Sequence[InputRow], title: str, texts: Sequence[str]
    ) -> list[AttentionMap]:
        """The maps of rows that are read together."""
        axes = [token_axis(self._tokenizer, row.ids, texts) for row in rows]
        maps = []
        for kind, layers in self._weights(rows).items():
            arrays = [to_array(layer) for layer in layers]
            if kind in OVER_ROWS:
                sentences = Axis(tuple(self._tokenizer.decode([row.ids for row in rows])))
                weights = tuple(array[0] for array in arrays)
                maps.append(AttentionMap(kind, weights, WHOLE, sentences, of_text=True))
                continue
            for place, axis in enumerate(axes):
                size = len(axis.labels)
                own = [array[place, :, :size, :size] for array in arrays]
                of_text = not own[0].shape[1] == size > 1
                name = f"sentence {place + 1}" if len(rows) > 1 else title
                left = WHOLE if of_text else axis
                maps.append(AttentionMap(kind, tuple(own), left, axis, name, of_text))
        return maps

    @torch.inference_mode()
    def _weights(self, rows: Sequence[InputRow]) -> dict[str, list[Tensor]]:
        ids, mask = pad([row.ids for row in rows], max(self._tokenizer.pad_id, 0))
        segments, _ = pad([row.segments for row in rows], 0)
        tensors = (tensor.to(self._device) for tensor in (ids, mask, segments))
        found: dict[str, list[Tensor]] = self._backbone.attentions(*tensors)
        return {kind: layers for kind, layers in found.items() if layers}


class BackboneSource(RowSource):
    """A backbone as it was pre-trained: a text, in overlapping windows where it is long."""

    n_fields = 1

    def __init__(self, job: AttendJob) -> None:
        device = set_up(job.runtime)
        _, model = load_model_of(TextModel, Path(job.model), device)
        tokenizer = load_tokenizer(job.model)
        model.check_vocabulary(tokenizer.vocab_size, job.model)
        backbone = model.backbone
        limit = job.options.max_input or MAX_INPUT
        self._template = TEMPLATES[backbone.template](
            tokenizer, min(limit, backbone.max_len or limit)
        )
        super().__init__(job, backbone, tokenizer)

    def parts(self, fields: list[str]) -> Sequence[InputRow]:
        """See `RowSource`."""
        (ids,) = self._tokenizer.encode(fields)
        room = max(1, self._template.max_len - self._template.overhead(1))
        spans = windows_of(len(ids), room, max(1, room // 2))
        return [self._template.fill(ids[first:end]) for first, end in spans]


class TaskSource(RowSource):
    """A model with tasks: what it reads to answer a line."""

    def __init__(self, job: AttendJob) -> None:
        device = set_up(job.runtime)
        self._predictor = load_predictor(Path(job.model), device, job.options.task)
        self._task = self._predictor.task
        self.n_fields = self._task.n_answered
        self.by_sentence = self._task.setting.template.by_sentence
        self._by_word = self._task.format == "blocks"
        self._of_text = self._task.head == "text"
        super().__init__(job, self._predictor.model.backbone, self._task.setting.tokenizer)
        self._attribution = LabelAttribution(self._predictor) if job.options.attribute else None
        if self._attribution:
            self.heads = {**self.heads, ATTRIBUTION: [1]}

    @property
    def reads(self) -> tuple[object, ...]:
        """See `LineSource`."""
        return (*super().reads, "words") if self._by_word else super().reads

    def said(self, row: Row) -> str:
        """The answer to a whole text, and its probability."""
        if not self._of_text:
            return ""
        answer = self._answer(row)
        sure = "" if answer.probability is None else f"  {answer.probability:.3f}"
        return answer.text + sure

    def _answer(self, row: Row) -> Answer:
        (answer,) = self._predictor.answer([FORMATS[self._task.format].example(row.fields)])
        return answer

    def attributed(self, rows: Sequence[InputRow], title: str, row: Row) -> list[AttentionMap]:
        """See `RowSource`: to the probability of the label that the whole text is given."""
        if self._attribution is None:
            return []
        found = self._attribution(rows, self._answer(row).text)
        self.say_missed(row, float(found.gaps.max()))
        values = to_array(found.values)
        maps = []
        for place, part in enumerate(rows):
            axis = token_axis(self._tokenizer, part.ids, row.fields)
            own = values[:, place, None, : len(part.ids)]
            name = f"sentence {place + 1}" if len(rows) > 1 else title
            maps.append(AttentionMap(ATTRIBUTION, (own,), WHOLE, axis, name, of_text=True))
        return maps

    def _weights(self, rows: Sequence[InputRow]) -> dict[str, list[Tensor]]:
        """See `RowSource`; before the weights between tokens stand those of the text as a whole.

        It is answered from one token's vector, whose row that is, or from the mean or the maximum
        of all tokens' vectors: then it is the mean of all rows.
        """
        found = super()._weights(rows)
        if not self._of_text or "self" not in found:
            return found
        head = self._predictor.model.head_configs[self._predictor.name]
        place = self._backbone.own_position if head.pool == "own" else None
        if place is None:
            rows_of_text = [layer.mean(2, keepdim=True) for layer in found["self"]]
        else:
            rows_of_text = [layer[:, :, [place]] for layer in found["self"]]
        return {"text": rows_of_text, **found}

    def rows(self, reader: LineReader, columns: Columns) -> Rows:
        """See `LineSource`."""
        if self._by_word:
            return conll_rows(reader, columns, self.job.bad)
        return super().rows(reader, columns)

    def windows(self, rows: Rows) -> Iterator[list[Row]]:
        """See `LineSource`; of a tagger, lines of text, or the sentences of a CoNLL file."""
        if not self._by_word:
            yield from super().windows(rows)
            return
        labels = self._task.setting.labels
        windows = rows.windows(WINDOW)
        waiting: list[Row] = []
        text = None
        for window in windows:
            waiting += window
            text = are_text(window, labels)
            if text is not None:
                break
        if text:
            if not are_items(waiting):
                self.job.say(TEXT_SAID.format(rows.name, "read"))
            for window in itertools.chain([waiting], windows):
                yield [self._checked(text_row(row)) for row in window]
            return
        parser = ConllParser(ragged=True)
        lines = itertools.chain(waiting, itertools.chain.from_iterable(windows))
        for part, begins in sentence_parts(lines):
            words = []
            for row in parser.parse(part, begins=begins):
                if row.error:
                    row.refuse(row.error)
                words += row.fields[:1]
            first = part[0]
            fields = [" ".join(words)] if words else []
            yield [self._checked(Row(first.number, first.line, first.stream, fields, []))]

    def _checked(self, row: Row) -> Row:
        cause = self.check(row.fields) if row.fields else None
        return row.refuse(cause) if cause else row

    def problem(self, fields: list[str]) -> str | None:
        """See `LineSource`."""
        return self._task.question_problem(fields)

    def parts(self, fields: list[str]) -> Sequence[InputRow]:
        """See `RowSource`."""
        example = FORMATS[self._task.format].example(fields)
        return self._task.encode([example], targets=False)[0].rows
