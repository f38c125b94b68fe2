"""Examples that are not one a line -> a work file with one a line, which a corpus can index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from attn_cli.lines.unusable import BadLines
from attn_cli.systems.tasks.conll import flatten_conll
from attn_cli.systems.tasks.squad import flatten_squad

# How examples lie in files (`Task.source`) -> what checks all of them and writes rows of JSON.
FLATTEN: dict[str, Callable[[Sequence[str], str | None, Path, BadLines], None]] = {
    "blocks": flatten_conll,
    "squad": flatten_squad,
}
