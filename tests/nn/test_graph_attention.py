"""Graph attention against a dense masked softmax, and PyTorch Geometric's own layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.models.gat import Gat, GatConfig
from attn_cli.nn import sparse
from attn_cli.nn.graph import (
    GRAPH_SCORES,
    GraphAttention,
    SparseFeatures,
    neighbourhood,
    receptive_field,
)
from attn_cli.nn.sparse import SparsePattern, pair_sums, row_softmax, sparse_product

N, D = 12, 9
EDGES = torch.tensor(
    [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 6), (6, 3), (0, 7), (7, 8), (8, 9), (2, 9), (1, 9)]
)  # node 10 and 11 have no neighbour


def dense_mask() -> Tensor:
    mask = torch.eye(N, dtype=torch.bool)
    for a, b in EDGES.tolist():
        mask[a, b] = mask[b, a] = True
    return mask


def dense_attention(layer: GraphAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """The formulas written out: every pair of nodes is scored, all but neighbours masked."""
    heads, all_weights = [], []
    for head in range(layer.n_heads):
        own = slice(head * layer.d_head, (head + 1) * layer.d_head)
        source = x @ layer.weight[:, own]
        if layer.target_weight is None:
            score = layer.score
            e = (source @ score.target[head])[:, None] + (source @ score.source[head])[None, :]
            e = F.leaky_relu(e, 0.2)
        else:
            target = x @ layer.target_weight[:, own]
            pairs = F.leaky_relu(target[:, None] + source[None, :], 0.2)
            e = pairs @ layer.score.query[head]
        weights = e.masked_fill(~dense_mask(), -torch.inf).softmax(-1)
        all_weights.append(weights)
        heads.append(weights @ source)
    out = sum(heads) / len(heads) if layer.average else torch.cat(heads, 1)
    return out + layer.bias, torch.stack(all_weights)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("score", list(GRAPH_SCORES))
def test_it_equals_a_dense_masked_softmax_with_its_gradients(score: str, average: bool) -> None:
    torch.manual_seed(1)
    layer = GraphAttention(D, 3, 4, score=GRAPH_SCORES[score], average=average)
    nn.init.normal_(layer.bias)
    x = torch.randn(N, D, requires_grad=True)
    edges = neighbourhood(EDGES, N)
    inputs = [x, *layer.parameters()]
    out, weights = layer(x, edges)
    gold, gold_weights = dense_attention(layer, x)
    torch.testing.assert_close(out, gold, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        weights, gold_weights[:, edges.rows, edges.cols], rtol=1e-5, atol=1e-6
    )
    found = torch.autograd.grad((out**3).sum(), inputs)
    for ours, theirs in zip(found, torch.autograd.grad((gold**3).sum(), inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("score", ["gat", "gatv2"])
def test_it_equals_pytorch_geometric(score: str, average: bool) -> None:
    geometric = pytest.importorskip("torch_geometric.nn")
    torch.manual_seed(2)
    layer = GraphAttention(D, 3, 4, score=GRAPH_SCORES[score], average=average)
    kind = geometric.GATConv if score == "gat" else geometric.GATv2Conv
    other = kind(D, 4, heads=3, concat=not average)
    with torch.no_grad():
        if score == "gat":
            other.lin.weight.copy_(layer.weight.t())
            other.att_src.copy_(layer.score.source[None])
            other.att_dst.copy_(layer.score.target[None])
        else:
            other.lin_l.weight.copy_(layer.weight.t())
            other.lin_r.weight.copy_(layer.target_weight.t())
            other.lin_l.bias.zero_()
            other.lin_r.bias.zero_()
            other.att.copy_(layer.score.query[None])
        other.bias.copy_(layer.bias)
    x = torch.randn(N, D)
    both = torch.cat([EDGES, EDGES.flip(1)]).t()
    out = layer(x, neighbourhood(EDGES, N))[0]
    torch.testing.assert_close(out, other(x, both), rtol=1e-5, atol=1e-6)


def test_edges_count_once_whatever_their_direction_and_every_node_sees_itself() -> None:
    again = torch.cat([EDGES, EDGES.flip(1), EDGES[:3], torch.tensor([[4, 4]])])
    for edges in (neighbourhood(EDGES, N), neighbourhood(again, N)):
        matrix = torch.zeros(N, N, dtype=torch.long)
        matrix.index_put_((edges.rows, edges.cols), torch.tensor(1), accumulate=True)
        assert torch.equal(matrix, dense_mask().long())


def test_a_node_without_neighbours_attends_to_itself_alone() -> None:
    layer = GraphAttention(D, 2, 4)
    x = torch.randn(N, D)
    out, weights = layer(x, edges := neighbourhood(EDGES, N))
    torch.testing.assert_close(out[10], x[10] @ layer.weight + layer.bias)
    assert weights[:, edges.rows == 11].tolist() == [[1.0], [1.0]]


def test_sparse_features_give_what_a_matrix_gives() -> None:
    torch.manual_seed(3)
    layer = GraphAttention(D, 3, 4)
    matrix = torch.randn(N, D) * (torch.rand(N, D) < 0.3)
    matrix[5] = 0  # a node without features
    rows, cols = matrix.nonzero().unbind(1)
    sparse = SparseFeatures(SparsePattern.build(rows, cols, N, D), matrix[rows, cols])
    edges = neighbourhood(EDGES, N)
    ours, theirs = layer(sparse, edges)[0], layer(matrix, edges)[0]
    torch.testing.assert_close(ours, theirs)
    found = torch.autograd.grad(ours.square().sum(), layer.weight)
    torch.testing.assert_close(found, torch.autograd.grad(theirs.square().sum(), layer.weight))


def test_gradients_equal_differences() -> None:
    torch.manual_seed(4)
    edges = neighbourhood(EDGES, N)
    scores = torch.randn(len(edges), 2, dtype=torch.double, requires_grad=True)
    dense = torch.randn(N, 2, 3, dtype=torch.double, requires_grad=True)
    check = torch.autograd.gradcheck
    assert check(lambda s: row_softmax(edges, s), scores)
    assert check(lambda s: row_softmax(edges, 100 * s), scores)
    assert check(lambda v, x: sparse_product(edges, v, x), (scores, dense))
    assert check(lambda v, x: sparse_product(edges, v, x), (scores[:, 0], dense[:, 0]))
    assert check(lambda r, c: pair_sums(edges, r, c), (dense[:, 0], dense[:, 1]))


@pytest.mark.parametrize("scale", [1.0, 20.0, 1e4])
def test_a_softmax_of_rows_is_that_of_each_row_however_large_its_scores(scale: float) -> None:
    edges = neighbourhood(EDGES, N)
    scores = torch.randn(len(edges), 3) * scale
    scores[edges.rows == 4] -= 5 * scale  # all of a row far below the others
    probs = row_softmax(edges, scores)
    for row in range(N):
        own = edges.rows == row
        torch.testing.assert_close(probs[own], scores[own].softmax(0))
    assert row_softmax(edges, scores * torch.nan).isnan().all()


def test_long_lists_of_edges_are_multiplied_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    edges = neighbourhood(EDGES, N)
    values = torch.rand(len(edges), 2, requires_grad=True)
    dense = torch.randn(N, 2, 3)
    whole = torch.autograd.grad(sparse_product(edges, values, dense).square().sum(), values)
    monkeypatch.setattr(sparse, "_AT_ONCE", 4 * 2 * 3)  # four edges
    parts = torch.autograd.grad(sparse_product(edges, values, dense).square().sum(), values)
    assert torch.equal(whole[0], parts[0])


@pytest.mark.parametrize("kind", ["sparse", "dense"])
@pytest.mark.parametrize("score", list(GRAPH_SCORES))
@pytest.mark.parametrize("nodes", [[3], [9, 0, 11], [5, 5, 1], list(range(N))])
def test_a_receptive_field_gives_what_the_whole_graph_gives(
    kind: str, score: str, nodes: list[int]
) -> None:
    torch.manual_seed(6)
    sizes = {"n_layers": 3, "n_heads": 2, "d_head": 4, "n_output_heads": 2, "graph_score": score}
    model = Gat(GatConfig(**sizes, n_features=D, n_labels=3, multi_label=False)).eval()
    matrix = torch.randn(N, D) * (torch.rand(N, D) < 0.4)
    rows, cols = matrix.nonzero().unbind(1)
    stored = SparseFeatures(SparsePattern.build(rows, cols, N, D), matrix[rows, cols])
    features = stored if kind == "sparse" else matrix
    edges = neighbourhood(EDGES, N)
    field = receptive_field(features, edges, torch.tensor(nodes), 3)
    ours = model(field.features, field.edges)[0][field.places]
    theirs = model(features, edges)[0][nodes]
    torch.testing.assert_close(ours, theirs)
    found = torch.autograd.grad(ours.square().sum(), list(model.parameters()))
    gold = torch.autograd.grad(theirs.square().sum(), list(model.parameters()))
    for one, other in zip(found, gold, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_receptive_field_is_what_lies_within_as_many_edges_as_layers() -> None:
    path = torch.stack([torch.arange(9), torch.arange(1, 10)], 1)
    edges = neighbourhood(path, 10)
    field = receptive_field(torch.arange(10.0)[:, None], edges, torch.tensor([4]), 2)
    assert field.features[0].item() == 4, "the nodes of the outputs come first"
    assert sorted(field.features[:, 0].tolist()) == [2, 3, 4, 5, 6]
    assert [(each.n_rows, each.n_cols, len(each)) for each in field.edges] == [(3, 5, 9), (1, 3, 3)]
    nothing = receptive_field(torch.ones(10, D), edges, torch.tensor([], dtype=torch.long), 2)
    layer = GraphAttention(D, 2, 4)
    layer(nothing.features, nothing.edges[0])[0].sum().backward()
    assert all(not weight.grad.any() for weight in layer.parameters())  # a process without a share


def test_dropout_meets_input_and_weights_in_training_alone() -> None:
    torch.manual_seed(5)
    layer = GraphAttention(D, 2, 4, dropout=0.5)
    x = torch.randn(N, D)
    edges = neighbourhood(EDGES, N)
    one, other = layer(x, edges)[0], layer(x, edges)[0]
    assert not torch.equal(one, other)
    # Node 10 has one weight, 1, which training drops or doubles; and so its input.
    ones = torch.ones(N, D)
    lone = torch.stack([layer(ones, edges)[0][10] for _ in range(200)])
    assert (lone[:, :4] == 0).all(-1).float().mean() == pytest.approx(0.5, abs=0.12)
    layer.eval()
    assert torch.equal(layer(x, edges)[0], layer(x, edges)[0])
    assert layer(x, edges)[1].sum().item() == pytest.approx(2 * N, abs=1e-4)


def test_memory_grows_with_the_edges_not_with_the_square_of_the_nodes() -> None:
    n_nodes = 60_000  # N x N would be 14 GB
    ring = torch.stack([torch.arange(n_nodes), torch.arange(n_nodes).roll(1)], 1)
    layer = GraphAttention(2, 1, 2)
    out, weights = layer(torch.randn(n_nodes, 2), neighbourhood(ring, n_nodes))
    out.sum().backward()
    assert weights.shape == (1, 3 * n_nodes)
    assert torch.isfinite(layer.weight.grad).all()


def test_a_pattern_refuses_entries_outside_and_rows_out_of_order() -> None:
    with pytest.raises(ValueError, match="outside"):
        SparsePattern.build(torch.tensor([0]), torch.tensor([3]), 2, 3)
    with pytest.raises(ValueError, match="ordered"):
        SparsePattern.build(torch.tensor([1, 0]), torch.tensor([0, 0]), 2, 3)


@pytest.mark.parametrize("score", list(GRAPH_SCORES))
def test_in_bf16_it_learns_what_it_learns_in_float32(score: str) -> None:
    torch.manual_seed(2)
    layer = GraphAttention(D, 4, 2, score=GRAPH_SCORES[score])
    x, found = torch.randn(N, D), {}
    for bf16 in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out, _ = layer(x, neighbourhood(EDGES, N))
        out.float().square().sum().backward()
        found[bf16] = [out, *(weight.grad for weight in layer.parameters())]
    for narrow, wide in zip(found[True], found[False], strict=True):
        assert (narrow - wide).norm() < 0.02 * wide.norm()
