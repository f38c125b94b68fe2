"""Hierarchical attention against explicit loops over words and sentences."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attn_cli.models.han import Han, HanConfig

CONFIG = HanConfig(vocab_size=20, d_embedding=6, d_model=8, dropout=0.0)
# Two documents: three sentences and one.
SENTENCES = [[3, 4, 5, 6], [7], [8, 9], [4, 4, 10]]
OWNER = torch.tensor([0, 0, 0, 1])


@pytest.fixture(scope="module")
def han():
    torch.manual_seed(5)
    model = Han(CONFIG).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.4)
    return model


def padded(sentences):
    width = max(map(len, sentences))
    ids = torch.tensor([[*one, *[0] * (width - len(one))] for one in sentences])
    mask = torch.tensor([[True] * len(one) + [False] * (width - len(one)) for one in sentences])
    return ids, mask


def documents(model, sentences, owner, **options):
    ids, mask = padded(sentences)
    return model.join(model.pool(model(ids, mask), mask), owner, **options)


def own_gru(recurrent):
    """torch.nn's layer with the same weights."""
    source = recurrent.layers[0]
    layer = nn.GRU(source.input_size, source.hidden_size, bidirectional=True, batch_first=True)
    layer.load_state_dict(source.state_dict())
    return layer


def by_hand(gru, pool, vectors):
    """One level, written from the paper's equations: a vector of vectors, and the weights."""
    hidden = gru(torch.stack(vectors)[None])[0][0]
    scores = []
    for h in hidden:
        project = pool.attention.score.project
        u = torch.tanh(project.weight @ h + project.bias)
        scores.append(torch.exp(u @ pool.query))
    weights = [score / sum(scores) for score in scores]
    return sum(w * h for w, h in zip(weights, hidden, strict=True)), weights


@torch.no_grad()
def test_it_computes_the_papers_equations(han):
    words, sentences = own_gru(han.words), own_gru(han.sentences)
    read = [by_hand(words, han.word_pool, [han.tokens.weight[i] for i in one]) for one in SENTENCES]
    first, first_weights = by_hand(sentences, han.sentence_pool, [s for s, _ in read[:3]])
    second, second_weights = by_hand(sentences, han.sentence_pool, [read[3][0]])

    found = documents(han, SENTENCES, OWNER)
    torch.testing.assert_close(found, torch.stack([first, first, first, second]))

    word_weights, sentence_weights = han.attention(*padded(SENTENCES), OWNER)
    torch.testing.assert_close(sentence_weights, torch.stack([*first_weights, *second_weights]))
    for row, (_, weights) in zip(word_weights, read, strict=True):
        torch.testing.assert_close(row[: len(weights)], torch.stack(weights))
        assert not row[len(weights) :].any()


@torch.no_grad()
def test_a_document_is_the_same_alone_and_beside_longer_ones(han):
    together = documents(han, SENTENCES, OWNER)
    alone = documents(han, SENTENCES[3:], torch.zeros(1, dtype=torch.long))
    torch.testing.assert_close(together[3:], alone)


@torch.no_grad()
@pytest.mark.parametrize("attend", [True, False])
def test_the_order_of_words_and_of_sentences_matters(han, attend):
    whole = documents(han, SENTENCES[:3], OWNER[:3], attend=attend)
    turned = documents(han, SENTENCES[2::-1], OWNER[:3], attend=attend)
    other = documents(han, [SENTENCES[0][::-1], *SENTENCES[1:3]], OWNER[:3], attend=attend)
    assert (whole - turned).abs().max() > 1e-4
    assert (whole - other).abs().max() > 1e-4


@torch.no_grad()
def test_the_mean_of_sentences_is_their_states_mean(han):
    ids, mask = padded(SENTENCES[:3])
    vectors = han.pool(han(ids, mask), mask)
    mean = own_gru(han.sentences)(vectors[None])[0][0].mean(0)
    torch.testing.assert_close(han.join(vectors, OWNER[:3], attend=False)[0], mean)


@torch.no_grad()
def test_maps_are_of_one_document(han):
    ids, mask = padded(SENTENCES[:3])
    maps = han.attentions(ids, mask)
    words, sentences = han.attention(ids, mask, OWNER[:3])
    assert torch.equal(maps["sentence"][0], sentences.view(1, 1, 1, 3))
    assert torch.equal(maps["word"][0], words.view(3, 1, 1, 4))


def test_no_gradient_passes_between_documents(han):
    vectors = torch.randn(4, CONFIG.d_model, requires_grad=True)
    han.join(vectors, OWNER)[3].sum().backward()
    assert not vectors.grad[:3].any()
    assert vectors.grad[3].abs().sum() > 0


def test_every_weight_gets_a_gradient(han):
    han.zero_grad()
    documents(han, SENTENCES, OWNER).square().sum().backward()
    for name, weight in han.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name
    han.zero_grad()


def test_two_directions_can_not_share_an_odd_width():
    with pytest.raises(ValueError, match="7 can't be shared"):
        HanConfig(vocab_size=9, d_embedding=4, d_model=7)
