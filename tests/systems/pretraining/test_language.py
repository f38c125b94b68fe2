"""Running text in windows: every character is predicted once, in its order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attn_cli.config.pretraining import ObjectiveOptions, PretrainCommand
from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.config.training import PretrainTrainingOptions
from attn_cli.data.corpus import build_corpus
from attn_cli.data.entries import Blocks, CorpusFiles
from attn_cli.lines.unusable import BadLines
from attn_cli.systems.pretraining.causal import LanguageReader
from attn_cli.tokenizers.tokenizer_training import train_tokenizer

TEXT = "To be, or not to be.\nThat is it.\n\nWhether 'tis nobler\n\n\nin the mind to suffer\n" * 7


def reader(
    folder: Path, limit: int = 200, max_len: int = 16, batch_tokens: int = 64
) -> LanguageReader:
    path = folder / "text.txt"
    path.write_text(TEXT)
    blocks = Blocks(limit=limit, split=True, across=True)
    bad = BadLines(pytest.fail, skip_bad=False)
    files = CorpusFiles((str(path),), blocks=blocks)
    corpus = build_corpus(files, folder, "train", bad, lambda _: None)
    options = TokenizerOptions(type="char", lossless=True)
    tokenizer = train_tokenizer([TEXT], options, seed=1, threads=1, say=lambda _: None)
    command = PretrainCommand(
        objective=ObjectiveOptions(max_len=max_len),
        training=PretrainTrainingOptions(batch_tokens=batch_tokens),
    )
    return LanguageReader(corpus, np.arange(len(corpus)), tokenizer, command)


@pytest.mark.parametrize("max_len", [1, 7, 16, 1000])
def test_every_character_is_predicted_once(tmp_path: Path, max_len: int) -> None:
    read = reader(tmp_path, max_len=max_len)
    for seed in range(3):
        batches = read.batches(np.arange(len(read.rows)), seed)
        # A line end is eos and a blank line bos: a token for each character of the text.
        assert sum(batch.n_tokens for batch in batches) == len(TEXT)
        assert max(batch.mask.shape[1] for batch in batches) <= max_len


def test_windows_joined_are_the_text(tmp_path: Path) -> None:
    read = reader(tmp_path, limit=1 << 20, batch_tokens=16)
    assert len(read.rows) == 1
    batches = read.batches(np.arange(1), 5)
    windows = [
        row[: 1 + int(mask.sum())].tolist()
        for batch in batches
        for row, mask in zip(batch.ids, batch.mask, strict=True)
    ]
    tokenizer = read.tokenizer
    stream = [tokenizer.bos_id]
    for line in TEXT.removesuffix("\n").split("\n"):
        stream += [*tokenizer.encode([line])[0], tokenizer.eos_id] if line else [tokenizer.bos_id]
    at = 0
    while at < len(stream) - 1:  # each window begins with the token that the last one ended with
        (window,) = (w for w in windows if w == stream[at : at + len(w)] and len(w) > 1)
        windows.remove(window)
        at += len(window) - 1
    assert not windows


def test_cuts_move_with_the_seed_and_batches_hold_to_the_budget(tmp_path: Path) -> None:
    read = reader(tmp_path)
    found = [str([b.ids.tolist() for b in read.batches(np.arange(2), seed)]) for seed in range(4)]
    assert len(set(found)) == 4
    assert found[1] == str([b.ids.tolist() for b in read.batches(np.arange(2), 1)])
    assert all(b.mask.numel() <= 64 for b in read.batches(np.arange(len(read.rows)), 3))
