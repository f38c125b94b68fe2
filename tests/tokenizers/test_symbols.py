"""Symbols of a user stay one piece, whatever the tokenizer, and in whatever text they stand."""

from __future__ import annotations

import random

import pytest
from program import TINY, inside

from attn_cli.config.tokenizing import SENTENCEPIECE_TYPES, TokenizerOptions
from attn_cli.errors import DataError
from attn_cli.tokenizers.tokenizer_files import load_tokenizer
from attn_cli.tokenizers.tokenizer_training import train_tokenizer

WORDS = ["the", "cat", "sat", "on", "mats", "dogs", "run", "2de", "url"]
SYMBOLS = ("<2de>", "<2fr>", "__URL__")


def corpus() -> list[str]:
    generator = random.Random(5)
    return [f"<2de> {' '.join(generator.choices(WORDS, k=6))} __URL__" for _ in range(200)]


def trained(kind: str, **options):
    given = TokenizerOptions(type=kind, symbols=",".join(SYMBOLS), **options)
    return train_tokenizer(corpus(), given, seed=1, threads=1, say=lambda text: None)


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("kind", SENTENCEPIECE_TYPES)
def test_a_symbol_is_one_piece_and_comes_back(kind, lossless):
    tokenizer = trained(kind, lossless=lossless)
    text = "<2fr> the cat <2de> __URL__"
    (ids,) = tokenizer.encode([text])
    pieces = [piece.lstrip("▁") for piece in tokenizer.pieces(ids)]
    assert [piece for piece in pieces if piece in SYMBOLS] == ["<2fr>", "<2de>", "__URL__"]
    assert tokenizer.decode([ids]) == [text]
    assert not tokenizer.reserved_ids & {i for i in ids if tokenizer.vocabulary[i] in SYMBOLS}


@pytest.mark.parametrize("kind", ["bpe", "unigram", "char"])
def test_it_is_one_piece_inside_a_word_too(kind):
    tokenizer = trained(kind)
    (ids,) = tokenizer.encode(["cat<2de>sat"])
    assert "<2de>" in tokenizer.pieces(ids)
    assert tokenizer.decode([ids]) == ["cat<2de>sat"]


def test_a_wordpiece_vocabulary_with_symbols_is_a_tokenizer_json(tmp_path):
    tokenizer = trained("wordpiece", vocab_size=60)
    assert tokenizer.file_name == "tokenizer.json"
    (tmp_path / "tokenizer.json").write_bytes(tokenizer.to_bytes())
    loaded = load_tokenizer(str(tmp_path))
    loaded.require_specials("here")
    (ids,) = loaded.encode(["<2de> the cats <2de>sat [MASK]"])
    assert loaded.pieces(ids)[0] == "<2de>"
    assert loaded.mask_id not in ids
    assert loaded.decode([ids])[0].startswith("<2de> the cats <2de> sat")
    assert loaded.vocab_size <= 60


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_it_is_one_piece_in_every_drawn_segmentation(kind):
    tokenizer = trained(kind)
    texts = [*corpus()[:40], "cat<2de>sat<2fr><2de> ", "<2de>"]
    for ids, text in zip(tokenizer.sample(texts, 0.3, 1), texts, strict=True):
        symbols = [piece for piece in tokenizer.pieces(ids) if piece in SYMBOLS]
        assert len(symbols) == sum(text.count(symbol) for symbol in SYMBOLS)
        assert tokenizer.decode([ids]) == [" ".join(text.split())]
    if kind == "bpe":
        assert tokenizer.sample(texts, 0.0, 1) == tokenizer.encode(texts)


@pytest.mark.parametrize(
    ("symbols", "cause"),
    [
        ("<2de>,", "an empty one"),
        ("New York", "holds white space"),
        ("a▁b", "holds white space, or a mark of it"),
        ("<unk>", "<unk> is a special token already"),
        ("[MASK]", "special token"),
        ("<0x41>", "special token"),
        ("##x", "begins with ##"),
        ("a\u200bb", "invisible"),
        ("<a>,<b>,<a>", "twice"),
    ],
)
def test_what_can_be_no_symbol_is_refused(symbols, cause):
    with pytest.raises(ValueError, match=cause):
        TokenizerOptions(symbols=symbols)


@pytest.mark.parametrize("kind", [*SENTENCEPIECE_TYPES, "wordpiece"])
def test_a_vocabulary_too_small_for_them_is_refused(kind):
    with pytest.raises(DataError, match="the symbols.*use --vocab-size") as caught:
        trained(kind, vocab_size=10)
    assert ".cc" not in str(caught.value)


def test_the_command_takes_them(tmp_path):
    (tmp_path / "text").write_text("\n".join(corpus()) + "\n")
    for kind, name in (("bpe", "t.model"), ("wordpiece", "t.json")):
        inside(
            *("tokenize", "train", tmp_path / "text", "--type", kind, "--vocab-size", 60),
            *("--symbols", "<2de>,<2fr>", "-o", tmp_path / name),
        )
        line = "<2fr> the <2de>"
        run = inside("tokenize", "encode", "-t", tmp_path / name, stdin=f"{line}\n".encode())
        assert {"<2fr>", "<2de>"} <= set(run.lines[0].split(" "))
        back = inside("tokenize", "decode", "-t", tmp_path / name, stdin=run.out)
        assert back.lines == [line]


@pytest.mark.parametrize("command", ["train-mt", "pretrain", "finetune"])
def test_so_do_trainings(tmp_path, command):
    """Tags and placeholders of a corpus, kept whole by the tokenizer that a training makes."""
    texts = [f"<2de> {text} <url>" for text in corpus()]
    ends = {"train-mt": "\t{0}", "pretrain": "\n", "finetune": "\t{1}"}
    lines = [text + ends[command].format(text, "yn"[i % 2]) for i, text in enumerate(texts)]
    (tmp_path / "text").write_text("\n".join(lines) + "\n")
    small = {
        "train-mt": (*TINY, "--metric", "loss"),
        "pretrain": ("--objective", "mlm", "--size", "tiny", "--max-len", 32),
        "finetune": ("--task", "classify", "--size", "tiny"),
    }
    limits = ("--max-steps", 1, "--type", "bpe", "--vocab-size", 60, "--symbols", "<2de>,<url>")
    inside(command, tmp_path / "text", *small[command], *limits, "-o", tmp_path / "m")
    run = inside("tokenize", "encode", "-t", tmp_path / "m", stdin=b"<2de> the <url>\n")
    assert {"<2de>", "<url>"} <= set(run.lines[0].split(" "))
