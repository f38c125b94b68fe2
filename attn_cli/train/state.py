"""The tensors of a training's state: weights, averages, optimizers, random generators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attn_cli.errors import AttnError
from attn_cli.train.averaging import MovingAverage
from attn_cli.train.processes import Processes
from attn_cli.train.shards import local


@dataclass(frozen=True)
class TensorState:
    """What a saved state holds beside numbers, as named tensors.

    Attributes:
        model: whose weights are trained.
        optimizers: with their moments.
        average: of the weights.
        partner: a module that is trained along and belongs to no model directory.
    """

    model: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    average: MovingAverage
    partner: nn.Module | None = None

    def tensors(self, processes: Processes) -> dict[str, Tensor]:
        """All of it by name; every rank must call this, for each has its own generators."""
        tensors: dict[str, Tensor] = {}
        for kind, state in _random_states(processes.device).items():
            for rank, rank_state in enumerate(processes.gather(state)):
                tensors[f"random.{kind}.{rank}"] = rank_state
        tensors |= self._weights() | self.average.tensors()
        for number, optimizer in enumerate(self.optimizers):
            for index, moments in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{number}.{index}.{k}": v for k, v in moments.items()}
        return tensors

    def layout(self) -> dict[str, Tensor]:
        """The weights by the names of what is saved of them; of moments, without their own."""
        weights = self._weights() | self.average.tensors()
        for number, optimizer in enumerate(self.optimizers):
            for index, weight in enumerate(_weights_of(optimizer)):
                weights[f"optimizer.{number}.{index}"] = weight
        return weights

    def bytes_here(self) -> int:
        """What the weights, their averages and the optimizers' moments take in this process."""
        tensors = [*self._weights().values(), *self.average.tensors().values()]
        for optimizer in self.optimizers:
            for moments in optimizer.state.values():
                tensors += [moment for moment in moments.values() if isinstance(moment, Tensor)]
        return sum(local(tensor).nbytes for tensor in tensors)

    def require_finite(self, step: int, processes: Processes) -> None:
        """Raises AttnError if the weights are spoilt: they must not replace those on disk."""
        for module in [self.model] if self.partner is None else [self.model, self.partner]:
            weights = dict(module.named_parameters())
            spoilt = (not bool(torch.isfinite(local(w)).all()) for w in weights.values())
            for name, is_spoilt in zip(weights, processes.total(*spoilt), strict=True):
                if is_spoilt:
                    raise AttnError(
                        f"step {step}: {name} is no finite number any more; what was saved is "
                        "intact. Lower --lr, or use --precision float32"
                    )

    def problem(self, tensors: Mapping[str, Tensor]) -> str | None:
        """Says why saved tensors are not of this training, if they are not."""
        for name, tensor in (self._weights() | self.average.tensors()).items():
            if name not in tensors or tensors[name].shape != tensor.shape:
                return f"tensor {name!r} is missing or has another shape"
        for number, optimizer in enumerate(self.optimizers):
            weights = _weights_of(optimizer)
            for index, moments in _moments(tensors, f"optimizer.{number}.").items():
                shapes = {moment.shape for moment in moments.values() if moment.dim()}
                if index >= len(weights) or shapes - {weights[index].shape}:
                    return f"optimizer {number} does not fit this model"
        return None

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], processes: Processes) -> None:
        """Puts saved tensors back where they came from."""
        for name, weight in self._weights().items():
            weight.copy_(tensors[name])
        self.average.load(tensors)
        for number, optimizer in enumerate(self.optimizers):
            _load_moments(optimizer, f"optimizer.{number}.", tensors)
        rank = processes.rank
        if f"random.cpu.{rank}" in tensors:
            torch.set_rng_state(tensors[f"random.cpu.{rank}"])
        else:  # a rank that was not there when the state was saved: with numbers of its own
            torch.set_rng_state(tensors["random.cpu.0"])
            torch.manual_seed(int(torch.randint(1 << 62, ())) + rank)
        if processes.device.type == "cuda" and f"random.cuda.{rank}" in tensors:
            torch.cuda.set_rng_state(tensors[f"random.cuda.{rank}"], processes.device)

    def _weights(self) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = {
            f"model.{name}": weight for name, weight in self.model.named_parameters()
        }
        if self.partner is not None:
            partner_weights = self.partner.named_parameters()
            weights |= {f"partner.{name}": weight for name, weight in partner_weights}
        return weights


def _weights_of(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _random_states(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _load_moments(
    optimizer: torch.optim.Optimizer, prefix: str, tensors: Mapping[str, Tensor]
) -> None:
    groups = optimizer.state_dict()["param_groups"]
    moments = _moments(tensors, prefix)
    optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _moments(tensors: Mapping[str, Tensor], prefix: str) -> dict[int, dict[str, Tensor]]:
    """An optimizer's saved tensors, by the number of their weight."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            index, key = name.removeprefix(prefix).split(".", 1)
            moments.setdefault(int(index), {})[key] = tensor
    return moments
