"""`READERS` and `WRITERS`, the tables of other projects' directories that attn reads and writes.

A format is a row: where the function is that converts, and which options it takes. Nothing of a
format is imported before it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attn_cli.config import changed, load_json, shown
from attn_cli.config.converting import ConvertOptions
from attn_cli.convert.huggingface_specials import CONFIG, MODULES
from attn_cli.errors import DataError, NotThereError, UsageError
from attn_cli.files import inside
from attn_cli.models import SEQ2SEQ_MODELS
from attn_cli.models.directory import read_config
from attn_cli.wording import them


@dataclass(frozen=True)
class Row:
    """A way from one kind of directory to another.

    Attributes:
        place: where its function is, as module:name under `convert`. It takes the directory, the
            one to write, what is told of what is left open, `overwrite`, and its options.
        options: names of the options of `ConvertOptions` that it takes.
    """

    place: str
    options: tuple[str, ...] = ()


# `model_type` of their config.json -> its row; "" for all others.
READERS: dict[str, Row] = {
    "": Row("huggingface:from_huggingface", ("task", "scheme")),
    "marian": Row("marian:from_marian"),
}
# What becomes of a model of our own, by the option that asks for it. Their functions have `tell`,
# too, which is told of sizes and figures.
OURS = {
    "--precision": Row("stored_weights:to_precision", ("precision",)),
    "--tokenizer": Row("new_vocabulary:with_tokenizer", ("tokenizer",)),
    "--trim-vocabulary": Row("trimmed_vocabulary:with_pieces_of", ("trim_vocabulary",)),
}
# `--to` -> our architecture -> its row; "" for all others.
WRITERS: dict[str, dict[str, Row]] = {
    "huggingface": {
        "": Row("huggingface:to_huggingface"),
        "transformer": Row("marian:to_marian"),
    },
    "ctranslate2": {"": Row("ctranslate2_model:to_ctranslate2", ("precision",))},
    "onnx": {
        "": Row("onnx_encoder:encoder_to_onnx"),
        **dict.fromkeys(SEQ2SEQ_MODELS, Row("onnx_translator:translator_to_onnx")),
    },
}
_OF_ROWS = frozenset({"--task", "--scheme", *OURS})


def convert(
    folder: Path,
    output: Path,
    options: ConvertOptions,
    say: Callable[[str], None],
    tell: Callable[[str], None],
) -> None:
    """Writes a directory as another project's, another project's as one of ours, or ours changed.

    Args:
        folder: the directory.
        output: the one to write.
        options: what becomes of it.
        say: is told of what the files leave open, or the other format can't hold.
        tell: is told of sizes before and after.

    Raises:
        NotThereError: it holds no model.
        DataError: it is damaged, or what it holds can't be converted.
        UsageError: options that this conversion does not have, or none for a model of attn, or
            `output` holds a model.
    """
    if not any((folder / name).exists() for name in (CONFIG, MODULES)):
        raise NotThereError(f"{folder}: holds no model, as it has no {CONFIG}")
    theirs = _model_type(folder)
    changes = changed(options, among=OURS) if options.to == "attn" else []
    if changes:
        row = OURS[changes[0]]
        if not _is_ours(folder):
            raise UsageError(
                f"{changes[0]}: {folder} is another project's model: make it one of attn first, "
                f"attn convert DIR -o NEW, then attn convert NEW {changes[0]} … -o NEWER"
            )
        if changes[1:]:
            raise UsageError(
                f"{' and '.join(changes)}: one after the other; convert what comes out once more"
            )
    elif options.to == "attn":
        if _is_ours(folder):
            raise UsageError(
                f"{folder}: a model of attn already; --to writes it as another project's, "
                f"{', '.join(OURS)} or --shortlist changes it"
            )
        row = READERS.get(theirs, READERS[""])
    elif theirs:
        raise DataError(
            f"{folder / CONFIG}: a {shown(theirs)} of transformers, no model directory of attn; "
            "make it one first: attn convert DIR -o NEW"
        )
    else:
        rows = WRITERS[options.to]
        row = rows.get(read_config(folder).arch, rows[""])
    taken = {f"--{name.replace('_', '-')}" for name in row.options}
    if in_vain := changed(options, among=_OF_ROWS - taken):
        raise UsageError(
            f"{', '.join(in_vain)}: --to {options.to} has no use for {them(in_vain)} here"
        )
    module, name = row.place.split(":")
    function = getattr(importlib.import_module(f"attn_cli.convert.{module}"), name)
    own = {name: vars(options)[name] for name in row.options}
    own |= {"tell": tell} if changes else {}
    function(folder, output, say, overwrite=options.overwrite, **own)


def _is_ours(folder: Path) -> bool:
    """Whether the directory's config.json is one that attn wrote."""
    if not (folder / CONFIG).exists():
        return False
    values = load_json(inside(folder, CONFIG))
    return "format" in values and "arch" in values


def _model_type(folder: Path) -> str:
    """What the directory's config.json calls its model; "" where that is not said."""
    if not (folder / CONFIG).exists():
        return ""
    try:
        return str(load_json(inside(folder, CONFIG)).get("model_type", ""))
    except DataError:
        return ""  # whoever reads the directory says what is wrong
