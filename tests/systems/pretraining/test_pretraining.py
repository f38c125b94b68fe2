"""Documents whose words count up through the corpus, so that each token can be traced."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

from attn_cli.config.pretraining import (
    MaskingOptions,
    ObjectiveOptions,
    PretrainCommand,
    StackSizeOptions,
    StackVariantOptions,
)
from attn_cli.config.runtime import RuntimeOptions
from attn_cli.config.training import PretrainTrainingOptions
from attn_cli.data.batching import Position, stream
from attn_cli.data.corpus import build_corpus
from attn_cli.data.entries import Blocks, CorpusFiles
from attn_cli.data.split import Rows
from attn_cli.lines.unusable import BadLines
from attn_cli.models import build_model
from attn_cli.systems.pretraining.masked import MaskedReader, PairedReader
from attn_cli.systems.pretraining.objectives import OBJECTIVES
from attn_cli.systems.pretraining.segments import line_parts
from attn_cli.tokenizers.huggingface_tokenizer import WordPieceTokenizer

WORDS = 3000
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def tokenizer():
    pieces = [*SPECIALS, *(f"w{number}" for number in range(WORDS))]
    return WordPieceTokenizer("\n".join(pieces).encode())


def write_documents(path, sizes, seed=1, longest=12):
    """Documents with so many sentences; the words of all of them count up through the corpus."""
    generator = random.Random(seed)
    at = 0
    documents = []
    for size in sizes:
        document = []
        for _ in range(size):
            length = generator.randint(1, longest)
            document.append(" ".join(f"w{(at + i) % WORDS}" for i in range(length)))
            at += length
        documents.append("\n".join(document))
    path.write_text("\n\n".join(documents) + "\n")
    return path


def reader(path, tokenizer, *, pairs=True, max_len=48, batch_tokens=480, limit=1 << 16, **options):
    files = CorpusFiles((str(path),), blocks=Blocks(limit=limit, split=True))
    corpus = build_corpus(
        files, path.parent / "w", "train", BadLines(print, skip_bad=False), lambda lines: None
    )
    rows = Rows(len(corpus), np.empty(0, np.int64))
    command = PretrainCommand(
        objective=ObjectiveOptions(max_len=max_len),
        training=PretrainTrainingOptions(batch_tokens=batch_tokens),
        runtime=RuntimeOptions(seed=7),
        masking=MaskingOptions(**options),
    )
    return (PairedReader if pairs else MaskedReader)(corpus, rows, tokenizer, command)


def inputs(batches):
    """The gold tokens of each input without padding, its segments and its label."""
    for batch in batches:
        for row in range(len(batch)):
            real = batch.mask[row]
            yield batch.gold[row][real], batch.segments[row][real], int(batch.labels[row])


def counts_up(ids):
    return bool((np.diff(ids) % WORDS == 1).all())


def test_pairs_are_segments_of_one_document_or_of_two(tmp_path, tokenizer):
    path = write_documents(tmp_path / "a.txt", [30] * 40)
    own = reader(path, tokenizer, max_len=64)
    batches = own.batches(np.arange(40), 1)
    follows = strangers = short = 0
    for gold, segments, label in inputs(batches):
        gold = gold.numpy()
        assert gold[0] == tokenizer.cls_id
        assert gold[-1] == tokenizer.sep_id
        (middle,) = np.flatnonzero(gold[:-1] == tokenizer.sep_id)
        assert (segments.numpy() == (np.arange(len(gold)) > middle)).all()
        assert len(gold) <= 64
        a, b = gold[1:middle], gold[middle + 1 : -1]
        assert len(a)
        assert len(b)
        assert counts_up(a)
        assert counts_up(b)
        distance = (b[0] - a[-1]) % WORDS
        # Both ends of both segments may have been cut off to make them fit.
        follows += label == 0 and distance < 30
        strangers += label == 1
        assert label == 1 or 1 <= distance < 30
        short += len(gold) < 40
    total = follows + strangers
    assert abs(strangers - total / 2) < 4 * np.sqrt(total / 4)
    assert 0.02 < short / total < 0.35  # the ends of documents, and a tenth by intention


def test_no_stranger_is_a_part_of_the_same_document(tmp_path, tokenizer):
    """One document of many rows, and one short one: every negative has a part of both."""
    path = write_documents(tmp_path / "a.txt", [200, 4], longest=8)
    own = reader(path, tokenizer, limit=600)
    assert len(own.rows) > 5
    first_of_second = int(own.corpus.read(np.array([len(own.rows) - 1]))[0][0].split()[0][1:])
    border = tokenizer.piece_ids([f"w{first_of_second}"])[0]
    found = 0
    for gold, segments, label in inputs(own.batches(np.arange(len(own.rows)), 1)):
        sides = [(gold[segments == s] >= border).any().item() for s in (0, 1)]
        assert (sides[0] != sides[1]) == (label == 1)
        found += label
    assert found > 5


def test_a_pool_of_one_document_borrows_from_others(tmp_path, tokenizer):
    own = reader(write_documents(tmp_path / "a.txt", [20] * 6), tokenizer)
    labels = [label for _, _, label in inputs(own.batches(np.array([2]), 1))]
    assert 0 < sum(labels) < len(labels)


def test_packed_sentences_lose_nothing_and_pad_little(tmp_path, tokenizer):
    path = write_documents(tmp_path / "a.txt", [25] * 60, longest=30)
    own = reader(path, tokenizer, pairs=False, max_len=128, batch_tokens=2048)
    batches = own.batches(np.arange(60), 1)
    n_words = len(path.read_text().split())
    texts = [gold[1:-1] for gold, _, _ in inputs(batches)]
    words = np.concatenate([text[text != tokenizer.sep_id] for text in texts])
    assert len(words) == n_words
    assert (np.bincount(words) == np.bincount(words).max()).sum() > WORDS / 2
    seen = sum(batch.mask.numel() for batch in batches)
    real = sum(batch.n_read for batch in batches)
    assert 1 - real / seen < 0.05
    assert real / len(texts) > 100  # of 128
    assert all(batch.mask.numel() <= 2048 for batch in batches)


def test_a_sentence_longer_than_an_input_becomes_several(tmp_path, tokenizer):
    path = tmp_path / "a.txt"
    words = [f"w{number}" for number in range(500)]
    path.write_text(" ".join(words) + "\n\nw7 w8 w9\n")
    for pairs in (False, True):
        own = reader(path, tokenizer, pairs=pairs, short_seq=0.0)
        found = list(inputs(own.batches(np.arange(2), 1)))
        assert max(len(gold) for gold, _, _ in found) in (47, 48)
        seen = {i for gold, _, _ in found for i in gold.tolist()}
        assert len(seen) > 500 * (0.8 if pairs else 1)


def test_no_text_is_lost_where_a_long_line_is_cut():
    line = " ".join("x" * (1 + number % 9) for number in range(5000)) + "y" * 10_000
    parts = line_parts(line)
    assert "".join(parts) == line
    assert max(map(len, parts)) <= 4096
    assert all(part.endswith(" ") for part in parts[:4])


def masks(batches):
    """Each hidden token of a corpus whose tokens are all different."""
    return sorted(int(i) for batch in batches for i in batch.gold[batch.masked])


def test_masks_change_from_epoch_to_epoch_unless_they_are_static(tmp_path, tokenizer):
    path = write_documents(tmp_path / "a.txt", [8] * 40, longest=12)
    for static in (False, True):
        own = reader(path, tokenizer, pairs=False, static_masking=static)
        first = masks(own.batches(np.arange(40), 1))
        again = masks(own.batches(np.arange(40), 1))
        other = masks(own.batches(np.arange(40)[::-1].copy(), 2))
        assert first == again
        if static:  # but for rows in which nothing would have been hidden
            assert len(set(first) ^ set(other)) < 0.03 * len(first)
        else:
            assert len(set(first) & set(other)) < 0.5 * len(first)


def test_rows_of_unknown_tokens_are_left_out(tmp_path, tokenizer):
    path = tmp_path / "a.txt"
    path.write_text("x y\nz\n\nw1 w2\nw3 w4\n\nx\nx\n")
    own = reader(path, tokenizer)
    for batch in own.batches(np.arange(3), 1):
        assert (batch.masked.sum(1) > 0).all()
        assert not (batch.gold[batch.masked] == tokenizer.unk_id).any()


def test_the_stream_goes_on_anywhere(tmp_path, tokenizer):
    own = reader(write_documents(tmp_path / "a.txt", [12] * 30), tokenizer)
    whole = stream(own.source(), 3, Position())
    placed = [next(whole) for _ in range(40)]
    whole.close()
    for start in (3, 20):
        rest = stream(own.source(), 3, placed[start - 1].after)
        for expected in placed[start : start + 8]:
            found = next(rest)
            assert found.after == expected.after
            assert (found.batch.ids == expected.batch.ids).all()
            assert (found.batch.masked == expected.batch.masked).all()
        rest.close()


@pytest.mark.parametrize("weight", [0.0, 2.5])
def test_dev_loss_is_the_loss_that_is_trained(tmp_path, tokenizer, weight):
    own = reader(write_documents(tmp_path / "a.txt", [12] * 30), tokenizer, nsp_weight=weight)
    kind, size = OBJECTIVES["mlm+nsp"], tokenizer.vocab_size
    config = kind.config(StackSizeOptions(), StackVariantOptions(), "tiny", size)
    torch.manual_seed(1)
    objective = kind.objective(build_model(kind.arch, config, kind.heads(size)), 0.0)
    batches = own.batches(np.arange(30), 1)
    objective.eval()
    with torch.no_grad():
        losses = [float(objective(batch)[0]) for batch in batches]
    figures = objective.figures(batches)
    assert figures["loss"] == pytest.approx(sum(losses) / sum(b.n_tokens for b in batches))
    beside = figures["loss"] - math.log(figures["perplexity"])
    assert (beside == pytest.approx(0)) == (weight == 0)


def test_parts_of_a_batch_keep_the_weight_of_its_pairs(tmp_path, tokenizer):
    own = reader(write_documents(tmp_path / "a.txt", [12] * 30), tokenizer)
    batch = own.batches(np.arange(30), 1)[0]
    parts = [batch.rows(slice(0, None, 2)), batch.rows(slice(1, None, 2))]
    assert sum(part.n_tokens for part in parts) == batch.n_tokens
    assert {part.pair_weight for part in parts} == {batch.n_tokens / len(batch)}
    heavy = reader(write_documents(tmp_path / "a.txt", [12] * 30), tokenizer, nsp_weight=2.5)
    assert heavy.batches(np.arange(30), 1)[0].pair_weight == 2.5 * batch.pair_weight
    idle = batch.rows(slice(0, 1)).without_targets()
    assert idle.n_tokens == 0
    assert idle.labels.tolist() == [-1]
