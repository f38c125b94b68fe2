"""The directory that a converted model goes to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from attn_cli.config import shown
from attn_cli.errors import UsageError
from attn_cli.files import writing
from attn_cli.models.directory import CONFIG, WEIGHTS
from attn_cli.models.shortlist import SHORTLIST
from attn_cli.tokenizers.tokenizer_files import FILE_NAMES

_STAGE = ".convert."
# What attn writes into a directory: its own models …
MODEL_FILES = (
    *(CONFIG, WEIGHTS, SHORTLIST, "labels.txt", "labels.*.txt", "train.jsonl"),
    *FILE_NAMES,
    *(f"src.{name}" for name in FILE_NAMES),
)
# … and those of `--to`.
_FILES = (
    *MODEL_FILES,
    *("tokenizer_config.json", "generation_config.json", "modules.json"),
    *("config_sentence_transformers.json", "sentence_bert_config.json"),
    *("source.spm", "target.spm", "vocab.json", "target_vocab.json"),
    *("model.bin", "shared_vocabulary.json", "source_vocabulary.json", "target_vocabulary.json"),
    *("model.onnx", "encoder.onnx", "step.onnx"),
)
_FOLDERS = ("1_Pooling", "2_Normalize")  # with nothing but a config.json
_NAMED = 5


@contextmanager
def replace_directory(output: Path, source: Path, overwrite: bool) -> Iterator[Path]:
    """A context that gives a folder to write a model in; it gets to `output` if all went well.

    Until then `output` stays as it is; where it fails, so does everything. Afterwards it holds the
    new model alone.

    Raises:
        UsageError: it is a file or the source, or holds a model that may not be replaced, or what
            attn did not write.
        AttnError: the directory can't be made.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: is a file, and a model is a directory; choose another -o")
    if output.exists() and output.resolve() == source.resolve():
        raise UsageError(f"{output}: is the model to convert; choose another -o")
    if (output / "checkpoints").exists():
        raise UsageError(f"{output}: holds a training; choose another -o")
    old = _replaceable(output, overwrite)
    made = [folder for folder in (output, *output.parents) if not folder.exists()]
    stage = output / f"{_STAGE}{os.getpid()}"
    try:
        with writing(output):
            stage.mkdir(parents=True)
        yield stage
        with writing(output):
            # The configuration goes first and comes last: a directory with one is a whole model.
            for file in sorted(old, key=lambda file: file.name != CONFIG):
                _remove(file)
            for file in sorted(stage.iterdir(), key=lambda file: file.name == CONFIG):
                file.replace(output / file.name)
            stage.rmdir()
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise


def _replaceable(output: Path, overwrite: bool) -> list[Path]:
    """What is in a directory, all of which a new model may replace.

    Raises:
        UsageError: it may not.
    """
    if not output.is_dir():
        return []
    old = sorted(output.iterdir())
    has_model = any((output / name).exists() for name in (CONFIG, WEIGHTS))
    if has_model and not overwrite:
        raise UsageError(f"{output}: holds a model; choose another -o, or --overwrite")
    if strange := [file.name for file in old if not (has_model and is_ours(file))]:
        more = f" and {len(strange) - _NAMED:,} more" if len(strange) > _NAMED else ""
        raise UsageError(
            f"{output}: holds {', '.join(map(shown, strange[:_NAMED]))}{more}, which is no part of "
            "a model that attn wrote, and a model has its directory to itself; choose another -o, "
            "or move this away"
        )
    return old


def is_ours(file: Path) -> bool:
    """Whether attn writes what is so called."""
    if file.is_symlink() or not file.is_dir():
        return any(fnmatchcase(file.name, name) for name in _FILES)
    if file.name.startswith(_STAGE):  # of a conversion that was killed
        return True
    return file.name in _FOLDERS and {each.name for each in file.iterdir()} <= {CONFIG}


def _remove(file: Path) -> None:
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    else:
        file.unlink()
