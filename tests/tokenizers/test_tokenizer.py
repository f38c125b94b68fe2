from __future__ import annotations

import pickle
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attn_cli.config.tokenizing import SENTENCEPIECE_TYPES, TokenizerOptions
from attn_cli.errors import DataError, UsageError
from attn_cli.tokenizers.token_lines import line_decoder, line_encoder
from attn_cli.tokenizers.tokenizer_files import load_tokenizer, tokenizer_from_bytes
from attn_cli.tokenizers.tokenizer_training import VocabularySizeError, reservoir, train_tokenizer

SYLLABLES = [
    "ba",
    "ke",
    "li",
    "mo",
    "nu",
    "ra",
    "se",
    "ti",
    "vo",
    "ing",
    "er",
    "ß",
    "ä",
    "ло",
    "та",
]
GENERATOR = random.Random(3)
WORDS = ["".join(GENERATOR.choices(SYLLABLES, k=1 + i % 4)) for i in range(300)]
WORDS += ["the", "The", "man", "Man", "on", "男", "人"]


def corpus(size: int = 400) -> list[str]:
    generator = random.Random(3)
    return [" ".join(generator.choices(WORDS, k=generator.randint(1, 12))) for _ in range(size)]


def train(texts=None, *, seed=1, threads=1, said=None, **options):
    say = said.append if said is not None else (lambda text: None)
    settings_ = TokenizerOptions(**{"vocab_size": 330, **options})
    texts = corpus() if texts is None else texts
    return train_tokenizer(texts, settings_, seed=seed, threads=threads, say=say)


@pytest.fixture(scope="module")
def lossless() -> dict:
    return {kind: train(type=kind, lossless=True, vocab_size=340) for kind in SENTENCEPIECE_TYPES}


@pytest.fixture(scope="module")
def subword() -> dict:
    return {kind: train(type=kind, vocab_size=80) for kind in ("bpe", "unigram")}


lines = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.lists(lines, max_size=8))
@example(["", " ", "  a  b ", "a\tb", "\u3000x\u3000", "\u2581", " \u2581\u2581 a\u2581", "x\x00y"])
@example(
    ["\ufeffx", "a\r", "<s> <0x41> <mask> <unk>", "\U0001f44d xq", "e\u0301", "\ufffd", "\u2028"]
)
def test_lossless_types_give_every_line_back(lossless, texts):
    for kind, tokenizer in lossless.items():
        ids = tokenizer.encode(texts)
        assert tokenizer.decode(ids) == texts, kind
        assert all(i not in (0, 1, 2, 3) for row in ids for i in row), kind
        for unit in ("pieces", "ids"):
            written = line_encoder(tokenizer, unit, None, 1)(texts)
            assert not any(set(line) & set("\t\n\r") for line in written), kind
            expected = [text.replace("\t", " ").replace("\n", " ") for text in texts]
            assert line_decoder(tokenizer, unit)(written) == expected, (kind, unit)


@settings(max_examples=20, deadline=None)
@given(st.lists(lines, max_size=8), st.integers(0, 2**31 - 1))
def test_lossless_holds_for_sampled_segmentations(lossless, texts, seed):
    for kind in ("bpe", "unigram"):
        tokenizer = lossless[kind]
        assert tokenizer.decode(tokenizer.sample(texts, 0.3, seed)) == texts, kind


def test_lossless_model_trained_without_spaces_keeps_spaces():
    tokenizer = train(["男人女人"] * 50, type="unigram", lossless=True, vocab_size=266)
    assert tokenizer.decode(tokenizer.encode(["男 人  \u2581 "])) == ["男 人  \u2581 "]


def test_ids_are_those_of_the_library(subword):
    for tokenizer in subword.values():
        oracle = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.to_bytes())
        texts = [*corpus(), "", "  Ω two  spaces", "tab\tand \u2581"]
        assert tokenizer.encode(texts) == [oracle.encode(text) for text in texts]


@pytest.mark.parametrize("kind", ["bpe", "unigram", "char", "word", "wordpiece"])
def test_all_special_ids_exist_and_decode_skips_them(kind):
    tokenizer = train(type=kind, vocab_size=120)
    text = "the man on"
    (ids,) = tokenizer.encode([text])
    specials = [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.mask_id]
    specials += [tokenizer.cls_id, tokenizer.sep_id]
    assert min(specials) >= 0
    assert tokenizer.unk_id not in specials and tokenizer.unk_id >= 0
    assert tokenizer.pad_id == 0
    assert tokenizer.decode([[*specials, *ids, *specials], []]) == [text, ""]
    assert tokenizer.piece_ids(tokenizer.pieces(ids)) == ids
    assert max(ids) < tokenizer.vocab_size == len(tokenizer.vocabulary)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_text_never_becomes_a_special_token(kind):
    tokenizer = train(type=kind, vocab_size=120)
    (ids,) = tokenizer.encode(["<s> </s> <mask> [CLS] [SEP] [MASK]"])
    assert not set(ids) & {tokenizer.bos_id, tokenizer.eos_id, tokenizer.mask_id}


def test_out_of_range_ids_and_unknown_pieces_are_refused(subword):
    tokenizer = subword["bpe"]
    for wrong in (tokenizer.vocab_size, -1):
        with pytest.raises(DataError, match=f"no token {wrong}: ids are 0 to 79"):
            tokenizer.decode([[5], [5, wrong]])
        with pytest.raises(DataError):
            tokenizer.pieces([wrong])
    with pytest.raises(DataError, match="'zzz'"):
        tokenizer.piece_ids(["▁", "zzz"])


def test_bytes_that_are_no_utf8_decode_to_the_replacement_character(lossless):
    for tokenizer in lossless.values():
        ids = tokenizer.piece_ids(["<0x41>", "<0xFF>", "<0x42>", "<0xE2>", "<0x96>"])
        assert tokenizer.decode([ids]) == ["A\ufffdB\ufffd\ufffd"]


def test_unseen_characters():
    """Without bytes one visible sign without spaces; with a coverage below 1 the bytes."""
    plain = train(vocab_size=100)
    assert plain.decode(plain.encode(["the Ω man"])) == ["the \ufffd man"]
    covered = train(coverage=0.999)
    assert covered.decode(covered.encode(["the Ω man"])) == ["the Ω man"]


class TestSampling:
    @pytest.mark.parametrize("kind", ["bpe", "unigram"])
    def test_depends_on_texts_alpha_and_seed_alone(self, subword, kind):
        tokenizer, texts = subword[kind], corpus()
        first = tokenizer.sample(texts, 0.2, 5)
        tokenizer.sample(texts[:17], 0.9, 1)
        assert tokenizer.sample(texts, 0.2, 5) == first
        assert tokenizer.sample(texts, 0.2, 6) != first
        assert tokenizer.sample(texts, 0.8, 5) != first
        assert first != tokenizer.encode(texts)
        assert tokenizer.decode(first) == texts

    @pytest.mark.parametrize("kind", ["bpe", "unigram"])
    def test_is_the_same_in_any_thread(self, subword, kind):
        tokenizer, texts = subword[kind], corpus(200)
        expected = {seed: tokenizer.sample(texts, 0.2, seed) for seed in range(4)}
        with ThreadPoolExecutor(4) as pool:
            jobs = [
                (seed, pool.submit(tokenizer.sample, texts, 0.2, seed)) for seed in [*range(4)] * 5
            ]
            assert all(job.result() == expected[seed] for seed, job in jobs)

    @pytest.mark.parametrize("kind", ["bpe", "unigram"])
    def test_a_stream_does_not_depend_on_its_windows(self, subword, kind):
        texts = ["", *corpus(50)]
        whole = subword[kind].sampler(0.2, 9)(texts)
        draw = subword[kind].sampler(0.2, 9)
        assert [
            ids for cut in (slice(0, 1), slice(1, 30), slice(30, 51)) for ids in draw(texts[cut])
        ] == whole

    @pytest.mark.parametrize("kind", ["bpe", "unigram"])
    @pytest.mark.parametrize("alpha", [0.15, 0.6])
    def test_draws_as_often_as_the_library(self, subword, kind, alpha):
        """Each segmentation of a word is as frequent as in SentencePiece's own draws."""
        tokenizer, count = subword[kind], 4000
        oracle = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.to_bytes())
        texts = ["kelimoΩq"] * count
        theirs = oracle.encode(texts, enable_sampling=True, alpha=alpha, nbest_size=-1)
        ours = tokenizer.sample(texts, alpha, 1)
        frequencies = [Counter(map(tuple, ids)) for ids in (ours, theirs)]
        assert len(frequencies[1]) > 3
        for ids in frequencies[0] | frequencies[1]:
            first, second = (frequency[ids] for frequency in frequencies)
            assert abs(first - second) < 5.5 * (first + second + 1) ** 0.5, tokenizer.pieces(ids)

    @pytest.mark.parametrize("kind", ["bpe", "unigram"])
    def test_long_and_unknown_words_are_drawn_too(self, lossless, subword, kind):
        texts = ["kelimo" * 20, "ΩΩΩ ΩmoΩΩ", "▁ ▁▁  x", ""]
        for tokenizer in (lossless[kind], subword[kind]):
            for alpha in (0.0, 0.5, 1.0):
                drawn = tokenizer.sample(texts, alpha, 3)
                assert tokenizer.decode(drawn) == tokenizer.decode(tokenizer.encode(texts))

    def test_strength(self, subword):
        """Provilkov et al.: no dropout is BPE itself, full dropout leaves single characters."""
        tokenizer, texts = subword["bpe"], corpus(50)
        assert tokenizer.sample(texts, 0.0, 1) == tokenizer.encode(texts)
        pieces = [tokenizer.pieces(ids) for ids in tokenizer.sample(texts, 1.0, 1)]
        assert {len(piece) for row in pieces for piece in row} == {1}

    @pytest.mark.parametrize("kind", ["char", "word", "wordpiece"])
    def test_is_refused_where_there_is_one_segmentation(self, kind):
        tokenizer = train(type=kind, vocab_size=120)
        assert not tokenizer.can_sample
        with pytest.raises(UsageError, match="bpe or unigram"):
            tokenizer.sample(["a"], 0.1, 1)


class TestTraining:
    @pytest.mark.parametrize("kind", ["bpe", "unigram", "char", "word", "wordpiece"])
    def test_same_seed_same_bytes(self, kind):
        options = {"type": kind, "vocab_size": 90 if kind != "wordpiece" else 120}
        models = [train(sample_lines=200, **options).to_bytes() for _ in range(2)]
        assert models[0] == models[1]

    @pytest.mark.parametrize("kind", ["bpe", "unigram"])
    def test_too_large_a_vocabulary_names_the_largest(self, kind):
        with pytest.raises(VocabularySizeError, match="too large for this text") as caught:
            train(type=kind, vocab_size=100_000)
        assert f"--vocab-size {caught.value.possible}" in str(caught.value)
        assert "src/" not in str(caught.value)
        assert (
            train(type=kind, vocab_size=caught.value.possible).vocab_size == caught.value.possible
        )

    @pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
    def test_too_small_a_vocabulary_names_the_smallest(self, kind):
        with pytest.raises(VocabularySizeError, match="too small for this text") as caught:
            train(type=kind, vocab_size=20)
        smallest = caught.value.possible
        assert train(type=kind, vocab_size=smallest).vocab_size == smallest

    @pytest.mark.parametrize("kind", ["bpe", "unigram"])
    def test_usual_size_gives_way_to_what_the_text_allows(self, kind):
        with pytest.raises(VocabularySizeError) as caught:
            train(type=kind, vocab_size=100_000)
        assert train(type=kind, vocab_size=None).vocab_size == caught.value.possible

    @pytest.mark.parametrize("texts", [[], [""], [" ", "\t"], ["\x00\x01"]])
    @pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
    def test_no_text_is_refused(self, kind, texts):
        with pytest.raises(DataError, match="no text"):
            train(texts, type=kind)

    def test_says_when_it_sampled_and_when_it_found_less(self):
        said: list[str] = []
        train(type="char", sample_lines=100, said=said)
        assert "random sample of 100 of 400 texts" in said[0]
        assert "fewer than 330" in said[1]
        said.clear()
        train(type="unigram", vocab_size=80, said=said)
        assert not said

    def test_very_long_words_and_odd_characters_do_no_harm(self):
        """Positions beyond 16 bits would end the process; odd characters become no pieces."""
        texts = ["ab" * 50_000, "a\x00b\r\x85", "a\u2581b \ufeffc", *corpus()]
        tokenizer = train(texts, vocab_size=100)
        bare = "".join(piece.lstrip("▁") for piece in tokenizer.vocabulary)
        assert not set(bare) & set("\x00\r\x85\u2581\ufeff")

    def test_an_uncased_vocabulary_folds_case(self):
        tokenizer = train(type="wordpiece", lowercase=True, vocab_size=120)
        assert tokenizer.encode(["THE Mán"]) == tokenizer.encode(["the man"])
        cased = train(type="wordpiece", vocab_size=120)
        assert cased.encode(["the"]) != cased.encode(["The"])

    def test_coverage_leaves_the_rarest_characters_out(self):
        texts = ["the man " * 100] * 20 + ["ж"]
        assert "ж" in train(texts, type="char", vocab_size=300).vocabulary
        assert "ж" not in train(texts, type="char", vocab_size=300, coverage=0.999).vocabulary
        assert "ж" not in train(texts, type="wordpiece", vocab_size=30, coverage=0.999).vocabulary

    @pytest.mark.parametrize(
        "options",
        [
            {"type": "wordpiece", "lossless": True},
            {"type": "bpe", "lowercase": True},
            {"lossless": True, "byte_fallback": False},
        ],
    )
    def test_impossible_options_are_refused(self, options):
        with pytest.raises(ValueError, match="lossless|lowercase"):
            TokenizerOptions(**options)


class TestReservoir:
    def test_keeps_everything_in_order_within_the_bounds(self):
        assert reservoir(["b", "", "a", " "], 9, 99, 1) == (["b", "a"], 2)

    def test_bounds_hold_while_a_generator_is_read(self):
        sample, count = reservoir((f"{i:05d}" for i in range(5000)), 1000, 100, 1)
        assert count == 5000
        assert len(sample) == 20
        assert sample == sorted(sample)

    def test_is_uniform(self):
        """Each text comes in with probability k/n, within five standard deviations."""
        texts = [f"{i:02d}" for i in range(20)]
        hits = dict.fromkeys(texts, 0)
        for seed in range(2000):
            for text in reservoir(texts, 5, 1000, seed)[0]:
                hits[text] += 1
        deviation = (2000 * 0.25 * 0.75) ** 0.5
        assert all(abs(count - 500) < 5 * deviation for count in hits.values())


BERT_TEXTS = ["The man runs.", "MAN, café! É 男男 unknown", "", "  mans\tstraße\u00a0x", "a" * 200]


def bert_vocabulary(folder, lower: bool) -> str:
    pieces = [
        "[PAD]",
        "[unused0]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "the",
        "man",
        "runs",
        "##s",
    ]
    pieces += [",", ".", "!", "stra", "##ße", "café", "cafe", "e", "男"]
    pieces += [] if lower else ["The", "Man", "É"]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return str(folder / "vocab.txt")


class TestLoading:
    @pytest.mark.parametrize(
        ("kind", "name"), [("bpe", "tokenizer.model"), ("wordpiece", "vocab.txt")]
    )
    def test_file_directory_and_pickle_give_the_same_ids(self, tmp_path, kind, name):
        tokenizer = train(type=kind, vocab_size=120)
        assert tokenizer.file_name == name
        (tmp_path / name).write_bytes(tokenizer.to_bytes())
        expected = tokenizer.encode(corpus())
        assert load_tokenizer(str(tmp_path)).encode(corpus()) == expected
        assert load_tokenizer(str(tmp_path / name)).encode(corpus()) == expected
        assert pickle.loads(pickle.dumps(tokenizer)).encode(corpus()) == expected

    @pytest.mark.parametrize("lower", [True, False])
    def test_a_bert_vocabulary_gives_the_ids_of_bert(self, tmp_path, lower):
        import tokenizers

        path = bert_vocabulary(tmp_path, lower)
        oracle = tokenizers.BertWordPieceTokenizer(path, lowercase=lower)
        expected = [oracle.encode(text, add_special_tokens=False).ids for text in BERT_TEXTS]
        assert load_tokenizer(path).encode(BERT_TEXTS) == expected

    @pytest.mark.slow  # importing transformers takes longer than all other tests here
    @pytest.mark.parametrize("lower", [True, False])
    def test_a_bert_vocabulary_gives_the_ids_of_transformers(self, tmp_path, lower):
        transformers = pytest.importorskip("transformers")
        path = bert_vocabulary(tmp_path, lower)
        tokenizer = load_tokenizer(path)
        oracle = transformers.BertTokenizer(path, do_lower_case=lower)
        expected = [oracle.encode(text, add_special_tokens=False) for text in BERT_TEXTS]
        assert tokenizer.encode(BERT_TEXTS) == expected
        assert (tokenizer.cls_id, tokenizer.sep_id) == (oracle.cls_token_id, oracle.sep_token_id)

    def test_a_tokenizer_json_gives_the_ids_of_the_library(self, tmp_path):
        import tokenizers

        engine = tokenizers.ByteLevelBPETokenizer()
        engine.train_from_iterator(
            corpus(), vocab_size=300, special_tokens=["<s>", "</s>", "<mask>"]
        )
        engine.enable_truncation(3)
        engine.save(str(tmp_path / "tokenizer.json"))
        engine.no_truncation()
        tokenizer = load_tokenizer(str(tmp_path))
        assert tokenizer.encode(corpus()) == [e.ids for e in engine.encode_batch(corpus())]
        assert tokenizer.decode(tokenizer.encode(["the Ω man"])) == ["the Ω man"]
        assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (0, 1, -1)

    @pytest.mark.parametrize(
        ("name", "raw", "message"),
        [
            ("a.model", b"", "not a SentencePiece model"),
            ("a.model", b"PK\x03\x04 zip", "not a SentencePiece model"),
            ("a.json", b"{}", "not a tokenizer.json"),
            ("a.json", b"[" * 100_000, "not a tokenizer.json"),
            ("a.json", b"\xff", "not a tokenizer.json"),
            ("vocab.txt", b"hello world\nno vocabulary\n", "no piece \\[UNK\\]"),
            ("vocab.txt", b"[UNK]\n\xff\n", "not UTF-8 at byte 7"),
            ("a.bin", b"", "unknown kind"),
        ],
    )
    def test_foreign_files_are_refused_by_name(self, tmp_path, name, raw, message):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(DataError, match=message) as caught:
            load_tokenizer(str(tmp_path / name))
        assert name in str(caught.value)

    def test_an_oversized_file_is_refused_before_it_is_parsed(self, tmp_path, monkeypatch):
        monkeypatch.setattr("attn_cli.tokenizers.tokenizer_files.SIZE_LIMIT", 1 << 20)
        (tmp_path / "a.model").write_bytes(bytes((1 << 20) + 1))
        with pytest.raises(DataError, match="this is no tokenizer"):
            load_tokenizer(str(tmp_path / "a.model"))

    def test_missing_files_and_empty_directories_are_refused(self, tmp_path):
        with pytest.raises(DataError, match="No such file"):
            load_tokenizer(str(tmp_path / "none.model"))
        with pytest.raises(DataError, match="no tokenizer in this directory"):
            load_tokenizer(str(tmp_path))

    def test_a_damaged_model_is_refused_and_never_crashes(self, subword):
        raw, generator = subword["bpe"].to_bytes(), random.Random(1)
        for _ in range(50):
            damaged = bytearray(raw)
            for _ in range(5):
                damaged[generator.randrange(len(raw))] = generator.randrange(256)
            try:
                tokenizer_from_bytes("x.model", bytes(damaged)).encode(["a man"])
            except DataError:
                continue


def test_real_text_comes_back(data_dir, tmp_path):
    texts = (data_dir / "multi30k" / "val.de").read_text(encoding="utf-8").split("\n")[:500]
    texts = [" ".join(text.split()) for text in texts]
    for kind in ("bpe", "unigram"):
        tokenizer = train(texts, type=kind, vocab_size=1000)
        assert tokenizer.decode(tokenizer.encode(texts)) == texts
        assert tokenizer.decode(tokenizer.sample(texts, 0.1, 1)) == texts
