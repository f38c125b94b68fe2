from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from attn_cli.config.training import TrainingOptions
from attn_cli.models import build_model
from attn_cli.models.seq2seq import TransformerConfig
from attn_cli.nn.blocks import Blocks
from attn_cli.train import optim, orthogonal
from attn_cli.train.averaging import MovingAverage
from attn_cli.train.optim import (
    Muon,
    build_optimizers,
    learning_rate_factor,
    set_rates,
)
from attn_cli.train.orthogonal import orthogonalized


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(9)


def transformer(**changes):
    sizes = {
        "d_model": 8,
        "d_ff": 12,
        "n_heads": 2,
        "n_encoder_layers": 1,
        "n_decoder_layers": 1,
        "dropout": 0.0,
        "src_vocab": 10,
        "tgt_vocab": 10,
        "share_embeddings": True,
        "positions": "learned",
        "max_positions": 6,
    }
    return build_model("transformer", TransformerConfig(**{**sizes, **changes}))


@pytest.mark.parametrize("shape", [(6, 6), (5, 9), (5, 12), (12, 5), (32, 32), (8, 64), (64, 8)])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e5])
def test_orthogonalization_keeps_singular_vectors_and_brings_values_near_one(shape, scale):
    u, _, vt = torch.linalg.svd(torch.randn(3, *shape), full_matrices=False)
    values = torch.logspace(-1.7, 0.5, min(shape))  # from 0.02 to 3
    found = orthogonalized(scale * (u * values @ vt))
    in_their_basis = u.mT @ found @ vt.mT
    diagonal = in_their_basis.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(in_their_basis, torch.diag_embed(diagonal), atol=1e-3, rtol=0)
    if scale > 1e-7:  # below, the update shrinks with the gradient
        assert diagonal.min() > 0.55
    assert diagonal.max() < 1.45


@pytest.mark.parametrize("shape", [(16, 16), (16, 200), (16, 31)])
def test_singular_values_go_through_the_polynomials_one_after_the_other(shape):
    """In float64, from the singular values of X and the bound (tr (XXᵀ)⁴)^⅛ on them."""
    x = torch.randn(2, *shape)
    u, values, vt = torch.linalg.svd(x.double(), full_matrices=False)
    values = values / (1.01 * values.pow(8).sum(-1, keepdim=True) ** 0.125)
    for a, b, c in orthogonal._STEPS:
        values = a * values + b * values**3 + c * values**5
    expected = u @ torch.diag_embed(values) @ vt
    torch.testing.assert_close(orthogonalized(x).double(), expected, atol=2e-4, rtol=1e-3)


def test_no_singular_value_is_ever_too_large_for_the_polynomials():
    """The hardest: all equal, one alone, and matrices of noise as they come."""
    alone = torch.zeros(2, 12, 40)
    alone[0, 3, 5] = 7.0
    assert not orthogonalized(alone)[1].any()  # no gradient, no update
    for x in (alone[:1], torch.eye(64)[None], torch.randn(4, 64, 64), torch.randn(4, 20, 90)):
        assert torch.linalg.matrix_norm(orthogonalized(x), 2).max() < 1.45


@pytest.mark.parametrize("shape", [(4, 9), (9, 4)])
def test_the_first_update_of_muon_is_the_orthogonal_factor_of_the_gradient(shape):
    weight = nn.Parameter(torch.randn(shape))
    before, gradient = weight.detach().clone(), torch.randn(shape)
    weight.grad = gradient.clone()
    Muon([weight], lr=0.1, weight_decay=0.5).step()
    step = 0.1 * math.sqrt(max(1, shape[0] / shape[1])) * orthogonalized(gradient[None])[0]
    torch.testing.assert_close(
        weight.detach(), before * (1 - 0.1 * 0.5) - step, atol=1e-5, rtol=1e-5
    )


def test_a_stack_of_matrices_is_updated_as_each_of_them_alone():
    stack = nn.Parameter(torch.randn(3, 4, 4))
    single = [nn.Parameter(matrix.clone()) for matrix in stack.detach()]
    together, apart = Muon([stack], lr=0.1), [Muon([one], lr=0.1) for one in single]
    for _ in range(3):  # so that momentum counts
        stack.grad = torch.randn(3, 4, 4)
        for one, gradient in zip(single, stack.grad, strict=True):
            one.grad = gradient.clone()
        for optimizer in (together, *apart):
            optimizer.step()
    torch.testing.assert_close(stack.detach(), torch.stack([one.detach() for one in single]))


@pytest.mark.parametrize("shape", [(3, 8, 6), (8, 6), (2, 8, 8)])
@pytest.mark.parametrize("dim", [-2, -1])
def test_blocks_are_those_of_chunk_and_come_together_again(shape, dim):
    x, cut = torch.randn(shape), Blocks(2, dim)
    each = x.reshape(-1, *shape[-2:])
    expected = [part for matrix in each for part in matrix.chunk(2, dim)]
    assert torch.equal(cut.apart(x), torch.stack(expected))
    assert torch.equal(cut.together(cut.apart(x), x.shape), x)


def test_each_head_of_attention_is_orthogonalized_alone():
    model = transformer(d_model=8, n_heads=2)
    muon = build_optimizers(model, TrainingOptions(lr=1.0, matrix_factor=1.0))[0]
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight)
    muon.step()

    def one(gradient):
        return orthogonalized(gradient[None])[0]

    for name, weight in model.named_parameters():
        found, gradient = before[name] - weight.detach(), weight.grad
        if name.endswith("attention.in_weight"):  # W_q, W_k, W_v: the rows of a head
            parts = [[one(head) for head in matrix.chunk(2, 0)] for matrix in gradient]
            expected = torch.stack([torch.cat(heads, 0) for heads in parts])
        elif name.endswith("attention.out_proj.weight"):  # the columns of a head
            expected = torch.cat([one(head) for head in gradient.chunk(2, 1)], 1)
        elif name.endswith(("linear1.weight", "linear2.weight")):
            expected = one(gradient) * max(1, gradient.shape[0] / gradient.shape[1]) ** 0.5
        else:
            continue
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_weights_are_orthogonalized_a_few_at_a_time_as_all_together(monkeypatch):
    gradients = [torch.randn(shape) for shape in ((3, 4, 4), (4, 4), (4, 4), (2, 4, 4), (4, 8))]
    found = []
    for together in (1 << 20, 40):  # all, and two of the small ones
        monkeypatch.setitem(optim._TOGETHER, "cpu", together)
        weights = [nn.Parameter(torch.ones_like(gradient)) for gradient in gradients]
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient.clone()
        Muon(weights, lr=0.1).step()
        found.append([weight.detach() for weight in weights])
    torch.testing.assert_close(found[0], found[1])
    assert all(not torch.equal(weight, torch.ones_like(weight)) for weight in found[0])


@pytest.mark.parametrize("tied", [True, False])
def test_matrices_of_layers_are_muons_and_everything_else_adamws(tied):
    model = transformer(tie_embeddings=tied)
    muon, adamw = build_optimizers(model, TrainingOptions(weight_decay=0.1))
    names = {id(weight): name for name, weight in model.named_parameters()}
    taken = [[names[id(w)] for g in o.param_groups for w in g["params"]] for o in (muon, adamw)]
    assert sorted(taken[0] + taken[1]) == sorted(names.values())
    assert all(name.startswith(("encoder.layers", "decoder.layers")) for name in taken[0])
    assert all(model.get_parameter(name).dim() >= 2 for name in taken[0])
    for name in taken[1]:
        outside = ("embedding", "output", "positions")
        assert model.get_parameter(name).dim() < 2 or any(word in name for word in outside), name
    decayed = [g["weight_decay"] for o in (muon, adamw) for g in o.param_groups if g["params"]]
    assert sorted(decayed) == [0.0, 0.1]


def test_adamw_alone_decays_matrices_and_nothing_else():
    model = transformer()
    options = TrainingOptions(optimizer="adamw", weight_decay=0.1)
    (adamw,) = build_optimizers(model, options)
    groups = {group["weight_decay"]: group["params"] for group in adamw.param_groups}
    assert set(groups) == {0.0, 0.1}
    assert all(weight.dim() >= 2 for weight in groups[0.1])
    assert sum(map(len, groups.values())) == len(list(model.parameters()))


def test_one_rate_scales_all_optimizers_each_from_its_own_peak():
    optimizers = build_optimizers(transformer(), TrainingOptions(lr=0.004, matrix_factor=5.0))
    for factor in (0.5, 0.1, 1.0):  # never from the rate before
        set_rates(optimizers, factor, 0)
        rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
        assert rates == pytest.approx([0.02 * factor] + [0.004 * factor] * (len(rates) - 1))


def test_the_momentum_of_muon_climbs_to_its_own():
    (muon, _) = optimizers = build_optimizers(transformer(), TrainingOptions())
    found = []
    for step in (0, 150, 300, 1000, 0):  # of the step alone, so that a resumed run has the same
        set_rates(optimizers, 1.0, step)
        found.append(muon.param_groups[0]["momentum"])
    assert found == pytest.approx([0.85, 0.9, 0.95, 0.95, 0.85])


def factors(steps, **options):
    chosen = TrainingOptions(**options)
    return [learning_rate_factor(step, step / steps, chosen) for step in range(steps)]


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_schedules_warm_up_and_come_down(schedule):
    found = factors(100, schedule=schedule, warmup=10)
    assert found[0] == pytest.approx(0.1)
    assert found[:9] == sorted(found[:9])
    after = found[10:]
    assert after == sorted(after, reverse=True)
    half = {"linear": 0.5, "cosine": 0.5, "constant": 1.0}[schedule]
    assert found[50] == pytest.approx(half)
    ends = {"linear": 0.01, "cosine": (1 - math.cos(math.pi / 100)) / 2, "constant": 1.0}
    assert found[99] == pytest.approx(ends[schedule])
    assert factors(10, schedule=schedule, warmup=0)[0] == 1.0


def test_inverse_square_root_is_the_published_schedule_scaled_to_its_peak():
    """Vaswani et al. 2017, eq. 3: d^-0.5 min(s^-0.5, s w^-1.5), s from 1."""
    found = factors(200, schedule="inverse-sqrt", warmup=40)
    published = [min(s**-0.5, s * 40**-1.5) for s in range(1, 201)]
    assert found == pytest.approx([value * 40**0.5 for value in published])


def test_moving_average_follows_its_formula_and_gives_the_weights_back():
    model = nn.Linear(3, 2)
    average = MovingAverage(model, 0.6)
    expected = model.weight.detach().clone()
    for step in range(12):
        with torch.no_grad():
            model.weight.add_(torch.randn(2, 3))
        average.update(step)
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    own = model.weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(model.weight.detach(), expected)
    assert torch.equal(model.weight, own)
    other = MovingAverage(nn.Linear(3, 2), 0.6)
    other.load(average.tensors())
    torch.testing.assert_close(other.tensors()["average.weight"], expected)


def test_without_decay_the_average_is_the_weights():
    model = nn.Linear(2, 2)
    average = MovingAverage(model, 0.0)
    average.update(0)
    before = model.weight.detach().clone()
    with average.applied():
        assert torch.equal(model.weight, before)
    assert average.tensors() == {}
