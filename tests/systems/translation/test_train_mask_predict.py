"""`attn train-mt --decoder mask-predict`, and its models in the commands for translators."""

from __future__ import annotations

import json
import math
import signal

import numpy as np
import pytest
import torch
from program import TINY, attn, inside, write_reversal
from torch.nn import functional as F

from attn_cli.data.masking import any_number
from attn_cli.data.padding import pad
from attn_cli.models import build_model
from attn_cli.models.mask_predict import MaskPredictConfig
from attn_cli.systems.translation.mask_predict_training import (
    MaskedPairReader,
    MaskedPairs,
    MaskPredictObjective,
)
from attn_cli.systems.translation.pairs import PairReader, Seq2SeqBatch
from attn_cli.train.monitor import Monitor

SMALL = (*TINY, "--type", "bpe", "--vocab-size", 36, "--metric", "loss", "--warmup", 5)
MASKED = ("--decoder", "mask-predict")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_reversal(tmp_path_factory.mktemp("corpus") / "train.tsv", 300, seed=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory, corpus):
    """A model that has learnt next to nothing."""
    folder = tmp_path_factory.mktemp("masked") / "model"
    inside("train-mt", corpus, "-o", folder, *MASKED, *SMALL, "--max-steps", 4)
    return folder


def test_any_number_of_tokens_is_hidden_each_as_often_as_any_other():
    rng = np.random.default_rng(1)
    lengths = np.array([0, 1, 3, 5] * 4000)
    hidden = any_number(lengths, 6, rng).reshape(4000, 4, 6)
    assert not hidden[:, 0].any()
    assert hidden[:, 1].sum(1).tolist() == [1] * 4000
    for row, size in ((2, 3), (3, 5)):
        assert not hidden[:, row, size:].any()
        counts = np.bincount(hidden[:, row].sum(1), minlength=size + 1)
        assert counts[0] == 0
        np.testing.assert_allclose(counts[1:] / 4000, 1 / size, atol=0.03)
        share = hidden[:, row, :size].mean(0)
        np.testing.assert_allclose(share, (size + 1) / 2 / size, atol=0.03)
    pairs = hidden[:, 2][hidden[:, 2].sum(1) == 2][:, :3]
    np.testing.assert_allclose(1 - pairs.mean(0), 1 / 3, atol=0.06)  # any one may be left


def plain_batch():
    src_ids, src_mask = pad([[3, 4, 5, 2], [6, 7, 2], [9, 2]], 0)
    tgt_ids, tgt_mask = pad([[1, 5, 4, 3, 2], [1, 7, 6, 2], [1, 2]], 0)
    return Seq2SeqBatch(src_ids, src_mask, tgt_ids, tgt_mask[:, 1:])


def masked_batches(monkeypatch, seed, count=1):
    monkeypatch.setattr(PairReader, "cut", lambda *_: [plain_batch() for _ in range(count)])
    return MaskedPairReader.cut(object.__new__(MaskedPairReader), [], seed)


def test_batches_hide_tokens_of_the_target_alone_and_follow_the_seed(monkeypatch):
    batches = masked_batches(monkeypatch, 5, count=50)
    again = masked_batches(monkeypatch, 5, count=50)
    assert all(torch.equal(a.tgt_mask, b.tgt_mask) for a, b in zip(batches, again, strict=True))
    other = masked_batches(monkeypatch, 6, count=50)
    assert any(not torch.equal(a.tgt_mask, b.tgt_mask) for a, b in zip(batches, other, strict=True))
    assert len({tuple(batch.masked.flatten().tolist()) for batch in batches}) > 5
    for batch in batches:
        assert isinstance(batch, MaskedPairs)
        assert batch.lengths.tolist() == [3, 2, 0]
        assert batch.valid.sum(1).tolist() == [3, 2, 0]
        assert not (batch.masked & ~batch.valid).any()
        assert batch.masked.any(1).tolist() == [True, True, False]
        assert batch.tokens[batch.valid].tolist() == [5, 4, 3, 7, 6]
        assert batch.n_tokens == int(batch.masked.sum()) + 3
        assert batch.n_read == 5
        assert batch.rows(slice(1, 3)).lengths.tolist() == [2, 0]
        assert batch.to(torch.device("cpu")).n_tokens == batch.n_tokens
        assert batch.without_targets().n_tokens == 0


def objective():
    torch.manual_seed(3)
    config = MaskPredictConfig(
        d_model=8,
        d_ff=16,
        n_heads=2,
        n_encoder_layers=1,
        n_decoder_layers=1,
        src_vocab=12,
        tgt_vocab=12,
        share_embeddings=True,
        dropout=0.0,
        n_lengths=3,
    )
    return MaskPredictObjective(build_model("mask-predict", config), 0.1)


def test_the_loss_is_the_cross_entropy_of_hidden_tokens_and_of_lengths(monkeypatch):
    (batch,) = masked_batches(monkeypatch, 5)
    learner = objective()
    loss, nll = learner(batch)
    model = learner.model
    weight, bias = model.output_layer
    expected, plain = torch.zeros(()), torch.zeros(())
    for row, length in enumerate((3, 2, 0)):
        source = batch.src_ids[row : row + 1], batch.src_mask[row : row + 1]
        inner = batch.tokens[row : row + 1, :length]
        hidden = batch.masked[row : row + 1, :length]
        vectors, lengths = model(*source, inner, hidden, torch.ones_like(hidden))
        logits, gold = (vectors[hidden] @ weight.t() + bias), inner[hidden]
        expected += F.cross_entropy(logits, gold, reduction="sum", label_smoothing=0.1)
        plain += F.cross_entropy(logits, gold, reduction="sum")
        # Three lengths are told apart, 0, 1 and at least 2.
        asked = F.cross_entropy(lengths, torch.tensor([min(length, 2)]), reduction="sum")
        expected, plain = expected + asked, plain + asked
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(nll, plain, rtol=1e-5, atol=1e-5)
    loss.backward()
    assert all(float(weight.grad.abs().sum()) > 0 for weight in learner.parameters())
    idle, _ = objective()(batch.without_targets())
    assert idle.item() == 0


def test_a_stopped_training_ends_as_an_uninterrupted_one(tmp_path, corpus, monkeypatch):
    def command(folder):
        limits = ("--batch-tokens", 150, "--max-steps", 12, "--validate-every", 6, "--dropout", 0.1)
        return ("train-mt", corpus, "-o", tmp_path / folder, *MASKED, *SMALL, *limits)

    inside(*command("whole"))
    step = Monitor.step

    def stopping(self, progress, *rest):
        step(self, progress, *rest)
        if progress.step in (4, 9):
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "step", stopping)
        inside(*command("parts"), status=130)
        inside(*command("parts"), status=130)
        assert "continuing after step 9" in inside(*command("parts")).said
    for name in ("model.safetensors", "config.json"):
        one, other = ((tmp_path / folder / name).read_bytes() for folder in ("whole", "parts"))
        assert one == other, name


LINES = ["banu kera", "", "limo", "moვo ☃", "kevo lira monu baba\tpassed\ton", "mo"]


def test_one_line_in_one_line_out_through_real_pipes(model):
    stdin = "".join(f"{line}\n" for line in LINES).encode()
    run = attn("decode", "-m", model, "--scores", "--align", stdin=stdin)
    answers = [line.split("\t") for line in run.lines]
    assert len(answers) == len(LINES)
    assert answers[1] == ["", "", ""]
    assert answers[4][3:] == ["passed", "on"]
    for number in (0, 2, 3, 4, 5):
        words = len(LINES[number].split("\t")[0].split())
        assert float(answers[number][1]) < 0
        links = [tuple(map(int, link.split("-"))) for link in answers[number][2].split()]
        assert [target for _, target in links] == list(range(len(answers[number][0].split())))
        assert all(source < words for source, _ in links)
    by_one = inside("decode", "-m", model, "--scores", "--align", "--buffer", 1, stdin=stdin)
    assert [line.split("\t")[0] for line in by_one.lines] == [answer[0] for answer in answers]


def test_lists_scores_and_long_lines(model):
    long = " ".join(["banu kera limo ."] * 150)
    run = inside(
        *("decode", "-m", model, "--n-best", 3, "--format", "json", "--iterations", 2),
        stdin=f"banu kera\n{long}\n".encode(),
    )
    first, second = map(json.loads, run.lines)
    assert "long line, decoded in" in run.said
    assert len(first["hypotheses"]) == 3
    scores = [one["score"] for one in first["hypotheses"]]
    assert scores == sorted(scores, reverse=True)
    assert all(one["log_prob"] <= one["score"] < 0 for one in first["hypotheses"])
    assert math.isfinite(second["hypotheses"][0]["log_prob"])


def test_refusals_name_the_option_and_the_reason(model, corpus, tmp_path):
    run = inside("decode", "-m", model, "--sample", stdin=b"ba\n", status=2)
    assert "--sample: a mask-predict model writes all words at once" in run.said
    for flag in ("--ppl", "--log-prob"):
        run = inside("score", flag, "-m", model, stdin=b"ba\tke\n", status=2)
        assert "has no P(target | source)" in run.said
    train = ("train-mt", corpus, "-o", tmp_path / "none", *SMALL, "--max-steps", 1, *MASKED)
    bad = {
        ("--professor-forcing", 1): "leave out --professor-forcing",
        ("--scheduled-sampling", "linear"): "leave out --scheduled-sampling",
        ("--head-penalty", 0.1): "leave out --head-penalty",
    }
    for arguments, why in bad.items():
        assert why in inside(*train, *arguments, status=2).said
    plain = (*train[:4], *MASKED, "--arch", "rnn")
    assert "--decoder mask-predict needs --arch transformer" in inside(*plain, status=2).said


def test_attention_over_source_and_target_can_be_drawn(model):
    run = inside("attend", "-m", model, "--format", "tsv", stdin=b"banu kera\n")
    assert len(run.lines) > 1
    for kind in ("encoder", "decoder"):
        run = inside("attend", "-m", model, "--kind", kind, "--format", "tsv", stdin=b"banu kera\n")
        sums = {}
        for line in filter(None, run.lines):
            number, layer, head, row, *_, weight = line.split("\t")
            key = (number, layer, head, row)
            sums[key] = sums.get(key, 0.0) + float(weight)
        assert sums
        assert all(total == pytest.approx(1, abs=1e-3) for total in sums.values())


def test_vectors_and_a_further_training_start_from_such_a_model(model, corpus, tmp_path):
    run = inside("embed", "-m", model, "--pool", "mean", stdin=b"banu kera\nlimo\n")
    assert len(run.lines) == 2
    command = ("train-mt", corpus, "-o", tmp_path / "more", "--init", model, "--metric", "loss")
    inside(*command, "--max-steps", 1, "--threads", 1, "--device", "cpu")
    config = json.loads((tmp_path / "more" / "config.json").read_text())
    assert (config["arch"], config["task"]) == ("mask-predict", "mask-predict")
    assert config["model"]["n_lengths"] == 256  # as many as --max-len


@pytest.mark.slow
def test_a_small_model_learns_to_reverse_sentences_all_words_at_once(tmp_path):
    corpus = write_reversal(tmp_path / "train.tsv", 1200, seed=3)
    recipe = ("--dropout", 0, "--batch-tokens", 600, "--ema", 0.97, "--metric", "bleu")
    limits = ("--max-steps", 400, "--warmup", 30, "--validate-every", 200)
    inside("train-mt", corpus, "-o", tmp_path / "m", *MASKED, *SMALL[:-4], *recipe, *limits)
    (log,) = (tmp_path / "m").glob("train.jsonl")
    bleu = [json.loads(line)["dev_bleu"] for line in log.read_text().splitlines()]
    assert bleu[-1] > 80
    unseen = write_reversal(tmp_path / "test.tsv", 200, seed=99)
    totals = []
    for arguments in (("--iterations", 1), (), ("--greedy",)):
        run = inside("decode", "-m", tmp_path / "m", "--threads", 1, "--scores", *arguments, unseen)
        rows = [line.split("\t") for line in run.lines]
        assert sum(text == reference for text, _, reference in rows) >= 180
        totals.append(sum(float(log_prob) for _, log_prob, _ in rows))
    assert totals[1] >= totals[0] - 1e-6  # passes over an output make it likelier, or hold it
