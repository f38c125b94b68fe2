"""The index of a TSV file is the same however it is made, and is made once."""

from __future__ import annotations

import gzip
import os
import random

import numpy as np
import pytest

from attn_cli.data import line_index
from attn_cli.data.corpus import Corpus, Indexing, build_corpus
from attn_cli.data.entries import CorpusFiles
from attn_cli.errors import DataError
from attn_cli.lines.columns import Columns
from attn_cli.lines.rows import is_blank
from attn_cli.lines.unusable import BadLines
from attn_cli.workers import Crew


def problem(fields):
    return "blank" if any(map(is_blank, fields)) else None


@pytest.fixture
def odd_lines(tmp_path, monkeypatch):
    """Two files in whose blocks each kind of line stands."""
    monkeypatch.setattr(line_index, "_BLOCK", 200)
    kinds = [
        *(b"a b\tc d", "\u00e4 \u8a9e\t\u0441".encode(), b"x\ty\r", b" \tz", b"\xff\tbad", b"one"),
        *(b"", b"1\t2\t3", "\ufeffq\tr".encode(), "u\u2028v\tw".encode(), b"\t", b"k\tl\r\r"),
    ]
    choice = random.Random(4)
    files = []
    for number in range(2):
        lines = [b"first\tline", *choice.choices(kinds, k=300)]
        files.append(tmp_path / f"{number}.tsv")
        files[-1].write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines) + b"\n" * number)
    return [str(file) for file in files]


def build(paths, folder, columns=None, crew=None, even=True, said=None):
    files = CorpusFiles(tuple(paths), Columns.parse(columns, 2), even=even)
    said = [] if said is None else said
    bad = BadLines(said.append, skip_bad=True, shown=10_000)
    corpus = build_corpus(
        files, folder, "train", bad, problem, indexing=Indexing(said.append, crew)
    )
    return corpus, said, (folder / "train.index").read_bytes()


@pytest.mark.parametrize("columns", [None, "2,1", "1,2"])
@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_blocks_and_processes_give_the_index_of_one_line_after_the_other(
    tmp_path, odd_lines, columns, even, size
):
    plain = build(odd_lines, tmp_path / "plain", columns, even=even)
    blocks = build(odd_lines, tmp_path / "blocks", columns, Crew(size), even=even)
    assert blocks[1] == plain[1] and len(plain[1]) > 100
    assert blocks[2] == plain[2]
    assert blocks[0].fingerprint == plain[0].fingerprint
    assert blocks[0].meta["counts"] == plain[0].meta["counts"]
    numbers = np.arange(len(plain[0]))
    assert blocks[0].read(numbers) == plain[0].read(numbers)
    random.Random(1).shuffle(chosen := numbers.tolist())
    assert blocks[0].read(np.array(chosen)) == [plain[0].read(numbers)[n] for n in chosen]


def test_named_columns_and_json_lines(tmp_path):
    table = tmp_path / "t.tsv"
    table.write_text("id\tde\ten\n" + "".join(f"{n}\tein {n}\tone {n}\n" for n in range(50)))
    lines = tmp_path / "t.jsonl"
    lines.write_text("".join(f'{{"en": "one {n}", "de": "ein {n}"}}\n' for n in range(50)))
    for path in (table, lines):
        corpus, _, _ = build([str(path)], tmp_path / path.name[-3:], "en,de", Crew(2), even=False)
        assert corpus.read(np.arange(50)) == [[f"one {n}", f"ein {n}"] for n in range(50)]


def test_an_index_is_made_once_of_the_same_files(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("a\tb\nc\td\n")
    packed = tmp_path / "b.tsv.gz"
    packed.write_bytes(gzip.compress(b"e\tf\n"))
    paths, folder = [str(path), str(packed)], tmp_path / "work"

    def made(columns=None):
        corpus, said, _ = build(paths, folder, columns, Crew())
        rows = corpus.read(np.arange(len(corpus)))
        return rows, any("indexed before" in line for line in said)

    first = [["a", "b"], ["c", "d"], ["e", "f"]]
    assert [made(), made()] == [(first, False), (first, True)]
    assert made("2,1") == ([row[::-1] for row in first], False)
    assert made() == (first, False)
    path.write_text("a\tB\nc\td\n")  # as long as before
    os.utime(path, ns=(1, 1))
    assert made() == ([["a", "B"], *first[1:]], False)
    (folder / "train.index").write_bytes(b"half")
    assert made() == ([["a", "B"], *first[1:]], False)
    assert Corpus(folder, "train").fingerprint != ""


def test_no_index_is_kept_of_lines_that_are_refused(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("a\tb\n\td\n")
    files = CorpusFiles((str(path),), Columns.parse(None, 2))
    for _ in range(2):
        said = []
        with pytest.raises(DataError, match="1 unusable line"):
            bad = BadLines(said.append, skip_bad=False)
            indexing = Indexing(said.append, Crew())
            build_corpus(files, tmp_path / "work", "train", bad, problem, indexing=indexing)
        assert said == [f"{path}:2: blank"]
