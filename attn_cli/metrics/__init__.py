"""Measures of text against references: lines in, `Score`s out.

A new metric is one small class (see `base.CountMetric`), one entry here and one option of the same
name in `attn_cli.config.scoring`. Importing this room imports no library: the classes do when used.
"""

from __future__ import annotations

from attn_cli.metrics.base import Metric
from attn_cli.metrics.classification import F1, Accuracy, Mcc, MultilabelF1
from attn_cli.metrics.correlation import Pearson, Spearman
from attn_cli.metrics.exact import ExactMatch
from attn_cli.metrics.rouge import Rouge, RougeLsum
from attn_cli.metrics.sacre import Bleu, Chrf, ChrfPlusPlus, Ter
from attn_cli.metrics.spans import SpanF1
from attn_cli.metrics.squad import Squad
from attn_cli.metrics.wer import CharacterErrorRate, WordErrorRate

METRICS: dict[str, type[Metric]] = {
    "bleu": Bleu,
    "chrf": Chrf,
    "chrfpp": ChrfPlusPlus,
    "ter": Ter,
    "wer": WordErrorRate,
    "cer": CharacterErrorRate,
    "rouge": Rouge,
    "rouge_lsum": RougeLsum,
    "exact_match": ExactMatch,
    "accuracy": Accuracy,
    "f1": F1,
    "multilabel_f1": MultilabelF1,
    "mcc": Mcc,
    "span_f1": SpanF1,
    "pearson": Pearson,
    "spearman": Spearman,
    "squad": Squad,
}
