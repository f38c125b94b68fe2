"""The conditional masked language model: what its decoder sees, and what it says of lengths."""

from __future__ import annotations

import pytest
import torch

from attn_cli.data.padding import pad
from attn_cli.models import build_model
from attn_cli.models.mask_predict import MaskPredictConfig

SRC = [[3, 4, 5, 2], [6, 7, 2], [9, 8, 7, 6, 2]]
TGT = [[5, 4, 3], [7, 6, 9, 4], [6]]


def build(**changes):
    torch.manual_seed(7)
    sizes = {"d_model": 8, "d_ff": 16, "n_heads": 2, "n_encoder_layers": 2, "n_decoder_layers": 2}
    vocabulary = {"src_vocab": 12, "tgt_vocab": 12, "share_embeddings": True, "n_lengths": 9}
    config = MaskPredictConfig(**{**sizes, **vocabulary, "dropout": 0.0, **changes})
    return build_model("mask-predict", config).eval()


def batch():
    src_ids, src_mask = pad(SRC, 0)
    tgt_ids, real = pad(TGT, 0)
    hidden = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    return src_ids, src_mask, tgt_ids, hidden, real


VARIANTS = [
    {},
    {"positions": "relative", "norm": "post"},
    {"positions": "rotary", "attention": "additive", "tie_embeddings": False},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_changes_nothing(variant):
    model = build(**variant)
    vectors, lengths = model(*batch())
    for row, (src, tgt) in enumerate(zip(SRC, TGT, strict=True)):
        src_ids, tgt_ids = torch.tensor([src]), torch.tensor([tgt])
        whole = torch.ones_like(src_ids, dtype=torch.bool)
        hidden = batch()[3][row : row + 1, : len(tgt)]
        alone, length = model(src_ids, whole, tgt_ids, hidden, torch.ones_like(hidden))
        torch.testing.assert_close(alone[0], vectors[row, : len(tgt)], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(length[0], lengths[row], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_place_sees_visible_tokens_on_both_sides_and_no_hidden_one(variant):
    model = build(**variant)
    src_ids, src_mask, tgt_ids, hidden, real = batch()
    before, _ = model(src_ids, src_mask, tgt_ids, hidden, real)
    other = torch.where(hidden | ~real, 11, tgt_ids)
    after, _ = model(src_ids, src_mask, other, hidden, real)
    assert torch.equal(before[real], after[real])
    changed = tgt_ids.clone()
    changed[1, 2] = 11  # visible, in the middle
    after, _ = model(src_ids, src_mask, changed, hidden, real)
    assert (before[1] != after[1]).any(-1).tolist() == [True] * 4
    assert torch.equal(before[0], after[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_memory_projected_once_gives_what_the_whole_model_gives(variant):
    model = build(**variant)
    src_ids, src_mask, tgt_ids, hidden, real = batch()
    vectors, _ = model(src_ids, src_mask, tgt_ids, hidden, real)
    projected = model.decoder.project(model.encode(src_ids, src_mask))
    again, _ = model.decode(projected, src_mask, tgt_ids, hidden, real)
    torch.testing.assert_close(again, vectors)


def test_attention_is_that_of_a_pass_over_the_whole_target():
    model = build()
    src_ids, src_mask, tgt_ids, hidden, real = batch()
    nothing = torch.zeros_like(hidden)
    fused, _ = model(src_ids, src_mask, tgt_ids, nothing, real)
    vectors, maps = model.attentions(src_ids, src_mask, tgt_ids, real)
    torch.testing.assert_close(vectors[real], fused[real], rtol=1e-5, atol=1e-5)
    assert [len(maps.encoder), len(maps.decoder), len(maps.cross)] == [2, 2, 2]
    own, cross = maps.decoder[-1], maps.cross[-1]
    assert own.shape == (3, 2, 4, 4)
    assert cross.shape == (3, 2, 4, 5)
    torch.testing.assert_close(cross.sum(-1), torch.ones(3, 2, 4))
    assert (own[0, :, 0, 1:3] > 0).all()  # the first token looks ahead
    assert (own[0, :, :, 3] == 0).all()  # nobody looks at padding


def test_the_length_is_read_off_the_end_of_the_source():
    model = build()
    src_ids, src_mask, *_ = batch()
    memory = model.encode(src_ids, src_mask)
    logits = model.length_logits(memory, src_mask)
    weight, bias = model.length_output.weight, model.length_output.bias
    for row, src in enumerate(SRC):
        torch.testing.assert_close(logits[row], weight @ memory[row, len(src) - 1] + bias)
