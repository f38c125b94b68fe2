from __future__ import annotations

import pytest
import seq2seq_checks
import torch
from seq2seq_checks import (
    BOS,
    PAD,
    TOLERANCE,
    VOCAB,
    check_padding,
    check_states,
    check_steps,
    full_logits,
    sentences,
)

from attn_cli.config.seq2seq import Seq2SeqVariantOptions, SizeOptions
from attn_cli.data.padding import pad
from attn_cli.models import build_model
from attn_cli.models import seq2seq as seq2seq_module
from attn_cli.models.sizes import seq2seq_config
from attn_cli.nn.prepared import prepare

N_HEADS = 3

VARIANTS = [
    {},
    {"norm": "post"},
    {"positions": "learned", "max_positions": 4},
    {"positions": "none", "attention": "dot"},
    {"tie_embeddings": False, "share_embeddings": False, "src_vocab": 31},
    {"positions": "relative", "max_distance": 3},
    {"positions": "rotary", "tie_key_value": True},
    {"positions": "sinusoidal-halves", "attention": "general", "combine": "concat"},
    {"positions": "relative", "attention": "cosine", "combine": "mean"},
    {"positions": "relative", "attention": "additive", "normalize": "sum"},
    {"positions": "rotary", "attention": "additive"},
    {"attention": "mean", "n_encoder_layers": 1, "n_decoder_layers": 3},
    {"projections": "none", "combine": "concat", "normalize": "sum"},
]
APART = VARIANTS[4]


def model(**changes):
    return seq2seq_checks.model("transformer", **{"d_ff": 20, "n_heads": N_HEADS, **changes})


@pytest.mark.parametrize("variant", VARIANTS)
def test_step_by_step_equals_the_full_forward_pass(variant):
    check_steps(model(**variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_states_survive_expand_reorder_keep_and_merge_at_different_lengths(variant):
    check_states(model(**variant), steps=22)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_padded_batch_equals_its_rows_alone(variant):
    transformer = model(**variant)
    check_padding(transformer, len(transformer.decoder.layers), n_heads=N_HEADS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_later_token_never_changes_an_earlier_logit(variant):
    transformer = model(**variant)
    src, tgt = [5, 6, 7], [BOS, 4, 8, 15, 16]
    before = full_logits(transformer, src, tgt)
    for at in range(1, len(tgt)):
        changed = [*tgt[:at], *(token + 3 for token in tgt[at:])]
        after = full_logits(transformer, src, changed)
        assert torch.equal(after[:at], before[:at])
        assert not torch.equal(after[at:], before[at:])


def test_the_base_size_has_the_published_number_of_weights():
    """Vaswani et al. 2017, table 3: 65 million with a shared vocabulary of about 37,000."""
    variant = Seq2SeqVariantOptions(norm="post")
    vocabularies = (37_000, 37_000)
    kind = {"share": True, "decoder": "autoregressive", "max_len": 256}
    config = seq2seq_config("transformer", SizeOptions(), variant, "base", vocabularies, **kind)
    assert (config.n_encoder_layers, config.d_model, config.n_heads, config.d_ff) == (
        6,
        512,
        8,
        2048,
    )
    with torch.device("meta"):
        built = build_model("transformer", config)
    n_weights = sum(weight.numel() for weight in built.parameters())
    d, f = 512, 2048
    attention, feed_forward, norm = 4 * (d * d + d), 2 * d * f + f + d, 2 * d
    layers = 6 * (attention + feed_forward + 2 * norm) + 6 * (
        2 * attention + feed_forward + 3 * norm
    )
    assert n_weights == layers + 37_000 * d + 37_000
    assert 62e6 < n_weights < 66e6


def test_embeddings_are_shared_and_tied_as_configured():
    tied, apart = model(), model(**APART)
    assert tied.src_embedding.tokens is tied.tgt_embedding.tokens
    assert tied.output_layer[0] is tied.tgt_embedding.tokens.weight
    assert len(apart.src_embedding.tokens.weight) == 31
    assert apart.output_layer[0] is not apart.tgt_embedding.tokens.weight
    n_tied, n_apart = (sum(w.numel() for w in one.parameters()) for one in (tied, apart))
    assert n_apart - n_tied == (31 + VOCAB) * 12


def test_dropout_acts_in_training_alone():
    transformer = model()
    with_dropout = transformer.train()
    torch.manual_seed(0)
    first, second = (full_logits(with_dropout, [3, 4], [BOS, 5]) for _ in range(2))
    assert not torch.equal(first, second)
    quiet = transformer.eval()
    assert torch.equal(full_logits(quiet, [3, 4], [BOS, 5]), full_logits(quiet, [3, 4], [BOS, 5]))


@torch.no_grad()
def test_a_prepared_model_predicts_the_same():
    seq2seq = model(src_vocab=3000, tgt_vocab=3000)
    ids = torch.tensor([[3, 4, 5, 6]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    tokens = torch.tensor([[BOS]])
    plain = seq2seq.step(seq2seq.start(ids, mask), tokens)[0]
    prepare(seq2seq)
    assert seq2seq.prepared is not None
    torch.testing.assert_close(
        seq2seq.step(seq2seq.start(ids, mask), tokens)[0], plain, atol=1e-5, rtol=1e-5
    )
    seq2seq.prepared = lambda x: x.new_zeros(*x.shape[:-1], 3000)
    assert not seq2seq.step(seq2seq.start(ids, mask), tokens)[0].any()  # it is what a step asks


@torch.no_grad()
@pytest.mark.parametrize("variant", [{}, {"norm": "post"}, {"positions": "relative"}])
def test_many_sources_are_encoded_in_parts_as_each_alone(variant, monkeypatch):
    transformer = model(**variant)
    ids, mask = pad(sentences(60, 9, seed=4), PAD)
    monkeypatch.setattr(seq2seq_module, "_TOKENS_AT_ONCE", 50)
    encode, sizes = transformer.encode, []

    def counted(source, src_mask):
        sizes.append(source.numel())
        return encode(source, src_mask)

    monkeypatch.setattr(transformer, "encode", counted)
    state = transformer.start(ids, mask)
    assert len(sizes) == 12
    assert max(sizes) <= 50
    monkeypatch.setattr(seq2seq_module, "_TOKENS_AT_ONCE", 10**6)
    tokens = torch.full((60, 1), BOS)
    logits = transformer.step(state, tokens)[0]
    wanted = transformer.step(transformer.start(ids, mask), tokens)[0]
    assert len(sizes) == 13
    torch.testing.assert_close(logits, wanted, **TOLERANCE)


FLAT = [
    {},
    {"norm": "post"},
    {"activation": "gelu"},
    {"positions": "rotary"},
    {"positions": "rotary", "norm": "post", "n_decoder_layers": 1},
    {"positions": "learned", "attention": "dot", "tie_embeddings": False},
]


@pytest.mark.parametrize("variant", [*VARIANTS, *FLAT])
def test_a_prepared_model_decodes_as_its_forward_pass_says(variant):
    transformer = model(**variant)
    prepare(transformer)
    check_steps(transformer)
    check_states(transformer, steps=22)


@pytest.mark.parametrize("variant", FLAT)
def test_a_step_of_the_usual_layers_runs_through_no_module(variant, monkeypatch):
    transformer = model(**variant)
    prepare(transformer)
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        state = transformer.start(ids, torch.ones_like(ids, dtype=torch.bool))

    def called(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(transformer.decoder, "forward", called)
    with torch.no_grad():
        transformer.step(state, torch.tensor([[BOS]]))
    with pytest.raises(AssertionError):  # what needs a graph, or weights, asks the modules
        transformer.step(state, torch.tensor([[BOS]]))
    with torch.no_grad(), pytest.raises(AssertionError):
        transformer.step(state, torch.tensor([[BOS]]), need_attention=True)


@pytest.mark.parametrize(
    "variant", [{"attention": "general"}, {"positions": "relative"}, {"tie_key_value": True}]
)
def test_other_layers_have_no_flat_step(variant):
    transformer = model(**variant)
    prepare(transformer)
    assert transformer.flat is None
