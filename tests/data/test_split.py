from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from attn_cli.data import corpus as corpus_module
from attn_cli.data.corpus import build_corpus
from attn_cli.data.entries import CorpusFiles
from attn_cli.data.split import Repeated, Rows, hold_out, hold_out_groups, repeated
from attn_cli.lines.columns import Columns
from attn_cli.lines.unusable import BadLines


def corpus_of(tmp_path, lines):
    path = tmp_path / "corpus.tsv"
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    files = CorpusFiles((str(path),), Columns.parse(None, 2))
    bad = BadLines(print, skip_bad=False)
    return build_corpus(files, tmp_path / "work", "train", bad, lambda fields: None)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, 0), (2, 1), (9, 1), (50, 5), (999, 99), (1000, 100), (5000, 100), (20_000, 200)],
)
def test_how_many_are_held_out(tmp_path, size, expected):
    corpus = corpus_of(tmp_path, (f"{n}\t{n}" for n in range(size)))
    held = hold_out(corpus, seed=1)
    assert len(held) == len(set(held.tolist())) == expected
    assert np.array_equal(np.sort(held), held)
    assert np.array_equal(hold_out(corpus, seed=1), held)


def test_no_held_out_pair_is_also_trained_on(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_module, "_CHUNK", 64)  # copies lie in different chunks
    lines = [f"{n % 700}\tx" if n % 3 else f"{n}\tunique" for n in range(1200)]
    corpus = corpus_of(tmp_path, lines)
    held = hold_out(corpus, seed=4)
    rows = Rows(len(corpus), held)
    trained = {tuple(row) for row in corpus.read(rows[np.arange(len(rows))])}
    assert len(held) == 100
    assert not trained & {tuple(row) for row in corpus.read(held)}
    assert not np.array_equal(held, hold_out(corpus, seed=5))


def test_nothing_is_held_out_where_every_pair_has_a_copy(tmp_path):
    assert len(hold_out(corpus_of(tmp_path, ["a\tb", "c\td"] * 20), seed=1)) == 0


@pytest.mark.parametrize("held", [[], [0], [9], [0, 1, 2], [3, 5, 6, 9], list(range(1, 10))])
def test_rows_are_all_but_the_held_out_ones(held):
    rows = Rows(10, np.array(held, np.int64))
    assert rows[np.arange(len(rows))].tolist() == [n for n in range(10) if n not in held]


def test_groups_are_held_out_as_wholes():
    groups = np.repeat(np.arange(50), 5)
    held = hold_out_groups(groups, seed=1)
    assert len(held) == 25  # a tenth
    assert set(groups[held]) & set(np.delete(groups, held)) == set()
    assert np.array_equal(hold_out_groups(groups, seed=1), held)
    assert not np.array_equal(hold_out_groups(groups, seed=2), held)
    assert len(hold_out_groups(np.zeros(9, np.int64), seed=1)) == 0
    assert len(hold_out_groups(np.array([0, 0, 0, 1]), seed=1)) in (1, 3)


def test_a_file_comes_as_often_as_it_is_named_to_and_held_out_rows_never(tmp_path):
    for name, size in (("a", 7), ("b", 4), ("c", 9)):
        (tmp_path / f"{name}.tsv").write_text("".join(f"{name}{n}\tx\n" for n in range(size)))
    (tmp_path / "b.tsv:3").write_text("a file of this name\tx\n")
    names, repeats = repeated([str(tmp_path / f"{n}") for n in ("a.tsv:2", "b.tsv:3", "c.tsv:1")])
    assert [name.rpartition("/")[2] for name in names] == ["a.tsv", "b.tsv:3", "c.tsv"]
    assert repeats == (2, 1, 1)
    names[1], repeats = str(tmp_path / "b.tsv"), (2, 3, 1)
    files = CorpusFiles(tuple(names), Columns.parse(None, 2))
    bad = BadLines(print, skip_bad=False)
    corpus = build_corpus(files, tmp_path / "work", "train", bad, lambda fields: None)
    held_out = np.array([0, 6, 10, 19])  # a0, a6, b3, c8
    ends = np.cumsum(corpus.meta["counts"])
    rows = Repeated(
        Rows(len(corpus), held_out), ends - np.searchsorted(held_out, ends), np.array(repeats)
    )
    found = Counter(row[0] for row in corpus.read(rows[np.arange(len(rows))]))
    wanted = {f"a{n}": 2 for n in range(1, 6)} | {f"b{n}": 3 for n in range(3)}
    assert found == wanted | {f"c{n}": 1 for n in range(8)}
