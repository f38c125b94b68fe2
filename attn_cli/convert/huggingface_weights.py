"""Tensors of Hugging Face's BERT, ELECTRA and GPT-2 under our names, and back.

Shapes: D d_model.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from attn_cli.config import load_json, shown
from attn_cli.errors import DataError
from attn_cli.files import inside
from attn_cli.models.storage import FLOATS, check_finite, load_foreign, read_header

WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_SHARD_LIMIT = 1000
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
PREFIX = {"bert": "bert.", "gpt": "transformer."}
_ELECTRA = "electra."
# Constants of their programs that old versions saved with the weights.
_BUFFERS = re.compile(r"embeddings\.(position_ids|token_type_ids)|h\.\d+\.attn\.(bias|masked_bias)")
_BIAS = "cls.predictions.decoder.bias"
# Copies of a tensor under a second name.
_COPIES = {
    "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
    _BIAS: "cls.predictions.bias",
    "lm_head.weight": "wte.weight",
}
# Output layers: where they stand in our model if they are no copies.
_OUTPUTS = {
    "lm_head.weight": "backbone.output.weight",
    "cls.predictions.decoder.weight": "heads.mlm.output_weight",
}
_POOLER = "backbone.pooler."

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """One tensor of ours, made of one or three of theirs.

    Attributes:
        ours: its name.
        theirs: their names.
        form: "same"; "stack": three on top of each other; "transposed": (in, out) as a
            convolution's; "fused": three beside each other, transposed where they are matrices;
            "row": theirs is a matrix of one row.
    """

    ours: str
    theirs: tuple[str, ...]
    form: str = "same"

    @property
    def is_pooler(self) -> bool:
        """Whether it is a part of BERT's pooler, which some models lack."""
        return self.ours.startswith(_POOLER)

    def their_shape(self, shape: Shape) -> Shape:
        """The shape of each of theirs, from ours."""
        if self.form == "stack":
            return shape[1:]
        if self.form == "row":
            return (1, *shape)
        if self.form == "transposed":
            return shape[::-1]
        if self.form == "fused":
            width = shape[0] * shape[1]
            return (shape[2], width) if len(shape) == 3 else (width,)
        return shape

    def read(self, tensors: Sequence[Tensor], shape: Shape) -> Tensor:
        """Ours from theirs."""
        if self.form == "stack":
            return torch.stack(list(tensors))
        (tensor,) = tensors
        if self.form == "same":
            return tensor
        if self.form == "row":
            return tensor[0]
        return tensor.t().reshape(shape) if tensor.dim() == 2 else tensor.reshape(shape)

    def write(self, tensor: Tensor) -> list[Tensor]:
        """Theirs from ours."""
        if self.form == "stack":
            return list(tensor)
        if self.form in ("same", "row"):
            return [tensor if self.form == "same" else tensor[None]]
        if self.form == "fused":
            tensor = tensor.flatten(0, 1)
        return [tensor.t() if tensor.dim() == 2 else tensor]


def prefix_of(name: str, arch: str) -> str:
    """What the backbone's tensors begin with in a class of theirs, which is ours as `arch`."""
    return _ELECTRA if name.startswith("Electra") else PREFIX[arch]


def parts_of(
    arch: str, n_layers: int, heads: Mapping[str, str], *, tied: bool = True
) -> list[Part]:
    """All parts of a backbone with heads.

    Args:
        arch: "bert" or "gpt".
        n_layers: how many layers it has.
        heads: our head's name -> where it stands in their model.
        tied: whether the layer that predicts tokens has the embeddings' weights.
    """
    rows = _BERT if arch == "bert" else _GPT
    layer = _BERT_LAYER if arch == "bert" else _GPT_LAYER
    parts = [*rows]
    for index in range(n_layers):
        ours, theirs = _LAYER[arch][0].format(index), _LAYER[arch][1].format(index)
        parts += [
            Part(ours + part.ours, tuple(theirs + name for name in part.theirs), part.form)
            for part in layer
        ]
    for name, place in heads.items():
        if place == "cls.predictions":
            parts += _masked_head(name)
        elif place == "discriminator_predictions":
            parts += linear(f"heads.{name}.transform", f"{place}.dense")
            parts += linear(f"heads.{name}.output", f"{place}.dense_prediction")
        else:
            parts += linear(f"heads.{name}.output", place)
    if not tied:
        theirs = output_name(arch)
        parts.append(Part(_OUTPUTS[theirs], (theirs,)))
    return parts


def output_name(arch: str) -> str:
    """Their name of the layer that predicts tokens."""
    return "lm_head.weight" if arch == "gpt" else "cls.predictions.decoder.weight"


def linear(ours: str, theirs: str, form: str = "same") -> list[Part]:
    """The two tensors of Wx + b, or of a normalization."""
    return [
        Part(f"{ours}.weight", (f"{theirs}.weight",), form),
        Part(f"{ours}.bias", (f"{theirs}.bias",)),
    ]


def _masked_head(name: str) -> list[Part]:
    theirs = "cls.predictions"
    return [
        *linear(f"heads.{name}.transform", f"{theirs}.transform.dense"),
        *linear(f"heads.{name}.norm", f"{theirs}.transform.LayerNorm"),
        Part(f"heads.{name}.output_bias", (f"{theirs}.bias",)),
    ]


_LAYER = {
    "bert": ("backbone.encoder.layers.{}.", "encoder.layer.{}."),
    "gpt": ("backbone.encoder.layers.{}.", "h.{}."),
}
_PROJECTIONS = ("query", "key", "value")
_BERT = [
    Part("backbone.embedding.tokens.weight", ("embeddings.word_embeddings.weight",)),
    Part("backbone.embedding.positions.weight", ("embeddings.position_embeddings.weight",)),
    Part("backbone.embedding.segments.weight", ("embeddings.token_type_embeddings.weight",)),
    *linear("backbone.embedding.norm", "embeddings.LayerNorm"),
    *linear(_POOLER[:-1], "pooler.dense"),
]
_BERT_LAYER = [
    Part(
        "self_attention.in_weight",
        tuple(f"attention.self.{name}.weight" for name in _PROJECTIONS),
        "stack",
    ),
    Part(
        "self_attention.in_bias",
        tuple(f"attention.self.{name}.bias" for name in _PROJECTIONS),
        "stack",
    ),
    *linear("self_attention.out_proj", "attention.output.dense"),
    *linear("residuals.0.norm", "attention.output.LayerNorm"),
    *linear("feed_forward.linear1", "intermediate.dense"),
    *linear("feed_forward.linear2", "output.dense"),
    *linear("residuals.1.norm", "output.LayerNorm"),
]
_GPT = [
    Part("backbone.embedding.tokens.weight", ("wte.weight",)),
    Part("backbone.embedding.positions.weight", ("wpe.weight",)),
    *linear("backbone.encoder.norm", "ln_f"),
]
_GPT_LAYER = [
    Part("self_attention.in_weight", ("attn.c_attn.weight",), "fused"),
    Part("self_attention.in_bias", ("attn.c_attn.bias",), "fused"),
    *linear("self_attention.out_proj", "attn.c_proj", "transposed"),
    *linear("residuals.0.norm", "ln_1"),
    *linear("feed_forward.linear1", "mlp.c_fc", "transposed"),
    *linear("feed_forward.linear2", "mlp.c_proj", "transposed"),
    *linear("residuals.1.norm", "ln_2"),
]


class ForeignWeights:
    """The weights of a Hugging Face directory: headers are checked before a tensor is read.

    Args:
        folder: the directory.
        prefix: what the backbone's tensors may begin with.
        tied: whether a copy that is there alone stands for its original as well.
        copies: second names of tensors -> their first.

    Attributes:
        shapes: their names, without the class's prefix -> shapes.

    Raises:
        DataError: there are none, they are pickles, or no whole and sane safetensors files.
    """

    def __init__(
        self, folder: Path, prefix: str, *, tied: bool, copies: Mapping[str, str] = _COPIES
    ) -> None:
        self.files = _weight_files(folder)
        self._copies = copies
        self.shapes: dict[str, Shape] = {}
        self._names: dict[Path, dict[str, str]] = {}
        for file in self.files:
            header = read_header(file).tensors
            names = {name: _plain_name(name, prefix) for name in header}
            self._names[file] = {n: plain for n, plain in names.items() if plain is not None}
            for name, plain in self._names[file].items():
                dtype = header[name]["dtype"]
                if plain in self.shapes:
                    raise DataError(f"{file}: tensor {shown(plain)} is there twice")
                if dtype not in FLOATS:
                    raise DataError(
                        f"{file}: tensor {shown(plain)} has type {dtype}; save the model in "
                        f"one of {', '.join(FLOATS)}"
                    )
                self.shapes[plain] = tuple(header[name]["shape"])
        for copy, origin in copies.items():
            if tied and copy in self.shapes and origin not in self.shapes:
                self._rename(copy, origin)

    def _rename(self, old: str, new: str) -> None:
        self.shapes[new] = self.shapes.pop(old)
        for names in self._names.values():
            names.update({name: new for name, plain in names.items() if plain == old})

    def check(
        self, parts: Sequence[Part], shapes: Mapping[str, Shape], spare: Collection[str] = ()
    ) -> list[Part]:
        """The parts that are there; a BERT may lack its pooler.

        Args:
            parts: what the model needs.
            shapes: our names -> shapes.
            spare: tensors that may be there and belong to no part.

        Raises:
            DataError: a tensor is missing, has another shape than config.json says, or belongs to
                nothing in the model.
        """
        where = self.files[0].parent
        there: list[Part] = []
        known: set[str] = set(spare)
        for part in parts:
            known.update(part.theirs)
            if part.is_pooler and part.theirs[0] not in self.shapes:
                continue
            for name in part.theirs:
                self._compare(name, part.their_shape(shapes[part.ours]), where)
            there.append(part)
        for name, found in self.shapes.items():
            if name in known:
                continue
            origin = self._copies.get(name, "")
            if origin not in known:
                raise DataError(
                    f"{where}: unexpected tensor {shown(name)}: its 'architectures' in "
                    "config.json have no such part"
                )
            if found != self.shapes[origin]:
                raise DataError(f"{where}: {name} is no copy of {origin}")
        return there

    def _compare(self, name: str, shape: Shape, where: Path) -> None:
        if name not in self.shapes:
            raise DataError(f"{where}: tensor {name!r} is missing; config.json asks for it")
        if self.shapes[name] != shape:
            raise DataError(
                f"{where}: tensor {name!r} has shape {self.shapes[name]}, config.json says {shape}"
            )

    def load(self) -> dict[str, Tensor]:
        """Their tensors as float32, true copies left out.

        Raises:
            DataError: values that are not finite.
        """
        tensors: dict[str, Tensor] = {}
        for file, names in self._names.items():
            loaded = dict(_renamed(load_foreign(file), names))
            check_finite(file, loaded)
            tensors |= loaded
        for name, origin in self._copies.items():
            if name == _BIAS and name in tensors:
                tensors[origin] = tensors.pop(name)  # the bias that is computed with
            elif name in tensors and torch.equal(tensors[name], tensors[origin]):
                del tensors[name]
            elif name in tensors and name not in _OUTPUTS:
                raise DataError(f"{self.files[0].parent}: {name} is no copy of {origin}")
        return tensors


def _renamed(
    tensors: Mapping[str, Tensor], names: Mapping[str, str]
) -> Iterator[tuple[str, Tensor]]:
    for name, plain in names.items():
        yield plain, tensors[name].float()


def _plain_name(name: str, prefix: str) -> str | None:
    """A tensor's name without prefix, in today's spelling; None for what is no weight."""
    plain = name.removeprefix(prefix)
    if _BUFFERS.fullmatch(plain):
        return None
    plain = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", plain)
    return re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", plain)


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).exists():
        return [inside(folder, WEIGHTS)]
    if (folder / _INDEX).exists():
        return _shards(folder)
    pickled = next((name for name in _PICKLES if (folder / name).exists()), None)
    if pickled:
        raise DataError(
            f"{folder / pickled}: a pickle, which can execute code when it is opened; save it as "
            "safetensors where you trust it: "
            "AutoModel.from_pretrained(DIR).save_pretrained(NEW_DIR) of the model's own class"
        )
    raise DataError(f"{folder}: no {WEIGHTS} in this directory")


def _shards(folder: Path) -> list[Path]:
    """The files that an index names."""
    file = inside(folder, _INDEX)
    table = load_json(file).get("weight_map")
    names = sorted(set(map(str, table.values()))) if isinstance(table, dict) else []
    if not 1 <= len(names) <= _SHARD_LIMIT:
        raise DataError(f"{file}: 'weight_map' names no files, or more than {_SHARD_LIMIT:,}")
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise DataError(f"{file}: {shown(name)} is no safetensors file of this directory")
    return [inside(folder, name) for name in names]
