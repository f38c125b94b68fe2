"""What every sequence-to-sequence model must do, whatever it is made of."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from attn_cli.data.padding import pad
from attn_cli.models import CONFIGS, build_model

PAD, BOS = 0, 1
VOCAB = 23
TOLERANCE = {"atol": 2e-5, "rtol": 1e-4}


def model(arch, **changes):
    sizes = {
        "d_model": 12,
        "n_encoder_layers": 2,
        "n_decoder_layers": 2,
        "dropout": 0.3,
        "src_vocab": VOCAB,
        "tgt_vocab": VOCAB,
        "share_embeddings": True,
    }
    torch.manual_seed(11)
    return build_model(arch, CONFIGS[arch](**{**sizes, **changes})).eval()


def sentences(count, longest, seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
    return [torch.randint(2, VOCAB, (n,), generator=generator).tolist() for n in sizes]


@torch.no_grad()
def full_logits(seq2seq, src, tgt_in):
    """Logits of one pair by the teacher-forced forward pass. Shape: (T, V)."""
    ids = torch.tensor([src])
    hidden = seq2seq(ids, torch.ones_like(ids, dtype=torch.bool), torch.tensor([tgt_in])).hidden
    return F.linear(hidden, *seq2seq.output_layer)[0]


@torch.no_grad()
def check_steps(seq2seq):
    """Step by step, in a padded batch, each sentence gets the logits of the full forward pass."""
    sources = sentences(4, 9, seed=1)
    targets = [[BOS, *row, *range(2, 20)] for row in ([3], [9], [4], [21])]
    whole = [full_logits(seq2seq, *pair) for pair in zip(sources, targets, strict=True)]
    state = seq2seq.start(*pad(sources, PAD))
    for at in range(len(targets[0])):
        tokens = torch.tensor([[row[at]] for row in targets])
        logits, state, attention = seq2seq.step(state, tokens, need_attention=at % 2 == 1)
        wanted = torch.stack([row[at] for row in whole])
        torch.testing.assert_close(logits[:, 0], wanted, **TOLERANCE)
        assert (attention is not None) == (at % 2 == 1 and seq2seq.has_attention)
        if attention is not None:
            assert attention.shape == (4, 1, max(map(len, sources)))
            torch.testing.assert_close(attention.sum(-1), torch.ones(4, 1))
            for n, src in enumerate(sources):
                assert not attention[n, 0, len(src) :].any()


@torch.no_grad()
def check_states(seq2seq, steps=14):
    """What a search does to states, done by hand: each beam predicts from its own prefix."""
    beam_size = 3
    generator = torch.Generator().manual_seed(5)
    sources = sentences(5, 8, seed=3)
    state, live, prefixes = None, [], []
    waiting = list(range(len(sources)))
    for step in range(steps):
        if waiting and step % 3 == 0:  # a waiting sentence enters a running batch
            taken, waiting = waiting[:2], waiting[2:]
            fresh = seq2seq.start(*pad([sources[n] for n in taken], PAD)).expand(beam_size)
            state = fresh if state is None else state.merge(fresh)
            live += taken
            prefixes += [[[] for _ in range(beam_size)] for _ in taken]
        if step == 7:  # a finished sentence leaves
            state = state.keep(torch.tensor([2, 0, 3]))
            live, prefixes = ([rows[i] for i in (2, 0, 3)] for rows in (live, prefixes))
        tokens = torch.randint(2, VOCAB, (len(live), beam_size), generator=generator)
        logits, state, _ = seq2seq.step(state, tokens)
        for n, rows in enumerate(prefixes):
            for k, prefix in enumerate(rows):
                prefix.append(int(tokens[n, k]))
                if step % 5 == 2 or step > steps - 2:
                    wanted = full_logits(seq2seq, sources[live[n]], prefix)[-1]
                    torch.testing.assert_close(logits[n, k], wanted, **TOLERANCE)
        beams = torch.randint(beam_size, (len(live), beam_size), generator=generator)
        state = state.reorder(beams)
        prefixes = [
            [list(rows[b]) for b in chosen]
            for rows, chosen in zip(prefixes, beams.tolist(), strict=True)
        ]


@torch.no_grad()
def check_padding(seq2seq, n_maps, n_heads=1):
    """A padded batch is its rows alone, and its maps are those of real positions."""
    sources, targets = sentences(6, 10, seed=7), sentences(6, 8, seed=8)
    (src_ids, src_mask), (tgt_ids, _) = pad(sources, PAD), pad(targets, PAD)
    hidden, weights, *_ = seq2seq(src_ids, src_mask, tgt_ids, need_weights=True)
    logits = F.linear(hidden, *seq2seq.output_layer)
    for n, (src, tgt) in enumerate(zip(sources, targets, strict=True)):
        wanted = full_logits(seq2seq, src, tgt)
        torch.testing.assert_close(logits[n, : len(tgt)], wanted, **TOLERANCE)
    shape = (6, n_heads, tgt_ids.shape[1], src_ids.shape[1])
    assert [tuple(one.shape) for one in weights] == [shape] * n_maps
    for one in weights:
        torch.testing.assert_close(one.sum(-1), torch.ones(shape[:-1]))
        assert not one.masked_select(~src_mask[:, None, None]).any()


def check_causality(seq2seq):
    """A later token never changes an earlier logit."""
    src, tgt = [5, 6, 7], [BOS, 4, 8, 15, 16]
    before = full_logits(seq2seq, src, tgt)
    for at in range(1, len(tgt)):
        changed = [*tgt[:at], *(token + 3 for token in tgt[at:])]
        after = full_logits(seq2seq, src, changed)
        torch.testing.assert_close(after[:at], before[:at], atol=1e-6, rtol=0)
        assert not torch.allclose(after[at], before[at], atol=1e-4)
