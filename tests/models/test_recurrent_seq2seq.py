"""The recurrent translator against its equations, step by step, and as a program that learns."""

from __future__ import annotations

import pytest
import torch
from seq2seq_checks import (
    BOS,
    TOLERANCE,
    check_causality,
    check_padding,
    check_states,
    check_steps,
    model,
)
from torch import nn

from attn_cli.config import from_dict, to_dict
from attn_cli.errors import DataError
from attn_cli.models.recurrent_seq2seq import RecurrentSeq2SeqConfig

VARIANTS = [
    {},
    {"cell": "gru", "attention": "dot", "normalize": "sum"},
    {"cell": "rnn", "attention": "scaled-dot", "bidirectional": False},
    {"attention": "additive", "attend_from": "previous"},
    {"attention": "additive", "attend_from": "previous", "input_feeding": True},
    {"attention": "cosine", "input_feeding": True, "cell": "gru"},
    {"attention": "mean", "n_encoder_layers": 1, "n_decoder_layers": 3},
    {"attention": "none"},
    {"attention": "none", "input_feeding": True, "cell": "gru", "bidirectional": False},
    {"attention": "dot", "normalize": "hard", "input_feeding": True},
    {"projections": "learned", "attention": "additive", "normalize": "hard"},
    {"projections": "learned", "tie_key_value": True, "tie_embeddings": False},
    {"share_embeddings": False, "src_vocab": 31},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_decodes_step_by_step_as_it_computes_at_once(variant):
    check_steps(model("recurrent", **variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_states_survive_expand_reorder_keep_and_merge_at_different_lengths(variant):
    check_states(model("recurrent", **variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_padded_batch_equals_its_rows_alone(variant):
    seq2seq = model("recurrent", **variant)
    check_padding(seq2seq, n_maps=int(seq2seq.has_attention))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_later_token_never_changes_an_earlier_logit(variant):
    check_causality(model("recurrent", **variant))


def scored(seq2seq, keys, query):
    """α, written from the formulas. Shape: (S, D), (D,) -> (S,)."""
    config, score = seq2seq.config, seq2seq.attention.attention.score
    a = {
        "dot": lambda h: h @ query,
        "scaled-dot": lambda h: h @ query / len(query) ** 0.5,
        "general": lambda h: h @ score.weight[0] @ query,
        "additive": lambda h: (
            score.combination @ torch.tanh(score.key_weight[0] @ h + score.query_weight[0] @ query)
        ),
        "cosine": lambda h: score.log_sharpness.exp()[0] * (h @ query) / (h.norm() * query.norm()),
        "mean": lambda h: torch.zeros(()),
    }[config.attention]
    scores = torch.stack([a(h) for h in keys])
    if config.normalize == "hard":
        return nn.functional.one_hot(scores.argmax(), len(keys)).float()
    if config.normalize == "sum":
        positive = (1 + scores.exp()).log()
        return positive / positive.sum()
    return scores.exp() / scores.exp().sum()


def torch_cells(ours, kind):
    """torch.nn's stack of layers with the same weights."""
    layers = ours.layers
    theirs = kind(
        layers[0].input_size,
        layers[0].hidden_size,
        len(layers),
        batch_first=True,
        bidirectional=layers[0].bidirectional,
    )
    for number, layer in enumerate(layers):
        for name, weight in layer.named_parameters():
            getattr(theirs, name.replace("_l0", f"_l{number}")).copy_(weight)
    return theirs


@torch.no_grad()
def by_hand(seq2seq, src, tgt_in):
    """The decoder's vectors for one pair, a step at a time, from the equations."""
    config = seq2seq.config
    kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[config.cell]
    scale = config.d_model**0.5
    encoder, decoder = (torch_cells(cells, kind) for cells in (seq2seq.encoder, seq2seq.decoder))
    memory, final = encoder(seq2seq.src_embedding.tokens(torch.tensor([src])) * scale)
    parts = final if isinstance(final, tuple) else (final,)
    directions = 1 + config.bidirectional
    last = torch.cat([part[-directions:].flatten() for part in parts])
    begin = seq2seq.bridge(last).tanh().view(config.n_decoder_layers, len(parts), config.d_model)
    state = tuple(begin[:, p : p + 1].contiguous() for p in range(len(parts)))
    keys = memory[0]
    h_n = torch.cat([keys[-1, : keys.shape[1] // directions], keys[0, keys.shape[1] // 2 :]])
    h_n = h_n if config.bidirectional else keys[-1]
    found, fed = [], torch.zeros(config.d_model)

    def attend(query):
        if config.attention == "none":
            return h_n
        values = keys
        own = keys
        if config.projections == "learned":
            weight = seq2seq.attention.in_weight
            own, values, query = keys @ weight[1].T, keys @ weight[-1].T, weight[0] @ query
        return scored(seq2seq, own, query) @ values

    for token in tgt_in:
        x = seq2seq.tgt_embedding.tokens.weight[token] * scale
        context = attend(state[0][-1, 0]) if config.attend_from == "previous" else None
        if config.input_feeding:
            x = torch.cat((x, fed if context is None else context))
        given = state if len(parts) > 1 else state[0]
        out, after = decoder(x.view(1, 1, -1), tuple(s for s in given) if len(parts) > 1 else given)
        state = after if isinstance(after, tuple) else (after,)
        h = out[0, 0]
        context = attend(h) if context is None else context
        fed = torch.tanh(seq2seq.combine(torch.cat((h, context))))
        found.append(fed)
    return torch.stack(found)


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_the_model_is_its_equations(variant):
    seq2seq = model("recurrent", **variant)
    src, tgt_in = [4, 17, 9, 2, 13], [BOS, 5, 6, 5, 20]
    ids = torch.tensor([src])
    hidden = seq2seq(ids, ids > 0, torch.tensor([tgt_in])).hidden
    torch.testing.assert_close(hidden[0], by_hand(seq2seq, src, tgt_in), **TOLERANCE)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_weight_learns(variant):
    seq2seq = model("recurrent", **variant).train()
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    hidden, _, log_probs, *_ = seq2seq(ids % seq2seq.config.src_vocab, ids > 0, ids)
    loss = nn.functional.linear(hidden, *seq2seq.output_layer).logsumexp(-1).sum()
    if seq2seq.config.normalize == "hard":
        assert log_probs.shape == (2, 3)
        loss = loss + log_probs.sum()
    else:
        assert log_probs is None
    loss.backward()
    without = {name for name, weight in seq2seq.named_parameters() if weight.grad is None}
    assert without == set()


def test_a_configuration_is_read_as_it_was_written():
    for variant in VARIANTS:
        config = model("recurrent", **variant).config
        assert from_dict(RecurrentSeq2SeqConfig, to_dict(config), "config.json") == config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"d_model": 13}, "two directions"),
        ({"cell": "ltsm"}, "did you mean lstm?"),
        ({"attention": "none", "normalize": "hard"}, "no weights"),
        ({"attention": "none", "attend_from": "previous"}, "does not ask"),
        ({"attention": "none", "projections": "learned"}, "nothing to project"),
        ({"attention": "mean", "normalize": "hard"}, "needs scores"),
        ({"tie_key_value": True}, "nothing to tie"),
        ({"src_vocab": 31}, "one vocabulary"),
        ({"n_heads": 2}, "n_heads"),
        ({"n_encoder_layers": -1}, "below 0"),
    ],
)
def test_hostile_configurations_are_refused(changes, words):
    sound = to_dict(model("recurrent").config)
    with pytest.raises(DataError, match=words):
        from_dict(RecurrentSeq2SeqConfig, {**sound, **changes}, "config.json")
