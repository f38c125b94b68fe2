"""A description as lines of a name and a value, for people."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from attn_cli.info.description import Description
from attn_cli.info.validations import DEV, Curve
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.wording import plural

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 48  # characters of a sparkline at most
_EXAMPLES = {  # task -> what one of its examples is
    **dict.fromkeys(("translate", "mask-predict"), "pair"),
    **dict.fromkeys(("continue", "fill", "detect"), "document"),
    "nodes": "node",
    "recordings": "recording",
}
_VARIANTS = ("attention", "positions", "norm", "cell", "activation", "source")
_TYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I8": "int8"}


def described(description: Description, called: str) -> Iterator[tuple[str, str]]:
    """The names and values of a description.

    Args:
        description: of a model directory.
        called: what a model of its task is, in words; "" if that is not known.
    """
    config = description.config
    if config is None:
        yield "model", "none; a tokenizer alone"
        yield from _of_tokenizers(description.tokenizers)
        return
    yield "task", config["task"] + (f": {called}" if called else "")
    for head in description.heads:
        does = f"{head.task}, " if head.task else ""
        yield "head", f"{head.name}: {does}{plural(head.n_outputs, 'output')}"
    yield "architecture", f"{config['arch']}: {', '.join(_sizes(config['model']))}"
    yield from _of_weights(description)
    yield from _of_tokenizers(description.tokenizers)
    if names := description.averaged:
        told = f"the mean of {plural(len(names), 'model')}: {', '.join(names)}"
        yield "averaged", f"{told}; trained as the first of them:"
    yield from _of_training(description)
    yield from _of_curve(description.curve)
    if description.weights.note:
        yield "note", description.weights.note
    if not config["finished"]:
        yield "state", "the training has not finished; its command continues it"


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """Numbers as blocks from the least to the greatest; longer series as means of neighbours.

    What is not finite is a space.
    """
    count = min(len(values), width)
    bounds = [len(values) * i // count for i in range(count + 1)] if count else []
    cells = []
    for start, end in zip(bounds, bounds[1:], strict=False):
        known = [value for value in values[start:end] if math.isfinite(value)]
        cells.append(math.fsum(known) / len(known) if known else math.nan)
    finite = [cell for cell in cells if math.isfinite(cell)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    last = len(_BLOCKS) - 1
    return "".join(
        " "
        if not math.isfinite(cell)
        else _BLOCKS[round((cell - low) / (high - low) * last) if high > low else 0]
        for cell in cells
    )


def figure(value: float) -> str:
    """A figure as a training says it: a share needs its digits."""
    return f"{value:.2f}" if abs(value) > 1 else f"{value:.4f}"


def printable(text: str) -> str:
    """A text of a file that a stranger may have made: nothing in it moves a cursor."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)


def _sizes(model: Mapping[str, object]) -> list[str]:
    """The sizes in an architecture's configuration, then the names of its variants."""
    sizes = [
        f"{name} {value}"
        for name, value in model.items()
        if type(value) is int and value > 0 and (name[:2] in ("d_", "n_") or "vocab" in name)
    ]
    variants = [f"{name} {model[name]}" for name in _VARIANTS if isinstance(model.get(name), str)]
    return sizes + variants


def _of_weights(description: Description) -> Iterator[tuple[str, str]]:
    weights = description.weights
    if not weights.size:
        yield "parameters", "none yet: no model.safetensors is there"
        return
    types = [_TYPES.get(name, name) for name in weights.types]
    yield "parameters", f"{weights.total:,} in {' and '.join(types)}, {_bytes(weights.size)}"
    for part, count in weights.parts.items():
        yield "part", f"{part}: {count:,} ({count / max(1, weights.total):.1%})"


def _bytes(size: int) -> str:
    """A file's size."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size / 1024:,.1f} KiB"


def _of_tokenizers(tokenizers: Sequence[Tokenizer]) -> Iterator[tuple[str, str]]:
    names = ("tokenizer",) if len(tokenizers) == 1 else ("of source", "of target")
    for name, tokenizer in zip(names, tokenizers, strict=False):
        kind = ", ".join([tokenizer.kind, f"{tokenizer.vocab_size:,} pieces", *tokenizer.traits])
        yield name, f"{tokenizer.file_name}: {kind}"


def _of_training(description: Description) -> Iterator[tuple[str, str]]:
    config, given = description.config, description.given
    if config is None or not description.fingerprint:
        yield "trained by", "not known: config.json names no data, as of a converted model"
        return
    if given.command:
        yield "trained by", " ".join(["attn", given.command, *given.flags])
    else:
        yield "trained by", "a command that this version does not know; --json has its options"
    noun = _EXAMPLES.get(config["task"], "example")
    counts = description.examples
    lines = (
        f"{plural(counts['train'], noun)}, {counts['dev']:,} validate"
        if counts
        else ("number of examples not recorded")
    )
    yield "trained on", f"{lines}; fingerprint {description.fingerprint[:16]}"


def _of_curve(curve: Curve) -> Iterator[tuple[str, str]]:
    if not curve.rows:
        return
    last = curve.rows[-1]
    minutes, epoch = last.get("minutes"), last.get("epoch")
    yield (
        "validations",
        (
            f"{len(curve.rows):,}, the last at step {last['step']:,}"
            + (f", epoch {epoch:.1f}" if epoch is not None else "")
            + (f", after {minutes:.1f} minutes" if minutes is not None else "")
            + (", one more is being written" if curve.unfinished else "")
        ),
    )
    if curve.best:
        told = [
            f"{name.removeprefix(DEV)} {figure(float(value))}"
            for name, value in curve.best.items()
            if name.startswith(DEV) and value is not None
        ]
        yield "best", f"step {curve.best['step']:,} by {curve.metric}: {', '.join(told)}"
    for name in dict.fromkeys(("train_nll", f"{DEV}loss", f"{DEV}{curve.metric}")):
        series = curve.series(name)
        if known := [value for value in series if math.isfinite(value)]:
            ends = f"{figure(known[0])} to {figure(known[-1])}"
            yield name.replace("_", " "), f"{sparkline(series)}  {ends}"
