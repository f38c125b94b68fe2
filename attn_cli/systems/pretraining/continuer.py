"""Continuing texts, and their probability: a language model, its tokenizer and the search."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from attn_cli.config import shown
from attn_cli.config.decoding import SearchOptions
from attn_cli.data.padding import pad
from attn_cli.data.templates import windows_of
from attn_cli.errors import DataError, UsageError
from attn_cli.models.directory import load_model_of
from attn_cli.models.stack import Gpt, GptState
from attn_cli.models.text import TextModel
from attn_cli.search.search import Hypothesis, Request
from attn_cli.search.step import Begun, DecoderState, StepModel, StepOutput
from attn_cli.systems.generation.generator import Generator, Ids, Source, gold_log_probs
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import read_tokenizers
from attn_cli.wording import plural


class LanguageModelStep(StepModel):
    """A language model as the search sees it."""

    def __init__(self, model: TextModel, tokenizer: Tokenizer) -> None:
        assert isinstance(model.backbone, Gpt)
        self.backbone = model.backbone
        self.bos_id, self.eos_id, self.pad_id = (
            tokenizer.bos_id,
            tokenizer.eos_id,
            tokenizer.pad_id,
        )

    def start(self, sources: Sequence[Sized]) -> DecoderState:
        """Nothing has been read: what is continued is the output's forced beginning."""
        return self.begin(sources, [()] * len(sources)).state

    def begin(self, sources: Sequence[Sized], prefixes: Sequence[Ids]) -> Begun:
        """See `StepModel.begin`; there is no source."""
        device = self.backbone.token_vectors.weight.device
        # What is read at each place, and what follows it; the last of a prefix is read by a step.
        read = [[self.bos_id, *prefix[:-1]] if prefix else [] for prefix in prefixes]
        ids, valid = (x.flip(1).to(device) for x in pad([row[::-1] for row in read], self.pad_id))
        hidden, state = self.backbone.read(ids, valid.sum(1))
        gold = pad([prefix[::-1] for prefix in prefixes], self.pad_id)[0].flip(1).to(device)
        size = self.backbone.config.vocab_size
        found = gold_log_probs(hidden, gold, self.backbone.logits, size).masked_fill(~valid, 0.0)
        return Begun(state, found)

    def step(
        self, state: DecoderState, tokens: Tensor, *, need_attention: bool = False
    ) -> StepOutput:
        """One step of every beam."""
        assert isinstance(state, GptState)
        logits, after = self.backbone.step(state, tokens)
        return StepOutput(logits.float().log_softmax(-1), after)


class Continuer(Generator[Any]):
    """Continues lines with one language model, or with several as an ensemble.

    A prompt longer than half of what the model can see, or than what is asked for, is continued
    from its last tokens; all of it stands in the output.
    """

    has_source: ClassVar[bool] = False
    n_scored: ClassVar[int] = 1

    def __init__(self, models: Sequence[Any], tokenizer: Tokenizer) -> None:
        steps = [LanguageModelStep(model, tokenizer) for model in models]
        super().__init__(models, steps, tokenizer)
        self._max_len = min(model.backbone.max_len for model in models)
        self.longest_input = max(1, self._max_len // 2)
        self.most_written = self._max_len - 1  # beside bos

    @classmethod
    def load(cls, paths: str, device: torch.device) -> Continuer:
        """Reads one model directory, or several joined by commas.

        Raises:
            DataError: a directory is missing, foreign or damaged.
            UsageError: the models of an ensemble have different tokenizers.
        """
        models, tokenizers = [], []
        for path in (Path(part) for part in paths.split(",")):
            config, model = load_model_of(TextModel, path, device)
            if config.task != "continue":
                raise DataError(f"{path}: this model's task is {shown(config.task)}")
            tokenizer, _ = read_tokenizers(path)
            model.check_vocabulary(tokenizer.vocab_size, str(path))
            models.append(model)
            tokenizers.append(tokenizer)
            if tokenizer.to_bytes() != tokenizers[0].to_bytes():
                raise UsageError(f"{path}: its tokenizer is not that of {paths.split(',')[0]}")
        return cls(models, tokenizers[0])

    def requests(self, sources: Sequence[Source], options: SearchOptions) -> list[Request]:
        """Prompts as forced prefixes; `options.max_len` counts what comes after them."""
        encoded = self.tgt.encode([self._read_part(source.text) for source in sources])
        requests = []
        for source, ids in zip(sources, encoded, strict=True):
            prompt = ids[-self._kept(source) :]
            room = self._max_len - 1 - len(prompt)
            new = min(room, options.max_len) if options.max_len else room
            phrases = self.tgt.encode(source.phrases) if source.phrases else []
            requests.append(
                Request(
                    source=(self.tgt.bos_id, *prompt),
                    prefix=tuple(prompt),
                    opening=self._openings if self._waits_for_a_word(source.text) else None,
                    constraints=tuple(tuple(phrase) for phrase in phrases if phrase),
                    max_len=len(prompt) + new,
                    key=source.key,
                    given=len(prompt),
                )
            )
        return requests

    def _kept(self, source: Source) -> int:
        """The most tokens of a prompt that are read; one at least can be added to them."""
        limit = self.longest_input if source.limit is None else source.limit
        return max(1, min(limit, self._max_len - 2))

    def texts(self, source: Source, hypotheses: Sequence[Hypothesis]) -> list[str]:
        """The prompt as it was written, and what the model adds to it."""
        prompt = tuple(self._tokens(source)[-self._kept(source) :])
        read, *whole = self.tgt.decode([prompt, *(found.tokens for found in hypotheses)])
        added = [text[len(read) :] for text in whole]
        if self._waits_for_a_word(source.text):  # whose space the prompt has
            added = [text.removeprefix(" ") for text in added]
        return [source.text + text for text in added]

    def _waits_for_a_word(self, prompt: str) -> bool:
        """Whether the prompt ends with a space that the model's next piece brings itself.

        A space belongs to the piece behind it: read as a piece of its own, which no text of the
        training ended with, it would be followed by a piece with a second one.
        """
        return prompt.endswith(" ") and len(self._openings) > 0

    def _read_part(self, prompt: str) -> str:
        """What of a prompt the model reads: all but a space that its next piece brings."""
        return prompt[:-1] if self._waits_for_a_word(prompt) else prompt

    def _tokens(self, source: Source) -> list[int]:
        """Those of the prompt, as far as it is read."""
        return self.tgt.encode([self._read_part(source.text)])[0]

    @cached_property
    def _openings(self) -> Tensor:
        """The tokens that begin with a space. Shape: (O,)."""
        usable = sorted(set(range(self.tgt.vocab_size)) - self.tgt.reserved_ids)
        (before,) = self.tgt.encode(["a"])
        alone, *behind = self.tgt.decode([before, *([*before, index] for index in usable)])
        chosen = [i for i, text in zip(usable, behind, strict=True) if text.startswith(alone + " ")]
        return torch.tensor(chosen, dtype=torch.int64, device=self.device)

    def sources(self, text: str, limit: int, folder: str) -> list[Source]:
        """The text itself: only its end is read."""
        return [Source(text, limit=limit)]

    def knows(self, source: Source) -> bool:
        """See `Generator.knows`."""
        return self.tgt.knows(self.tgt.encode([source.text])[0])

    def unread(self, source: Source) -> str | None:
        """See `Generator.unread`."""
        ids = self._tokens(source)
        kept = self._kept(source)
        if len(ids) <= kept:
            return None
        return (
            f"a prompt of {plural(len(ids), 'token')}, of which the model reads the last {kept:,}; "
            f"--max-input allows up to {max(1, self._max_len - 2):,}"
        )

    def cut(self, source: Source, output: Hypothesis, search: SearchOptions) -> str | None:
        """See `Generator.cut`: a text goes on as long as it may."""
        size = self.n_written(source, output)
        if search.max_len is None or size >= search.max_len:
            return None
        return (
            f"stops at {plural(size, 'token')}, before --max-len {search.max_len:,}: with its "
            f"prompt it fills the {self._max_len:,} that the model sees; so may others"
        )

    def n_written(self, source: Source, output: Hypothesis) -> int:
        """See `Generator.n_written`: the prompt is the input's."""
        ids = self._tokens(source)
        return len(output.tokens) - min(len(ids), self._kept(source))

    def encoded(self, sources: Sequence[Source]) -> list[Ids]:
        """Nothing: an output stands alone."""
        return [()] * len(sources)

    def scored(self, fields: Sequence[str]) -> tuple[str, str]:
        """The text is the output."""
        return "", fields[0]

    def token_log_probs(self, model: Any, src: Sequence[Sized], tgt: Sequence[Ids]) -> Tensor:
        """Each token given those before it, as many as the model can see.

        What is longer is read in windows that overlap by half; a token is scored in the first one
        that holds it, so that it sees at least half of the model's length.
        """
        sequences = [[self.tgt.bos_id, *ids, self.tgt.eos_id] for ids in tgt]
        ids, _ = pad(sequences, self.tgt.pad_id)
        ids = ids.to(self.device)
        length = ids.shape[1] - 1
        found = torch.zeros(len(ids), length, device=self.device)
        done = 0
        for first, end in windows_of(length, self._max_len, max(1, self._max_len // 2)):
            inputs, gold = ids[:, first:end], ids[:, first + 1 : end + 1]
            hidden = model.backbone(inputs, torch.ones_like(inputs, dtype=torch.bool))
            fresh = slice(done - first, end - first)
            layer = model.backbone.logits, model.config.vocab_size
            found[:, done:end] = gold_log_probs(hidden[:, fresh], gold[:, fresh], *layer)
            done = end
        return found
