"""Decoder and CTC in one search, against all short texts and torch's own CTC."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from attn_cli.config.decoding import SearchOptions
from attn_cli.data.audio import Recording
from attn_cli.models import CONFIGS, build_model
from attn_cli.search.ensemble import Ensemble
from attn_cli.search.search import Request, search
from attn_cli.systems.translation.audio_source import AudioSide
from attn_cli.systems.translation.steps import JointStep

PAD, BOS, EOS, N_FEATURES = 0, 1, 2, 5
WORDS = (3, 4, 5)
TGT = SimpleNamespace(bos_id=BOS, eos_id=EOS, pad_id=PAD, never_written=(PAD, BOS))
SIDE = AudioSide(0, N_FEATURES, 1.0)
PARTS = {
    "transformer": {"d_ff": 16, "n_heads": 2},
    "recurrent": {},
    "convolutional": {},
}
ALL = [y for size in range(5) for y in itertools.product(WORDS, repeat=size)]


def model(arch, seed=1):
    torch.manual_seed(seed)
    config = CONFIGS[arch](
        **PARTS[arch],
        d_model=8,
        n_encoder_layers=1,
        n_decoder_layers=1,
        dropout=0.0,
        src_vocab=0,
        tgt_vocab=6,
        share_embeddings=False,
        source="audio",
        n_features=N_FEATURES,
        trained_seconds=1.0,
        ctc=True,
    )
    found = build_model(arch, config).eval()
    with torch.no_grad():
        for weight in (found.ctc.output.weight, *found.output_layer):
            weight.add_(torch.randn_like(weight))
    return found


def recordings(count=6):
    generator = np.random.default_rng(3)
    sizes = [5, 2, 4, 1, 3, 6][:count]
    return [Recording(generator.normal(size=(4 * n, N_FEATURES)).astype(np.float32)) for n in sizes]


@torch.no_grad()
def by_decoder(seq2seq, recording, y):
    """Ln p_att of a text, by teacher forcing."""
    ids = torch.tensor([[BOS, *y, EOS]])
    hidden = seq2seq(*SIDE.collate([recording]), ids[:, :-1]).hidden
    return float(seq2seq.logits(hidden).log_softmax(-1).gather(2, ids[:, 1:, None]).sum())


@torch.no_grad()
def by_ctc(seq2seq, recording, y):
    """Ln p_ctc of a text, by torch."""
    heard = seq2seq.ctc(seq2seq.encoded(*SIDE.collate([recording])))[0]
    sizes = torch.tensor(len(heard)), torch.tensor(len(y))
    target = torch.tensor(y, dtype=torch.long)
    return -float(F.ctc_loss(heard, target, *sizes, blank=6, reduction="sum"))


def found_by(step, items, **options):
    requests = [Request(item, 4) for item in items]
    with torch.inference_mode():
        return search(step, requests, SearchOptions(**options), max_rows=1000)


@pytest.mark.parametrize("weight", [0.4, 1.0])
@pytest.mark.parametrize("arch", PARTS)
def test_a_wide_beam_finds_the_best_of_all_texts(arch, weight):
    """With a weight of 1 it is the likeliest text by CTC."""
    seq2seq, alpha = model(arch), 0.5
    step = JointStep(seq2seq, SIDE, TGT, weight)
    items = recordings(3)
    found = found_by(step, items, beam=130, n_best=4, length_penalty=alpha)
    for item, hypotheses in zip(items, found, strict=True):
        ranked = []
        for y in ALL:
            heard = max(by_ctc(seq2seq, item, y), -1e4)
            joint = (1 - weight) * by_decoder(seq2seq, item, y) + weight * heard
            ranked.append((joint / (len(y) + 1) ** alpha, y))
        ranked.sort(reverse=True)
        assert hypotheses[0].tokens == ranked[0][1]
        scores = [hypothesis.score for hypothesis in hypotheses]
        assert scores == pytest.approx([score for score, _ in ranked[:4]], abs=1e-3)


@pytest.mark.parametrize("arch", PARTS)
def test_greedy_follows_the_joint_probability_of_each_token(arch):
    seq2seq, weight = model(arch, seed=2), 0.5
    step = JointStep(seq2seq, SIDE, TGT, weight)
    for item in recordings(4):
        every = {y: np.exp(by_ctc(seq2seq, item, y)) for y in ALL}
        tokens: tuple[int, ...] = ()
        with torch.inference_mode():
            while len(tokens) < 4:
                ids = torch.tensor([[BOS, *tokens]])
                hidden = seq2seq(*SIDE.collate([item]), ids).hidden
                own = seq2seq.logits(hidden)[0, -1].log_softmax(-1).double().numpy()
                best = max((*WORDS, EOS), key=lambda one: _joint(own, every, tokens, one, weight))
                if best == EOS:
                    break
                tokens = (*tokens, best)
        ((hypothesis,),) = found_by(step, [item], greedy=True)
        assert hypothesis.tokens == tokens


def _joint(own, every, tokens, token, weight):
    before = sum(p for y, p in every.items() if y[: len(tokens)] == tokens)
    if token == EOS:
        after = every[tokens]
    else:
        longer = (*tokens, token)
        after = sum(p for y, p in every.items() if y[: len(longer)] == longer)
    with np.errstate(divide="ignore"):
        return (1 - weight) * own[token] + weight * np.log(after / before)


@pytest.mark.parametrize("arch", PARTS)
def test_recordings_do_not_depend_on_those_beside_them(arch):
    step = JointStep(model(arch), SIDE, TGT, 0.5)
    items = recordings() * 3
    requests = [Request(item, 5) for item in items]
    options = SearchOptions(beam=3, n_best=2)
    with torch.inference_mode():
        together = search(step, requests, options, max_rows=12)
        alone = [search(step, [request], options, max_rows=3)[0] for request in requests]
    for one, other in zip(together, alone, strict=True):
        assert [h.tokens for h in one] == [h.tokens for h in other]
        assert [h.score for h in one] == pytest.approx([h.score for h in other], abs=1e-4)


def test_a_prefix_that_can_t_have_been_said_is_kept():
    step = JointStep(model("transformer"), SIDE, TGT, 0.5)
    (item,) = recordings(4)[3:]  # one position: no room for three tokens
    request = Request(item, 5, prefix=(3, 3, 4))
    with torch.inference_mode():
        ((hypothesis,),) = search(step, [request], SearchOptions(beam=3), max_rows=3)
    assert hypothesis.tokens[:3] == (3, 3, 4)
    assert np.isfinite(hypothesis.score)


def test_an_ensemble_is_the_mean_of_its_recognizers():
    alike = [JointStep(model("recurrent"), SIDE, TGT, 0.3) for _ in range(2)]
    items = recordings(3)
    alone = found_by(alike[0], items, beam=4, n_best=2)
    both = found_by(Ensemble(alike), items, beam=4, n_best=2)
    for one, other in zip(alone, both, strict=True):
        assert [h.tokens for h in one] == [h.tokens for h in other]
        assert [h.score for h in one] == pytest.approx([h.score for h in other], abs=1e-4)
