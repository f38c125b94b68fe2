"""How many parameters a model has, by part: from the header of its weights alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from attn_cli.files import inside
from attn_cli.model_files import SCALE, WEIGHTS, facts_of, note_in, read_header

# First part of a tensor's name -> what it is called, where several are one part of a model.
_PARTS = {
    **dict.fromkeys(("src_embedding", "tgt_embedding", "embedding", "tokens"), "embeddings"),
    **dict.fromkeys(("output_bias", "out_proj"), "output"),
}


@dataclass(frozen=True)
class Weights:
    """What the weights' file says of itself.

    Attributes:
        parts: part -> how many numbers it has; weights that two parts share are counted once.
        types: how numbers are stored -> how many.
        size: of the file in bytes; 0: there is none.
        facts: see `model_files.facts_of`.
    """

    parts: Mapping[str, int] = field(default_factory=dict)
    types: Mapping[str, int] = field(default_factory=dict)
    size: int = 0
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many numbers there are."""
        return sum(self.parts.values())

    @property
    def note(self) -> str:
        """What a user must know of them."""
        return note_in(dict(self.facts))


def read_weights(folder: Path) -> Weights:
    """Reads the header of a directory's weights.

    Raises:
        DataError: the file is foreign or damaged.
    """
    file = inside(folder, WEIGHTS)
    if not file.exists():
        return Weights()
    header = read_header(file)
    parts: Counter[str] = Counter()
    types: Counter[str] = Counter()
    for name, tensor in header.tensors.items():
        if not name.endswith(SCALE):  # of a tensor in 8 bits: no weight of the model
            parts[_part(name)] += math.prod(tensor["shape"])
            types[tensor["dtype"]] += math.prod(tensor["shape"])
    return Weights(dict(parts), dict(types), file.stat().st_size, facts_of(header))


def _part(name: str) -> str:
    """`backbone.encoder.layers.0.…` is of the encoder, `heads.mood.…` of the head mood."""
    first, _, rest = name.removeprefix("backbone.").partition(".")
    if first == "heads":
        return f"head {rest.partition('.')[0]}"
    return _PARTS.get(first, first)
