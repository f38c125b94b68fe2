"""Every hostile input: how it is made, the command that meets it, and what must be said."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Make = Callable[[Path], list[str]]
LIMIT = 64 << 20  # of a tokenizer file


@dataclass(frozen=True)
class Case:
    """One hostile input.

    Attributes:
        make: writes it into an empty folder that holds a sound `model`; returns the command.
        blames: what the message must name: the file, or the line of it.
        cause: a regular expression for the cause in the message.
    """

    make: Make
    blames: str
    cause: str


CASES: dict[str, Case] = {}


def case(name: str, blames: str, cause: str) -> Callable[[Make], Make]:
    def register(make: Make) -> Make:
        assert name not in CASES
        CASES[name] = Case(make, blames, cause)
        return make

    return register


def decode(place: Path) -> list[str]:
    return ["decode", "-m", str(place / "model"), "--threads", "1", "--greedy"]


# --- model.safetensors


def weights(name: str, cause: str) -> Callable[[Callable[[bytes], bytes]], None]:
    """A case whose model.safetensors is the sound one's bytes, changed."""

    def register(change: Callable[[bytes], bytes]) -> None:
        def make(place: Path) -> list[str]:
            file = place / "model" / "model.safetensors"
            file.write_bytes(change(file.read_bytes()))
            return decode(place)

        CASES[f"weights: {name}"] = Case(make, "model.safetensors", cause)

    return register


def header(name: str, cause: str) -> Callable[[Callable[[dict[str, Any]], Any]], None]:
    """A case whose header is the sound one's, changed."""

    def register(change: Callable[[dict[str, Any]], Any]) -> None:
        def changed(raw: bytes) -> bytes:
            size = int.from_bytes(raw[:8], "little")
            values = json.loads(raw[8 : 8 + size])
            other = change(values)
            whole = values if other is None else other
            coded = (whole if isinstance(whole, str) else json.dumps(whole)).encode()
            return len(coded).to_bytes(8, "little") + coded + raw[8 + size :]

        weights(name, cause)(changed)

    return register


weights("empty", "not a safetensors file")(lambda raw: b"")
weights("three bytes", "not a safetensors file")(lambda raw: b"abc")
weights("text", "not a safetensors file")(lambda raw: b"these are my weights\n" * 99)
weights("pickle", "not a safetensors file")(lambda raw: b"\x80\x02cos\nsystem\nq\x00." + raw)
weights("zip", "not a safetensors file")(lambda raw: b"PK\x03\x04" + raw)
weights("header cut", "not a safetensors file")(lambda raw: raw[:200])
weights("data cut", "cut short")(lambda raw: raw[:-1])
weights("data padded", "padded")(lambda raw: raw + b"\0")
weights("half", "cut short")(lambda raw: raw[: len(raw) // 2])
weights("bit flipped in data", "checksum")(lambda raw: raw[:-5] + bytes([raw[-5] ^ 4]) + raw[-4:])
weights("header size 2^63", "not a safetensors file")(lambda raw: b"\xff" * 8 + raw[8:])
weights("header size 0", "not a safetensors file")(lambda raw: bytes(8) + raw[8:])
weights("header size beyond file", "not a safetensors file")(
    lambda raw: len(raw).to_bytes(8, "little") + raw[8:]
)


@weights("header nested deeply", "not a safetensors file")
def _(raw: bytes) -> bytes:
    text = b"[" * 1_000_000
    return len(text).to_bytes(8, "little") + text


@weights("header of 15 MiB", "malformed|missing")
def _(raw: bytes) -> bytes:
    text = b'{"a":"' + b"x" * (15 << 20) + b'"}'
    return len(text).to_bytes(8, "little") + text


@weights("100,001 tensors", "tensors")
def _(raw: bytes) -> bytes:
    entry = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    text = ("{" + ",".join(f'"t{i}":{entry}' for i in range(100_001)) + "}").encode()
    return len(text).to_bytes(8, "little") + text


def first(values: dict[str, Any]) -> dict[str, Any]:
    return values[next(name for name in values if name != "__metadata__")]


@header("negative shape", "malformed header entry")
def _(values: dict[str, Any]) -> None:
    first(values)["shape"] = [-32, -32]


@header("fractional shape", "malformed header entry")
def _(values: dict[str, Any]) -> None:
    first(values)["shape"] = [32.0]


@header("NaN shape", "malformed header entry")
def _(values: dict[str, Any]) -> None:
    first(values)["shape"] = [float("nan")]


@header("shape that overflows", "malformed header entry")
def _(values: dict[str, Any]) -> None:
    first(values)["shape"] = [1 << 62, 1 << 62]


@header("shape of 10,000 digits", "not a safetensors file")
def _(values: dict[str, Any]) -> str:
    first(values)["shape"] = ["HUGE"]
    return json.dumps(values).replace('"HUGE"', "9" * 10_000)


@header("negative offsets", "malformed header entry")
def _(values: dict[str, Any]) -> None:
    first(values)["data_offsets"] = [-4, 0]


@header("offsets beyond the file", "malformed header entry|overlap|cut short")
def _(values: dict[str, Any]) -> None:
    start, end = first(values)["data_offsets"]
    first(values)["data_offsets"] = [start + (1 << 40), end + (1 << 40)]


@header("overlapping tensors", "overlap")
def _(values: dict[str, Any]) -> None:
    names = [name for name in values if name != "__metadata__"]
    pairs = [(a, b) for a in names for b in names if a < b]
    one, other = next(p for p in pairs if values[p[0]]["shape"] == values[p[1]]["shape"])
    values[other]["data_offsets"] = values[one]["data_offsets"]


@header("unknown type", "malformed header entry")
def _(values: dict[str, Any]) -> None:
    first(values)["dtype"] = "F8_E5M2"


@header("whole numbers as weights", "has type I32")
def _(values: dict[str, Any]) -> None:
    first(values)["dtype"] = "I32"


@header("another shape", "config.json says")
def _(values: dict[str, Any]) -> None:
    wide = next(v for v in values.values() if len(v.get("shape", ())) == 2)
    wide["shape"] = [1, wide["shape"][0] * wide["shape"][1]]


@header("a tensor renamed", "is missing")
def _(values: dict[str, Any]) -> None:
    name = next(name for name in values if name != "__metadata__")
    values["\x1b[31mevil"] = values.pop(name)


@header("a tensor too many", "unexpected tensor")
def _(values: dict[str, Any]) -> None:
    values["x" * 100_000] = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}


@header("an entry that is no object", "malformed header entry")
def _(values: dict[str, Any]) -> None:
    values["a"] = 7


@header("header a list", "malformed header")
def _(values: dict[str, Any]) -> list[Any]:
    return [values]


@header("no checksum", "no checksum")
def _(values: dict[str, Any]) -> None:
    del values["__metadata__"]


@header("metadata a number", "no checksum|can't be loaded")
def _(values: dict[str, Any]) -> None:
    values["__metadata__"]["attn"] = 7


@header("metadata a list", "malformed header")
def _(values: dict[str, Any]) -> None:
    values["__metadata__"] = [1]


@header("metadata altered", "can't be loaded|damaged")
def _(values: dict[str, Any]) -> None:
    values["__metadata__"]["attn"] += " "


@header("metadata cut", "can't be loaded")
def _(values: dict[str, Any]) -> None:
    values["__metadata__"]["attn"] = values["__metadata__"]["attn"][:-1]


@header("foreign metadata beside ours", "can't be loaded")
def _(values: dict[str, Any]) -> None:
    values["__metadata__"]["more"] = {"a": 1}


@case("weights: not finite", "model.safetensors", "not finite")
def _(place: Path) -> list[str]:
    from attn_cli.models.storage import load_tensors, save_tensors

    file = place / "model" / "model.safetensors"
    tensors, meta = load_tensors(file)
    tensors[sorted(tensors)[0]].view(-1)[3] = float("nan")
    save_tensors(file, tensors, meta)
    return decode(place)


@case("weights: a sparse terabyte", "model.safetensors", "GiB of memory")
def _(place: Path) -> list[str]:
    values = read_config(place)
    vocab, width = 1 << 24, 1 << 14
    values["model"] |= {"src_vocab": vocab, "tgt_vocab": vocab, "d_model": width}
    write_config(place, values)
    import torch

    from attn_cli.models import build_model, read_model_config

    with torch.device("meta"):
        model = build_model("transformer", read_model_config("transformer", values["model"], ""))
    entries: dict[str, Any] = {"__metadata__": {"attn": "0 {}"}}
    at = 0
    for name, weight in model.named_parameters():
        span = [at, at + 4 * weight.numel()]
        entries[name] = {"dtype": "F32", "shape": list(weight.shape), "data_offsets": span}
        at = span[1]
    text = json.dumps(entries).encode()
    file = place / "model" / "model.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(file, 8 + len(text) + at)
    return decode(place)


# --- files that are no files, and files elsewhere

FILES = ("config.json", "model.safetensors", "tokenizer.model")


def placed(name: str, cause: str) -> Callable[[Callable[[Path], None]], None]:
    """Cases in which each file of a model directory is replaced by something else."""

    def register(put: Callable[[Path], None]) -> None:
        for file in FILES:

            def make(place: Path, file: str = file) -> list[str]:
                target = place / "model" / file
                target.rename(place / f"elsewhere-{file}")
                put(target)
                return decode(place)

            CASES[f"{file}: {name}"] = Case(make, file, cause)

    return register


placed("a pipe", "not a file")(os.mkfifo)
placed("a directory", "not a file|directory")(Path.mkdir)
placed("a link to a device", "leaves the directory")(lambda path: path.symlink_to("/dev/zero"))
placed("an absolute link", "leaves the directory")(
    lambda path: path.symlink_to(path.parent.parent / f"elsewhere-{path.name}")
)
placed("a link by ..", "leaves the directory")(
    lambda path: path.symlink_to(Path("..") / f"elsewhere-{path.name}")
)
placed("a link to itself", "symbolic link|Symlink|missing|no tokenizer")(
    lambda path: path.symlink_to(path.name)
)
placed("gone", "No such file|missing|no tokenizer")(lambda path: None)


# --- config.json


def read_config(place: Path) -> dict[str, Any]:
    return json.loads((place / "model" / "config.json").read_text())


def write_config(place: Path, values: Any) -> None:
    (place / "model" / "config.json").write_text(json.dumps(values))


def config(name: str, cause: str, *path: str, value: Any) -> None:
    """A case in which one value of config.json is another."""

    def make(place: Path) -> list[str]:
        values = read_config(place)
        inner = values
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        write_config(place, values)
        return decode(place)

    CASES[f"config: {name}"] = Case(make, "config.json", cause)


def raw_config(name: str, cause: str, raw: bytes) -> None:
    def make(place: Path) -> list[str]:
        (place / "model" / "config.json").write_bytes(raw)
        return decode(place)

    CASES[f"config: {name}"] = Case(make, "config.json", cause)


config("unknown key", "unknown key 'modle' .did you mean model", "modle", value={})
config(
    "unknown option", "unknown option 'd_modle' .did you mean d_model", "model", "d_modle", value=8
)
config("text for a number", "d_model: a whole number", "model", "d_model", value="32")
config("fraction for a number", "d_model: a whole number", "model", "d_model", value=32.5)
config("truth for a number", "d_model: a whole number", "model", "d_model", value=True)
config("null for a number", "d_model: a whole number", "model", "d_model", value=None)
config("d_model 10^9", "d_model: 1000000000 is above", "model", "d_model", value=10**9)
config("d_model of 3,000 digits", "d_model: 10+… is above", "model", "d_model", value=10**3000)
config("d_model negative", "d_model: -8 is below", "model", "d_model", value=-8)
config("d_model 0", "d_model: 0 is below", "model", "d_model", value=0)
config("d_model of another model", "shape", "model", "d_model", value=64)
config("heads that do not divide", "not a multiple", "model", "n_heads", value=3)
config("10^6 layers", "is above", "model", "n_encoder_layers", value=10**6)
config("256 layers", "256|257", "model", "n_decoder_layers", value=256)
config("two layers", "missing", "model", "n_decoder_layers", value=2)
config("vocabulary 10^12", "is above", "model", "tgt_vocab", value=10**12)
config("vocabulary of another", "one vocabulary|shape", "model", "tgt_vocab", value=27)
config("dropout NaN", "finite", "model", "dropout", value=float("nan"))
config("dropout 10^400", "dropout", "model", "dropout", value=10**400)
config("unknown positions", "positions: 'sinus' is not one of", "model", "positions", value="sinus")
config("attention with other weights", "is missing", "model", "attention", value="additive")
config("weights of no projection", "unexpected tensor", "model", "projections", value="none")
config("heads of another width", "shape", "model", "combine", value="mean")
config("positions of 500 kB", "is not one of", "model", "positions", value="x" * 500_000)
config("model a list", "'model' is missing or no dict", "model", value=[1])
config("unknown architecture", "unknown architecture", "arch", value="transformers")
config("architecture of 500 kB", "unknown architecture", "arch", value="x" * 500_000)
config("later format", "format 2", "format", value=2)
config("format true", "format True", "format", value=True)
config("format a text", "format '1'", "format", value="1")
config("10,000 unknown keys", "9,99. more", "model", value={f"d_modl{i}": 1 for i in range(10_000)})
raw_config("empty", "not JSON", b"")
raw_config("a list", "JSON object", b"[]")
raw_config("nested deeply", "not JSON", b'{"a":' * 100_000)
raw_config("2 MiB", "larger than", b'{"format":1}' + b" " * (2 << 20))
raw_config("not UTF-8", "not UTF-8", b'{"format": "\xff"}')
raw_config("NULs", "not JSON", bytes(99))
raw_config("cut", "not JSON", b'{"format": 1, "att')


@case("config: another task", "model", "task is 'steal'")
def _(place: Path) -> list[str]:
    write_config(place, read_config(place) | {"task": "steal"})
    return decode(place)


@case("directory: gone", "nowhere", "no such model directory")
def _(place: Path) -> list[str]:
    return ["decode", "-m", str(place / "nowhere")]


@case("directory: a file", "config.json", "no such model directory")
def _(place: Path) -> list[str]:
    return ["decode", "-m", str(place / "model" / "config.json")]


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
tokenizer("blank lines", "vocab.txt", "a blank line", b"\n\n\n")
tokenizer("empty", "vocab.txt", "a blank line", b"")
tokenizer("a piece twice", "vocab.txt", "stands here twice", b"[UNK]\na\na\n")
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
corpus("blank lines", "t.tsv:3", "3 unusable lines", b"\n\n\n")
corpus("one column", "t.tsv:1", "1 column, but column 2", b"alone\n")
corpus("bad bytes", "t.tsv:2", "not UTF-8 at byte 3", b"a\tb\nc\t\xff\n")
corpus("a lone surrogate", "t.tsv:1", "not UTF-8", b"a\t\xed\xa0\x80\n")
corpus("UTF-16", "t.tsv:1", "not UTF-8", "a\tb\n".encode("utf-16"))
corpus("no target", "t.tsv:2", "empty target", b"a\tb\nc\t \n")
corpus("a line of 17 MiB", "t.tsv:1", "longer than 16 MiB", b"x" * (17 << 20) + b"\ty\n")
corpus("gzip cut", "t.tsv.gz", "damaged gzip", gzip.compress(b"a\tb\n" * 999)[:-9], "t.tsv.gz")
corpus("not gzip", "t.tsv.gz", "damaged gzip", b"a\tb\n", "t.tsv.gz")
corpus("gzip with a tail", "t.tsv.gz", "damaged gzip", gzip.compress(b"a\tb\n") + b"x", "t.tsv.gz")
corpus("gzip bomb", "t.tsv.gz", "times its size", gzip.compress(bytes(100 << 20), 9), "t.tsv.gz")
corpus("no such column", "t.tsv:1", "no column 'tgt'", b"a\tb\n", "t.tsv", "--columns", "a,tgt")


@case("corpus: a directory", "model", "is a directory")
def _(place: Path) -> list[str]:
    return ["train-mt", str(place / "model"), "-o", str(place / "out")]


@case("corpus: gone", "nothing.tsv", "No such file")
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


toml("malformed", "not TOML", b"beam_size = = 3\n")
toml("unknown option", "unknown option 'beam_sise' .did you mean beam_size", b"beam_sise = 3\n")
toml("wrong type", "beam_size: a whole number", b'beam_size = "3"\n')
toml("out of bounds", "beam_size: 0 is below 1", b"beam_size = 0\n")
toml("a table", "unknown option|is needed", b"[beam_size]\na = 1\n")
toml("nested deeply", "nested too deeply|not TOML", b"a = " + b"[\n" * 20_000)
toml("a key of 100,000 parts", "more than 1,024", b"a." * 30_000 + b"a = 1\n")
toml("1 MiB", "larger than 64 KiB", b"# comment\n" * 100_000)
toml("not UTF-8", "not UTF-8", b"\xff\xfe = 1\n")
toml("a date", "beam_size: a whole number", b"beam_size = 2026-01-01\n")
toml("infinite", "not a finite number", b"length_penalty = inf\n")
