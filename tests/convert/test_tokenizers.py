"""Converted tokenizers give the ids of transformers."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program import inside
from tiny_models import SMALL, VOCABULARY, save_bert, save_gpt, transformers

from attn_cli.convert.huggingface_tokenizer import read_tokenizer
from attn_cli.errors import DataError
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import load_tokenizer

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SETTINGS = [
    {"do_lower_case": True},
    {"do_lower_case": False},
    {"do_lower_case": True, "strip_accents": False},
    {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False},
]


def folder_with(place: Path, pieces: list[str], config: dict) -> Path:
    place.mkdir(exist_ok=True)
    (place / "vocab.txt").write_text("\n".join([*MARKS, *pieces]) + "\n", encoding="utf-8")
    values = {"tokenizer_class": "BertTokenizer", **config}
    (place / "tokenizer_config.json").write_text(json.dumps(values))
    (place / "config.json").write_text('{"model_type": "bert"}')
    return place


def both(folder: Path) -> tuple[Tokenizer, object]:
    tokenizer = read_tokenizer(folder, "bert", pytest.fail)
    assert tokenizer is not None
    return tokenizer, transformers.BertTokenizerFast.from_pretrained(folder)


def their_ids(tokenizer, texts: list[str]) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


def lines_of(data_dir: Path, name: str, count: int | None) -> list[str]:
    with gzip.open(data_dir / name / "train.txt.gz", "rt", encoding="utf-8", newline="\n") as file:
        return [line.rstrip("\n") for line in itertools.islice(file, count)]


@pytest.mark.parametrize("name", ["novels_en", "novels_ru"])
@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("count", [3000, pytest.param(None, marks=pytest.mark.slow)])
def test_word_pieces_of_novels_are_those_of_transformers(
    tmp_path, data_dir, name, lowercase, count
):
    import tokenizers

    lines = lines_of(data_dir, name, count)
    engine = tokenizers.BertWordPieceTokenizer(lowercase=lowercase)
    engine.train_from_iterator(lines, vocab_size=2000, show_progress=False)
    pieces = [piece for piece in engine.get_vocab() if piece not in MARKS]
    folder = folder_with(tmp_path / "hf", sorted(pieces), {"do_lower_case": lowercase})
    ours, theirs = both(folder)
    assert ours.encode(lines) == their_ids(theirs, lines)


def scripts() -> list[str]:
    """Characters of many scripts, each as a word and as the inside of one."""
    ranges = [(33, 127), (161, 592), (768, 880), (0x370, 0x530), (0x900, 0x980), (0x4E00, 0x4E40)]
    ranges += [(0x1100, 0x1180), (0xAC00, 0xAC20), (0x3040, 0x3100), (0x1F600, 0x1F610)]
    characters = [chr(code) for first, end in ranges for code in range(first, end)]
    return characters + ["##" + character for character in characters]


@pytest.fixture(scope="module", params=range(len(SETTINGS)))
def pair(request, tmp_path_factory):
    config = SETTINGS[request.param]
    return both(folder_with(tmp_path_factory.mktemp("scripts"), scripts(), config))


# Marks spelled out become marks there and stay text here (test_text_never_becomes_a_mark).
ANY_TEXT = st.text(st.characters(codec="utf-8"), max_size=40) | st.text(
    st.sampled_from(
        "aÀé̈Ñß\u0130ıΣσς中文한\u1100\u1161カ﷽ \t\u00a0\u200b\u3000\ufeff\ufffd\0\x07-—_'😀"
    ),
    max_size=20,
)
TEXT = ANY_TEXT.filter(lambda text: not any(mark in text for mark in [*MARKS, "<|endoftext|>"]))


@settings(max_examples=300, deadline=None)
@given(text=TEXT)
def test_word_pieces_of_random_unicode_are_those_of_transformers(pair, text):
    ours, theirs = pair
    assert ours.encode([text]) == their_ids(theirs, [text])


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_tokenizer_json_counts_and_its_config_counts_more(tmp_path, lowercase):
    source = folder_with(tmp_path / "a", ["Cat", "cat", "é", "e"], {"do_lower_case": True})
    transformers.BertTokenizerFast.from_pretrained(source).save_pretrained(tmp_path / "hf")
    (tmp_path / "hf" / "vocab.txt").unlink(missing_ok=True)
    config = tmp_path / "hf" / "tokenizer_config.json"
    values = {**json.loads(config.read_text()), "do_lower_case": lowercase}
    config.write_text(json.dumps(values))
    tokenizer = read_tokenizer(tmp_path / "hf", "bert", pytest.fail)
    assert tokenizer.pieces(tokenizer.encode(["Cat"])[0]) == ["cat" if lowercase else "Cat"]
    config.unlink()
    tokenizer = read_tokenizer(tmp_path / "hf", "bert", pytest.fail)
    assert tokenizer.pieces(tokenizer.encode(["Cat"])[0]) == ["cat"]


def test_upper_case_pieces_without_a_word_about_case_are_said(tmp_path):
    source = folder_with(tmp_path / "hf", ["Cat", "cat"], {})
    said: list[str] = []
    tokenizer = read_tokenizer(source, "bert", said.append)
    assert "will be lower-cased" in said[0]
    assert tokenizer.pieces(tokenizer.encode(["Cat"])[0]) == ["cat"]
    assert their_ids(transformers.BertTokenizerFast.from_pretrained(source), ["Cat"]) == (
        tokenizer.encode(["Cat"])
    )


def test_text_never_becomes_a_mark(tmp_path):
    save_bert(tmp_path / "hf")
    inside("convert", tmp_path / "hf", "-o", tmp_path / "ours")
    tokenizer = load_tokenizer(str(tmp_path / "ours"))
    unknown = VOCABULARY.index("[UNK]")
    brackets = [VOCABULARY.index("["), unknown, VOCABULARY.index("]")]
    assert tokenizer.encode(["[SEP]"]) == [brackets]


@settings(max_examples=100, deadline=None)
@given(text=TEXT)
def test_byte_pieces_are_those_of_transformers(gpt_pair, text):
    ours, theirs = gpt_pair
    assert ours.encode([text]) == their_ids(theirs, [text])
    assert ours.decode(ours.encode([text])) == [text]


@pytest.fixture(scope="module", params=[True, False])
def gpt_pair(request, tmp_path_factory):
    """A byte-level tokenizer from vocab.json and merges.txt, and from tokenizer.json."""
    folder = tmp_path_factory.mktemp("gpt")
    save_gpt(folder)
    theirs = transformers.GPT2TokenizerFast.from_pretrained(folder)
    if request.param:
        theirs.save_pretrained(folder)
        for name in ("vocab.json", "merges.txt"):
            (folder / name).unlink(missing_ok=True)
    return read_tokenizer(folder, "gpt", pytest.fail), theirs


def test_a_vocabulary_with_equal_lines_is_converted_and_they_are_named(tmp_path):
    folder = folder_with(tmp_path / "hf", ["a", "a"], {"do_lower_case": True})
    said: list[str] = []
    tokenizer = read_tokenizer(folder, "bert", said.append)
    assert tokenizer is not None
    assert tokenizer.encode(["a"]) == [[len(MARKS) + 1]]
    assert "piece 'a' again" in said[0]


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("tokenizer.json", b"{", "not JSON"),
        ("tokenizer.json", b"[" * 100_000, "not JSON"),
        ("tokenizer.json", b"[]", "a JSON object is needed"),
        ("tokenizer.json", b'{"model": {"type": "Nothing"}}', "not a tokenizer.json"),
        ("tokenizer_config.json", b'{"do_lower_case": "yes"}', "do_lower_case: true or false"),
        ("vocab.txt", b"a\nb\n", "no piece \\[UNK\\]"),
        ("vocab.txt", b"[UNK]\n\xff\n", "not UTF-8"),
    ],
)
def test_damaged_tokenizer_files_are_refused_by_name(tmp_path, name, content, cause):
    folder = folder_with(tmp_path / "hf", ["a"], {})
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=cause):
        read_tokenizer(folder, "bert", pytest.fail)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    save_bert(tmp_path / "hf")
    more = "\n".join([*VOCABULARY, *"bcdefghij"]) + "\n"
    (tmp_path / "hf" / "vocab.txt").write_text(more, encoding="utf-8")
    said = inside("convert", tmp_path / "hf", "-o", tmp_path / "ours", status=3).said
    assert f"the model {SMALL['vocab_size']}" in said
    (tmp_path / "hf" / "vocab.txt").unlink()
    said = inside("convert", tmp_path / "hf", "-o", tmp_path / "ours", status=3).said
    assert "no tokenizer" in said
    assert not (tmp_path / "ours").exists()
