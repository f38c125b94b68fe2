from __future__ import annotations

import gc
import gzip
import io
import sys
import warnings

import numpy as np
import pytest

from attn_cli.data.corpus import Corpus, build_corpus
from attn_cli.data.entries import CorpusFiles
from attn_cli.errors import DataError
from attn_cli.lines.columns import Columns
from attn_cli.lines.unusable import BadLines


class Said(list):
    """What was said on stderr."""

    def bad(self, *, skip: bool = False) -> BadLines:
        return BadLines(self.append, skip_bad=skip)


def no_check(fields):
    return None


def build(tmp_path, *contents, columns=None, skip=False, said=None, check=no_check, **options):
    """A corpus of files with these contents."""
    paths = []
    for number, content in enumerate(contents):
        path = tmp_path / f"{number}.tsv"
        path.write_bytes(content)
        paths.append(str(path))
    files = CorpusFiles(tuple(paths), Columns.parse(columns, 2), **options)
    bad = (Said() if said is None else said).bad(skip=skip)
    return build_corpus(files, tmp_path / "work", "train", bad, check)


def rows(corpus):
    return corpus.read(np.arange(len(corpus)))


def test_rows_of_several_files_in_any_order(tmp_path):
    corpus = build(tmp_path, "a\tä\nb\tß\n".encode(), "c\t語\nlast\tline".encode())
    assert rows(corpus) == [["a", "ä"], ["b", "ß"], ["c", "語"], ["last", "line"]]
    assert corpus.read(np.array([3, 0, 3])) == [["last", "line"], ["a", "ä"], ["last", "line"]]
    assert corpus.sizes(np.array([2, 1])).tolist() == [5, 4]
    assert rows(Corpus(tmp_path / "work", "train")) == rows(corpus)


def test_only_a_line_feed_ends_a_line_and_one_return_and_the_mark_are_removed(tmp_path):
    content = "\ufeffone\teins\r\ntwo\u2028\x0b\x85\tzwei \r\r\n\ufeff x\t y\rz\n".encode()
    corpus = build(tmp_path, content, "\ufeffmark\tagain\n".encode())
    assert rows(corpus) == [
        ["one", "eins"],
        ["two\u2028\x0b\x85", "zwei \r"],
        ["\ufeff x", " y\rz"],
        ["mark", "again"],
    ]


def test_bad_lines_are_all_named_and_refused(tmp_path):
    said = Said()
    content = b"good\tpair\nonly one\n\xff\tbytes\n\nfine\ttoo\n"
    with pytest.raises(DataError, match="3 unusable lines"):
        build(tmp_path, content, said=said)
    assert [line.split(": ")[0].split(":")[-1] for line in said] == ["2", "3", "4"]
    assert all(str(tmp_path / "0.tsv") in line for line in said)
    assert "1 column, but column 2 is needed" in said[0]
    assert "not UTF-8 at byte 1" in said[1]


def test_skip_bad_leaves_them_out_and_counts_them(tmp_path):
    said = Said()
    content = b"good\tpair\nonly one\n\xff\tbytes\nfine\ttoo\n"
    corpus = build(tmp_path, content, skip=True, said=said)
    assert rows(corpus) == [["good", "pair"], ["fine", "too"]]
    assert said[-1] == "2 unusable lines: left out"


def test_a_check_of_the_fields_names_the_line(tmp_path):
    said = Said()
    corpus = build(
        tmp_path,
        b"a\tb\nc\t\n",
        skip=True,
        said=said,
        check=lambda fields: None if all(fields) else "empty target",
    )
    assert rows(corpus) == [["a", "b"]]
    assert said[0].endswith("0.tsv:2: empty target")


def test_columns_by_number_and_by_name(tmp_path):
    assert rows(build(tmp_path, b"a\tb\tc\nd\te\tf\n", columns="3,1")) == [["c", "a"], ["f", "d"]]
    by_name = build(tmp_path, b"x\tde\ten\r\n1\tb\tc\n", b"en\tde\nf\te\n", columns="en,de")
    assert rows(by_name) == [["c", "b"], ["f", "e"]]  # each file has its own order
    with pytest.raises(DataError, match="no column 'fr' in the header: de, en"):
        build(tmp_path, b"de\ten\n1\t2\n", columns="en,fr")


def test_parallel_files(tmp_path):
    corpus = build(tmp_path, b"\xef\xbb\xbfa\tkept\nb\r\n", b"c\nd\n", parallel=True)
    assert rows(corpus) == [["a\tkept", "c"], ["b", "d"]]
    assert corpus.sizes(np.array([0])).tolist() == [7]


def test_parallel_files_of_different_lengths_name_both_counts(tmp_path):
    with pytest.raises(DataError, match=r"0\.tsv has 3 lines, .*1\.tsv has 1 line"):
        build(tmp_path, b"a\nb\nc\n", b"d\n", parallel=True)


def test_a_bad_line_of_one_parallel_file_takes_its_partner_along(tmp_path):
    said = Said()
    corpus = build(tmp_path, b"a\nb\nc\n", b"d\n\xfe\nf\n", parallel=True, skip=True, said=said)
    assert rows(corpus) == [["a", "d"], ["c", "f"]]
    assert "1.tsv:2: not UTF-8" in said[0]


def test_compressed_files_and_standard_input_are_spooled(tmp_path, monkeypatch):
    packed = tmp_path / "packed.tsv.gz"
    packed.write_bytes(gzip.compress(b"a\tb\n"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"c\td\n")))
    files = CorpusFiles((str(packed), "-"), Columns.parse(None, 2))
    corpus = build_corpus(files, tmp_path / "work", "train", Said().bad(), no_check)
    packed.unlink()
    assert rows(corpus) == [["a", "b"], ["c", "d"]]


def test_damaged_compressed_data_is_refused_by_name(tmp_path):
    packed = tmp_path / "packed.tsv.gz"
    packed.write_bytes(gzip.compress(b"a\tb\n" * 1000)[:-9])
    files = CorpusFiles((str(packed),), Columns.parse(None, 2))
    with pytest.raises(DataError, match=r"packed\.tsv\.gz: damaged gzip"):
        build_corpus(files, tmp_path / "work", "train", Said().bad(), no_check)


def test_the_fingerprint_is_of_the_pairs_alone(tmp_path):
    one = build(tmp_path, b"a\tb\nc\td\n").fingerprint
    assert build(tmp_path, b"\xef\xbb\xbfa\tb\tx\r\n", b"c\td\n").fingerprint == one
    assert build(tmp_path, b"a\tb\nc\te\n").fingerprint != one
    assert build(tmp_path, b"c\td\na\tb\n").fingerprint != one


def test_an_empty_corpus_and_a_damaged_index(tmp_path):
    assert len(build(tmp_path, b"")) == 0
    corpus = build(tmp_path, b"a\tb\n")
    assert len(np.concatenate(list(corpus.all_hashes()))) == 1
    with (tmp_path / "work" / "train.index").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match="damaged index"):
        Corpus(tmp_path / "work", "train")


@pytest.mark.parametrize("parallel", [False, True])
def test_a_refusal_leaves_no_file_open(tmp_path, parallel):
    content = b"a\tb\n\xff\n" if parallel else b"a\tb\nno tab\n"
    gc.collect()  # what other tests left
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(DataError, match="1 unusable line"):
            build(tmp_path, content, gzip.compress(b"x\ty\n" * 2), parallel=parallel)
        gc.collect()
    assert [str(warning.message) for warning in caught if warning.category is ResourceWarning] == []


def test_a_line_that_is_refused_says_nothing_about_the_others(tmp_path):
    said = Said()
    corpus = build(tmp_path, b"no tab\na\tb\nc\td\n", skip=True, said=said, even=True)
    assert rows(corpus) == [["a", "b"], ["c", "d"]]


def test_a_tab_in_a_text_does_not_shift_the_columns_silently(tmp_path):
    file = tmp_path / "a.tsv"
    file.write_text("a b\tpos\na\tb c\tneg\ngood one\tpos\n")
    said = []
    bad = BadLines(said.append, skip_bad=True)
    files = CorpusFiles((str(file),), Columns((0, 1)), even=True)
    corpus = build_corpus(files, tmp_path / "work", "train", bad, lambda fields: None)
    assert len(corpus) == 2
    assert said[0] == (
        f"{file}:2: 3 columns, where the lines before have 2 (a tab in a text? else --columns says "
        "which are meant)"
    )
