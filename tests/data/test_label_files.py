from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attn_cli.data.label_files import SIZE_LIMIT, read_labels, write_labels
from attn_cli.errors import DataError

LABEL = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\t\n\r")).filter(
    lambda text: text.strip() and text[0] != "\ufeff"
)


@given(labels=st.lists(LABEL, min_size=1, unique=True))
def test_labels_come_back_as_they_were_written(tmp_path_factory, labels):
    folder = tmp_path_factory.mktemp("labels")
    write_labels(folder, labels)
    assert read_labels(folder) == labels


def test_several_tasks_have_a_file_each(tmp_path):
    write_labels(tmp_path, ["no", "yes"], "nsp")
    write_labels(tmp_path, ["O", "B-PER"])
    assert (tmp_path / "labels.nsp.txt").read_bytes() == b"no\nyes\n"
    assert read_labels(tmp_path, "nsp") == ["no", "yes"]
    assert read_labels(tmp_path) == ["O", "B-PER"]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "1: a blank label"),
        (b"a\n\nb\n", "2: a blank label"),
        (b"a\n \n", "2: a blank label"),
        (b"a\nb\na\n", "3: label 'a' stands in line 1 already"),
        (b"a\tb\n", "1: label 'a\\\\tb' holds a tab"),
        (b"a\n\xff\n", "not UTF-8 at byte 3"),
        (b"a" * (SIZE_LIMIT + 1), "larger than 1 MiB"),
    ],
)
def test_a_file_that_is_no_list_of_labels_is_refused(tmp_path, content, cause):
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(DataError, match=cause):
        read_labels(tmp_path)


def test_a_windows_file_with_a_mark_is_read(tmp_path):
    (tmp_path / "labels.txt").write_bytes(b"\xef\xbb\xbfno\r\nyes\r\n")
    assert read_labels(tmp_path) == ["no", "yes"]


@pytest.mark.parametrize("labels", [[], [""], ["a", "a"], ["a\nb"], ["\ud800"]])
def test_labels_that_could_not_be_read_back_are_not_written(tmp_path, labels):
    with pytest.raises(DataError):
        write_labels(tmp_path, labels)
    assert not (tmp_path / "labels.txt").exists()


def test_a_missing_file_and_a_link_out_of_the_directory_are_refused(tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(DataError, match="labels belong there"):
        read_labels(folder)
    (tmp_path / "secret").write_text("a\n")
    (folder / "labels.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="leaves the directory"):
        read_labels(folder)
