"""Options of `train-mt` alone: its corpus and its tokenizers."""

from __future__ import annotations

from dataclasses import dataclass

from attn_cli.config import option


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """Where pairs come from, and how they become tokens."""

    src: str | None = option(None, "Source lines, with --tgt: parallel files instead of TSV.")
    tgt: str | None = option(None, "Target lines, with --src.")
    dev: str | None = option(
        None, "Pairs to validate on, as TSV.", show="1 % of the corpus, 100 to 2000 pairs"
    )
    tokenizer: str | None = option(
        None, "Use this tokenizer instead of training one.", show="trained on the corpus"
    )
    share_vocab: bool = option(
        True,
        "One tokenizer and vocabulary for source and target, or one each.",
        flag="--share-vocab/--separate-vocab",
    )
    embeddings: str | None = option(
        None,
        "Word vectors (word2vec or GloVe as text) that the source's token vectors start from, and "
        "the target's where they share a vocabulary.",
    )
    subword_sampling: float = option(
        0.0, "Subword regularization of the training pairs; 0: none.", low=0.0, high=1.0
    )
    max_len: int = option(256, "Longer lines, in tokens, are cut in training (and counted).", low=2)

    def __post_init__(self) -> None:
        if (self.src is None) != (self.tgt is None):
            raise ValueError("src and tgt go together")


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """What is minimized besides the negative log-likelihood."""

    head_penalty: float = option(
        0.0,
        "Weight of the penalty on heads that look at the same places (slower); 0: none.",
        low=0.0,
        high=1e6,
    )
