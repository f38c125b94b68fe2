"""BLEU, chrF, chrF++ and TER: sacreBLEU counts, resamples and signs; nothing is counted here."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from attn_cli.errors import UsageError
from attn_cli.metrics.base import Metric, Score, Segment
from attn_cli.metrics.significance import Comparison, Interval, Resampling

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric as SacreBleuMetric
    from sacrebleu.metrics.base import Score as SacreBleuScore


class SacreMetric(Metric):
    """A metric of sacreBLEU (Post 2018), through its public interface."""

    decimals = 4

    @abstractmethod
    def build(self, *, one_line: bool) -> SacreBleuMetric:
        """The sacreBLEU metric, set up for single lines or for a corpus."""

    def line(self, segment: Segment) -> list[float]:
        """Scores one line, as `sacrebleu --sentence-level` does."""
        score = self._for_lines.sentence_score(segment.hypothesis, segment.references)
        return [float(score.score)]

    def corpus(
        self, segments: Sequence[Segment], resampling: Resampling, *, compare: bool = False
    ) -> list[Score]:
        """Scores a corpus of at least one line; see `Metric.corpus`."""
        metric = self.build(one_line=False)
        hypotheses = [segment.hypothesis for segment in segments]
        # sacreBLEU wants a stream per reference; None where a line has fewer than others.
        streams = list(zip_longest(*(segment.references for segment in segments)))
        n_samples = resampling.samples or 1
        with _sacrebleu_seed(resampling.seed):
            score = metric.corpus_score(hypotheses, streams, n_bootstrap=n_samples)
        signature = str(metric.get_signature().format())
        interval = comparison = None
        if resampling.samples:  # a score's JSON form alone makes its estimate public
            told = json.loads(score.format(width=12, signature=signature, is_json=True))
            interval = Interval(told.get("confidence_mean", 0.0), told.get("confidence_var", 0.0))
        if compare:
            systems = [("baseline", [segment.baseline for segment in segments])]
            systems.append(("system", hypotheses))
            comparison = _compare(metric, systems, streams, resampling)
        details = self._details(score)
        value = float(score.score)
        return [
            Score(self.names[0], value, signature, interval, comparison, details, self.decimals)
        ]

    def _details(self, score: SacreBleuScore) -> dict[str, object]:
        """The counts in a score worth telling a user, by name."""
        return {}

    @cached_property
    def _for_lines(self) -> SacreBleuMetric:
        return self.build(one_line=True)


class Bleu(SacreMetric):
    """BLEU (Papineni et al. 2002); single lines with effective order."""

    names = ("BLEU",)

    def build(self, *, one_line: bool) -> SacreBleuMetric:
        """The sacreBLEU metric with the user's tokenizer.

        Raises:
            UsageError: the tokenizer needs something that is not installed here.
        """
        from sacrebleu.metrics.bleu import BLEU

        _check_tokenizer_model(self._options.tokenize)
        try:
            return BLEU(
                lowercase=self._options.lowercase,
                tokenize=self._options.tokenize,
                effective_order=one_line,
            )
        except (RuntimeError, ImportError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"--tokenize {self._options.tokenize}: {reason}") from error

    def _details(self, score: SacreBleuScore) -> dict[str, object]:
        """Precisions, brevity penalty and lengths."""
        from sacrebleu.metrics.bleu import BLEUScore

        assert isinstance(score, BLEUScore)
        return {
            "precisions": [float(precision) for precision in score.precisions],
            "bp": float(score.bp),
            "hyp_len": int(score.sys_len),
            "ref_len": int(score.ref_len),
        }


class Chrf(SacreMetric):
    """ChrF (Popović 2015): F2 of character n-grams up to 6."""

    names = ("chrF2",)
    word_order = 0

    def build(self, *, one_line: bool) -> SacreBleuMetric:
        """The sacreBLEU metric; lines and corpora are counted alike."""
        from sacrebleu.metrics.chrf import CHRF

        return CHRF(word_order=self.word_order, lowercase=self._options.lowercase)


class ChrfPlusPlus(Chrf):
    """ChrF++ (Popović 2017): with word unigrams and bigrams."""

    names = ("chrF2++",)
    word_order = 2


class Ter(SacreMetric):
    """Translation edit rate (Snover et al. 2006), not case-sensitive, as Tercom's default."""

    names = ("TER",)

    def build(self, *, one_line: bool) -> SacreBleuMetric:
        """The sacreBLEU metric; lines and corpora are counted alike."""
        from sacrebleu.metrics.ter import TER

        return TER()

    def _details(self, score: SacreBleuScore) -> dict[str, object]:
        """Edits, and the mean reference length they are divided by."""
        from sacrebleu.metrics.ter import TERScore

        assert isinstance(score, TERScore)
        return {"edits": int(score.num_edits), "ref_len": float(score.ref_length)}


def _check_tokenizer_model(name: str) -> None:
    """Refuses a tokenizer whose model sacreBLEU would download: attn never uses the network."""
    if not name.startswith("flores"):
        return
    from sacrebleu import SACREBLEU_DIR
    from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS

    url = SPM_MODELS[name]["url"]
    path = Path(SACREBLEU_DIR, "models", Path(url).name)
    if not path.exists():
        raise UsageError(
            f"--tokenize {name} needs a model that is not here, and attn uses no network; "
            f"put {url} at {path}, or set $SACREBLEU to a directory that has it"
        )


@contextmanager
def _sacrebleu_seed(seed: int) -> Iterator[None]:
    """Sets the seed in the only place where sacreBLEU looks for it."""
    before = os.environ.get("SACREBLEU_SEED")
    os.environ["SACREBLEU_SEED"] = str(seed)
    try:
        yield
    finally:
        del os.environ["SACREBLEU_SEED"]
        if before is not None:
            os.environ["SACREBLEU_SEED"] = before


def _compare(
    metric: SacreBleuMetric,
    systems: Sequence[tuple[str, list[str]]],
    streams: Sequence[Sequence[str]],
    resampling: Resampling,
) -> Comparison:
    """The paired bootstrap and approximate randomization of one metric, as sacreBLEU does them."""
    from sacrebleu.significance import PairedTest, Result

    samples = {"bs": resampling.samples or 0, "ar": 0}  # 0: sacreBLEU's default
    results: list[Result] = []  # of the baseline and of the system, by either test
    with _sacrebleu_seed(resampling.seed):
        for kind, n_samples in samples.items():
            _, scores = PairedTest([*systems], {"": metric}, streams, kind, n_samples)()
            (column,) = (column for name, column in scores.items() if name != "System")
            results += [result for result in column if isinstance(result, Result)]
    other, bootstrapped, _, randomized = results
    p_bootstrap, p_randomization = bootstrapped.p_value, randomized.p_value
    assert p_bootstrap is not None and p_randomization is not None
    return Comparison(float(other.score), float(p_bootstrap), float(p_randomization))
