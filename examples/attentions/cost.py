"""Measures what a layer costs as its input grows: recurrent, convolutional, self-attention.

    python3 examples/attentions/cost.py                       # a table beside the theory
    python3 examples/attentions/cost.py --plot cost.png       # and a picture (extra `plot`)

For n positions of d numbers the theory counts multiplications (Vaswani et al. 2017, table 1, with
the products that all positions share): recurrent O(n d^2), convolution of width k O(k n d^2),
self-attention O(n d^2 + n^2 d). Times are medians of several repeats, forward, and forward with
backward. Two figures compare them with the theory: the exponent e of time ~ n^e over the longer
half of the lengths, and times beside c * multiplications, c fitted to all lengths.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attn_cli.config.attention import AttentionOptions
from attn_cli.nn.attention import MultiHeadAttention
from attn_cli.nn.convolution import GatedConvolution
from attn_cli.nn.positions import Positions
from attn_cli.nn.rnn import Recurrent

KERNEL = 3
HEADS = 4


@dataclass(frozen=True)
class Layer:
    """A layer to measure.

    Attributes:
        name: what the table calls it.
        theory: its order of multiplications.
        build: makes it, given d.
        run: maps (1, n, d) to (1, n, d) with it.
        count: multiplications of a forward pass, given n and d.
    """

    name: str
    theory: str
    build: Callable[[int], nn.Module]
    run: Callable[[nn.Module, Tensor], Tensor]
    count: Callable[[int, int], int]


def _attend(explicit: bool) -> Callable[[nn.Module, Tensor], Tensor]:
    def run(layer: nn.Module, x: Tensor) -> Tensor:
        positions = Positions.first(x.shape[1], x.device)
        return layer(x, None, positions, need_weights=explicit).context

    return run


def _attention(d: int) -> nn.Module:
    return MultiHeadAttention(d, HEADS, AttentionOptions(positions="none"))


# Multiplications: an LSTM's 4 gates read its input and its state; a gated convolution has 2 d
# outputs of k d inputs; attention has 4 projections, and n^2 d twice: scores, and weighted values.
LAYERS = (
    Layer(
        "recurrent (LSTM)",
        "n d^2",
        lambda d: Recurrent("lstm", d, d),
        lambda layer, x: layer(x)[0],
        lambda n, d: 8 * n * d * d,
    ),
    Layer(
        f"convolution (k={KERNEL})",
        "k n d^2",
        lambda d: GatedConvolution(d, KERNEL, 0.0),
        lambda layer, x: layer(x, causal=False),
        lambda n, d: 2 * KERNEL * n * d * d,
    ),
    Layer(
        "self-attention",
        "n d^2 + n^2 d",
        _attention,
        _attend(explicit=False),
        lambda n, d: 4 * n * d * d + 2 * n * n * d,
    ),
    Layer(
        "self-attention, weights kept",
        "n d^2 + n^2 d",
        _attention,
        _attend(explicit=True),
        lambda n, d: 4 * n * d * d + 2 * n * n * d,
    ),
)


# What times a call: the processor's clock does not count the time that other programs take.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def median_seconds(work: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    """The median time of a call, after one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = clock()
        work()
        times.append(clock() - start)
    return statistics.median(times)


def measure(
    layer: Layer, n: int, d: int, repeats: int, clock: Callable[[], float]
) -> tuple[float, float]:
    """Seconds of a forward pass without gradients, and of a forward and a backward pass."""
    torch.manual_seed(0)
    module = layer.build(d)
    x = torch.randn(1, n, d, requires_grad=True)

    @torch.inference_mode()
    def forward() -> None:
        layer.run(module, x.detach())

    def both() -> None:
        module.zero_grad()
        x.grad = None
        layer.run(module, x).sum().backward()

    return median_seconds(forward, repeats, clock), median_seconds(both, repeats, clock)


def exponent(lengths: Sequence[int], values: Sequence[float]) -> float:
    """e of values ~ n^e by least squares in logarithms, over the longer half of the lengths."""
    half = min(len(lengths) // 2, len(lengths) - 2)
    logs_n = [math.log(n) for n in lengths[half:]]
    logs_v = [math.log(value) for value in values[half:]]
    return statistics.linear_regression(logs_n, logs_v).slope


def constant(counts: Sequence[int], seconds: Sequence[float]) -> float:
    """c of seconds ~ c * count, every length weighing alike: the geometric mean of the ratios."""
    ratios = [value / count for value, count in zip(seconds, counts, strict=True)]
    return statistics.geometric_mean(ratios)


@dataclass(frozen=True)
class Series:
    """Times of a layer over the lengths, one way: forward, or forward and backward."""

    layer: Layer
    way: str
    seconds: list[float]


def measure_all(
    lengths: Sequence[int], d: int, repeats: int, clock: Callable[[], float]
) -> list[Series]:
    """Both series of every layer."""
    found = []
    for layer in LAYERS:
        times = [measure(layer, n, d, repeats, clock) for n in lengths]
        for way, seconds in zip(
            ("forward", "with backward"), zip(*times, strict=True), strict=True
        ):
            found.append(Series(layer, way, list(seconds)))
    return found


def rows(series: Sequence[Series], lengths: Sequence[int], d: int) -> list[list[str]]:
    """The table: milliseconds at each length, then what they say beside the theory."""
    table = [["layer", "way", *(f"n={n} ms" for n in lengths), "e", "e theory", "theory", "ns/op"]]
    for one in series:
        counts = [one.layer.count(n, d) for n in lengths]
        times = [f"{1000 * value:.2f}" for value in one.seconds]
        measured, expected = exponent(lengths, one.seconds), exponent(lengths, counts)
        per_op = 1e9 * constant(counts, one.seconds)
        figures = [f"{measured:.2f}", f"{expected:.2f}", one.layer.theory, f"{per_op:.4f}"]
        table.append([one.layer.name, one.way, *times, *figures])
    return table


def draw(path: str, series: Sequence[Series], lengths: Sequence[int], d: int) -> None:
    """Times as points, c * multiplications as lines, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4.5), sharey=True)
    for number, one in enumerate(series):
        axes, color = panels[number % 2], f"C{number // 2}"
        counts = [one.layer.count(n, d) for n in lengths]
        scale = constant(counts, one.seconds)
        axes.plot(lengths, one.seconds, "o", color=color, label=one.layer.name)
        axes.plot(lengths, [scale * count for count in counts], color=color, label=one.layer.theory)
        axes.set(xscale="log", yscale="log", xlabel="positions n", title=f"{one.way}, d = {d}")
    panels[0].set_ylabel("seconds")
    panels[0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Measure the cost of layers against length.")
    parser.add_argument("--lengths", default="64,128,256,512,1024,2048", help="(%(default)s)")
    parser.add_argument("--d-model", type=int, default=256, help="d (%(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="of each figure (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (%(default)s)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="(%(default)s)")
    parser.add_argument("--plot", metavar="FILE", help="also draw a picture: .png, .svg or .pdf")
    parser.add_argument("--markdown", action="store_true", help="print the table as markdown")
    options = parser.parse_args()
    lengths = sorted({int(n) for n in options.lengths.split(",")})
    if len(lengths) < 2 or lengths[0] < 1 or options.repeats < 1:
        parser.error("at least two lengths from 1 on, and one repeat, are needed")
    if options.d_model % HEADS:
        parser.error(f"--d-model: {HEADS} heads share it equally")
    torch.set_num_threads(options.threads)
    series = measure_all(lengths, options.d_model, options.repeats, CLOCKS[options.clock])
    table = rows(series, lengths, options.d_model)
    if options.markdown:
        table.insert(1, ["---", "---", *["---:"] * (len(lengths) + 2), "---", "---:"])
    for row in table:
        print(f"| {' | '.join(row)} |" if options.markdown else "\t".join(row))
    if options.plot:
        draw(options.plot, series, lengths, options.d_model)


if __name__ == "__main__":
    main()
