"""Recurrent cells, over whole sequences or one step at a time (torch.nn's fused kernels).

Shapes: B batch, S length, I width of the input, D width of the output (of both directions), C width
of a cell, L layers, P vectors of a cell's state (2 for the LSTM, else 1), R rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from attn_cli.config import choose
from attn_cli.nn.dropout import Dropout


class Cell:
    """What hᵢ = f(xᵢ, hᵢ₋₁) is."""

    module: ClassVar[Callable[..., nn.RNNBase]]
    n_gates: ClassVar[int]
    n_parts: ClassVar[int] = 1  # P


class ElmanCell(Cell):
    """h = tanh(W x + U h₋₁ + b) (Elman 1990)."""

    module = nn.RNN
    n_gates = 1


class GRUCell(Cell):
    """h = (1-z) n + z h₋₁, n = tanh(W x + b + r (U h₋₁ + c)), gates r, z (Cho et al. 2014)."""

    module = nn.GRU
    n_gates = 3


class LSTMCell(Cell):
    """h = o tanh(c), c = f c₋₁ + i tanh(W x + U h₋₁ + b), gates i, f, o (Gers et al. 2000)."""

    module = nn.LSTM
    n_gates = 4
    n_parts = 2


CELLS: dict[str, type[Cell]] = {"rnn": ElmanCell, "gru": GRUCell, "lstm": LSTMCell}


class Recurrent(nn.Module):
    """Layers of recurrent cells, in one direction or two.

    The state is one tensor whose first dimension counts rows, so that a search can select, repeat
    and join rows of it. Between layers there is dropout.

    Args:
        cell: a key of `CELLS`.
        d_input: I.
        d_output: D; of both directions together where there are two.
        n_layers: L.
        dropout: of the vectors between layers.
        bidirectional: whether a second chain of cells reads from the end (Schuster & Paliwal 1997).
        uniform: whether all weights begin uniform in ±1/√C, as torch.nn makes them.

    Raises:
        ValueError: two directions can't share an odd width.
    """

    def __init__(
        self,
        cell: str,
        d_input: int,
        d_output: int,
        n_layers: int = 1,
        dropout: float = 0.0,
        *,
        bidirectional: bool = False,
        uniform: bool = False,
    ) -> None:
        super().__init__()
        kind = choose(CELLS, cell, "cell")
        self.n_parts = kind.n_parts
        self.n_directions = 2 if bidirectional else 1
        if d_output % self.n_directions:
            raise ValueError(f"a width of {d_output} can't be shared by two directions")
        self.d_cell = d_output // self.n_directions
        self.layers = nn.ModuleList(
            kind.module(
                d_output if layer else d_input,
                self.d_cell,
                batch_first=True,
                bidirectional=bidirectional,
            )
            for layer in range(n_layers)
        )
        self.dropout = Dropout(dropout)
        if not uniform:
            for name, weight in self.named_parameters():
                _initialize(name.rsplit(".", 1)[-1], weight, kind.n_gates)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Reads whole sequences.

        Padding takes no part: outputs there are 0, and the state is that of the last valid position
        (of the first one, for the cells that read from the end). A row without valid positions
        counts as one with its first.

        Args:
            x: Shape: (B, S, I).
            mask: which positions are valid, those at the front; None if all. Shape: (B, S).
            state: where to go on from; zeros if None. Shape: (B, L, directions, P, C).

        Returns:
            The last layer's outputs (B, S, D), and every layer's final state, as `state`.
        """
        outputs, after = self._run(x, mask, state)
        return outputs[-1], after

    def each_layer(self, x: Tensor, mask: Tensor) -> list[Tensor]:
        """The inputs and every layer's outputs. Shape: (B, S, D), (B, S) -> L + 1 of (B, S, D)."""
        return [x, *self._run(x, mask, None)[0]]

    def _run(
        self, x: Tensor, mask: Tensor | None, state: Tensor | None
    ) -> tuple[list[Tensor], Tensor]:
        """Every layer's outputs and final state; see `forward`."""
        lengths = None
        if mask is not None and not bool(mask.all()):
            lengths = mask.sum(1).clamp_min(1).cpu()
        outputs, states = [], []
        for number, layer in enumerate(self.layers):
            x = self.dropout(x) if number else x
            before = None if state is None else self._unpacked(state[:, number])
            x, after = self._read(layer, x, lengths, before)
            outputs.append(x)
            states.append(self._packed(after))
        return outputs, torch.stack(states, 1)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Reads one more vector a row. Shape: (R, I), (R, L, 1, P, C) -> (R, D), the new state."""
        outputs, after = self(x[:, None], None, state)
        return outputs[:, 0], after

    def _read(
        self, layer: nn.Module, x: Tensor, lengths: Tensor | None, before: object
    ) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
        if lengths is None:
            return layer(x, before)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        outputs, after = layer(packed, before)
        padded, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])
        return padded, after

    def _unpacked(self, state: Tensor) -> Tensor | tuple[Tensor, ...]:
        """A layer's state for torch.nn. Shape: (B, directions, P, C) -> P x (directions, B, C)."""
        parts = tuple(part.contiguous() for part in state.permute(2, 1, 0, 3).unbind(0))
        return parts if self.n_parts > 1 else parts[0]

    def _packed(self, after: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        """The reverse of `_unpacked`."""
        parts = after if isinstance(after, tuple) else (after,)
        return torch.stack(parts).permute(2, 1, 0, 3)  # (B, directions, P, C)


class NoCells(nn.Module):
    """An encoder that reads nothing: each vector is its own state, their mean the last one.

    A decoder that begins with it and attends to the vectors is that of Xu et al. 2015, section
    3.1.2, whose vectors are regions of an image.

    Args:
        n_parts: P.
    """

    def __init__(self, n_parts: int) -> None:
        super().__init__()
        self.n_parts = n_parts

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Shape: (B, S, D), (B, S) -> (B, S, D), (B, 1, 1, P, D); as `Recurrent`."""
        valid = mask[..., None].to(x.dtype)
        mean = (x * valid).sum(1) / valid.sum(1).clamp_min(1)
        return x * valid, mean[:, None, None, None].expand(-1, 1, 1, self.n_parts, -1)


@torch.no_grad()
def _initialize(name: str, weight: Tensor, n_gates: int) -> None:
    """Input weights as Glorot & Bengio 2010, recurrent ones orthogonal, biases 0.

    The LSTM's forget gate, its second, begins open: bias 1 (Jozefowicz et al. 2015).
    """
    if weight.is_meta:  # of a model that is loaded: there are no values to give
        return
    if weight.dim() == 1:
        weight.zero_()
        if n_gates == LSTMCell.n_gates and name.startswith("bias_ih"):
            weight.view(n_gates, -1)[1] = 1.0
        return
    for gate in weight.chunk(n_gates):
        if name.startswith("weight_hh"):
            nn.init.orthogonal_(gate)
        else:
            nn.init.xavier_uniform_(gate)
