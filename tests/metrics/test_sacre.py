"""BLEU, chrF and TER: sacreBLEU's numbers, by its own command line and the figures it published."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys

import pytest

from attn_cli.config.scoring import MetricOptions
from attn_cli.errors import UsageError
from attn_cli.metrics.base import Segment
from attn_cli.metrics.sacre import Bleu, Chrf, ChrfPlusPlus, Ter
from attn_cli.metrics.significance import Resampling

PLAIN = Resampling(seed=12345)
WORDS = ["the", "a", "cat", "dog", "sat", "on", "mat", ",", "ran", "over", "."]


def corpus(n_lines=40, n_references=1, seed=0):
    generator = random.Random(seed)

    def sentence():
        return " ".join(generator.choices(WORDS, k=generator.randint(3, 12)))

    def noisy(text):
        return " ".join(
            w if generator.random() < 0.7 else generator.choice(WORDS) for w in text.split()
        )

    result = []
    for _ in range(n_lines):
        references = tuple(sentence() for _ in range(n_references))
        result.append(Segment(noisy(references[0]), references, noisy(references[0])))
    return result


def sacrebleu_json(tmp_path, segments, *arguments):
    (tmp_path / "hyp").write_text("".join(f"{s.hypothesis}\n" for s in segments))
    paths = []
    for i in range(len(segments[0].references)):
        paths.append(tmp_path / f"ref{i}")
        paths[-1].write_text("".join(f"{s.references[i]}\n" for s in segments))
    command = [sys.executable, "-m", "sacrebleu", *paths, "-i", tmp_path / "hyp", "-w", "6"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("n_references", [1, 3])
def test_scores_and_signatures_are_those_of_the_sacrebleu_command(tmp_path, n_references):
    segments = corpus(n_references=n_references)
    told = sacrebleu_json(tmp_path, segments, "-m", "bleu", "chrf", "ter")
    options = MetricOptions()
    for theirs, metric in zip(told, (Bleu(options), Chrf(options), Ter(options)), strict=True):
        (ours,) = metric.corpus(segments, PLAIN)
        assert ours.value == pytest.approx(theirs["score"], abs=1e-6)
        assert (ours.name, ours.signature) == (theirs["name"], theirs["signature"])


def test_bootstrap_interval_is_the_one_of_sacrebleu_confidence(tmp_path):
    segments = corpus()
    theirs = sacrebleu_json(tmp_path, segments, "--confidence", "--confidence-n", "200")
    (ours,) = Bleu(MetricOptions()).corpus(segments, Resampling(seed=12345, samples=200))
    assert ours.interval.mean == pytest.approx(theirs["confidence_mean"], abs=1e-6)
    assert ours.interval.half_width == pytest.approx(theirs["confidence_var"], abs=1e-6)
    assert ours.signature == theirs["signature"]


def test_another_seed_draws_another_interval_and_leaves_the_environment_alone(monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    import os

    metric, segments = Bleu(MetricOptions()), corpus()
    one, again, other = (
        metric.corpus(segments, Resampling(seed, samples=50))[0].interval for seed in (1, 1, 2)
    )
    assert one == again != other
    assert os.environ["SACREBLEU_SEED"] == "7"


@pytest.mark.parametrize("test", ["bs", "ar"])
def test_p_values_are_those_of_the_sacrebleu_command(tmp_path, test):
    segments = corpus(n_lines=30)
    for name, lines in (
        ("ref", [s.references[0] for s in segments]),
        ("base", [s.baseline for s in segments]),
        ("system", [s.hypothesis for s in segments]),
    ):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    command = [sys.executable, "-m", "sacrebleu", tmp_path / "ref", f"--paired-{test}"]
    command += ["-i", tmp_path / "base", tmp_path / "system", "-f", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    base, system = json.loads(done.stdout)
    (ours,) = Bleu(MetricOptions()).corpus(segments, PLAIN, compare=True)
    p_value = {"bs": ours.comparison.p_bootstrap, "ar": ours.comparison.p_randomization}[test]
    assert p_value == pytest.approx(system["BLEU"]["p_value"])
    assert ours.comparison.baseline == pytest.approx(base["BLEU"]["score"])


def test_lines_may_have_different_numbers_of_references():
    from sacrebleu.metrics import BLEU

    segments = [
        Segment("the cat sat on the mat", ("a cat sat on the mat", "the cat sat on a mat")),
        Segment("a dog ran over the mat", ("the dog ran over the mat",)),
    ]
    streams = [[s.references[0] for s in segments], ["the cat sat on a mat", None]]
    expected = BLEU().corpus_score([s.hypothesis for s in segments], streams).score
    (ours,) = Bleu(MetricOptions()).corpus(segments, PLAIN)
    assert ours.value == pytest.approx(expected)
    assert "nrefs:var" in ours.signature


def test_single_lines_use_effective_order():
    from sacrebleu.metrics import BLEU

    segment = Segment("the cat", ("the cat",))
    assert Bleu(MetricOptions()).line(segment) == [pytest.approx(100.0)]
    assert BLEU().sentence_score(segment.hypothesis, segment.references).score == 0.0


def test_lowercase_and_tokenize_are_read():
    segments = [Segment("The Cat sat on the mat", ("the cat sat on the mat",))]
    (mixed,) = Bleu(MetricOptions()).corpus(segments, PLAIN)
    (lower,) = Bleu(MetricOptions(lowercase=True, tokenize="char")).corpus(segments, PLAIN)
    assert mixed.value < 100 and lower.value == pytest.approx(100)
    assert "case:lc" in lower.signature and "tok:char" in lower.signature


def test_a_tokenizer_that_would_be_downloaded_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sacrebleu.SACREBLEU_DIR", str(tmp_path))
    with pytest.raises(UsageError, match="no network"):
        Bleu(MetricOptions(tokenize="flores200")).corpus(corpus(2), PLAIN)


@pytest.mark.parametrize("system", ["online-A.0", "online-B.0", "uedin-nmt.4722"])
def test_published_figures_of_wmt17(data_dir, system):
    """With online-A's byte-order mark; `attn score` drops it and prints 20.7967, not 20.7965."""
    folder = data_dir / "metrics" / "wmt17_en_de"
    with (folder / "expected_sacrebleu_2.6.0.tsv").open(encoding="utf-8") as file:
        (row,) = (r for r in csv.DictReader(file, delimiter="\t") if r["system"] == system)
    hypotheses, references = (
        (folder / name).read_bytes().decode("utf-8").removesuffix("\n").split("\n")
        for name in (f"{system}.de", "reference.de")
    )
    segments = [Segment(h, (r,)) for h, r in zip(hypotheses, references, strict=True)]
    (bleu,) = Bleu(MetricOptions()).corpus(segments, PLAIN)
    (chrf,) = Chrf(MetricOptions()).corpus(segments, PLAIN)
    assert f"{bleu.value:.4f}" == row["bleu"]
    assert f"{chrf.value:.4f}" == row["chrf2"]
    assert "/".join(f"{p:.4f}" for p in bleu.details["precisions"]) == row["precisions"]
    assert (str(bleu.details["hyp_len"]), str(bleu.details["ref_len"])) == (
        row["sys_len"],
        row["ref_len"],
    )


@pytest.mark.slow
@pytest.mark.parametrize("system", ["online-A.0", "online-B.0", "uedin-nmt.4722"])
def test_published_ter_and_chrfpp_of_wmt17(data_dir, system):
    folder = data_dir / "metrics" / "wmt17_en_de"
    with (folder / "expected_sacrebleu_2.6.0.tsv").open(encoding="utf-8") as file:
        (row,) = (r for r in csv.DictReader(file, delimiter="\t") if r["system"] == system)
    hypotheses, references = (
        (folder / name).read_bytes().decode("utf-8").removesuffix("\n").split("\n")
        for name in (f"{system}.de", "reference.de")
    )
    segments = [Segment(h, (r,)) for h, r in zip(hypotheses, references, strict=True)]
    (ter,) = Ter(MetricOptions()).corpus(segments, PLAIN)
    (chrfpp,) = ChrfPlusPlus(MetricOptions()).corpus(segments, PLAIN)
    (lower,) = Bleu(MetricOptions(lowercase=True)).corpus(segments, PLAIN)
    assert f"{ter.value:.4f}" == row["ter"]
    assert f"{chrfpp.value:.4f}" == row["chrf2pp"]
    assert f"{lower.value:.4f}" == row["bleu_lc"]


@pytest.mark.parametrize("metric", [Bleu, Chrf, ChrfPlusPlus, Ter])
def test_windows_of_lines_give_the_figures_of_the_whole(metric):
    """To the last bit where counts are whole numbers; intervals too, which sacreBLEU rounds."""
    segments = corpus(n_lines=600, n_references=2)
    segments[300:] = [Segment(s.hypothesis, s.references[:1], s.baseline) for s in segments[300:]]
    ours = metric(MetricOptions())
    (score,) = ours.corpus(segments, Resampling(seed=12345, samples=40), compare=True)
    theirs = ours.build(one_line=False)
    streams = [
        [s.references[i] if i < len(s.references) else None for s in segments] for i in (0, 1)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SACREBLEU_SEED", "12345")
        whole = theirs.corpus_score([s.hypothesis for s in segments], streams, n_bootstrap=40)
        told = json.loads(whole.format(width=12, signature=score.signature, is_json=True))
    assert score.value == pytest.approx(whole.score, rel=1e-14)
    assert score.interval.mean == pytest.approx(told["confidence_mean"], rel=1e-6)
    assert score.interval.half_width == pytest.approx(told["confidence_var"], rel=1e-6)
    assert score.signature == str(theirs.get_signature().format())
    other = theirs.corpus_score([s.baseline for s in segments], streams)
    assert score.comparison.baseline == pytest.approx(other.score, rel=1e-14)
