"""Questions of SQuAD files as rows of JSON, which a corpus can index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attn_cli.errors import UsageError
from attn_cli.files import inside, writing
from attn_cli.lines.reading import LineReader
from attn_cli.lines.squad import SquadReader
from attn_cli.lines.unusable import BadLines


def flatten_squad(paths: Sequence[str], spec: str | None, out: Path, bad: BadLines) -> None:
    """Writes the questions of SQuAD files as rows of JSON, one a line; see `Question.to_row`.

    Args:
        paths: the files, one after the other; `-` is standard input.
        spec: `--columns`, which such files do not have.
        out: the file to write.
        bad: is told of every question that can't be used; it is left out.

    Raises:
        DataError: a file can't be read, or is no SQuAD.
        UsageError: columns of it are asked for.
    """
    if spec:
        raise UsageError(f"--columns {spec}: SQuAD's JSON has no columns")
    seen: set[str] = set()
    with writing(out), inside(out.parent, out.name).open("wb") as file:
        for path in paths:
            with LineReader(path) as reader:
                for question in SquadReader(reader, bad, answers=True, seen=seen):
                    file.write(question.to_row().encode("utf-8") + b"\n")
