from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from attn_cli.config.seq2seq import Seq2SeqVariantOptions
from attn_cli.config.transformer import SizeOptions, TransformerConfig
from attn_cli.data.parallel import pad
from attn_cli.models import build_model
from attn_cli.models.sizes import seq2seq_config

PAD, BOS = 0, 1
VOCAB = 23

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
    sizes = {
        "d_model": 12,
        "d_ff": 20,
        "n_heads": 3,
        "n_encoder_layers": 2,
        "n_decoder_layers": 2,
        "dropout": 0.3,
        "src_vocab": VOCAB,
        "tgt_vocab": VOCAB,
        "share_embeddings": True,
    }
    torch.manual_seed(11)
    return build_model("transformer", TransformerConfig(**{**sizes, **changes})).eval()


def sentences(count, longest, seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
    return [torch.randint(2, VOCAB, (n,), generator=generator).tolist() for n in sizes]


@torch.no_grad()
def full_logits(transformer, src, tgt_in):
    """Logits of one pair by the teacher-forced forward pass. Shape: (T, V)."""
    ids = torch.tensor([src])
    hidden, _ = transformer(ids, torch.ones_like(ids, dtype=torch.bool), torch.tensor([tgt_in]))
    return F.linear(hidden, *transformer.output_layer)[0]


@torch.no_grad()
def start(transformer, sources):
    return transformer.start(*pad(sources, PAD))


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_step_by_step_equals_the_full_forward_pass(variant):
    transformer = model(**variant)
    sources, targets = sentences(4, 9, seed=1), sentences(4, 1, seed=2)
    targets = [[BOS, *row, *range(2, 20)] for row in targets]
    whole = [full_logits(transformer, *pair) for pair in zip(sources, targets, strict=True)]
    state = start(transformer, sources)
    for at in range(len(targets[0])):
        tokens = torch.tensor([[row[at]] for row in targets])
        logits, state, attention = transformer.step(state, tokens, need_attention=at % 2 == 1)
        wanted = torch.stack([row[at] for row in whole])
        torch.testing.assert_close(logits[:, 0], wanted, atol=2e-5, rtol=1e-4)
        if attention is not None:
            width = max(map(len, sources))
            assert attention.shape == (4, 1, width)
            torch.testing.assert_close(attention.sum(-1), torch.ones(4, 1))
            for n, src in enumerate(sources):
                assert not attention[n, 0, len(src) :].any()


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_states_survive_expand_reorder_keep_and_merge_at_different_lengths(variant):
    """What a search does to states, done by hand: each beam predicts from its own prefix."""
    transformer = model(**variant)
    beam_size = 3
    generator = torch.Generator().manual_seed(5)
    sources = sentences(5, 8, seed=3)
    state, live, prefixes = None, [], []
    waiting = list(range(len(sources)))
    for step in range(22):
        if waiting and step % 3 == 0:  # a waiting sentence enters a running batch
            taken, waiting = waiting[:2], waiting[2:]
            fresh = start(transformer, [sources[n] for n in taken]).expand(beam_size)
            state = fresh if state is None else state.merge(fresh)
            live += taken
            prefixes += [[[] for _ in range(beam_size)] for _ in taken]
        if step == 7:  # a finished sentence leaves
            state = state.keep(torch.tensor([2, 0, 3]))
            live = [live[i] for i in (2, 0, 3)]
            prefixes = [prefixes[i] for i in (2, 0, 3)]
        tokens = torch.randint(2, VOCAB, (len(live), beam_size), generator=generator)
        logits, state, _ = transformer.step(state, tokens)
        for n, rows in enumerate(prefixes):
            for k, prefix in enumerate(rows):
                prefix.append(int(tokens[n, k]))
                if step % 4 == 2 or step > 18:
                    wanted = full_logits(transformer, sources[live[n]], prefix)[-1]
                    torch.testing.assert_close(logits[n, k], wanted, atol=2e-5, rtol=1e-4)
        beams = torch.randint(beam_size, (len(live), beam_size), generator=generator)
        state = state.reorder(beams)
        prefixes = [
            [list(rows[b]) for b in chosen]
            for rows, chosen in zip(prefixes, beams.tolist(), strict=True)
        ]


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_a_padded_batch_equals_its_rows_alone(variant):
    transformer = model(**variant)
    sources, targets = sentences(6, 10, seed=7), sentences(6, 8, seed=8)
    src_ids, src_mask = pad(sources, PAD)
    tgt_ids, _ = pad(targets, PAD)
    hidden, weights = transformer(src_ids, src_mask, tgt_ids, need_weights=True)
    logits = F.linear(hidden, *transformer.output_layer)
    for n, (src, tgt) in enumerate(zip(sources, targets, strict=True)):
        wanted = full_logits(transformer, src, tgt)
        torch.testing.assert_close(logits[n, : len(tgt)], wanted, atol=2e-5, rtol=1e-4)
    shape = (6, 3, tgt_ids.shape[1], src_ids.shape[1])
    assert [tuple(one.shape) for one in weights] == [shape] * len(transformer.decoder.layers)


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
