"""Tasks about text, one class each, and the table that names them."""

from __future__ import annotations

from attn_cli.tasks.base import Task
from attn_cli.tasks.classify import Classify, Pair

TASKS: dict[str, type[Task]] = {"classify": Classify, "pair": Pair}
