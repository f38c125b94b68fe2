"""Tasks about text, one class each, and the table that names them."""

from __future__ import annotations

from attn_cli.systems.tasks.base import Task
from attn_cli.systems.tasks.choice import MultipleChoice
from attn_cli.systems.tasks.classify import Classify, Pair
from attn_cli.systems.tasks.multilabel import Multilabel
from attn_cli.systems.tasks.qa import Qa
from attn_cli.systems.tasks.regress import Rate, Regress
from attn_cli.systems.tasks.tag import Tag

TASKS: dict[str, type[Task]] = {
    "classify": Classify,
    "pair": Pair,
    "regress": Regress,
    "rate": Rate,
    "multilabel": Multilabel,
    "choice": MultipleChoice,
    "tag": Tag,
    "qa": Qa,
}
