"""Which generator serves a model's task."""

from __future__ import annotations

from pathlib import Path

import torch

from attn_cli.config import shown
from attn_cli.decode.continuer import Continuer
from attn_cli.decode.generator import Generator
from attn_cli.decode.mask_predict import MaskPredictor
from attn_cli.decode.translator import Translator
from attn_cli.errors import DataError
from attn_cli.models.directory import read_config

GENERATORS: dict[str, type[Translator] | type[Continuer]] = {
    "translate": Translator,
    "mask-predict": MaskPredictor,
    "continue": Continuer,
}


def load_generator(paths: str, device: torch.device) -> Generator:
    """Reads one model directory, or several joined by commas.

    Raises:
        DataError: a directory is missing, foreign or damaged, or its model generates no text.
        UsageError: the models of an ensemble do not fit together.
    """
    first = Path(paths.split(",")[0])
    task = read_config(first).task
    if task not in GENERATORS:
        raise DataError(
            f"{first}: this model's task is {shown(task)}: it has no probability of a text; "
            "attn train-mt and attn pretrain --objective clm make models that have one"
        )
    return GENERATORS[task].load(paths, device)
