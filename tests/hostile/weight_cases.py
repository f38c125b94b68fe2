"""Hostile model.safetensors files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from case import CASES, Case, case, decode, read_config, write_config


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
