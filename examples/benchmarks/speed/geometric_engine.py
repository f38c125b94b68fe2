"""PyTorch Geometric's GAT, as its own examples/gat.py trains it, on the files that attn reads."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import GATConv
from torch_geometric.utils import to_undirected
from work import Engine, Measured, Try


class Gat(nn.Module):
    """Two layers. Shape: features (N, D), edges (2, E) -> (N, C)."""

    def __init__(self, n_features: int, n_labels: int) -> None:
        super().__init__()
        self.first = GATConv(n_features, 8, 8, dropout=0.6)
        self.second = GATConv(8 * 8, n_labels, heads=1, concat=False, dropout=0.6)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        x = F.dropout(x, 0.6, training=self.training)
        x = F.elu(self.first(x, edges))
        x = F.dropout(x, 0.6, training=self.training)
        return self.second(x, edges)


class Geometric(Engine):
    """A whole training: reading, then epochs of an update and a validation each."""

    def measure(self, task: Try) -> Measured:
        start = time.perf_counter()
        x, edges, labels, splits = read(task)
        model = Gat(x.shape[1], int(labels.max()) + 1)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.005, weight_decay=5e-4)
        train, val = splits == 0, splits == 1
        for _ in range(task.work.steps):
            model.train()
            optimizer.zero_grad()
            F.cross_entropy(model(x, edges)[train], labels[train]).backward()
            optimizer.step()
            model.eval()
            with torch.no_grad():
                float((model(x, edges)[val].argmax(-1) == labels[val]).float().mean())
        return Measured(1, time.perf_counter() - start)


def read(task: Try) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, each row divided by its sum (N, D); edges (2, E); labels and splits (N,)."""
    folder = task.file("graph")
    nodes, links = (
        [line.split("\t") for line in (folder / name).read_text("utf-8").splitlines()[1:]]
        for name in ("nodes.tsv", "edges.tsv")
    )
    names, labels, splits, features = zip(*nodes, strict=True)
    active = [list(map(int, text.split())) for text in features]
    x = torch.zeros(len(nodes), 1 + max(map(max, active)))
    for row, columns in zip(x, active, strict=True):
        row[columns] = 1 / len(columns)
    number = {name: node for node, name in enumerate(names)}
    edges = torch.tensor([[number[one], number[two]] for one, two in links]).T
    kinds = sorted(set(labels))
    classes = torch.tensor([kinds.index(label) for label in labels])
    parts = torch.tensor([("train", "val", "test", "none").index(split) for split in splits])
    return x, to_undirected(edges), classes, parts
