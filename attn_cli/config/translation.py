"""Options of `train-mt`: those of its corpus, and all together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from attn_cli.config import option
from attn_cli.config.command import Mode, group
from attn_cli.config.criterion import CriterionOptions
from attn_cli.config.seq2seq import ArchOptions, LearningOptions, Seq2SeqVariantOptions, SizeOptions
from attn_cli.config.source import SourceOptions
from attn_cli.config.tokenizing import TokenizerOptions, refuse_kind
from attn_cli.config.training import (
    TrainingCommand,
    TrainingOptions,
    TranslationTrainingOptions,
)


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """Where pairs come from, and how they become tokens."""

    src: str | None = option(None, "Source lines, with --tgt, instead of TSV.", place="FILE")
    tgt: str | None = option(None, "Target lines, with --src.", place="FILE")
    dev: str | None = option(
        None,
        "Pairs to validate on, as TSV.",
        show="1 % of the corpus, 100 to 2000 pairs",
        place="FILE",
    )
    tokenizer: str | None = option(
        None,
        "Use this tokenizer instead of training one.",
        show="trained on the corpus",
        place="FILE|DIR",
    )
    share_vocab: bool = option(
        True,
        "One tokenizer and vocabulary for source and target, or one each.",
        flag="--share-vocab/--separate-vocab",
        rare=True,
    )
    embeddings: str | None = option(
        None,
        "Word vectors (word2vec or GloVe as text) that the source's token vectors start from, and "
        "the target's where they share a vocabulary.",
        rare=True,
        place="FILE",
    )
    subword_sampling: float = option(
        0.0, "Subword regularization of the training pairs; 0: none.", low=0.0, high=1.0, rare=True
    )
    max_len: int = option(256, "Longer lines, in tokens, are cut in training (and counted).", low=2)

    def __post_init__(self) -> None:
        if (self.src is None) != (self.tgt is None):
            raise ValueError("--src and --tgt go together: parallel files, line by line")


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """What is minimized besides the negative log-likelihood."""

    head_penalty: float = option(
        0.0,
        "Weight of the penalty on heads that look at the same places (slower); 0: none.",
        low=0.0,
        high=1e6,
        rare=True,
    )


def _continues(given: Mapping[str, object]) -> bool:
    return bool(given.get("init"))


def _hears(given: Mapping[str, object]) -> bool:
    return given.get("source") == "audio"


def _is_new_transformer(given: Mapping[str, object]) -> bool:
    """From text to text, one token after another, from random weights."""
    usual = {"arch": "transformer", "decoder": "autoregressive", "source": "text"}
    is_usual = all(given.get(name) in (None, value) for name, value in usual.items())
    return is_usual and not _continues(given)


def _learns_from_samples(given: Mapping[str, object]) -> bool:
    return _continues(given) and given.get("criterion", "likelihood") != "likelihood"


@dataclass(frozen=True, kw_only=True)
class TrainMtCommand(TrainingCommand):
    """All options of `attn train-mt`."""

    name: ClassVar[str] = "train-mt"
    modes: ClassVar[tuple[Mode, ...]] = (
        # Measured for these: what is new needs no dropout.
        Mode(_is_new_transformer, {"dropout_warmup": 8.0}),
        Mode(_hears, {"metric": "wer"}, "audio"),
        # A trained model learns by small steps from the first one on.
        Mode(
            _continues,
            {"lr": 0.0005, "matrix_factor": 4.0, "schedule": "constant"},
            "with --init",
        ),
        # The gradient of sampled outputs is mostly noise. Updates are dear, so batches are small;
        # what they found by chance, small steps at the end undo.
        Mode(
            _learns_from_samples,
            {"batch_tokens": 1024, "lr": 0.0004, "matrix_factor": 2.5, "schedule": "linear"},
            "with --init and risk or reinforce",
        ),
    )

    corpus: CorpusOptions = group(CorpusOptions, "Corpus")
    source: SourceOptions = group(SourceOptions, "Images and sound")
    arch: ArchOptions = group(ArchOptions, "Model")
    size: SizeOptions = group(SizeOptions, "Model")
    variant: Seq2SeqVariantOptions = group(Seq2SeqVariantOptions, "Model")
    tokenizer: TokenizerOptions = group(TokenizerOptions, "Tokenizer")
    training: TrainingOptions = group(TranslationTrainingOptions, "Training")
    objective: LossOptions = group(LossOptions, "Objective")
    learning: LearningOptions = group(LearningOptions, "Objective")
    criterion: CriterionOptions = group(CriterionOptions, "Objective")

    def __post_init__(self) -> None:
        refuse_kind(self.init, self.corpus.tokenizer, self.tokenizer)

    @property
    def init(self) -> str | None:
        """The translator's directory that the training starts from, if any."""
        return self.arch.init
