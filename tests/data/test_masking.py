from __future__ import annotations

import numpy as np
import pytest

from attn_cli.config.pretraining import MaskingOptions
from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.data.masking import Masker
from attn_cli.tokenizers.huggingface_tokenizer import JsonTokenizer
from attn_cli.tokenizers.tokenizer_training import train_tokenizer

TEXTS = [
    "the quick brown fox jumped over seventeen unbelievably lazy dogs, didn't it?",
    "multilingual tokenizers disagree: où est l'été? Быстрая коричневая лиса прыгает",
    "well-being (and co-operation) of internationalization; 3.14 or 2,718 dogs",
] * 40
KINDS = {
    "wordpiece": {"type": "wordpiece"},
    "bpe": {"type": "bpe"},
    "unigram": {"type": "unigram"},
    "char": {"type": "char"},
    "word": {"type": "word"},
    "lossless": {"type": "bpe", "lossless": True},
    "bytes": {"type": "unigram", "byte_fallback": True, "coverage": 0.99},
}


def trained(kind):
    options = TokenizerOptions(**KINDS[kind])
    size = 150 + 256 * options.with_bytes
    return train_tokenizer(TEXTS, options, seed=1, threads=1, say=len, usual_size=size)


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return trained(request.param)


@pytest.fixture(scope="module")
def wordpiece():
    return trained("wordpiece")


def byte_level():
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    engine = tokenizers.Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<s>", "</s>", "<mask>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    engine.train_from_iterator(TEXTS, trainer)
    return JsonTokenizer(engine.to_str().encode())


def suffixed():
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    engine = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    specials = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=specials, end_of_word_suffix="</w>", show_progress=False
    )
    engine.train_from_iterator(TEXTS, trainer)
    return JsonTokenizer(engine.to_str().encode())


def word_borders(text, spans, *, punctuation):
    """Which tokens begin a word, by the characters before them."""
    starts = []
    for number, (first, end) in enumerate(spans):
        before = text[first - 1 : first]
        border = not before or before.isspace()
        if punctuation:  # BERT's tokenizer makes a word of each punctuation character
            border |= not before.isalnum() or not text[first:end].isalnum()
        repeated = number and spans[number - 1] == (first, end)  # bytes of one character
        starts.append(bool(border and not repeated))
    return starts


@pytest.mark.parametrize("text", sorted(set(TEXTS)))
def test_words_begin_where_the_text_says(tokenizer, text):
    check_borders(tokenizer, text, punctuation=tokenizer.file_name == "vocab.txt")


@pytest.mark.parametrize("text", sorted(set(TEXTS)))
@pytest.mark.parametrize("make", [byte_level, suffixed])
def test_words_of_other_projects_tokenizers(make, text):
    check_borders(make(), text, punctuation=False)


def check_borders(tokenizer, text, *, punctuation):
    ((ids, spans),) = tokenizer.encode_with_offsets([text])
    starts = tokenizer.word_starts(np.array(ids))
    # A piece that is a space alone begins the word of the piece behind it.
    joined, pending = [], False
    for start, (first, end) in zip(starts.tolist(), spans, strict=True):
        if first == end:
            pending |= start
        else:
            joined.append(start or pending)
            pending = False
    real = [span for span in spans if span[0] < span[1]]
    assert joined == word_borders(text, real, punctuation=punctuation)


def rows(tokenizer, n_rows, width, seed=0):
    """Rows of text between special tokens, with what `Masker` needs of them."""
    generator = np.random.default_rng(seed)
    stream, starts = [], []
    while len(stream) < n_rows * width:
        ids = tokenizer.encode([TEXTS[generator.integers(len(TEXTS))]])[0]
        stream += ids
        starts += tokenizer.word_starts(np.array(ids)).tolist()
    size = n_rows * width
    ids = np.pad(np.array(stream[:size]).reshape(n_rows, width), ((0, 0), (1, 1)))
    ids[:, 0], ids[:, -1] = tokenizer.cls_id, tokenizer.sep_id
    flags = np.pad(np.array(starts[:size]).reshape(n_rows, width), ((0, 0), (1, 1)))
    return ids, flags, np.arange(ids.size, dtype=np.uint64).reshape(ids.shape)


@pytest.mark.parametrize("options", [{}, {"whole_word": True}, {"span": True}, {"mask": 0.4}])
def test_the_shares_are_those_asked_for(wordpiece, options):
    options = MaskingOptions(**options)
    ids, starts, keys = rows(wordpiece, 1000, 120)
    masker = Masker(wordpiece, options)
    read, masked = masker(ids, starts, keys, 5)
    maskable = masker.maskable[ids]
    # A unit is a token, a word of about 2 pieces or a span of about 8: the variance grows so.
    spread = np.sqrt(options.mask * (1 - options.mask) / maskable.sum())
    units = 1 if not (options.whole_word or options.span) else 6
    assert abs(masked.sum() / maskable.sum() - options.mask) < 5 * spread * units
    n = masked.sum()
    as_mask = (read == wordpiece.mask_id)[masked].mean()
    kept = (read == ids)[masked].mean()
    spread = 0.4 / np.sqrt(n) * (4 if options.span else 1)
    assert abs(as_mask - 0.8) < 5 * spread
    assert abs(kept - 0.1 - 0.1 / masker.maskable.sum()) < 5 * spread
    assert (read == ids)[~masked].all()


@pytest.mark.parametrize("options", [{}, {"whole_word": True}, {"span": True}])
def test_special_tokens_are_neither_hidden_nor_put_in(tokenizer, options):
    ids, starts, keys = rows(tokenizer, 60, 40)
    masker = Masker(tokenizer, MaskingOptions(mask=0.5, **options))
    read, masked = masker(ids, starts, keys, 2)
    reserved = sorted(tokenizer.reserved_ids)
    assert {tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.mask_id} <= {*reserved}
    assert not masked[np.isin(ids, reserved)].any()
    put_in = read[masked & (read != tokenizer.mask_id)]
    assert len(put_in) > 20
    assert not np.isin(put_in, reserved).any()


@pytest.mark.parametrize("options", [{"whole_word": True}, {"span": True}])
def test_all_pieces_of_a_word_are_hidden_or_none(tokenizer, options):
    ids, starts, keys = rows(tokenizer, 80, 50)
    masker = Masker(tokenizer, MaskingOptions(**options))
    _, masked = masker(ids, starts, keys, 3)
    hideable = masker.maskable[ids]
    inside = hideable[:, 1:] & hideable[:, :-1] & ~starts[:, 1:]  # goes on with the word before
    assert (masked[:, 1:] == masked[:, :-1])[inside].all()
    assert masked.any()


def test_spans_have_the_published_lengths(wordpiece):
    """Runs of hidden words, where hardly two spans meet, against the geometric distribution."""
    ids, starts, keys = rows(wordpiece, 30, 10_000)
    masker = Masker(wordpiece, MaskingOptions(span=True, mask=0.02))
    _, masked = masker(ids, starts, keys, 4)
    lengths = []
    for row, begins in zip(masked[:, 1:-1], starts[:, 1:-1], strict=True):
        hidden = row[begins].astype(int)
        edges = np.flatnonzero(np.diff(np.concatenate(([0], hidden, [0]))))
        runs = edges.reshape(-1, 2)
        lengths += [b - a for a, b in runs.tolist() if a > 0 and b < len(hidden)]
    weights = 0.8 ** np.arange(10)
    expected = weights / weights.sum()
    found = np.bincount(np.clip(lengths, 1, 10), minlength=11)[1:] / len(lengths)
    assert np.abs(found - expected).max() < 0.03  # now and then two spans meet
    assert len(lengths) > 500


def test_one_token_of_each_row_is_hidden_at_least(wordpiece):
    for options in ({}, {"whole_word": True}, {"span": True}):
        ids, starts, keys = rows(wordpiece, 300, 3)
        masker = Masker(wordpiece, MaskingOptions(mask=0.01, **options))
        _, masked = masker(ids, starts, keys, 1)
        hideable = masker.maskable[ids].any(1)
        assert (masked.any(1) == hideable).all()
        if not options:
            assert masked.sum() < 1.1 * len(ids)


def test_masks_follow_from_keys_and_seed_alone(wordpiece):
    masker = Masker(wordpiece, MaskingOptions())
    ids, starts, keys = rows(wordpiece, 40, 60)
    read, masked = masker(ids, starts, keys, 9)
    half = masker(ids[20:], starts[20:], keys[20:], 9)
    assert (half[0] == read[20:]).all()
    assert (half[1] == masked[20:]).all()
    other = masker(ids, starts, keys, 10)[1]
    assert 0.4 < (masked & other).sum() / (0.15 * masked.sum()) < 1.6  # as chance has it
