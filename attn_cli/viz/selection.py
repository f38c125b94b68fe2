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
from attn_cli.viz.maps import ATTRIBUTION, AttentionMap, Weights

# Model -> kind of attention, the best known first -> the number of heads in every layer.
Heads = Mapping[str, Mapping[str, Sequence[int]]]


@dataclass(frozen=True)
class View:
    """One layer of a map.

    Attributes:
        layer: its number from 1.
        heads: what each of the matrices is: a number from 1, or "mean", or `ATTRIBUTION`.
        weights: Shape: (len(heads), T, S).
    """

    layer: int
    heads: tuple[str, ...]
    weights: Weights


@dataclass(frozen=True)
class HeadSelection:
    """The kinds, layers and heads of the models' attention that were asked for.

    Attributes:
        kinds: which kinds, in order.
        layers: for each model, and each of its kinds that is drawn, the indices of its layers.
        head: "mean", "all", or a number from 1.
    """

    kinds: tuple[str, ...]
    layers: Mapping[str, Mapping[str, tuple[int, ...]]]
    head: str

    @classmethod
    def parse(cls, options: AttendOptions, models: Heads, *, everything: bool) -> HeadSelection:
        """Reads `--kind`, `--layer` and `--head`.

        Args:
            options: what was asked for.
            models: what there is.
            everything: whether what was not said means all there is.

        Raises:
            UsageError: a model has no such kind, layer or head.
        """
        head = options.head or ("all" if everything else "mean")
        if head not in ("mean", "all"):
            if not re.fullmatch(r"[0-9]{1,4}", head):
                raise UsageError(f"--head {head[:80]}: a number, mean or all is needed")
            head = str(int(head))
        layer = options.layer or ("all" if everything else "-1")
        chosen: dict[str, dict[str, tuple[int, ...]]] = {}
        for model, heads in models.items():
            kinds = _kinds(options.kind, heads, everything=everything)
            where = f" ({model})" if len(models) > 1 else ""
            chosen[model] = {
                kind: (0,) if kind == ATTRIBUTION else _layers(layer, len(heads[kind]), kind, where)
                for kind in kinds
            }
            for kind, layers in chosen[model].items():
                if kind != ATTRIBUTION:
                    _check_head(head, kind, [heads[kind][index] for index in layers], where)
        names = dict.fromkeys(kind for layers in chosen.values() for kind in layers)
        return cls(tuple(names), chosen, head)

    @property
    def models(self) -> tuple[str, ...]:
        """The models that are drawn."""
        return tuple(self.layers)

    def of(self, kind: str) -> tuple[int, ...]:
        """The layers of a kind, of the one model that is drawn."""
        (layers,) = self.layers.values()
        return layers[kind]

    def views(self, drawn: AttentionMap) -> Iterator[View]:
        """The chosen layers of a map that is of a chosen kind."""
        for index in self.layers[drawn.model][drawn.kind]:
            weights = drawn.layers[index]
            if drawn.signed:
                yield View(index + 1, (ATTRIBUTION,), weights)
            elif self.head == "mean":
                yield View(index + 1, ("mean",), weights.mean(0, keepdims=True))
            elif self.head == "all":
                yield View(index + 1, tuple(str(i + 1) for i in range(len(weights))), weights)
            else:
                number = int(self.head)
                yield View(index + 1, (self.head,), weights[number - 1 : number])


def _kinds(
    asked: str | None, heads: Mapping[str, Sequence[int]], *, everything: bool
) -> tuple[str, ...]:
    if asked is not None and asked not in heads:
        raise UsageError(
            f"--kind {asked[:80]}: this model has no such attention{nearest(asked, heads)}; it has "
            f"{', '.join(heads)}"
        )
    weights = [kind for kind in heads if kind != ATTRIBUTION]
    chosen = [asked] if asked is not None else weights if everything else weights[:1]
    beside = [kind for kind in heads if kind == ATTRIBUTION and kind not in chosen]
    return (*chosen, *beside)


def _layers(spec: str, n_layers: int, kind: str, where: str) -> tuple[int, ...]:
    if spec == "all":
        return tuple(range(n_layers))
    if not re.fullmatch(r"-?[0-9]{1,4}", spec):
        raise UsageError(f"--layer {spec[:80]}: a number, or all, is needed")
    number = int(spec)
    if not 1 <= abs(number) <= n_layers:
        raise UsageError(
            f"--layer {spec}: {kind} attention has layers 1 to {n_layers} (or -1, the last, to "
            f"-{n_layers}){where}"
        )
    return (number - 1 if number > 0 else n_layers + number,)


def _check_head(head: str, kind: str, counts: Sequence[int], where: str) -> None:
    if head not in ("mean", "all") and not 1 <= int(head) <= min(counts):
        raise UsageError(
            f"--head {head}: {kind} attention has heads 1 to {min(counts)} there{where}"
        )
