"""Words and their tokens: the tagger, `embed --words` and `attend --words` agree."""

from __future__ import annotations

import json
import time

import pytest
import tokenizers
from drawn_models import tokens, write_tagger
from program import inside

from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.tokenizers.huggingface_tokenizer import JsonTokenizer
from attn_cli.tokenizers.tokenizer_training import train_tokenizer
from attn_cli.tokenizers.words import encode_words, word_groups, words_of_tokens

TEXT = ["the cat sat on the mat", "a dog ran to the cats", "he doesn't see it, but others do."]
LINE = "the cat, unseen, doesn't sit on the other mats."
SPECIALS = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]


def byte_level():
    engine = tokenizers.ByteLevelBPETokenizer()
    engine.train_from_iterator(TEXT * 3, 300, special_tokens=SPECIALS, show_progress=False)
    return JsonTokenizer(engine.to_str().encode(), "tokenizer.json")


def trained(kind: str, size: int, **more: bool):
    options = TokenizerOptions(type=kind, vocab_size=size, **more)
    return train_tokenizer(TEXT * 3, options, seed=1, threads=1, say=lambda text: None)


KINDS = {
    "byte-level": byte_level,
    "wordpiece": lambda: trained("wordpiece", 60),
    "bpe": lambda: trained("bpe", 60),
    "unigram": lambda: trained("unigram", 34),
    "lossless": lambda: trained("bpe", 290, lossless=True),
    "char": lambda: trained("char", 40),
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return KINDS[request.param]()


def test_words_given_as_such_have_the_tokens_of_their_text(tokenizer):
    words = LINE.split()
    cut, none = encode_words(tokenizer, [words, []])
    assert [index for tokens in cut for index in tokens] == tokenizer.encode([LINE])[0]
    assert len(cut) == len(words)
    assert none == []


def test_three_commands_agree_about_words_and_their_tokens(tmp_path, tokenizer):
    model = write_tagger(tmp_path / "model", tokenizer)
    words = LINE.split()
    conll = "".join(f"{word}\n" for word in words)
    tagged = inside("decode", "-m", model, stdin=conll.encode()).lines
    assert [line.split("\t")[0] for line in tagged] == words
    line = f"{LINE}\n".encode()
    (embedded,) = inside("embed", "-m", model, "--words", stdin=line).lines
    assert json.loads(embedded)["units"] == words
    drawn = inside("attend", "-m", model, "--words", stdin=line).lines
    assert tokens(drawn, "1", 4)[1:-1] == words  # between ⟨CLS⟩ and ⟨SEP⟩

    # What the tagger reads are the tokens that the text has.
    (embedded,) = inside("embed", "-m", model, "--pool", "none", stdin=line).lines
    read = tokens(inside("attend", "-m", model, stdin=line).lines, "1", 4)[1:-1]
    assert read == json.loads(embedded)["units"] == tokenizer.pieces(tokenizer.encode([LINE])[0])


def test_each_token_knows_its_word(tokenizer):
    ids = tokenizer.encode([LINE])[0]
    words = tokenizer.decode([ids])[0].split()
    numbers = words_of_tokens(tokenizer, ids)
    assert len(numbers) == len(ids)
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(len(words)))
    joined = [[i for i, own in zip(ids, numbers, strict=True) if own == n] for n in set(numbers)]
    together = [text.replace(" ", "") for text in tokenizer.decode(joined)]
    assert together == words
    assert words_of_tokens(tokenizer, []) == []


def test_special_tokens_stand_alone_and_windows_know_the_words_of_their_text(tokenizer):
    ids = tokenizer.encode([LINE])[0]
    cut = encode_words(tokenizer, [LINE.split()])[0]
    first, last = len(cut[0]), len(ids) - len(cut[-1])
    begin, end = (tokenizer.pieces([i])[0] for i in (tokenizer.bos_id, tokenizer.eos_id))
    window = [tokenizer.bos_id, *ids[first:last], tokenizer.eos_id, *cut[-1]]
    groups = word_groups(tokenizer, window, ["something else", LINE])
    sizes = [len(tokens) for tokens in cut]
    words = list(zip(LINE.split(), sizes, strict=True))
    assert groups == [(begin, 1), *words[1:-1], (end, 1), words[-1]]


def test_time_grows_with_the_tokens(tokenizer):
    def once(ids: list[int]) -> float:
        begun = time.process_time()
        words_of_tokens(tokenizer, ids)
        return time.process_time() - begun

    def seconds(size: int) -> float:
        """The least of three: a collection of garbage costs as much as a thousand words."""
        ids = tokenizer.encode([f"{LINE} " * size])[0]
        return min(once(ids) for _ in range(3))

    seconds(10)
    assert seconds(1600) < 40 * seconds(100) + 0.5  # 16 times as many; 256 times were quadratic
