"""Tables that attn reads, out of CMU's AN4.

    python3 examples/speech/an4.py an4 out

The folder is what http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz unpacks to: `etc`
with lists of files and what they say, `wav` with the recordings (SPHERE; `pip install '.[audio]'`
reads them). Written are `out/train.tsv` and `out/dev.tsv`, other speakers, every tenth of those of
the training part, and `out/test.tsv`, the official test part.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

SAID = re.compile(r"(?:<s>)?\s*(.*?)\s*(?:</s>)?\s*\(([^()]+)\)\s*")


def rows(folder: Path, part: str) -> list[tuple[str, str, str]]:
    """Speaker, path and text of each recording of a part."""
    lists = folder / "etc"
    names = (lists / f"an4_{part}.fileids").read_text("utf-8").split()
    lines = (lists / f"an4_{part}.transcription").read_text("utf-8").splitlines()
    said = {found[2]: found[1] for found in map(SAID.fullmatch, lines) if found}
    paths = [(Path(name), folder / "wav" / f"{name}.sph") for name in names]
    return [(name.parent.name, str(path.resolve()), said[name.name]) for name, path in paths]


def write(path: Path, found: list[tuple[str, str, str]]) -> None:
    path.write_text("".join(f"{name}\t{text}\n" for _, name, text in found), encoding="utf-8")


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} AN4 OUT")
    source, folder = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    known = rows(source, "train")
    held_out = set(sorted({speaker for speaker, _, _ in known})[5::10])
    write(folder / "train.tsv", [row for row in known if row[0] not in held_out])
    write(folder / "dev.tsv", [row for row in known if row[0] in held_out])
    write(folder / "test.tsv", rows(source, "test"))


if __name__ == "__main__":
    main()
