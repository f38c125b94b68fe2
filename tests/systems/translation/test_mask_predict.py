"""Mask-predict against a plain reading of the paper, and what comes out of a model by it."""

from __future__ import annotations

import math
import random

import pytest
import torch

from attn_cli.config.decoding import DecodeOptions, SearchOptions
from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.errors import UsageError
from attn_cli.models import build_model
from attn_cli.models.mask_predict import MaskPredictConfig
from attn_cli.models.seq2seq import Transformer
from attn_cli.systems.translation.mask_predict import MaskPredictor, fill
from attn_cli.systems.translation.text_source import TextSide
from attn_cli.systems.translation.translator import AutoregressiveTranslator, Source
from attn_cli.tokenizers.tokenizer_training import train_tokenizer

WORDS = ["ba", "ke", "li", "mo", "nu", "ra", "vo"]
LENGTHS = 12


def tokenizer():
    options = TokenizerOptions(vocab_size=21)
    return train_tokenizer([" ".join(WORDS)] * 3, options, seed=1, threads=1, say=lambda text: None)


@pytest.fixture(scope="module")
def words():
    return tokenizer()


def build(words, seed=3, n_lengths=LENGTHS):
    torch.manual_seed(seed)
    config = MaskPredictConfig(
        **dict.fromkeys(("src_vocab", "tgt_vocab"), words.vocab_size),
        d_model=16,
        d_ff=32,
        n_heads=2,
        n_encoder_layers=1,
        n_decoder_layers=2,
        share_embeddings=True,
        dropout=0.0,
        n_lengths=n_lengths,
    )
    model = build_model("mask-predict", config).eval()
    with torch.no_grad():
        for weight in model.parameters():  # random enough for passes to differ
            weight.add_(torch.randn_like(weight) * 0.3)
    return model


@pytest.fixture(scope="module")
def predictor(words):
    return MaskPredictor([build(words)], TextSide(words), words)


def sentences(count, longest=9):
    generator = random.Random(5)
    sizes = [generator.randint(1, longest) for _ in range(count)]
    return [" ".join(generator.choices(WORDS, k=size)) for size in sizes]


def generate(predictor, texts, **options):
    sources = [Source(text) for text in texts]
    return predictor.generate(sources, SearchOptions(**options), batch_tokens=300)


def said(row, hidden):
    """A made-up model: what it says of a place depends on all that is visible."""
    visible = tuple(-1 if h else token for token, h in zip(row, hidden, strict=True))
    generator = random.Random(hash(visible))
    return [(generator.randrange(50), -generator.random()) for _ in row]


def plain_mask_predict(length, iterations):
    """Ghazvininejad et al. 2019, section 3, for one output, place by place."""
    tokens, log_probs = [0] * length, [0.0] * length
    passes = 0
    for number in range(iterations):
        n = math.floor(length * (iterations - number) / iterations)
        if number and not n:
            break
        order = sorted(range(length), key=lambda place: (log_probs[place], place))
        chosen = set(order[:n])
        found = said(tokens, [place in chosen for place in range(length)])
        for place in chosen:
            tokens[place], log_probs[place] = found[place]
        passes += 1
    return tokens, log_probs, passes


@pytest.mark.parametrize("iterations", [1, 2, 3, 4, 10, 25])
def test_the_least_certain_tokens_are_written_again_as_the_paper_says(iterations):
    lengths = [13, 9, 9, 4, 2, 1]
    passes = [0] * len(lengths)

    def predict(tokens, hidden):
        found = []
        for row, (ids, flags) in enumerate(zip(tokens.tolist(), hidden.tolist(), strict=True)):
            size = lengths[row]
            assert not any(flags[size:])  # padding is never asked for
            answers = said(ids[:size], flags[:size])
            found += [answer for answer, flag in zip(answers, flags, strict=False) if flag]
            passes[row] += 1
        best, log_probs = zip(*found, strict=True)
        return torch.tensor(best), torch.tensor(log_probs)

    tokens, log_probs = fill(predict, torch.tensor(lengths), iterations)
    for row, length in enumerate(lengths):
        expected, expected_log_probs, count = plain_mask_predict(length, iterations)
        assert tokens[row, :length].tolist() == expected
        torch.testing.assert_close(log_probs[row, :length], torch.tensor(expected_log_probs))
        assert not log_probs[row, length:].any()
        assert passes[row] == count


@torch.inference_mode()
def test_one_pass_is_the_best_token_everywhere_where_nothing_is_visible(predictor, words):
    (model,) = predictor.models
    texts = sentences(20)
    found = generate(predictor, texts, iterations=1, greedy=True)
    allowed = torch.ones(words.vocab_size, dtype=torch.bool)
    allowed[[*predictor.never_ids, words.eos_id]] = False
    for text, (best,) in zip(texts, found, strict=True):
        src = torch.tensor([[*words.encode([text])[0], words.eos_id]])
        real = torch.ones_like(src, dtype=torch.bool)
        lengths = model.length_logits(model.encode(src, real), real)[0].log_softmax(-1)
        longest = min(LENGTHS - 1, 2 * (src.shape[1] - 1) + 10)
        length = int(lengths[1 : longest + 1].argmax()) + 1
        whole = torch.ones(1, length, dtype=torch.bool)
        vectors, _ = model(src, real, torch.zeros(1, length, dtype=torch.long), whole, whole)
        weight, bias = model.output_layer
        log_probs = (vectors[0] @ weight.t() + bias).log_softmax(-1)
        values, tokens = log_probs.masked_fill(~allowed, -torch.inf).max(1)
        assert best.tokens == tuple(tokens.tolist())
        total = float(values.sum() + lengths[length])
        assert best.log_prob == pytest.approx(total, rel=1e-4)
        assert best.score == pytest.approx(total / (length + 1), rel=1e-4)


def test_what_a_line_becomes_does_not_depend_on_the_others(predictor):
    texts = sentences(30)
    together = generate(predictor, texts, beam=4, n_best=2)
    order = random.Random(2).sample(range(30), 30)
    shuffled = generate(predictor, [texts[i] for i in order], beam=4, n_best=2)
    for place, i in enumerate(order):
        for one, other in zip(together[i], shuffled[place], strict=True):
            assert one.tokens == other.tokens
            assert one.score == pytest.approx(other.score, rel=1e-4)
    for text, expected in list(zip(texts, together, strict=True))[:5]:
        (alone,) = generate(predictor, [text], beam=4, n_best=2)
        assert [one.tokens for one in alone] == [one.tokens for one in expected]


def test_candidates_have_the_likeliest_lengths_and_come_best_first(predictor):
    for found in generate(predictor, sentences(8), beam=6, n_best=6):
        assert len({len(one.tokens) for one in found}) == 6
        assert found == sorted(found, key=lambda one: -one.score)
        for one in found:
            assert one.score == pytest.approx(one.log_prob / (len(one.tokens) + 1), rel=1e-5)
    (found,) = generate(predictor, ["ba"], beam=50, n_best=50, max_len=7, min_len=3)
    assert sorted(len(one.tokens) for one in found) == [3, 4, 5, 6, 7]
    (found,) = generate(predictor, ["ba"], min_len=900, max_len=1000)
    assert len(found[0].tokens) == LENGTHS - 1
    assert generate(predictor, ["", " "]) == [[], []]


def test_an_ensemble_takes_the_mean_of_probabilities(words):
    models = [build(words, seed=seed) for seed in (3, 4)]
    twice = MaskPredictor([models[0], models[0]], TextSide(words), words)
    alone = MaskPredictor(models[:1], TextSide(words), words)
    both = MaskPredictor(models, TextSide(words), words)
    texts = sentences(6)
    for one, two in zip(generate(alone, texts), generate(twice, texts), strict=True):
        assert one[0].tokens == two[0].tokens
        assert one[0].log_prob == pytest.approx(two[0].log_prob, rel=1e-4)
    assert generate(both, texts) != generate(alone, texts)
    with pytest.raises(UsageError, match="the same lengths"):
        MaskPredictor([models[0], build(words, n_lengths=5)], TextSide(words), words)


@pytest.mark.parametrize(
    ("search", "decoding", "flag"),
    [
        ({"sample": True}, {}, "--sample"),
        ({"no_repeat_ngram": 3}, {}, "--no-repeat-ngram"),
        ({"coverage_penalty": 0.2}, {}, "--coverage-penalty"),
        ({"diversity": 0.5}, {}, "--diversity"),
        ({"stopping": "count"}, {}, "--stopping"),
        ({}, {"prefix": True}, "--prefix"),
        ({}, {"constraints": True}, "--constraints"),
    ],
)
def test_what_steers_a_search_word_by_word_is_refused(predictor, search, decoding, flag):
    with pytest.raises(UsageError, match=f"{flag}: a mask-predict model"):
        predictor.check(SearchOptions(**search), DecodeOptions(**decoding))


def test_what_fits_is_accepted_and_iterations_belong_to_mask_predict(predictor, words):
    fitting = SearchOptions(
        beam=3, iterations=4, n_best=2, max_len=9, min_len=2, length_penalty=0.5
    )
    predictor.check(fitting, DecodeOptions(scores=True, align=True, format="json"))
    predictor.check(SearchOptions(greedy=True), DecodeOptions())
    config = {k: v for k, v in vars(predictor.models[0].config).items() if k != "n_lengths"}
    one_by_one = AutoregressiveTranslator(
        [Transformer(Transformer.Config(**config))], TextSide(words), words
    )
    one_by_one.check(SearchOptions(), DecodeOptions())
    with pytest.raises(UsageError, match="--iterations: this model writes one token after another"):
        one_by_one.check(SearchOptions(iterations=10), DecodeOptions())
