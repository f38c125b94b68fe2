"""Layers of ours said so that PyTorch's tracer can write them down for any size.

Each computes what the layer in whose place it stands computes. What needs another form: complex
numbers, loops over parts of a tensor, cells that skip padding, a cache that is written in place.

Shapes: B batch, T length (of queries), S keys, D d_model, H heads, K d_head, L layers, P history.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_cli.nn.attention import Attention
from attn_cli.nn.cache import KeyValue, KeyValueCache
from attn_cli.nn.convolution import GatedConvolution
from attn_cli.nn.positions import (
    AttentionPositions,
    Positions,
    RelativePositions,
    RotaryPositions,
)
from attn_cli.nn.rnn import Recurrent
from attn_cli.nn.scores import AdditiveScore, Score

N_POSITIONS = 4096  # of a table, where ours has no end …
TABLED = ("sinusoidal", "sinusoidal-halves", "rotary")  # … as with these


class Places(Positions):
    """Positions that are looked up in tables of `N_POSITIONS` rows.

    Sizes come from inputs of a graph: the tracer takes those of tensors that were given another
    shape for fixed ones.

    Attributes:
        keys: the positions of all that came so far. Shape: (S,).
    """

    def __init__(self, keys: Tensor, index: Tensor) -> None:
        super().__init__(index, N_POSITIONS)
        self.keys = keys

    @property
    def earlier(self) -> Tensor:
        """Which keys do not stand behind a query. Shape: (T, S)."""
        return self.keys <= self.index[0][:, None]


def numbered(length: int, first: int | Tensor = 0) -> Places:
    """The positions `first`, `first` + 1, … of `length` vectors, behind all earlier ones."""
    ahead = torch.arange(length) + first
    return Places(torch.arange(length + first), ahead[None])  # type: ignore[arg-type]


def say_plainly(model: nn.Module) -> None:
    """Puts such layers in the place of those that need it; the model is for graphs alone then."""
    for module in list(model.modules()):
        if isinstance(module, Attention):
            module.fused = False
            if isinstance(module.score, AdditiveScore):
                module.score = _WholeAdditive(module.score)
            if isinstance(module.positions, RotaryPositions):
                module.positions = _RealRotary()
            elif isinstance(module.positions, RelativePositions):
                module.positions = _WholeRelative(module.positions)
    for name, module in list(model.named_modules()):
        if isinstance(module, GatedConvolution):
            _replace(model, name, _SlicedConvolution(module))


def read_reversed(model: nn.Module) -> None:
    """Puts two chains of cells in the place of those that read in both directions.

    Their final states are not asked for.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, Recurrent) and module.n_directions == 2:
            _replace(model, name, _ReversedRecurrent(module))


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, module)


class _RealRotary(AttentionPositions):
    """`RotaryPositions` in real numbers."""

    def rotate(self, heads: Tensor, positions: Positions) -> Tensor:
        """Shape: (B, H, T, K) -> the same."""
        pairs = positions.sinusoids(int(heads.shape[-1]))[:, None]  # (B or 1, 1, T, K)
        sine, cosine = pairs[..., 0::2], pairs[..., 1::2]
        first, second = heads[..., 0::2], heads[..., 1::2]
        turned = first * cosine - second * sine, first * sine + second * cosine
        return torch.stack(turned, -1).flatten(-2)


class _WholeRelative(AttentionPositions):
    """`RelativePositions` by a vector for each pair of positions: one product, no scattering."""

    has_terms = True

    def __init__(self, own: RelativePositions) -> None:
        super().__init__()
        self.own = own

    def score_terms(self, query: Tensor, positions: Positions, n_keys: int) -> Tensor:
        """Shape: (B, H, T, K) -> (B, H, T, S)."""
        keys = self.own.keys[self._which(positions)]  # (T, S, K)
        return (query.unsqueeze(-2) @ keys.transpose(-2, -1)).squeeze(-2)

    def value_terms(self, weights: Tensor, positions: Positions) -> Tensor:
        """Shape: (B, H, T, S) -> (B, H, T, K)."""
        values = self.own.values[self._which(positions)]
        return (weights.unsqueeze(-2) @ values).squeeze(-2)

    def _which(self, positions: Positions) -> Tensor:
        """The row of the table for each pair. Shape: (T, S)."""
        assert isinstance(positions, Places)
        limit = self.own.max_distance
        distance = positions.keys - positions.index[0][:, None]
        return distance.clamp(-limit, limit) + limit


class _WholeAdditive(Score):
    """`AdditiveScore` of all queries at once."""

    is_inner_product = False

    def __init__(self, own: AdditiveScore) -> None:
        super().__init__(0)
        self.own = own

    def map_query(self, query: Tensor) -> Tensor:
        """Shape: (..., T, K) -> the same."""
        return self.own.map_query(query)

    def map_key(self, key: Tensor) -> Tensor:
        """Shape: (..., S, K) -> the same."""
        return self.own.map_key(key)

    def compare(self, query: Tensor, key: Tensor) -> Tensor:
        """Shape: (..., T, K), (..., S, K) -> (..., T, S)."""
        combination = self.own.combination.view(len(self.own.key_weight), 1, -1, 1)
        sums = query.unsqueeze(-2) + key.unsqueeze(-3)
        return (sums.tanh() @ combination).squeeze(-1)


class _SlicedConvolution(nn.Module):
    """`GatedConvolution` of windows that are slices of the whole, one beside the other."""

    def __init__(self, own: GatedConvolution) -> None:
        super().__init__()
        self.own = own

    def forward(self, x: Tensor, *, causal: bool) -> Tensor:
        """Shape: (B, T, D) -> (B, T, D)."""
        size, length = self.own.kernel_size, x.shape[1]
        before = size - 1 if causal else (size - 1) // 2
        padded = F.pad(x, (0, 0, before, size - 1 - before))
        slices = [padded[:, first : first + length] for first in range(size)]
        return self.own.of_windows(torch.stack(slices, -2))

    def of_windows(self, windows: Tensor) -> Tensor:
        """Shape: (..., k, D) -> (..., D)."""
        return self.own.of_windows(windows)


class _ReversedRecurrent(nn.Module):
    """`Recurrent` in two directions: cells that read from the end are given the text reversed.

    Padding, which stands behind, is then read last by both, and changes nothing before it.
    """

    def __init__(self, own: Recurrent) -> None:
        super().__init__()
        self.ahead = nn.ModuleList(_one_way(layer, reverse=False) for layer in own.layers)
        self.back = nn.ModuleList(_one_way(layer, reverse=True) for layer in own.layers)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, None]:
        """The last layer's outputs, 0 where padding is. Shape: (B, S, I), (B, S) -> (B, S, D)."""
        places = torch.arange(mask.shape[1])
        mirrored = mask.long().sum(1, keepdim=True) - 1 - places
        order = torch.where(mirrored >= 0, mirrored, places)[:, :, None]
        valid = mask[:, :, None].to(x.dtype)
        for ahead, back in zip(self.ahead, self.back, strict=True):
            read = ahead(x)[0]
            turned = back(x.gather(1, order.expand(-1, -1, x.shape[2])))[0]
            read_back = turned.gather(1, order.expand(-1, -1, turned.shape[2]))
            x = torch.cat((read, read_back), -1) * valid
        return x, None


def _one_way(layer: nn.Module, *, reverse: bool) -> nn.RNNBase:
    """One direction of a layer."""
    assert isinstance(layer, nn.RNNBase)
    make: Callable[..., nn.RNNBase] = type(layer)
    found = make(layer.input_size, layer.hidden_size, batch_first=True)
    mark = "_reverse"
    weights = layer.state_dict().items()
    own = {n.removesuffix(mark): w for n, w in weights if n.endswith(mark) == reverse}
    found.load_state_dict(own)
    return found.eval()


class GrownCache(KeyValueCache):
    """The keys and values of a step graph: what was there before, and what the step adds.

    Attributes:
        grown: keys and values of each layer after the step. Shape: (2, B, H, P + T, K) each.

    Args:
        before: those of earlier steps. Shape: (L, 2, B, H, P, K).
    """

    def __init__(self, before: Tensor) -> None:
        super().__init__([], None, 0, 1, 0, 0, before.device)
        self._before = before
        self.grown: list[Tensor] = []

    def append(self, layer: int, last: KeyValue) -> KeyValue:
        """Shape: 2 x (B, H, T, K) -> 2 x (B, H, P + T, K)."""
        pair = torch.cat((self._before[layer], torch.stack((last.key, last.value))), 3)
        self.grown.append(pair)
        return KeyValue(pair[0], pair[1])
