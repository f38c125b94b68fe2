from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from attn_cli.config.attention import AttentionOptions
from attn_cli.nn.attention import Attention, MultiHeadAttention, added, causal_mask
from attn_cli.nn.normalizers import masked_softmax
from attn_cli.nn.positions import Positions
from attn_cli.nn.scores import SCORES

B, T, S, D, H = 3, 5, 7, 12, 4


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(7)


def as_torch(ours: MultiHeadAttention) -> nn.MultiheadAttention:
    """PyTorch's module with the same weights; its masks mean the opposite of ours."""
    theirs = nn.MultiheadAttention(ours.out_proj.in_features, ours.n_heads, batch_first=True)
    nn.init.normal_(ours.in_bias)
    nn.init.normal_(ours.out_proj.bias)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.in_weight.flatten(0, 1))
        theirs.in_proj_bias.copy_(ours.in_bias.flatten())
    theirs.out_proj.load_state_dict(ours.out_proj.state_dict())
    return theirs.eval()


def positions() -> Positions:
    return Positions.first(T, torch.device("cpu"))


def padding(lengths: list[int], size: int) -> torch.Tensor:
    """Which positions are real. Shape: (B, size)."""
    return torch.arange(size) < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("need_weights", [False, True])
def test_multi_head_attention_over_a_memory_equals_torch(need_weights):
    ours = MultiHeadAttention(D, H, AttentionOptions())
    theirs = as_torch(ours)
    x, memory, real = torch.randn(B, T, D), torch.randn(B, S, D), padding([7, 2, 5], S)
    projected, mask = ours.project_memory(memory), real[:, None, None, :]
    context, weights, _ = ours.attend_to(projected, x, mask, need_weights=need_weights)
    expected, expected_weights = theirs(
        x, memory, memory, key_padding_mask=~real, average_attn_weights=False
    )
    torch.testing.assert_close(context, expected, atol=1e-5, rtol=1e-5)
    if need_weights:
        assert weights.shape == (B, H, T, S)
        torch.testing.assert_close(weights, expected_weights, atol=1e-6, rtol=1e-5)
    else:
        assert weights is None


@pytest.mark.parametrize("need_weights", [False, True])
def test_causal_self_attention_and_its_gradients_equal_torch(need_weights):
    ours = MultiHeadAttention(D, H, AttentionOptions())
    theirs = as_torch(ours)
    x = torch.randn(B, T, D)
    mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    context = ours(mine, None, positions(), causal=True, need_weights=need_weights).context
    expected, _ = theirs(other, other, other, attn_mask=~causal_mask(T), need_weights=False)
    torch.testing.assert_close(context, expected, atol=1e-5, rtol=1e-5)
    context.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(mine.grad, other.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        ours.in_weight.grad.flatten(0, 1), theirs.in_proj_weight.grad, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(("causal", "masked"), [(False, False), (True, False), (False, True)])
def test_the_fused_path_equals_the_explicit_one(score, causal, masked):
    attention = MultiHeadAttention(D, H, AttentionOptions(attention=score))
    x = torch.randn(B, T, D)
    mask = padding([5, 1, 3], T)[:, None, None, :] if masked else None
    fast, nothing, _ = attention(x, mask, positions(), causal=causal)
    explicit, weights, _ = attention(x, mask, positions(), causal=causal, need_weights=True)
    assert nothing is None
    torch.testing.assert_close(fast, explicit, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, H, T))
    if causal:
        assert not weights.masked_select(~causal_mask(T)).any()


@pytest.mark.parametrize("need_weights", [False, True])
def test_a_query_that_may_attend_to_nothing_gets_zeros(need_weights):
    attention = Attention(SCORES["scaled-dot"](4))
    query, key, value = torch.randn(1, 2, 4), torch.randn(1, 3, 4), torch.randn(1, 3, 4)
    mask = torch.tensor([[[True, False, True], [False, False, False]]])
    context, weights, _ = attention(query, key, value, mask, need_weights=need_weights)
    assert not context[0, 1].any()
    assert context[0, 0].isfinite().all()
    assert context[0, 0].any()
    if need_weights:
        assert not weights[0, 1].any()


def test_a_masked_key_takes_no_part_however_large():
    attention = Attention(SCORES["dot"](4))
    query, key, value = torch.randn(1, 2, 4), torch.randn(1, 3, 4), torch.randn(1, 3, 4)
    mask = torch.tensor([True, True, False])
    before = attention(query, key, value, mask.expand(1, 2, 3))[0]
    key[:, 2], value[:, 2] = 1e6, -1e6
    torch.testing.assert_close(attention(query, key, value, mask.expand(1, 2, 3))[0], before)


def test_score_functions_are_their_formulas():
    query, key = torch.randn(2, T, 9), torch.randn(2, S, 9)
    dot = torch.einsum("btk,bsk->bts", query, key)
    torch.testing.assert_close(SCORES["dot"](9).compare(query, key), dot)
    torch.testing.assert_close(SCORES["scaled-dot"](9).compare(query, key), dot / math.sqrt(9))


def test_masked_softmax_has_gradients_without_nan():
    scores = torch.randn(2, 3, requires_grad=True)
    mask = torch.tensor([[True, False, True], [True, True, True]])
    masked_softmax(scores, mask)[:, 0].sum().backward()
    assert scores.grad.isfinite().all()
    assert scores.grad[0, 1] == 0


@pytest.fixture
def of_kernel(monkeypatch) -> list[torch.dtype]:
    """The types in which PyTorch's kernel is asked."""
    types, kernel = [], functional.scaled_dot_product_attention

    def noted(query, *rest, **options):
        types.append(query.dtype)
        return kernel(query, *rest, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", noted)
    return types


def test_a_cpu_learns_from_long_sequences_of_bf16_in_float32(of_kernel):
    size = 513
    x = torch.randn(1, size, D)
    attention = MultiHeadAttention(D, H, AttentionOptions())
    where = Positions.first(size, torch.device("cpu"))
    exact = attention(x, None, where).context
    with torch.autocast("cpu", torch.bfloat16):
        rounded = attention(x, None, where).context
        with torch.no_grad():
            alone = attention(x, None, where).context
    assert of_kernel == [torch.float32, torch.float32, torch.bfloat16]
    assert rounded.dtype == alone.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, atol=0.03, rtol=0.03)
    torch.testing.assert_close(alone.float(), exact, atol=0.03, rtol=0.03)
    assert _apart(attention, rounded, exact) < 0.03


def _apart(attention: MultiHeadAttention, y: torch.Tensor, exact: torch.Tensor) -> float:
    """How far the gradients of two results are from one another, of their size."""
    a, b = (
        torch.autograd.grad(x.float().square().sum(), attention.in_weight, retain_graph=True)[0]
        for x in (y, exact)
    )
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("size", [T, 31, 40])  # of fewer numbers than a vector has, or more
@pytest.mark.parametrize(
    ("causal", "masked"), [(False, False), (True, False), (False, True), (True, True)]
)
def test_a_cpu_learns_from_short_sequences_by_products(size, causal, masked, of_kernel):
    attention = MultiHeadAttention(D, H, AttentionOptions())
    x, where = torch.randn(B, size, D), Positions.first(size, torch.device("cpu"))
    mask = padding([size, 1, size - 1], size)[:, None, None, :] if masked else None
    found = attention(x, mask, where, causal=causal).context
    with torch.autocast("cpu", torch.bfloat16):
        rounded = attention(x, mask, where, causal=causal).context
    assert of_kernel == []
    wanted = attention(x, mask, where, causal=causal, need_weights=True).context
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    assert _apart(attention, found, wanted) < 1e-5
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), wanted, atol=0.03, rtol=0.03)
    assert _apart(attention, rounded, wanted) < 0.03
    with torch.no_grad():
        attention(x, mask, where, causal=causal)
    assert len(of_kernel) == 1


def test_no_query_learns_from_no_key():
    attention = Attention(SCORES["scaled-dot"](4))
    for queries, keys in ((0, 3), (2, 0)):
        query = torch.randn(1, 2, queries, 4, requires_grad=True)
        key, value = torch.randn(1, 2, keys, 4), torch.randn(1, 2, keys, 4)
        context = attention(query, key, value).context
        assert context.shape == (1, 2, queries, 4)
        assert not context.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_query_that_may_attend_to_nothing_teaches_nothing(dtype):
    attention = Attention(SCORES["scaled-dot"](4))
    query = torch.randn(1, 1, 2, 4, dtype=dtype, requires_grad=True)
    key, value = torch.randn(1, 1, 3, 4, dtype=dtype), torch.randn(1, 1, 3, 4, dtype=dtype)
    mask = torch.tensor([[[True, False, True], [False, False, False]]])[None]
    context = attention(query, key, value, mask).context
    context.square().sum().backward()
    assert not context[0, 0, 1].any()
    assert context[0, 0, 0].isfinite().all()
    assert not query.grad[0, 0, 1].any()
    assert query.grad[0, 0, 0].isfinite().all()
    assert query.grad[0, 0, 0].any()


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("score", ["scaled-dot", "general", "cosine"])
def test_a_mask_of_numbers_is_the_mask(score, need_weights):
    attention = Attention(SCORES[score](D, n_heads=H))
    query, key, value = torch.randn(B, H, T, D), torch.randn(B, H, S, D), torch.randn(B, H, S, D)
    mask = torch.rand(B, 1, T, S) > 0.4
    mask[..., 2] = True
    wanted = attention(query, key, value, mask, need_weights=need_weights)
    found = attention(query, key, value, added(mask), need_weights=need_weights)
    torch.testing.assert_close(found.context, wanted.context, atol=1e-6, rtol=1e-5)
    assert (found.weights is not None) == need_weights
    if need_weights:
        assert torch.equal(found.weights, wanted.weights)
    assert added(None) is None
