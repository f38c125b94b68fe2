"""The labels of a model directory: `labels.txt`, or `labels.NAME.txt` for each of several tasks.

One label a line; line i (from 0) names output i. Standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attn_cli.config import shown
from attn_cli.errors import DataError
from attn_cli.files import inside, read_bounded, write_atomically

SIZE_LIMIT = 1 << 20  # bytes


def labels_name(name: str = "") -> str:
    """The file's name: `labels.txt`, or the one of the task `name`."""
    return f"labels.{name}.txt" if name else "labels.txt"


def read_labels(folder: Path, name: str = "") -> list[str]:
    """The labels in the order of the model's outputs.

    Args:
        folder: the model directory.
        name: the task whose labels are read, where the directory has several files.

    Raises:
        DataError: the file is missing, larger than 1 MiB, no UTF-8, or has blank or equal lines.
    """
    file = inside(folder, labels_name(name))
    too_large = f"larger than {SIZE_LIMIT >> 20} MiB; these are no labels"
    raw = read_bounded(file, SIZE_LIMIT, too_large, "; the model's labels belong there")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 at byte {error.start + 1}") from error
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    problem = labels_problem(lines)
    if problem:
        raise DataError(f"{file}:{problem}")
    return lines


def write_labels(folder: Path, labels: Sequence[str], name: str = "") -> None:
    """Writes the labels, one a line, so that `read_labels` gives them back.

    Raises:
        DataError: a label is blank, stands there twice, or would not be one line of text.
    """
    file = inside(folder, labels_name(name))
    problem = labels_problem(labels)
    if problem:
        raise DataError(f"{file}:{problem}")
    data = "".join(f"{label}\n" for label in labels).encode("utf-8")
    if len(data) > SIZE_LIMIT:
        raise DataError(f"{file}: labels of more than {SIZE_LIMIT >> 20} MiB")
    write_atomically(file, data)


def labels_problem(labels: Sequence[str]) -> str | None:
    """`LINE: CAUSE` of the first label that can't be one line of the file; None where all can."""
    if not labels:
        return "1: no label at all"
    seen: dict[str, int] = {}
    for number, label in enumerate(labels, 1):
        if not label.strip():
            return f"{number}: a blank label; each line names one output"
        if any(end in label for end in "\t\n\r"):
            return f"{number}: label {shown(label)} holds a tab or a line end"
        if label.encode("utf-8", "replace").decode("utf-8") != label or label[0] == "\ufeff":
            return f"{number}: label {shown(label)} can't be written as UTF-8"
        if label in seen:
            return f"{number}: label {shown(label)} stands in line {seen[label]} already"
        seen[label] = number
    return None
