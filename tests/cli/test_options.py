"""One name for an option everywhere: on the command line, in a TOML file, as a field."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from attn_cli.config import Command, resolve
from attn_cli.config.decoding import DecodeCommand
from attn_cli.config.pretraining import PretrainCommand
from attn_cli.config.scoring import ScoreCommand
from attn_cli.config.tokenizing import TokenizeEncodeCommand, TokenizeTrainCommand
from attn_cli.config.translation import TrainMtCommand
from attn_cli.errors import DataError, UsageError

for place in ("attending", "converting", "embedding", "finetuning"):
    importlib.import_module(f"attn_cli.config.{place}")
