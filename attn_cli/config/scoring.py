"""Options of `attn score`: which metrics, how text is taken, what is printed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attn_cli.config import option
from attn_cli.config.command import Command, group
from attn_cli.config.runtime import DeviceOptions, ModelOptions, SpeechOptions, StreamOptions

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
_SENTENCE_MARK = "<n>"
SCHEMES = ("auto", "bio", "bioes", "iob1", "lenient")

METRIC_NAMES = (
    *("bleu", "chrf", "chrfpp", "ter", "wer", "cer", "rouge", "rouge_lsum", "exact_match"),
    *("accuracy", "f1", "multilabel_f1", "mcc", "span_f1", "pearson", "spearman", "squad"),
)
DEFAULT_METRICS = ("bleu", "chrf")
# One line alone has no such figure.
_CORPUS_METRICS = ("f1", "mcc", "pearson", "spearman")
# A blank line is no item of theirs but the end of a sentence (CoNLL).
_LABEL_METRICS = ("accuracy", "f1", "mcc", "span_f1")
# What --confusion counts where no metric is named.
_OF_LABELS = ("accuracy", "f1")
# Metrics with a table of classes.
_TABLE_METRICS = ("f1", "multilabel_f1", "span_f1")


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
    rouge_lsum: bool = option(
        False,
        "ROUGE-Lsum (rouge-score's rougeLsum), of summaries of several sentences: mean F1.",
        flag="--rouge-lsum",
    )
    exact_match: bool = option(
        False, "Share of hypotheses that equal a reference, 0 to 1.", flag="--exact-match"
    )
    accuracy: bool = option(
        False, "Share of labels (or tags) that equal the gold one, 0 to 1.", flag="--accuracy"
    )
    f1: bool = option(False, "Macro and micro F1 over labels (or tags), 0 to 1.", flag="--f1")
    multilabel_f1: bool = option(
        False, "Macro and micro F1 over labels joined by commas, 0 to 1.", flag="--multilabel-f1"
    )
    mcc: bool = option(False, "Matthews correlation of labels (or tags), -1 to 1.", flag="--mcc")
    span_f1: bool = option(
        False,
        "F1, precision, recall of tagged spans: lines of tags, or CoNLL with blank lines.",
        flag="--span-f1",
    )
    scheme: str = option(
        "auto",
        "Spans: strict BIO or BIOES as seqeval, or IOB1 (auto: as the gold tags), or lenient as "
        "conlleval.",
        choices=SCHEMES,
    )
    tags: bool = option(
        False,
        "Accuracy, F1, MCC: a line is a sentence of tags; --span-f1 implies it.",
        flag="--tags",
    )
    pearson: bool = option(False, "Pearson correlation of numbers, -1 to 1.", flag="--pearson")
    spearman: bool = option(False, "Spearman rank correlation, -1 to 1.", flag="--spearman")
    squad: bool = option(
        False,
        "Exact match and F1 of answers as SQuAD's script, 0 to 100; --ref FILE.json is SQuAD's.",
        flag="--squad",
    )
    lowercase: bool = option(
        False, "Ignore case in BLEU, chrF, WER, CER and exact match.", flag="--lowercase"
    )
    normalize: bool = option(
        False,
        "WER, CER: ignore case, the amount of white space, and punctuation, which is a space "
        "(but not in don't, 3.5, 10:30); Unicode NFC.",
        flag="--normalize",
    )
    tokenize: str = option("13a", "BLEU's tokenizer.", choices=TOKENIZERS)
    stem: bool = option(True, "Stem English words for ROUGE (Porter).")
    sentence_mark: str = option(
        _SENTENCE_MARK,
        "What ends a sentence for --rouge-lsum, beside a line end in JSON; it is no word.",
    )

    @property
    def by_word(self) -> bool:
        """Whether labels are tags: several in a line, each an item of its own."""
        return self.tags or self.span_f1


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(MetricOptions):
    """What is compared with what, and what is printed."""

    ref: tuple[str, ...] = option(
        (),
        "Reference file, parallel to the hypotheses; repeat it for several references.",
        flag="--ref,-r",
        show="the TSV's further columns",
        place="FILE",
    )
    json: bool = option(False, "Print JSON with every detail.", flag="--json")
    signature: bool = option(False, "Add each metric's signature.", flag="--signature")
    report: bool = option(
        False,
        "Add a line for each class: precision, recall, F1, support; a header above.",
        flag="--report",
    )
    confusion: str | None = option(
        None,
        "Draw which label (or tag) was given for which: a .png, .svg or .pdf; accuracy and F1 if "
        "no metric is named.",
        show="none",
        place="FILE",
    )
    verbose: bool = option(False, "Say on stderr how many lines are scored.", flag="--verbose")
    per_line: bool = option(
        False, "Print one line of scores per input line, not the total.", flag="--per-line"
    )
    bootstrap: int | None = option(
        None,
        "Resamples for the mean and its 95% interval, mean - ci95_half_width to mean + it.",
        low=2,
        high=1_000_000,
        show="none",
    )
    baseline: str | None = option(
        None,
        "Hypotheses of another system: is the difference significant (p < 0.05 by paired bootstrap "
        "and by approximate randomization)? Ties count against it (Riezler and Maxwell 2005); "
        "sacreBLEU counts them for it: its p-values are smaller where systems hardly differ.",
        show="none",
        place="FILE",
    )
    compare: str | None = option(
        None,
        "Hypotheses of another system: where does it differ? BLEU by length, F1 of words by "
        "frequency, and the lines that differ most.",
        show="none",
        place="FILE",
    )
    plot: str | None = option(
        None,
        "Draw what --compare tells, too: a .png, .svg or .pdf.",
        show="none",
        place="FILE",
    )
    compare_lines: int = option(
        5, "Lines of --compare that either system does best.", low=0, high=1000, rare=True
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
        self._check_labels()
        self._check_compare()
        if not (self.log_prob or self.ppl):
            return
        if self.log_prob and self.ppl:
            raise ValueError("--log-prob prints lines and --ppl a total; ask for one of them")
        if corpus_only or self.per_line or self.ref or self.metrics:
            raise ValueError(
                "--log-prob and --ppl read source<TAB>hypothesis; score against references "
                "in a second run"
            )

    def _check_compare(self) -> None:
        if self.compare is None and (self.plot is not None or self.compare_lines != 5):
            raise ValueError("--plot and --compare-lines say how --compare tells; name its FILE")
        if self.compare is None:
            return
        flags = ("confusion", "bootstrap", "baseline", "signature", "per_line", "log_prob", "ppl")
        others = [name for name in flags if getattr(self, name)]
        others += [name for name in self.metrics if name != "bleu"]
        if others:
            flag = others[0].replace("_", "-")
            raise ValueError(f"--compare is of BLEU alone; leave --{flag} to a second run")

    def _check_labels(self) -> None:
        alone = [f"--{name}" for name in _CORPUS_METRICS if getattr(self, name)]
        if self.per_line and alone:
            raise ValueError(f"{alone[0]} is a figure of many lines; --per-line has none")
        if self.per_line and self.span_f1 and self.scheme == "auto":
            raise ValueError("--per-line can't see how other lines are tagged; name the --scheme")
        if self.f1 and self.multilabel_f1:
            raise ValueError("--f1 takes one label a line, --multilabel-f1 several; ask for one")
        if self.report and (self.per_line or not set(self.metrics) & set(_TABLE_METRICS)):
            raise ValueError("--report is the table of a total --f1, --multilabel-f1 or --span-f1")
        if self.confusion and (self.per_line or not self.labels_only):
            raise ValueError(
                "--confusion draws labels: beside it stand --accuracy, --f1, --mcc or --span-f1"
            )
        if self.normalize and not (self.wer or self.cer):
            raise ValueError("--normalize says what --wer and --cer compare; name one of them")
        if not self.sentence_mark:
            raise ValueError("--sentence-mark is what ends a sentence, such as <n> or <q>")
        if self.sentence_mark != _SENTENCE_MARK and not self.rouge_lsum:
            raise ValueError("--sentence-mark says where --rouge-lsum ends a sentence; add that")
        if self.tags and not set(self.metrics) & set(_LABEL_METRICS):
            raise ValueError("--tags says what --accuracy, --f1 or --mcc count; name one of them")

    @property
    def labels_only(self) -> bool:
        """Whether every figure is one of labels, for which a blank line is no item."""
        return bool(self.metrics) and set(self.metrics) <= set(_LABEL_METRICS)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics asked for, in the order of `METRIC_NAMES`."""
        named = tuple(name for name in METRIC_NAMES if getattr(self, name))
        return named or (_OF_LABELS if self.confusion else ())


@dataclass(frozen=True, kw_only=True)
class ScoreCommand(Command):
    """All options of `attn score`."""

    name: ClassVar[str] = "score"

    scoring: ScoreOptions = group(ScoreOptions, "Scores")
    model: ModelOptions = group(ModelOptions, "Model")
    stream: StreamOptions = group(StreamOptions, "Lines")
    device: DeviceOptions = group(DeviceOptions, "Running")
    speech: SpeechOptions = group(SpeechOptions, "Running")
