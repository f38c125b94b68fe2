"""Variants of the transformer: what they cost, what they learn from, and that the program has them.

That a variant decodes step by step as it computes at once is in `test_seq2seq`.
"""

from __future__ import annotations

import pytest
import torch
from program import TINY, inside, write_reversal
from torch.nn import functional as F

from attn_cli.config import from_dict
from attn_cli.config.attention import AttentionOptions
from attn_cli.data.padding import pad
from attn_cli.errors import DataError
from attn_cli.models.seq2seq import Transformer, TransformerConfig
from attn_cli.models.stack import Bert, Gpt, StackConfig
from attn_cli.nn.losses import hard_attention_loss, head_penalty
from attn_cli.systems.translation.likelihood import TranslationObjective
from attn_cli.systems.translation.pairs import Seq2SeqBatch

VARIANTS = [
    {"positions": "relative", "max_distance": 2},
    {"positions": "rotary", "attention": "general"},
    {"attention": "additive", "combine": "mean", "tie_key_value": True},
    {"attention": "cosine", "normalize": "sum", "positions": "sinusoidal-halves"},
    {"attention": "mean", "positions": "relative"},
]
SIZES = {"d_model": 12, "d_ff": 16, "n_heads": 3, "dropout": 0.0}


def transformer(**changes) -> Transformer:
    torch.manual_seed(23)
    layers = {"n_encoder_layers": 2, "n_decoder_layers": 1}
    vocabulary = {"src_vocab": 19, "tgt_vocab": 19, "share_embeddings": True}
    return Transformer(TransformerConfig(**{**SIZES, **layers, **vocabulary, **changes}))


def stack(kind, **changes):
    torch.manual_seed(29)
    config = StackConfig(**{**SIZES, "vocab_size": 19, "n_layers": 2, "n_segments": 0, **changes})
    return kind(config).eval()


def texts(count: int, longest: int, seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(2, longest + 1, (count,), generator=generator).tolist()
    return [torch.randint(2, 19, (n,), generator=generator).tolist() for n in sizes]


def unread(gpt):
    """The state of one text of which nothing was read."""
    return gpt.read(torch.zeros(1, 0, dtype=torch.long), torch.tensor([0]))[1]


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_a_language_model_reads_beginnings_of_different_lengths_at_once(variant):
    """Their vectors are those of each text alone, and what follows them, too."""
    gpt, rows = stack(Gpt, **variant), [row + [5, 6] for row in texts(4, 9, seed=2)]
    for begun in ([3, 1, 0, 2], [2, 2, 2, 2], [0, 0, 0, 0]):
        parts = [row[:n][::-1] for row, n in zip(rows, begun, strict=True)]
        ids = pad(parts, 0)[0].flip(1)
        hidden, state = gpt.read(ids, torch.tensor(begun))
        following = torch.tensor([[7, 5], [3, 9], [8, 2], [4, 6]])
        for at in range(2):
            logits, state = gpt.step(state, following[:, at : at + 1])
        for n, row in enumerate(rows):
            whole = torch.tensor([[*row[: begun[n]], *following[n].tolist()]])
            wanted = gpt(whole, torch.ones_like(whole, dtype=torch.bool))[0]
            near = {"atol": 2e-5, "rtol": 1e-4}
            read = hidden[n, hidden.shape[1] - begun[n] :]
            torch.testing.assert_close(read, wanted[: begun[n]], **near)
            last = F.linear(wanted[-1], *gpt.output_layer)
            torch.testing.assert_close(logits[n, 0], last, **near)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_a_language_model_steps_as_it_reads(variant):
    gpt, rows = stack(Gpt, **variant), texts(3, 7, seed=1)
    state, logits = unread(gpt), {}
    entered: list[int] = []
    for at in range(12):  # rows enter one after the other, so that their places differ
        if at % 2 == 0 and len(entered) < len(rows):
            state = state.merge(unread(gpt)) if entered else state
            entered.append(at)
        tokens = [[rows[n][min(at - first, len(rows[n]) - 1)]] for n, first in enumerate(entered)]
        found, state = gpt.step(state, torch.tensor(tokens))
        for n, first in enumerate(entered):
            logits[n, at - first] = found[n, 0]
    for n, row in enumerate(rows):
        ids = torch.tensor([row])
        hidden = gpt(ids, torch.ones_like(ids, dtype=torch.bool))
        wanted = F.linear(hidden, *gpt.output_layer)[0]
        steps = torch.stack([logits[n, t] for t in range(len(row))])
        torch.testing.assert_close(steps, wanted, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_a_padded_text_is_encoded_as_it_is_alone(variant):
    bert, rows = stack(Bert, **variant), texts(3, 7, seed=3)
    ids, mask = pad(rows, 0)
    batch = bert(ids, mask)
    for n, row in enumerate(rows):
        one = torch.tensor([row])
        alone = bert(one, torch.ones_like(one, dtype=torch.bool))[0]
        torch.testing.assert_close(batch[n, : len(row)], alone, atol=2e-5, rtol=1e-4)


def test_the_defaults_have_the_weights_that_saved_models_have():
    names = {name.rsplit("attention.", 1)[-1] for name, _ in transformer().named_parameters()}
    assert {"in_weight", "in_bias", "out_proj.weight", "out_proj.bias"} <= names
    assert not [name for name in names if "score" in name or "positions" in name]


@pytest.mark.parametrize("variant", [*VARIANTS, {"projections": "none"}])
def test_every_weight_of_a_variant_learns(variant):
    model = transformer(**variant)
    src, tgt = pad(texts(4, 8, seed=5), 0), pad(texts(4, 8, seed=6), 0)
    hidden = model(*src, tgt[0]).hidden
    F.linear(hidden, *model.output_layer).logsumexp(-1).square().sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        if variant.get("attention") != "mean":
            assert weight.grad.any(), name


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"positions": "rotary", "d_model": 9}, "heads of even width, not 3"),
        ({"projections": "none", "combine": "mean"}, "combine mean needs learned"),
        ({"projections": "none", "tie_key_value": True}, "nothing to tie"),
        ({"n_heads": 5}, "d_model 12 is not a multiple of n_heads 5"),
        ({"attention": "cosin"}, "did you mean cosine"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, problem):
    with pytest.raises(DataError, match=problem):
        from_dict(StackConfig, {**SIZES, "vocab_size": 9, "n_layers": 1, **changes}, "c.json")


def test_heads_that_are_averaged_are_as_wide_as_the_model():
    assert AttentionOptions(combine="mean").d_head(12, 3) == 12
    assert AttentionOptions().d_head(12, 3) == 4


def test_the_head_penalty_is_its_formula():
    weights = torch.rand(2, 3, 4, 5)
    real = torch.tensor([[True, True, True, False], [True, False, False, False]])
    wanted = 0.0
    for b, t in real.nonzero().tolist():
        for i in range(3):
            for j in range(3):
                product = sum(float(weights[b, i, t, s] * weights[b, j, t, s]) for s in range(5))
                wanted += (product - (i == j)) ** 2
    assert float(head_penalty(weights, real)) == pytest.approx(wanted, rel=1e-5)


def batch_of(src: list[list[int]], tgt: list[list[int]]) -> Seq2SeqBatch:
    src_ids, src_mask = pad(src, 0)
    tgt_ids, mask = pad(tgt, 0)
    return Seq2SeqBatch(src_ids, src_mask, tgt_ids, mask[:, 1:])


def test_the_head_penalty_is_added_in_training_and_sums_over_batches():
    src, tgt = texts(4, 8, seed=7), texts(4, 8, seed=8)
    model = transformer()
    plain, penalized = TranslationObjective(model, 0.0), TranslationObjective(model, 0.0, 0.5)
    whole = batch_of(src, tgt)
    loss, nll = penalized(whole)
    inputs = (whole.src_ids, whole.src_mask, whole.tgt_ids[:, :-1])
    _, maps = model.attentions(*inputs)
    assert [len(kind) for kind in (maps.encoder, maps.decoder, maps.cross)] == [2, 1, 1]
    terms = [head_penalty(weights, whole.src_mask) for weights in maps.encoder]
    terms += [head_penalty(weights, whole.tgt_mask) for weights in (*maps.decoder, *maps.cross)]
    torch.testing.assert_close(loss, plain(whole)[0] + 0.5 * sum(terms), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(nll, plain(whole)[1])
    parts = [penalized(batch_of(src[k : k + 2], tgt[k : k + 2]))[0] for k in (0, 2)]
    torch.testing.assert_close(sum(parts), loss, rtol=1e-5, atol=1e-4)
    penalized.eval()
    torch.testing.assert_close(penalized(whole)[0], plain(whole)[0])


def test_descending_the_penalty_makes_heads_differ():
    model = transformer()
    batch = batch_of(texts(4, 8, seed=9), texts(4, 8, seed=10))
    inputs = (batch.src_ids, batch.src_mask, batch.tgt_ids[:, :-1])
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    found = []
    for _ in range(15):
        penalty = model.attentions(*inputs)[1].head_penalty(batch.src_mask, batch.tgt_mask)
        found.append(float(penalty.detach()))
        optimizer.zero_grad()
        penalty.backward()
        optimizer.step()
    assert found[-1] < 0.7 * found[0]


def test_hard_attention_learns_which_key_is_rewarded():
    """A bandit: the third of four keys is good. Only the estimator's gradient can tell."""
    torch.manual_seed(31)
    scores = torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.Adam([scores], 0.1)
    real = torch.ones(64, 2, dtype=torch.bool)
    for _ in range(60):
        chance = scores.log_softmax(-1)
        drawn = chance.exp().detach().expand(128, 4).multinomial(1).view(64, 2)
        loss = hard_attention_loss(chance[drawn], (drawn == 2).float() - 7.0, real)
        optimizer.zero_grad()
        (loss / 128).backward()
        optimizer.step()
    assert float(scores.detach().softmax(-1)[2]) > 0.8


def test_the_estimator_of_hard_attention_is_its_formula():
    log_probs = torch.randn(3, 4, requires_grad=True)
    rewards = torch.randn(3, 4)
    steps = [4, 2, 3]
    real = torch.arange(4) < torch.tensor(steps)[:, None]
    hard_attention_loss(log_probs, rewards, real).backward()
    for n in range(3):
        others = [float(rewards[m, t]) for m in range(3) if m != n for t in range(steps[m])]
        for t in range(4):
            ahead = float(rewards[n, t : steps[n]].sum())
            baseline = sum(others) / len(others) * (steps[n] - t)
            wanted = -(ahead - baseline) if t < steps[n] else 0.0
            assert float(log_probs.grad[n, t]) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    "variant",
    [
        ("--attention", "additive", "--positions", "relative", "--max-distance", 5),
        ("--attention", "cosine", "--positions", "rotary", "--head-penalty", 0.1),
        ("--projections", "none", "--combine", "concat", "--normalize", "sum"),
    ],
)
def test_a_variant_is_trained_and_decoded_by_the_program(variant, tmp_path):
    corpus = write_reversal(tmp_path / "train.tsv", 300, seed=3)
    short = ("--max-steps", 2, "--batch-tokens", 400, "--metric", "loss", "--vocab-size", 32)
    inside("train-mt", corpus, "-o", tmp_path / "model", *TINY, *short, *variant)
    lines = inside("decode", "-m", tmp_path / "model", "--max-len", 8, stdin=b"banu kera\nlivo\n")
    assert len(lines.lines) == 2


def test_a_variant_that_does_not_fit_is_wrong_usage(tmp_path):
    corpus = write_reversal(tmp_path / "train.tsv", 300, seed=3)
    odd = ("--d-model", 30, "--n-heads", 2, "--positions", "rotary", "--dry-run")
    run = inside("train-mt", corpus, "-o", tmp_path / "model", *odd, status=2)
    assert "even width" in run.said
