"""How good a translator that is trained is on the dev pairs."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from attn_cli.config.decoding import DecodeOptions, SearchOptions
from attn_cli.config.scoring import ScoreOptions
from attn_cli.metrics.base import Segment
from attn_cli.metrics.scoring import score_corpus
from attn_cli.metrics.scripts import Letters
from attn_cli.systems.recipe import Split
from attn_cli.systems.translation.pairs import PairReader, Seq2SeqBatch
from attn_cli.systems.translation.translator import Source, Translator
from attn_cli.train.objective import Objective
from attn_cli.train.spread import Spread, alone, in_parts

BLEU_OF_NOTHING = 1.0  # below, a translator says nothing yet
_PROBED = 100  # of the dev pairs, alone while their translations are worth nothing
_TOO_YOUNG = f"trained too little to translate (dev BLEU below {BLEU_OF_NOTHING:g}): train longer"
_DEAF = "trained too little to write down what is said (dev WER above 1): train longer"
_DECODING = 3.0  # the time that a pair takes in a validation, in that of a pair in training


class TranslationValidation:
    """Loss of the dev pairs, and BLEU and chrF, or WER, of greedy translations where these decide.

    Args:
        objective: the loss.
        translator: decodes with the same model.
        reader: the dev pairs.
        metric: "loss", "bleu", "chrf" or "wer".
        same_source: equal for pairs whose targets are references of one source, which is decoded
            once. Shape: (pairs,).

    Attributes:
        has_sentences: whether most targets are of four words or more, as a figure of 4-grams wants
            them.
        remarks: what a user should know of the figures.
    """

    def __init__(
        self,
        objective: Objective[Seq2SeqBatch],
        translator: Translator,
        reader: PairReader,
        metric: str,
        *,
        same_source: NDArray[np.int64],
    ) -> None:
        self._same_source = same_source
        self._objective = objective
        self._translator = translator
        self._reader = reader
        self._metric = metric
        targets = [pair[-1] for pair in reader.read(np.arange(len(reader.rows))[:_PROBED])]
        written = Letters(targets).unspaced
        tokenizer = written.tokenizer if written else ScoreOptions().tokenize
        wer = metric == "wer"
        self._measures = ScoreOptions(bleu=True, chrf=True, wer=wer, tokenize=tokenizer)
        lengths = [len(text if written else text.split()) for text in targets]
        self.has_sentences = sum(length >= 4 for length in lengths) * 2 > len(targets)
        self.remarks: list[str] = []
        if written and metric in ("bleu", "chrf"):
            self.remarks = [
                f"{written.name} has no spaces between words: dev BLEU is that of attn score "
                f"--tokenize {tokenizer}"
            ]

    @property
    def too_young(self) -> str:
        """What is said of weights whose figure says nothing; "": nothing, as it never does."""
        return _DEAF if self._metric == "wer" else _TOO_YOUNG if self.has_sentences else ""

    @torch.inference_mode()
    def __call__(self, spread: Spread = alone) -> dict[str, float]:
        """The figures; the loss in nats per token, without smoothing."""
        numbers = np.arange(len(self._reader.rows))
        batches = self._reader.batches(numbers, 0)
        tokens = sum(batch.n_tokens for batch in batches)
        figures = {"loss": sum(spread(self._nll, batches)) / tokens}
        if self._metric != "loss":
            # Weights that translate into nothing yet take longest for it, and tell least.
            figures |= self._quality(numbers[:_PROBED], spread)
            good = figures["bleu"] >= BLEU_OF_NOTHING or figures.get("wer", 1.0) < 1.0
            if len(numbers) > _PROBED and good:
                figures |= self._quality(numbers, spread)
        return figures

    def _nll(self, batch: Seq2SeqBatch) -> float:
        return float(self._objective(batch.to(self._translator.device))[1])

    def _quality(self, numbers: NDArray[np.int64], spread: Spread) -> dict[str, float]:
        sources: dict[int, Source] = {}
        lengths: dict[int, int] = {}
        references: dict[int, tuple[str, ...]] = {}
        for (text, content, reference), same in zip(
            self._reader.read(numbers), self._same_source[numbers].tolist(), strict=True
        ):
            sources[same], lengths[same] = Source(text, file=content), len(content)
            references[same] = (*references.get(same, ()), reference)
        outputs = in_parts(self._outputs, list(sources.values()), list(lengths.values()), spread)
        segments = [
            Segment(output, texts)
            for texts, output in zip(references.values(), outputs, strict=True)
        ]
        scores = score_corpus(self._measures, segments)
        return dict(zip(("bleu", "chrf", "wer"), (score.value for score in scores), strict=False))

    def _outputs(self, sources: list[Source]) -> list[str]:
        options, batch_tokens = SearchOptions(greedy=True), DecodeOptions().batch_tokens
        hypotheses = self._translator.generate(sources, options, batch_tokens=batch_tokens)
        return [outputs[0].text if outputs else "" for outputs in hypotheses]


def cost(split: Split, metric: str) -> float:
    """The passes over the training pairs that take as long as a validation, about."""
    one = _DECODING if metric != "loss" else 0.4  # without a backward pass
    dev = int(split.dev.sizes(split.dev_rows).sum())
    mean = split.train.sizes(split.rows[np.arange(min(len(split.rows), 10_000))]).mean()
    return one * dev / max(float(mean) * len(split.rows), 1.0)
