"""The directory that a converted model goes to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attn_cli.data.label_files import labels_name
from attn_cli.errors import UsageError
from attn_cli.files import writing
from attn_cli.models.directory import CONFIG, WEIGHTS
from attn_cli.tokenizers.tokenizer_files import remove_tokenizers


@contextmanager
def replace_directory(output: Path, source: Path, overwrite: bool) -> Iterator[None]:
    """A context to write a model in; the directory is made, an earlier model removed.

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
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        # The configuration goes first and comes last: a directory with one is a whole model.
        for name in names:
            (output / name).unlink()
        remove_tokenizers(output)
        for file in (output / labels_name(), *output.glob("labels.*.txt")):
            file.unlink(missing_ok=True)
    yield
