"""A tokenizer without the pieces that a text does not need cuts that text as it did."""

from __future__ import annotations

import json
import random

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.errors import DataError
from attn_cli.tokenizers.huggingface_tokenizer import JsonTokenizer, WordPieceTokenizer
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_training import train_tokenizer
from attn_cli.tokenizers.trimming import merges_to, trimmed

SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]


def sentences(seed: int, size: int = 300) -> list[str]:
    """Sentences of words that are made of a seed's own syllables, and of some that all share."""
    generator = random.Random(seed)
    letters = "abdegiklmnoprstuvé"
    syllables = ["".join(generator.choices(letters, k=2)) for _ in range(40)] + ["ka", "Lo", "mi"]
    words = ["".join(generator.choices(syllables, k=generator.randint(1, 4))) for _ in range(300)]
    return [
        " ".join(generator.choices(words, k=generator.randint(1, 8))) + "." for _ in range(size)
    ]


OURS, OTHERS = sentences(1), sentences(2)


def trained(kind: str, **options: object) -> Tokenizer:
    given = TokenizerOptions(type=kind, vocab_size=options.pop("size", 300), **options)
    return train_tokenizer(OURS + OTHERS, given, seed=1, threads=1, say=lambda text: None)


def tokenizer_json(kind: str) -> Tokenizer:
    """As other projects write them, with special tokens around a text."""
    spaced = pre_tokenizers.Metaspace()
    if kind == "unigram":
        engine = tokenizers.Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(
            vocab_size=300, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
        )
        engine.pre_tokenizer, engine.decoder = spaced, decoders.Metaspace()
    elif kind == "byte-level":
        engine = tokenizers.Tokenizer(models.BPE())
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=600, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        )
        engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        engine.decoder = decoders.ByteLevel()
    else:
        engine = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
        trainer = trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=SPECIAL,
            end_of_word_suffix="</w>",
            show_progress=False,
        )
        engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        engine.decoder = decoders.BPEDecoder()
    engine.train_from_iterator(OURS + OTHERS, trainer)
    ends = [(piece, engine.token_to_id(piece)) for piece in ("<s>", "</s>")]
    engine.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    # Behind the vocabulary, as a token that was added later.
    engine.add_special_tokens(["<mask>"])
    engine.enable_padding(pad_id=engine.token_to_id("<pad>"), pad_token="<pad>")
    return JsonTokenizer(engine.to_str().encode())


MAKE = {
    "unigram": lambda: trained("unigram"),
    "unigram, lossless": lambda: trained("unigram", size=600, lossless=True),
    "bpe": lambda: trained("bpe"),
    "bpe, lossless": lambda: trained("bpe", size=600, lossless=True),
    "bpe, symbols": lambda: trained("bpe", symbols="<n>,mika"),
    "wordpiece": lambda: trained("wordpiece"),
    "wordpiece, lower-cased": lambda: trained("wordpiece", lowercase=True),
    "wordpiece, symbols": lambda: trained("wordpiece", symbols="<n>"),
    "json unigram": lambda: tokenizer_json("unigram"),
    "json byte-level": lambda: tokenizer_json("byte-level"),
    "json bpe": lambda: tokenizer_json("bpe"),
}


@pytest.fixture(scope="module", params=MAKE)
def both(request) -> tuple[Tokenizer, Tokenizer, list[int]]:
    tokenizer = MAKE[request.param]()
    used = {index for ids in tokenizer.encode(OURS) for index in ids}
    return tokenizer, *trimmed(tokenizer, used)


def pieces(tokenizer: Tokenizer, texts: list[str]) -> list[list[str]]:
    return [tokenizer.pieces(ids) for ids in tokenizer.encode(texts)]


def test_texts_of_the_pieces_that_stay_are_cut_as_before(both):
    old, new, kept = both
    assert len(kept) == new.vocab_size < 0.9 * old.vocab_size
    assert pieces(new, OURS) == pieces(old, OURS)
    assert new.decode(new.encode(OURS)) == old.decode(old.encode(OURS))
    assert [[kept[index] for index in ids] for ids in new.encode(OURS)] == old.encode(OURS)


def test_every_other_text_can_still_be_written(both):
    old, new, _ = both
    assert pieces(new, OTHERS) != pieces(old, OTHERS)
    texts = [*OTHERS, "a Lo é.", "mi<n>ka"]
    assert new.decode(new.encode(texts)) == old.decode(old.encode(texts))
    lost = new.unk_id
    assert all(lost not in ids for ids in new.encode(OTHERS))


def test_special_tokens_keep_their_roles(both):
    old, new, kept = both
    for role, index in old.special_ids.items():
        assert (kept[new.special_ids[role]] if index >= 0 else -1) == index
    assert new.traits == old.traits and new.kind == old.kind
    spelt = [{each.bos_id, each.eos_id} & set(each.encode(["<s></s>"])[0]) for each in both[:2]]
    assert bool(spelt[0]) == bool(spelt[1])


def test_a_vocabulary_that_is_used_whole_stays_as_it_is(both):
    old = both[0]
    same, kept = trimmed(old, [i for i, piece in enumerate(old.vocabulary) if piece])
    assert same.vocabulary == old.vocabulary and kept == list(range(old.vocab_size))
    assert pieces(same, OTHERS) == pieces(old, OTHERS)


@pytest.mark.parametrize("kind", ["json unigram", "json byte-level", "json bpe"])
def test_what_others_read_of_a_tokenizer_json_is_right(kind):
    old = MAKE[kind]()
    used = {index for ids in old.encode(OURS) for index in ids}
    new, _ = trimmed(old, used)
    engines = [tokenizers.Tokenizer.from_str(each.to_bytes().decode()) for each in (old, new)]
    theirs, ours = ([each.tokens for each in e.encode_batch(OURS)] for e in engines)
    assert ours == theirs and ours[0][0] == "<s>" and "</s>" in ours[0]
    for encoding in engines[1].encode_batch(OURS):  # padded, too
        assert [new.vocabulary[index] for index in encoding.ids] == encoding.tokens


def test_the_way_to_a_piece_is_that_of_byte_pair_encoding():
    scores = {"ab": -1.0, "bc": 0.0, "abc": -3.0, "abcd": -4.0, "cd": -2.0}
    assert merges_to("abcd", scores) == {"bc", "abc", "abcd"}
    assert merges_to("abab", {"ab": -1.0, "abab": -2.0}) == {"ab", "abab"}
    assert merges_to("aaa", {"aa": 0.0, "aaa": -1.0}) == {"aa", "aaa"}
    assert merges_to("xy", scores) == set()


def test_a_vocabulary_with_upper_case_letters_stays_one():
    raw = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\nb\n##a\nUSA\nab\nParis\n"
    old = WordPieceTokenizer(raw.encode())
    new, kept = trimmed(old, {5})
    assert not new.lowercase
    # What could not be spelt otherwise stays; `ab` can.
    assert [old.vocabulary[i] for i in kept][5:] == ["a", "##b", "b", "##a", "USA", "Paris"]
    small = raw.replace("USA\n", "A\n##U\n##S\n").replace("Paris\n", "Ab\n")
    old = WordPieceTokenizer(small.encode())
    assert "A" in trimmed(old, {5})[0].vocabulary and "Ab" not in trimmed(old, {5})[0].vocabulary


@pytest.mark.parametrize("kind", ["word", "char"])
def test_whole_words_and_characters_are_refused(kind):
    tokenizer = trained(kind, size=1000)
    with pytest.raises(DataError, match=f"of kind {kind} can't be trimmed"):
        trimmed(tokenizer, {5})


def test_an_unknown_numbering_is_refused():
    values = json.loads(tokenizer_json("bpe").to_bytes())
    values["model"]["merges"] = [["a", "b", "c"]]
    broken = tokenizer_json("bpe")
    broken._raw = json.dumps(values).encode()
    with pytest.raises(DataError, match="no pairs of pieces"):
        trimmed(broken, {5})
