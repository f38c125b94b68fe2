"""What a training reads in part is said, with the line and the options that change it."""

from __future__ import annotations

from pathlib import Path

import pytest
from program import TINY, inside, write_reversal

from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.data.padding import cut_ids
from attn_cli.tokenizers.tokenizer_training import train_tokenizer

SHORT = (*TINY, "--type", "char", "--max-steps", 1, "--metric", "loss", "--batch-tokens", 400)


def train(folder: Path, *arguments: object) -> str:
    return inside("train-mt", *arguments, "-o", folder / "model", *SHORT, "--max-len", 24).said


@pytest.mark.parametrize("parallel", [False, True])
def test_a_line_that_is_cut_is_named_once_and_the_others_are_counted(
    tmp_path: Path, parallel: bool
) -> None:
    pairs = [f"{'ba ' * n}\tra" for n in (1, 2, 30, 1, 3, 40)]
    files = [tmp_path / "train.src", tmp_path / "train.tgt"] if parallel else [tmp_path / "t.tsv"]
    columns = list(zip(*(pair.split("\t") for pair in pairs), strict=True))
    for file, texts in zip(files, columns if parallel else [pairs], strict=True):
        file.write_text("".join(f"{text}\n" for text in texts))
    dev = write_reversal(tmp_path / "dev.tsv", 12, seed=5, longest=2)
    given = ("--src", files[0], "--tgt", files[1]) if parallel else (files[0],)
    said = train(tmp_path, *given, "--dev", dev)
    (line,) = [line for line in said.split("\n") if "(--max-len, --batch-tokens)" in line]
    assert f"{files[0]}:3: a source of more than 23 tokens, cut there" in line or (
        f"{files[0]}:6: a source of more than 23 tokens, cut there" in line
    )
    assert "as 2 of the first 6 are" in line


def test_dev_lines_that_are_cut_or_left_out_are_said(tmp_path: Path) -> None:
    corpus = write_reversal(tmp_path / "train.tsv", 40, seed=5, longest=2)
    dev = tmp_path / "dev.tsv"
    dev.write_text(f"li\t{'ra ' * 20}\n" + "li\tra\n" * 2009)
    said = train(tmp_path, corpus, "--dev", dev)
    assert f"{dev}:1: a target of more than 23 tokens, cut there" in said
    assert "the first 2,000 of 2,010 dev pairs validate" in said


def test_a_text_cut_by_its_characters_counts_as_cut() -> None:
    options = TokenizerOptions(type="word")
    word = "x" * 200
    tokenizer = train_tokenizer([f"{word} a"] * 3, options, seed=1, threads=1, say=lambda _: None)
    found, cut = cut_ids(tokenizer, ["a", f"{word} " * 3], 4, 0.0, 1)
    assert cut == [1]
    assert found[0] == tokenizer.encode(["a"])[0]
