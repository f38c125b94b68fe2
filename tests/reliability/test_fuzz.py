"""Every reader on bytes that nobody meant: lines as the contract says, or a refusal by name."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attn_cli.config import from_dict, load_json, load_toml, to_dict
from attn_cli.config.decoding import SearchOptions
from attn_cli.errors import DataError
from attn_cli.lines.columns import Columns
from attn_cli.lines.reading import LineReader
from attn_cli.models.seq2seq import TransformerConfig
from attn_cli.models.storage import load_tensors
from attn_cli.tokenizers.tokenizer_files import tokenizer_from_bytes

fuzz = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Bytes near the edges of the contract are likelier than others.
PIECES = [b"\n", b"\r", b"\t", b"\0", b"\xef\xbb\xbf", b"\xff", b"\xed\xa0\x80", b"a", "é".encode()]
PIECES += ["\u2028".encode(), "\u202e".encode(), b" ", b"\x1f\x8b"]
raw_text = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4)), max_size=40).map(
    b"".join
)
# What begins so is no text, and refused or unpacked as what it is.
NO_TEXT = (b"\x1f\x8b", b"\xff\xfe", b"\xfe\xff", b"\x28\xb5", b"PK", b"7z", b"BZh", b"\xfd7z")
plain_text = raw_text.filter(
    lambda raw: not raw.startswith(NO_TEXT) and 8 * raw[:4096].count(0) < max(8, len(raw[:4096]))
)


def expected_lines(raw: bytes) -> list[str | None]:
    """The contract, written once more: text, or None where a line can't be used."""
    lines = raw.split(b"\n")
    lines = lines[:-1] if lines[-1] == b"" else lines
    found: list[str | None] = []
    for number, line in enumerate(lines):
        if number == 0 and line[:3] == b"\xef\xbb\xbf":
            line = line[3:]
        line = line[:-1] if line[-1:] == b"\r" else line
        try:
            found.append(str(line, "utf-8"))
        except UnicodeDecodeError:
            found.append(None)
    return found


@fuzz
@given(raw=plain_text)
def test_lines_are_what_the_contract_says(raw: bytes, tmp_path: Path) -> None:
    for name, content in (("t.txt", raw), ("t.gz", gzip.compress(raw))):
        path = tmp_path / name
        path.write_bytes(content)
        reader = LineReader(str(path))
        lines = list(reader)
        reader.close()
        found = [None if line.error else line.text for line in lines]
        assert found == expected_lines(raw)
        assert [line.number for line in lines] == list(range(1, len(lines) + 1))
        for line in lines:
            there = raw[line.start : line.start + line.size].removesuffix(b"\r")
            assert line.error or there.decode() == line.text


@fuzz
@given(raw=raw_text, at=st.integers(0, 200), bit=st.integers(0, 7))
def test_a_damaged_gzip_gives_lines_or_a_refusal(
    raw: bytes, at: int, bit: int, tmp_path: Path
) -> None:
    packed = bytearray(gzip.compress(raw))
    packed[at % len(packed)] ^= 1 << bit
    path = tmp_path / "t.gz"
    path.write_bytes(packed)
    reader = LineReader(str(path))
    try:
        list(reader)
    except DataError as error:
        assert "t.gz: " in str(error)
    reader.close()


@fuzz
@given(
    line=raw_text.filter(lambda raw: b"\n" not in raw),
    spec=st.lists(st.integers(1, 5), min_size=2, max_size=4, unique=True),
)
def test_columns_are_picked_or_missed(line: bytes, spec: list[int]) -> None:
    text = line.decode("utf-8", "replace")
    columns = Columns.parse(",".join(map(str, spec)), 2)
    fields = text.split("\t")
    found = columns.pick(text)
    if max(spec) > len(fields):
        assert isinstance(found, str) and f"column {max(spec)} is needed" in found
    else:
        others = [field for i, field in enumerate(fields, 1) if i not in spec]
        assert found == ([fields[i - 1] for i in spec], others)


@fuzz
@given(raw=st.one_of(st.binary(max_size=60), raw_text, st.text(max_size=60).map(str.encode)))
def test_configurations_are_read_or_refused(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_bytes(raw)
    for load in (load_json, lambda path: load_toml(str(path))):
        try:
            assert isinstance(load(path), dict)
        except DataError as error:
            assert f"{path}: " in str(error)


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner)),
    max_leaves=6,
)


@fuzz
@given(
    key=st.sampled_from([*TransformerConfig.__dataclass_fields__, "d_modle", "", "\ud800"]),
    value=st.one_of(values, st.integers(-(10**400), 10**400)),
)
def test_options_are_kept_as_they_are_or_refused(key: str, value: object) -> None:
    sound = TransformerConfig(
        d_model=8,
        d_ff=8,
        n_heads=2,
        n_encoder_layers=1,
        n_decoder_layers=1,
        dropout=0.1,
        src_vocab=9,
        tgt_vocab=9,
        share_embeddings=True,
    )
    given_values = to_dict(sound) | {key: value}
    try:
        config = from_dict(TransformerConfig, given_values, "c.json")
    except DataError as error:
        assert str(error).startswith("c.json: ") and len(str(error)) < 1000
        assert "\n" not in str(error)
    else:
        assert to_dict(config) == given_values
        assert json.loads(json.dumps(to_dict(config))) == given_values


@fuzz
@given(table=st.dictionaries(st.sampled_from([*SearchOptions.__dataclass_fields__]), values))
def test_search_options_are_kept_or_refused(table: dict[str, object]) -> None:
    try:
        options = from_dict(SearchOptions, table, "c.toml")
    except DataError as error:
        assert str(error).startswith("c.toml: ")
    else:
        assert {key: getattr(options, key) for key in table} == table


@pytest.mark.parametrize("name", ["tokenizer.model", "vocab.txt", "tokenizer.json"])
@fuzz
@given(raw=st.one_of(st.binary(max_size=80), raw_text))
def test_tokenizers_of_any_bytes_load_or_are_refused(name: str, raw: bytes) -> None:
    try:
        tokenizer = tokenizer_from_bytes(name, raw)
    except DataError as error:
        assert str(error).startswith(f"{name}:")
    else:
        assert tokenizer.vocab_size >= 0


@fuzz
@given(flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 7)), min_size=1, max_size=4))
def test_a_tokenizer_with_flipped_bits_encodes_within_its_size_or_is_refused(
    flips: list[tuple[float, int]], reversal_model: Path
) -> None:
    raw = bytearray((reversal_model / "tokenizer.model").read_bytes())
    for place, bit in flips:
        raw[int(place * (len(raw) - 1))] ^= 1 << bit
    try:
        tokenizer = tokenizer_from_bytes("tokenizer.model", bytes(raw))
    except DataError:
        return
    (ids,) = tokenizer.encode(["banu kera livo ☃"])
    assert all(0 <= index < tokenizer.vocab_size for index in ids)
    tokenizer.decode([ids])


def test_a_tokenizer_whose_texts_are_no_utf8_is_refused(reversal_model: Path) -> None:
    raw = (reversal_model / "tokenizer.model").read_bytes()
    for text in ("\ufffd", "\u2581"):  # what <unk> becomes; a space in a piece
        at = raw.rindex(text.encode()) + 2
        with pytest.raises(DataError, match="tokenizer.model: "):
            tokenizer_from_bytes("tokenizer.model", raw[:at] + b"\xed" + raw[at + 1 :])


@fuzz
@given(
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 7)), min_size=1, max_size=4),
)
def test_weights_with_flipped_bits_are_refused(
    cut: float, flips: list[tuple[float, int]], reversal_model: Path, tmp_path: Path
) -> None:
    raw = (reversal_model / "model.safetensors").read_bytes()
    damaged = bytearray(raw)
    for place, bit in flips:
        damaged[int(place * (len(damaged) - 1))] ^= 1 << bit
    path = tmp_path / "model.safetensors"
    for content in (bytes(damaged), raw[: int(cut * (len(raw) - 1))]):
        if content == raw:  # the same bit twice
            continue
        path.write_bytes(content)
        with pytest.raises(DataError, match="model.safetensors: "):
            load_tensors(path)
