"""Options of `attn score`: which metrics, how text is taken, what is printed."""

from __future__ import annotations

from dataclasses import dataclass

from attn_cli.config import option

TOKENIZERS = (
    "13a",
    "intl",
    "zh",
    "char",
    "none",
    "ja-mecab",
    "ko-mecab",
    "flores101",
    "flores200",
)


@dataclass(frozen=True, kw_only=True)
class MetricOptions:
    """Which metrics are counted, and how text is prepared; BLEU and chrF if none is named."""

    bleu: bool = option(False, "BLEU (sacreBLEU), 0 to 100.", flag="--bleu")
    chrf: bool = option(False, "chrF2 (sacreBLEU), 0 to 100.", flag="--chrf")
    chrfpp: bool = option(False, "chrF2++ (sacreBLEU), 0 to 100.", flag="--chrf++,--chrfpp")
    ter: bool = option(
        False, "Translation edit rate (sacreBLEU), in percent; lower is better.", flag="--ter"
    )
    wer: bool = option(False, "Word error rate (jiwer), a fraction; lower is better.", flag="--wer")
    cer: bool = option(
        False, "Character error rate (jiwer), a fraction; lower is better.", flag="--cer"
    )
    rouge: bool = option(
        False, "ROUGE-1, ROUGE-2, ROUGE-L (rouge-score): mean F1, 0 to 1.", flag="--rouge"
    )
    exact_match: bool = option(
        False, "Share of hypotheses that equal a reference, 0 to 1.", flag="--exact-match"
    )
    lowercase: bool = option(
        False, "Ignore case in BLEU, chrF, WER, CER and exact match.", flag="--lowercase"
    )
    tokenize: str = option("13a", "BLEU's tokenizer.", choices=TOKENIZERS)
    stem: bool = option(True, "Stem English words for ROUGE (Porter).")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(MetricOptions):
    """What is compared with what, and what is printed."""

    ref: tuple[str, ...] = option(
        (),
        "Reference file, parallel to the hypotheses; repeat it for several references.",
        flag="--ref,-r",
        show="the TSV's further columns",
    )
    json: bool = option(False, "Print JSON with every detail.", flag="--json")
    signature: bool = option(False, "Add each metric's signature.", flag="--signature")
    per_line: bool = option(
        False, "Print one line of scores per input line, not the total.", flag="--per-line"
    )
    bootstrap: int | None = option(
        None, "Resamples for the mean and its 95% interval.", low=2, high=1_000_000, show="none"
    )
    baseline: str | None = option(
        None,
        "Hypotheses of another system: test whether the difference is significant.",
        show="none",
    )
    seed: int = option(12345, "Seed of the resampling.", low=1, high=2**31 - 1)
    log_prob: bool = option(
        False,
        "Print the model's log P(hypothesis | source) of each line `source<TAB>hypothesis`.",
        flag="--log-prob",
    )
    ppl: bool = option(
        False, "Print the model's perplexity on lines `source<TAB>hypothesis`.", flag="--ppl"
    )

    def __post_init__(self) -> None:
        """Refuses combinations in which one option would go unheard."""
        corpus_only = [
            f"--{name}" for name in ("bootstrap", "baseline", "signature") if getattr(self, name)
        ]
        if self.per_line and corpus_only:
            raise ValueError(f"--per-line and {corpus_only[0]} exclude each other")
        if not (self.log_prob or self.ppl):
            return
        if self.log_prob and self.ppl:
            raise ValueError("--log-prob prints lines and --ppl a total; ask for one of them")
        if corpus_only or self.per_line or self.ref or self.metrics:
            raise ValueError(
                "--log-prob and --ppl read source<TAB>hypothesis; score against references "
                "in a second run"
            )

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics asked for, in the order of `METRIC_NAMES`."""
        return tuple(name for name in METRIC_NAMES if getattr(self, name))


METRIC_NAMES = ("bleu", "chrf", "chrfpp", "ter", "wer", "cer", "rouge", "exact_match")
