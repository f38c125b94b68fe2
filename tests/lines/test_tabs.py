"""A file without any tab where columns are needed: one message, with the way out."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from attn_cli.errors import DataError
from attn_cli.lines.tabs import require_tabs


def refusal(tmp_path, text: str, last: int = 1) -> str:
    file = tmp_path / "in.txt"
    file.write_text(text)
    with pytest.raises(DataError) as refused:
        require_tabs(file, "in.txt", last, "lines are text<TAB>label")
    return str(refused.value)


def test_one_tab_anywhere_is_enough_and_one_column_needs_none(tmp_path):
    file = tmp_path / "in.txt"
    for text, last in (("a\nb\tc\n", 1), ("", 1), ("a,b\n", 0)):
        file.write_text(text)
        require_tabs(file, "in.txt", last, "")


def test_a_file_of_one_column_is_told_once(tmp_path):
    assert refusal(tmp_path, "one, two\nthree\n") == (
        "in.txt: no tab in it, so no line has a column 2; lines are text<TAB>label"
    )


@pytest.mark.parametrize(("separator", "said"), [(",", "commas"), (";", "semicolons")])
def test_csv_is_known_and_what_is_said_of_it_works(tmp_path, separator, said):
    text = f'"a {separator} ""b"""{separator}pos\n"two\nlines"{separator}neg\n'
    message = refusal(tmp_path, text)
    assert f"{said} and no tab" in message
    script = re.search(r'python3 -c "(.*)" <', message)[1]
    done = subprocess.run(
        [sys.executable, "-c", script], input=text, capture_output=True, text=True
    )
    assert done.stdout == f'a {separator} "b"\tpos\ntwo lines\tneg\n', done.stderr
