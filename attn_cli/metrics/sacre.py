"""BLEU, chrF, chrF++ and TER: sacreBLEU counts and signs; nothing is counted here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from attn_cli.errors import UsageError
from attn_cli.metrics.base import Metric, Segment
from attn_cli.metrics.significance import Resampling
from attn_cli.metrics.tally import CountTally, Tally

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric as SacreBleuMetric
    from sacrebleu.metrics.base import Score as SacreBleuScore


class SacreMetric(Metric):
    """A metric of sacreBLEU (Post 2018).

    Lines are counted and figures made of the counts by what sacreBLEU's metrics offer to its own
    significance tests; its public interface keeps the n-grams of all references, 60 KiB a line.
    """

    decimals = 4
    is_slow = True

    def prepare(self) -> None:
        """See `Metric.prepare`."""
        self._for_corpora  # noqa: B018 - built once it is asked for

    @abstractmethod
    def build(self, *, one_line: bool) -> SacreBleuMetric:
        """The sacreBLEU metric, set up for single lines or for a corpus."""

    def line(self, segment: Segment) -> list[float]:
        """Scores one line, as `sacrebleu --sentence-level` does."""
        score = self._for_lines.sentence_score(segment.hypothesis, segment.references)
        return [float(score.score)]

    def line_of(self, counts: Sequence[float]) -> float:
        """What `line` gives for a line of these counts (see `CountTally.counted`)."""
        return float(self._for_lines._compute_score_from_stats(list(counts)).score)  # noqa: SLF001

    def tally(self, *, systems: int = 1, keep: bool = False) -> CountTally:
        """An empty tally of lines; see `Metric.tally`."""
        return CountTally(
            self._counted,
            lambda totals: [self._score(totals).score],
            lambda totals: [self._details(self._score(totals))],
            precision="float32",  # sacreBLEU's
            systems=systems,
            keep=keep,
        )

    def signature(self, tally: Tally, resampling: Resampling) -> str:
        """SacreBLEU's own."""
        metric, counts = self._for_corpora, tally.n_references
        metric.num_refs = next(iter(counts)) if len(counts) == 1 else -1
        if resampling.samples:
            metric.n_bootstrap, metric.seed = resampling.samples, str(resampling.seed)
        return str(metric.get_signature().format())

    def _counted(
        self, hypotheses: Sequence[str], references: Sequence[tuple[str, ...]]
    ) -> list[list[float]]:
        # sacreBLEU wants a stream per reference; None where a line has fewer than others.
        streams = list(zip_longest(*references))
        counted: list[list[float]] = self._for_corpora._extract_corpus_statistics(  # noqa: SLF001
            hypotheses, streams
        )
        return counted

    def _score(self, totals: Sequence[float]) -> SacreBleuScore:
        score: SacreBleuScore = self._for_corpora._compute_score_from_stats(list(totals))  # noqa: SLF001
        return score

    def _details(self, score: SacreBleuScore) -> dict[str, object]:
        """The counts in a score worth telling a user, by name."""
        return {}

    @cached_property
    def _for_lines(self) -> SacreBleuMetric:
        return self.build(one_line=True)

    @cached_property
    def _for_corpora(self) -> SacreBleuMetric:
        return self.build(one_line=False)


class Bleu(SacreMetric):
    """BLEU (Papineni et al. 2002); single lines with effective order."""

    names = ("BLEU",)

    def words(self, text: str) -> list[str]:
        """The words of a text as they are counted."""
        words: str = self._for_corpora._preprocess_segment(text)  # noqa: SLF001
        return words.split()

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
                force=True,  # its warning of tokenized text is one of `Remarks`
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
    lower_is_better = True

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
