"""What a stream is, told by its first bytes: text, gzip data whatever its name, or a refusal."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile

import pytest

from attn_cli.data.corpus import build_corpus
from attn_cli.data.entries import CorpusFiles
from attn_cli.errors import DataError
from attn_cli.lines.columns import Columns
from attn_cli.lines.packing import Unpacked
from attn_cli.lines.reading import LineReader, copy_stream
from attn_cli.lines.unusable import BadLines

TEXT = "the cat\tdie Katze\nthe dog\tder Hund\n"
ZSTD = b"\x28\xb5\x2f\xfd\x24\x0a" + bytes(20)


def zipped(raw):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.tsv"), raw)  # without the time of day
    return out.getvalue()


def lines(path):
    return [line.text for line in LineReader(str(path))]


def piped(data: bytes, *args):
    """What the program gives for data on standard input."""
    command = [sys.executable, "-m", "attn_cli", *args]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz", "a"])
@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_the_content_says_whether_a_file_is_packed_and_not_its_name(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(TEXT.encode()))
    assert lines(tmp_path / name) == TEXT.split("\n")[:-1]
    out = io.BytesIO()
    copy_stream(str(tmp_path / name), out)
    assert out.getvalue() == TEXT.encode()
    files = CorpusFiles((str(tmp_path / name),), Columns((0, 1)))
    bad = BadLines(print, skip_bad=False)
    corpus = build_corpus(files, tmp_path / "work", "train", bad, lambda fields: None)
    assert len(corpus) == 2


@pytest.mark.parametrize("content", [b"", b"\x1f", b"P", b"BZh", b"7z\n", b"B\n"])
def test_the_beginning_of_a_mark_alone_is_text(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    found = [line.text or line.error for line in LineReader(str(tmp_path / "a"))]
    assert found == ([content.decode().removesuffix("\n")] if content else [])


def test_packed_standard_input_is_read():
    status, out, said = piped(
        gzip.compress(b"a b\ta b\nc\tc\n"), "score", "--exact-match", "--quiet"
    )
    assert (status, out, said) == (0, "EXACT_MATCH\t1.000000\n", "")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-16-le"])
def test_other_encodings_are_refused_once_with_the_command_that_mends_them(tmp_path, encoding):
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    file = tmp_path / "a b.tsv"
    file.write_bytes((mark + TEXT).encode(encoding))
    with pytest.raises(DataError) as caught:
        lines(file)
    said = str(caught.value)
    assert re.match(r".*a b\.tsv: (is UTF-(16|32), and|every second byte is 0)", said)
    command = said.split("; ")[1].replace("> text", "")
    if shutil.which("iconv"):
        mended = subprocess.run(command, shell=True, capture_output=True, check=True).stdout  # noqa: S602
        assert mended.decode("utf-8-sig") == TEXT


@pytest.mark.parametrize("skip", [[], ["--skip-bad"]])
def test_a_training_refuses_other_encodings_even_with_skip_bad(tmp_path, skip):
    (tmp_path / "a.tsv").write_bytes(TEXT.encode("utf-16"))
    status, out, said = piped(
        b"", "train-mt", str(tmp_path / "a.tsv"), "-o", str(tmp_path / "model"), *skip
    )
    assert (status, out) == (3, "")
    assert said.count("\n") == 1 and "is UTF-16" in said and "iconv -f UTF-16 -t UTF-8" in said
    assert not (tmp_path / "model").exists()


def test_standard_input_is_mended_by_a_command_before_attn():
    status, _, said = piped(TEXT.encode("utf-16"), "score", "--bleu")
    assert status == 3
    assert said == (
        "attn: standard input: is UTF-16, and UTF-8 is read; put a command before attn: "
        "iconv -f UTF-16 -t UTF-8 | attn\n"
    )
    assert "UTF-16" in piped(gzip.compress(TEXT.encode("utf-16")), "score", "--bleu")[2]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (bz2.compress(TEXT.encode()), "is packed by bzip2, not by gzip; bzip2 -dc PATH > text"),
        (lzma.compress(TEXT.encode()), "is packed by xz, not by gzip; xz -dc PATH > text"),
        (zipped(TEXT.encode()), "is packed by zip, not by gzip; unzip -p PATH > text"),
        (ZSTD, "is packed by zstd, not by gzip; zstd -dc PATH > text"),
        (
            gzip.compress(gzip.compress(TEXT.encode(), mtime=0), mtime=0),
            "is gzip data inside gzip data; gzip -dc PATH | gzip -dc > text",
        ),
        (
            gzip.compress(TEXT.encode("utf-16"), mtime=0),
            "is UTF-16, and UTF-8 is read; gzip -dc PATH | iconv -f UTF-16 -t UTF-8 > text",
        ),
        (b"\x00\x01\xff\xfe", "is called .gz, but is neither gzip data nor UTF-8; fetch it again"),
    ],
)
def test_other_packing_is_refused_by_name(tmp_path, data, said):
    file = tmp_path / "a.gz"
    file.write_bytes(data)
    with pytest.raises(DataError) as caught:
        lines(file)
    assert str(caught.value) == f"{file}: {said}".replace("PATH", str(file))


def test_a_zero_byte_in_a_text_is_a_character_of_it(tmp_path):
    (tmp_path / "a").write_bytes(b"a\x00b c\nd\n")
    assert lines(tmp_path / "a") == ["a\x00b c", "d"]


@pytest.mark.parametrize("pieces", [[b"B", b"Zh9\n", b"x\n"], [b"\x1f"], []])
def test_a_slow_producers_first_line_is_not_waited_for_in_vain(pieces):
    """A mark that comes in pieces is put together, and no more is read than may be one."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as stream, os.fdopen(write, "wb", buffering=0) as producer:
        unpacked = Unpacked(stream, "-", "standard input")
        found = []
        reader = threading.Thread(target=lambda: found.append(unpacked.chunk()))
        reader.start()
        for piece in pieces[:2]:
            producer.write(piece)
        if len(pieces) < 2:
            producer.close()
        reader.join(10)
        assert not reader.is_alive()
        assert found == [b"".join(pieces[:2])]


def test_gzip_data_comes_in_pieces():
    read, write = os.pipe()
    packed = gzip.compress(TEXT.encode())
    with os.fdopen(read, "rb") as stream:
        with os.fdopen(write, "wb", buffering=0) as producer:
            for byte in packed:
                producer.write(bytes([byte]))
        unpacked = Unpacked(stream, "-", "standard input")
        assert b"".join(iter(unpacked.chunk, b"")) == TEXT.encode()
        assert unpacked.packed_size == len(packed)
