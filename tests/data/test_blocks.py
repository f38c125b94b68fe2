from __future__ import annotations

import gzip

import numpy as np
import pytest

from attn_cli.data.corpus import build_corpus
from attn_cli.data.entries import Blocks, CorpusFiles
from attn_cli.errors import DataError
from attn_cli.lines.unusable import BadLines


def build(tmp_path, *contents, blocks, skip=False, said=None, check=lambda lines: None):
    paths = []
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}.txt"
        path.write_bytes(content)
        paths.append(str(path))
    bad = BadLines((said if said is not None else []).append, skip_bad=skip)
    files = CorpusFiles(tuple(paths), blocks=blocks)
    return build_corpus(files, tmp_path / "work", "train", bad, check)


def rows(corpus):
    return corpus.read(np.arange(len(corpus)))


def documents(corpus):
    return corpus.documents(np.arange(len(corpus))).tolist()


def test_rows_are_runs_of_lines_and_blank_lines_part_them(tmp_path):
    first = "\ufeff\n\na b\r\n c\td\u2028e\n \t\r\n\n\nlast".encode()
    corpus = build(tmp_path, first, "语\n\nx\ny\n".encode(), blocks=Blocks())
    assert rows(corpus) == [["a b", " c\td\u2028e"], ["last"], ["语"], ["x", "y"]]
    assert documents(corpus) == [0, 1, 2, 3]
    assert corpus.read(np.array([3, 0])) == [["x", "y"], ["a b", " c\td\u2028e"]]
    assert corpus.sizes(np.array([3, 1])).tolist() == [3, 4]


def test_a_compressed_file_gives_the_same_rows(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"a\nb\n\nc\n"))
    files = CorpusFiles((str(path),), blocks=Blocks())
    corpus = build_corpus(
        files, tmp_path / "w", "train", BadLines(print, skip_bad=False), lambda lines: None
    )
    assert rows(corpus) == [["a", "b"], ["c"]]


def test_a_long_document_is_split_at_line_ends_and_remembers_that_it_is_one(tmp_path):
    lines = [f"line {number:02}" for number in range(20)]
    content = "\n".join(lines).encode() + b"\n\nother\n" + b"x" * 100 + b"\nend\n"
    corpus = build(tmp_path, content, blocks=Blocks(limit=30, split=True))
    found = rows(corpus)
    assert [line for row in found[:-3] for line in row] == lines
    assert all(len("\n".join(row)) <= 30 for row in found[:-3])
    assert len(found[0]) == 3  # as many as fit, not one a row
    assert found[-3:] == [["other"], ["x" * 100], ["end"]]
    assert documents(corpus) == [0] * (len(found) - 3) + [1] * 3


def test_a_long_block_is_refused_where_it_may_not_be_split(tmp_path):
    said = []
    content = b"a\n\n" + b"line\n" * 10 + b"\nb\n"
    with pytest.raises(DataError, match="1 unusable line: nothing is trained"):
        build(tmp_path, content, blocks=Blocks(limit=20), said=said)
    assert said == [f"{tmp_path / '0.txt'}:3: more than 20 bytes without a blank line"]
    corpus = build(tmp_path, content, blocks=Blocks(limit=20), skip=True)
    assert rows(corpus) == [["a"], ["b"]]


def test_an_unusable_line_costs_its_sentence_or_only_itself(tmp_path):
    content = b"a\n\nb\nc \xff\nd\n\ne\n"
    said = []
    corpus = build(tmp_path, content, blocks=Blocks(), skip=True, said=said)
    assert rows(corpus) == [["a"], ["e"]]
    assert said[0] == f"{tmp_path / '0.txt'}:4: not UTF-8 at byte 3"
    corpus = build(tmp_path, content, blocks=Blocks(split=True), skip=True)
    assert rows(corpus) == [["a"], ["b"], ["d"], ["e"]]
    assert documents(corpus) == [0, 1, 1, 2]


def test_the_fingerprint_tells_where_documents_end(tmp_path):
    contents = (b"a\nb\n", b"a\n\nb\n", b"a\tb\n")
    found = {build(tmp_path, text, blocks=Blocks()).fingerprint for text in contents}
    assert len(found) == 3
    assert build(tmp_path, b"\na\r\nb", blocks=Blocks()).fingerprint in found


def test_a_changed_file_is_noticed(tmp_path):
    corpus = build(tmp_path, b"a\nb\n\nc\n", blocks=Blocks())
    (tmp_path / "0.txt").write_bytes(b"a\tb\n\nc\n")
    with pytest.raises(DataError, match="has changed since it was indexed"):
        rows(corpus)
