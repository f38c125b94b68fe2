"""The directory that a converted model goes to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attn_cli.data.label_files import labels_name
from attn_cli.errors import UsageError
from attn_cli.files import writing
from attn_cli.models.directory import CONFIG, WEIGHTS
from attn_cli.tokenizers.tokenizer_files import remove_tokenizers


@contextmanager
def replace_directory(output: Path, source: Path, overwrite: bool) -> Iterator[Path]:
    """A context that gives a folder to write a model in; it gets to `output` if all went well.

    Until then `output` stays as it is; where it fails, so does everything.

    Raises:
        UsageError: the directory is the source, or holds a model that may not be replaced.
        AttnError: the directory can't be made.
    """
    if output.exists() and output.resolve() == source.resolve():
        raise UsageError(f"{output}: is the model to convert; choose another -o")
    if (output / "checkpoints").exists():
        raise UsageError(f"{output}: holds a training; choose another -o")
    names = [name for name in (CONFIG, WEIGHTS) if (output / name).exists()]
    if names and not overwrite:
        raise UsageError(f"{output}: holds a model; choose another -o, or --overwrite")
    made = [folder for folder in (output, *output.parents) if not folder.exists()]
    stage = output / f".convert.{os.getpid()}"
    try:
        with writing(output):
            stage.mkdir(parents=True)
        yield stage
        with writing(output):
            # The configuration goes first and comes last: a directory with one is a whole model.
            for name in names:
                (output / name).unlink()
            remove_tokenizers(output)
            for file in (output / labels_name(), *output.glob("labels.*.txt")):
                file.unlink(missing_ok=True)
            for file in sorted(stage.iterdir(), key=lambda file: file.name == CONFIG):
                _put(file, output / file.name)
            stage.rmdir()
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise


def _put(new: Path, place: Path) -> None:
    """Moves a file, or a folder in the place of the one that is there."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    new.replace(place)
