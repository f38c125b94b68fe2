"""Which kinds, layers and heads are drawn.

Shapes: H heads, T rows, S columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from attn_cli.config import nearest
from attn_cli.config.attending import AttendOptions
from attn_cli.errors import UsageError
from attn_cli.viz.maps import AttentionMap, Weights


@dataclass(frozen=True)
class View:
    """One layer of a map.

    Attributes:
        layer: its number from 1.
        heads: what each of the matrices is: a number from 1, or "mean".
        weights: Shape: (len(heads), T, S).
    """

    layer: int
    heads: tuple[str, ...]
    weights: Weights


@dataclass(frozen=True)
class HeadSelection:
    """The kinds, layers and heads of a model's attention that were asked for.

    Attributes:
        kinds: which kinds, in order.
        layers: for each kind, the indices of its layers.
        head: "mean", "all", or a number from 1.
    """

    kinds: tuple[str, ...]
    layers: Mapping[str, tuple[int, ...]]
    head: str

    @classmethod
    def parse(
        cls, options: AttendOptions, heads: Mapping[str, Sequence[int]], *, everything: bool
    ) -> HeadSelection:
        """Reads `--kind`, `--layer` and `--head`.

        Args:
            options: what was asked for.
            heads: the numbers of heads in the layers of each kind that the model has.
            everything: whether what was not said means all there is.

        Raises:
            UsageError: the model has no such kind, layer or head.
        """
        if options.kind is not None and options.kind not in heads:
            raise UsageError(
                f"--kind {options.kind[:80]}: this model has no such attention"
                f"{nearest(options.kind, heads)}; it has {', '.join(heads)}"
            )
        kinds = tuple(heads) if everything else tuple(heads)[:1]
        kinds = kinds if options.kind is None else (options.kind,)
        layer = options.layer or ("all" if everything else "-1")
        layers = {kind: _layers(layer, len(heads[kind]), kind) for kind in kinds}
        head = options.head or ("all" if everything else "mean")
        if head not in ("mean", "all"):
            if not re.fullmatch(r"[0-9]{1,4}", head):
                raise UsageError(f"--head {head[:80]}: a number, mean or all is needed")
            for kind in kinds:
                most = min(heads[kind][index] for index in layers[kind])
                if not 1 <= int(head) <= most:
                    raise UsageError(f"--head {head}: {kind} attention has heads 1 to {most} there")
            head = str(int(head))
        return cls(kinds, layers, head)

    def views(self, drawn: AttentionMap) -> Iterator[View]:
        """The chosen layers of a map that is of a chosen kind."""
        for index in self.layers[drawn.kind]:
            weights = drawn.layers[index]
            if self.head == "mean":
                yield View(index + 1, ("mean",), weights.mean(0, keepdims=True))
            elif self.head == "all":
                yield View(index + 1, tuple(str(i + 1) for i in range(len(weights))), weights)
            else:
                number = int(self.head)
                yield View(index + 1, (self.head,), weights[number - 1 : number])


def _layers(spec: str, n_layers: int, kind: str) -> tuple[int, ...]:
    if spec == "all":
        return tuple(range(n_layers))
    if not re.fullmatch(r"-?[0-9]{1,4}", spec):
        raise UsageError(f"--layer {spec[:80]}: a number, or all, is needed")
    number = int(spec)
    if not 1 <= abs(number) <= n_layers:
        raise UsageError(
            f"--layer {spec}: {kind} attention has layers 1 to {n_layers} (or -1, the last, to "
            f"-{n_layers})"
        )
    return (number - 1 if number > 0 else n_layers + number,)
