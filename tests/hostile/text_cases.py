"""Hostile tokenizers, corpora and TOML files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from case import CASES, LIMIT, Case, case, decode

# --- tokenizers


def tokenizer(name: str, file: str, cause: str, raw: bytes | Callable[[bytes], bytes]) -> None:
    """A case whose model directory has this tokenizer alone."""

    def make(place: Path) -> list[str]:
        sound = place / "model" / "tokenizer.model"
        before = sound.read_bytes()
        sound.unlink()
        (place / "model" / file).write_bytes(raw if isinstance(raw, bytes) else raw(before))
        return decode(place)

    CASES[f"{file}: {name}"] = Case(make, file, cause)


def wordpiece(*pieces: str) -> dict[str, Any]:
    """A tokenizer.json with this vocabulary."""
    return {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": dict(zip(pieces, range(99), strict=False))}
        | {"unk_token": "[UNK]"},
    }


SPM = "not a SentencePiece model"
tokenizer("empty", "tokenizer.model", SPM, b"")
tokenizer("text", "tokenizer.model", SPM, b"hello\nworld\n")
tokenizer("random bytes", "tokenizer.model", SPM, bytes((i * 7919) % 251 for i in range(5000)))
tokenizer("cut", "tokenizer.model", SPM + "|tokenizer has|no ", lambda raw: raw[: len(raw) // 3])
tokenizer("zeros", "tokenizer.model", SPM, bytes(4096))
tokenizer("lengths beyond the end", "tokenizer.model", SPM, b"\x0a\xff\xff\xff\xff\x07" * 50)
tokenizer("a pickle", "tokenizer.model", SPM, b"\x80\x04cos\nsystem\n.")
tokenizer("65 MiB", "tokenizer.model", "larger than 64 MiB", bytes(LIMIT + 1))
tokenizer("empty", "tokenizer.json", "not a tokenizer.json", b"")
tokenizer("not JSON", "tokenizer.json", "not a tokenizer.json", b'{"model"')
tokenizer("nested deeply", "tokenizer.json", "not a tokenizer.json", b'{"model":' * 100_000)
tokenizer("not UTF-8", "tokenizer.json", "not a tokenizer.json", b'{"a": "\xff\xfe"}')
tokenizer("unknown model", "tokenizer.json", "not a tokenizer.json", b'{"model": {"type": "X"}}')
tokenizer(
    "no special tokens",
    "tokenizer.json",
    "no padding and no begin and no end",
    json.dumps(wordpiece("a", "b", "[UNK]")).encode(),
)


def far_id() -> bytes:
    values = wordpiece("[UNK]", "[PAD]", "<s>", "</s>")
    values["model"]["vocab"]["far"] = 4_000_000_000
    return json.dumps(values).encode()


tokenizer("token 4,000,000,000", "tokenizer.json", "has a token 4000000000", far_id())
tokenizer("65 MiB", "tokenizer.json", "larger than 64 MiB", b" " * (LIMIT + 1))
tokenizer("blank lines", "vocab.txt", r"no piece \[UNK\]", b"\n\n\n")
tokenizer("empty", "vocab.txt", r"no piece \[UNK\]", b"")
tokenizer("a piece twice", "vocab.txt", "no padding", b"[UNK]\na\na\n")
tokenizer("no [UNK]", "vocab.txt", r"no piece \[UNK\]", b"[PAD]\na\nb\n")
tokenizer("no [CLS]", "vocab.txt", "no begin and no end", b"[PAD]\n[UNK]\na\n")
tokenizer("not UTF-8", "vocab.txt", "not UTF-8", b"[UNK]\n\xff\xfe\n")
tokenizer("65 MiB", "vocab.txt", "larger than 64 MiB", b"\n" * (LIMIT + 1))


@case("vocab.txt: of another model", "model", "21 source tokens, but the tokenizer has 5")
def _(place: Path) -> list[str]:
    (place / "model" / "tokenizer.model").unlink()
    (place / "model" / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n")
    return decode(place)


@case("tokenize: unknown ending", "t.bin", "unknown kind of tokenizer")
def _(place: Path) -> list[str]:
    (place / "t.bin").write_bytes(b"abc")
    return ["tokenize", "encode", "-t", str(place / "t.bin")]


@case("tokenize: a link out of the model", "tokenizer.model", "leaves the directory")
def _(place: Path) -> list[str]:
    file = place / "model" / "tokenizer.model"
    file.rename(place / "t.model")
    file.symlink_to("../t.model")
    return ["tokenize", "encode", "-t", str(place / "model")]


# --- corpora


def corpus(name: str, blames: str, cause: str, raw: bytes, file: str = "t.tsv", *more: str) -> None:
    """A case that trains on this file."""

    def make(place: Path) -> list[str]:
        (place / file).write_bytes(raw)
        return ["train-mt", str(place / file), "-o", str(place / "out"), "--max-steps", "1", *more]

    CASES[f"corpus: {name}"] = Case(make, blames, cause)


corpus("empty", "t.tsv", "no pair to work with", b"")
corpus("blank lines", "t.tsv", "column 2 is needed", b"\n\n\n")
corpus("one column", "t.tsv", "no tab in it", b"alone\n")
corpus("bad bytes", "t.tsv:2", "not UTF-8 at byte 3", b"a\tb\nc\t\xff\n")
corpus("a lone surrogate", "t.tsv:1", "not UTF-8", b"a\t\xed\xa0\x80\n")
corpus("UTF-16", "t.tsv", "is UTF-16", "a\tb\n".encode("utf-16"))
corpus("no target", "t.tsv:2", "empty target", b"a\tb\nc\t \n")
corpus("a line of 17 MiB", "t.tsv:1", "longer than 16 MiB", b"x" * (17 << 20) + b"\ty\n")
corpus("gzip cut", "t.tsv.gz", "damaged gzip", gzip.compress(b"a\tb\n" * 999)[:-9], "t.tsv.gz")
corpus("not gzip", "t.tsv.gz", "damaged gzip", b"\x1f\x8ba\tb\n", "t.tsv.gz")
corpus("gzip with a tail", "t.tsv.gz", "damaged gzip", gzip.compress(b"a\tb\n") + b"x", "t.tsv.gz")
corpus("gzip bomb", "t.tsv.gz", "times its size", gzip.compress(bytes(100 << 20), 9), "t.tsv.gz")
corpus("no such column", "t.tsv:1", "no column 'tgt'", b"a\tb\n", "t.tsv", "--columns", "a,tgt")


@case("corpus: a directory", "model", "is a directory", 2)
def _(place: Path) -> list[str]:
    return ["train-mt", str(place / "model"), "-o", str(place / "out")]


@case("corpus: gone", "nothing.tsv", "No such file", 2)
def _(place: Path) -> list[str]:
    return ["train-mt", str(place / "nothing.tsv"), "-o", str(place / "out")]


@case("corpus: files of unequal length", "a.txt has 2 lines", "b.txt has 1 line")
def _(place: Path) -> list[str]:
    (place / "a.txt").write_text("one\ntwo\n")
    (place / "b.txt").write_text("eins\n")
    files = ["--src", str(place / "a.txt"), "--tgt", str(place / "b.txt")]
    return ["train-mt", *files, "-o", str(place / "out")]


# --- TOML


def toml(name: str, cause: str, raw: bytes) -> None:
    def make(place: Path) -> list[str]:
        (place / "c.toml").write_bytes(raw)
        return [*decode(place), "--config", str(place / "c.toml")]

    CASES[f"toml: {name}"] = Case(make, "c.toml", cause)


toml("malformed", "not TOML", b"beam = = 3\n")
toml("unknown option", "unknown option 'beem' .did you mean beam", b"beem = 3\n")
toml("wrong type", "beam: a whole number", b'beam = "3"\n')
toml("out of bounds", "beam: 0 is below 1", b"beam = 0\n")
toml("a table", "unknown option|is needed", b"[beam]\na = 1\n")
toml("nested deeply", "nested too deeply|not TOML", b"a = " + b"[\n" * 20_000)
toml("a key of 100,000 parts", "more than 1,024", b"a." * 30_000 + b"a = 1\n")
toml("1 MiB", "larger than 64 KiB", b"# comment\n" * 100_000)
toml("not UTF-8", "not UTF-8", b"\xff\xfe = 1\n")
toml("a date", "beam: a whole number", b"beam = 2026-01-01\n")
toml("infinite", "not a finite number", b"length_penalty = inf\n")
