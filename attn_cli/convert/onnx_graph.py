"""Graphs of ONNX, written by PyTorch's tracer, and what runs them.

The tracer writes down the operations of one run. So a graph has no choice that depends on numbers,
and a size that shall not be fixed must stay a tensor: `onnx_layers` says those layers otherwise
that do not keep to it. It needs `onnx` alone; PyTorch's newer exporter needs a third package.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attn_cli import __version__
from attn_cli.errors import AttnError, UsageError
from attn_cli.files import inside, write_atomically, writing
from attn_cli.models.directory import CONFIG

OPSET = 17  # the first with a layer normalization; known to every onnxruntime since 1.12
TOLERANCE = 1e-3  # of outputs beside PyTorch's, relative to the largest of them
Arrays = Mapping[str, NDArray[np.generic]]
Run = Callable[[Arrays], list[NDArray[np.float32]]]


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: its name.
        axes: its shape: a number where it is fixed, else what the axis is.
        what: what it holds, for whoever uses the graph.
        type: of its numbers.
    """

    name: str
    axes: tuple[str | int, ...]
    what: str
    type: str = "int64"

    @property
    def as_json(self) -> dict[str, object]:
        """The entry of a config.json."""
        return {"name": self.name, "type": self.type, "shape": list(self.axes), "what": self.what}


@dataclass(frozen=True)
class Graph:
    """What is written as one file.

    Attributes:
        file: its name.
        module: computes the outputs from the inputs.
        sample: inputs of which no size is 1, or that of another axis.
        inputs: what they are.
        outputs: what it gives.
        read: the names of the inputs that are read; None: not known yet.
    """

    file: str
    module: nn.Module
    sample: tuple[Tensor, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    read: frozenset[str] | None = None

    @property
    def as_json(self) -> dict[str, object]:
        """The entry of a config.json."""
        return {
            "inputs": [p.as_json for p in self.inputs if self.read is None or p.name in self.read],
            "outputs": [port.as_json for port in self.outputs],
        }


def require_onnx() -> None:
    """Raises UsageError where the package is not installed."""
    try:
        import onnx  # noqa: F401 - asked before anything is read
    except ImportError as error:
        raise UsageError(
            "--to onnx needs: pip install '.[onnx]' beside attn's pyproject.toml"
        ) from error


def write_graph(graph: Graph, folder: Path, shown: Path) -> Graph:
    """Writes a graph into a folder; returns it as it is there.

    Args:
        graph: the graph.
        folder: where it is written.
        shown: the directory that it will stand in, for messages.

    Returns:
        The graph with those inputs alone that it reads.

    Raises:
        AttnError: it can't be written.
    """
    import onnx

    file = folder / graph.file
    ports = (*graph.inputs, *graph.outputs)
    free = {p.name: {i: a for i, a in enumerate(p.axes) if isinstance(a, str)} for p in ports}
    with warnings.catch_warnings(), torch.no_grad(), writing(shown / graph.file):
        warnings.simplefilter("ignore")  # of every size that is fixed, and is meant to be
        graph.module(*graph.sample)  # tables that are made once are no part of what is traced
        try:
            torch.onnx.export(
                graph.module,
                graph.sample,
                str(file),
                input_names=[port.name for port in graph.inputs],
                output_names=[port.name for port in graph.outputs],
                dynamic_axes=free,
                opset_version=OPSET,
                dynamo=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            cause = str(error).strip().partition("\n")[0]
            raise AttnError(
                f"{shown / graph.file}: PyTorch {torch.__version__} can't write this model as a "
                f"graph: {cause}"
            ) from error
    onnx.checker.check_model(str(file))
    there = {each.name for each in onnx.load(str(file), load_external_data=False).graph.input}
    return replace(graph, read=frozenset(there))


def write_description(folder: Path, values: Mapping[str, object], graphs: Sequence[Graph]) -> None:
    """Writes a config.json that says how the graphs are used."""
    files = {graph.file: graph.as_json for graph in graphs}
    origin = {"attn": __version__, "torch": str(torch.__version__), "opset": OPSET}
    text = json.dumps({**values, "graphs": files, **origin}, indent=2, ensure_ascii=False)
    write_atomically(inside(folder, CONFIG), text.encode("utf-8") + b"\n")


def runner(file: Path) -> Run | None:
    """What runs a graph; None where onnxruntime is not installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(str(file), options, providers=providers)
    return lambda inputs: session.run(None, dict(inputs))


def fed(graph: Graph, tensors: Sequence[Tensor]) -> dict[str, NDArray[np.generic]]:
    """Tensors as the inputs of a graph, without those that it does not read."""
    named = {p.name: x.numpy() for p, x in zip(graph.inputs, tensors, strict=True)}
    return {name: x for name, x in named.items() if graph.read is None or name in graph.read}


class Comparison:
    """How far a graph's outputs are from PyTorch's."""

    def __init__(self) -> None:
        self.most = 0.0

    def add(self, found: NDArray[np.float32], expected: Tensor, kept: Tensor | None = None) -> None:
        """Takes in outputs, of the rows that `kept` marks alone. Shape: (B, T, ...), (B, T)."""
        ours, theirs = expected.float(), torch.from_numpy(found)
        if kept is not None:
            ours, theirs = ours[kept], theirs[kept]
        unit = max(1.0, float(ours.abs().max()))
        distance = float((ours - theirs).abs().max()) / unit
        self.most = max(self.most, distance if distance == distance else float("inf"))

    def tell(self, output: Path, say: Callable[[str], None]) -> None:
        """Says how far they were at most.

        Raises:
            AttnError: that is too far.
        """
        import onnxruntime

        version = f"onnxruntime {onnxruntime.__version__}"
        if self.most > TOLERANCE:
            raise AttnError(
                f"{output}: what {version} computes differs from PyTorch by {self.most:.2g} of the "
                "largest output: nothing was written"
            )
        say(f"{output}: {version} computes the same as PyTorch, to {self.most:.1g}")


def tell_unchecked(output: Path, say: Callable[[str], None]) -> None:
    """Says that nothing was compared."""
    say(
        f"{output}: not compared with PyTorch, as onnxruntime is not installed: pip install "
        "'.[onnx]' beside attn's pyproject.toml"
    )


def ragged(batch: int, length: int) -> Tensor:
    """The mask of rows of which each ends a little earlier than the one before. Shape: (B, T)."""
    lengths = torch.tensor([max(1, length - row) for row in range(batch)])
    return torch.arange(length) < lengths[:, None]


def drawn(size: int, shape: Sequence[int]) -> Tensor:
    """The same random numbers below `size` each time."""
    generator = torch.Generator().manual_seed(sum(shape) + 1)
    return torch.randint(size, tuple(shape), generator=generator)
