"""Replaced-token detection against its formulas, and against ELECTRA of transformers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from test_pretraining import SPECIALS, WORDS, reader, write_documents
from torch import nn

from attn_cli.config.training import TrainingOptions
from attn_cli.models import build_model
from attn_cli.models.sizes import BACKBONE_PRESETS
from attn_cli.models.stack import StackConfig
from attn_cli.models.text import HeadConfig
from attn_cli.systems.pretraining.generator import Generator, drawn_tokens, generator_config
from attn_cli.systems.pretraining.masked import MaskedReader
from attn_cli.systems.pretraining.replaced import (
    ReplacedObjective,
    ReplacedReader,
    detection_figures,
)
from attn_cli.tokenizers.huggingface_tokenizer import WordPieceTokenizer
from attn_cli.train.optim import build_optimizers

HEAD = HeadConfig(name="rtd", kind="rtd", n_outputs=1)


@pytest.fixture(scope="module")
def tokenizer():
    pieces = [*SPECIALS, *(f"w{number}" for number in range(WORDS))]
    return WordPieceTokenizer("\n".join(pieces).encode())


def batch_of(tmp_path, tokenizer, **options):
    """A batch of a detector, and the same one of a masked language model."""
    path = write_documents(tmp_path / "a.txt", [2] * 60)
    own = reader(path, tokenizer, pairs=False, batch_tokens=200, **options)
    parts = (own.corpus, own.rows, own.tokenizer, own.options)
    batches = [kind(*parts).batches(np.arange(60), 3)[0] for kind in (ReplacedReader, MaskedReader)]
    assert not batches[0].mask.all()
    return batches


def objective_of(share=0.5, **changes):
    torch.manual_seed(2)
    sizes = {"vocab_size": WORDS + 5, "d_model": 12, "d_ff": 20, "n_heads": 2, "n_layers": 2}
    config = StackConfig(**{**sizes, "dropout": 0.0, **changes})
    objective = ReplacedObjective(build_model("bert", config, [HEAD]), 0.0, share).eval()
    with torch.no_grad():
        for weight in objective.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return objective


def test_hidden_tokens_are_those_of_a_masked_language_model(tmp_path, tokenizer):
    found, expected = batch_of(tmp_path, tokenizer, whole_word=True)
    for name in ("ids", "mask", "segments", "gold", "masked", "labels"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    special = (found.gold == tokenizer.cls_id) | (found.gold == tokenizer.sep_id)
    assert torch.equal(found.asked, found.mask & ~special)
    assert (special & found.mask).sum() > 2 * len(found)  # documents end within an input, too
    assert found.numbers.dtype == torch.float32
    chosen = found.numbers[found.asked]
    assert (chosen >= 0).all() and (chosen < 1).all()
    assert abs(float(chosen.mean()) - 0.5) < 0.1
    assert len(chosen.unique()) > 0.99 * len(chosen)


@pytest.mark.parametrize("share", [0.5, 1.0])
@torch.no_grad()
def test_the_loss_is_that_of_the_paper(tmp_path, tokenizer, share):
    """Token by token, with the generator's distribution summed up until it exceeds a number."""
    batch, _ = batch_of(tmp_path, tokenizer, detection_weight=7.0)
    objective = objective_of(share)
    model, generator = objective.model, objective.partner
    embedded = model.backbone.embedding(batch.ids, batch.segments)
    visible = batch.mask[:, None, None, :]
    hidden = generator.head(generator.encoder(generator.project(embedded), visible))
    logits = hidden @ model.backbone.embedding.tokens.weight.T + generator.head.output_bias
    probs = logits.double().softmax(-1)
    read = batch.gold.clone()
    nll = 0.0
    for row, place in batch.masked.nonzero().tolist():
        own = probs[row, place]
        nll -= math.log(own[batch.gold[row, place]])
        total, token = 0.0, 0
        while (total := total + float(own[token])) <= float(batch.numbers[row, place]):
            token += 1
        read[row, place] = token
    replaced = read != batch.gold
    assert 0 < replaced.sum() <= batch.masked.sum()
    vectors = model.backbone(read, batch.mask, batch.segments)
    head = model.heads["rtd"]
    judged = nn.functional.gelu(vectors @ head.transform.weight.T + head.transform.bias)
    said = (judged @ head.output.weight.T + head.output.bias)[..., 0]
    costs = []
    for row, place in batch.asked.nonzero().tolist():
        p = 1 / (1 + math.exp(-float(said[row, place])))
        costs.append(-math.log(p if replaced[row, place] else 1 - p))
    n, n_judged = int(batch.masked.sum()), int(batch.asked.sum())
    assert len(costs) == n_judged > 4 * n
    loss, generators = objective(batch)
    assert float(generators / n) == pytest.approx(nll / n, abs=1e-4)
    assert float(loss / n) == pytest.approx(nll / n + 7.0 * sum(costs) / n_judged, abs=1e-4)
    figures = objective.figures([batch])
    assert figures["loss"] == pytest.approx(float(loss / n), abs=1e-4)
    assert figures["perplexity"] == pytest.approx(math.exp(nll / n), rel=1e-4)
    assert figures["detection_loss"] == pytest.approx(sum(costs) / n_judged, abs=1e-5)
    called, gold = said[batch.asked] > 0, replaced[batch.asked]
    assert figures["detection_accuracy"] == pytest.approx(float((called == gold).double().mean()))


def test_a_token_that_is_drawn_as_it_was_is_an_original(tmp_path, tokenizer):
    batch, _ = batch_of(tmp_path, tokenizer)
    objective = objective_of()
    token = int(batch.gold[batch.masked][0])
    with torch.no_grad():
        objective.partner.head.output_bias[token] = 1e4  # it is all that is ever drawn
    found = objective.detected(batch)
    other = batch.masked & (batch.gold != token)
    assert torch.equal(found.replaced, other[batch.asked])
    assert 0 < int(found.replaced.sum()) < int(batch.masked.sum())


def test_no_gradient_of_the_detector_reaches_the_generator(tmp_path, tokenizer):
    batch, _ = batch_of(tmp_path, tokenizer)
    objective = objective_of()
    found = objective.detected(batch)
    found.detection_loss.backward(retain_graph=True)
    assert all(weight.grad is None for weight in objective.partner.parameters())
    embeddings = objective.model.backbone.embedding.tokens.weight
    of_detector = embeddings.grad.clone()
    found.loss.backward()
    assert all(bool(weight.grad.any()) for weight in objective.partner.parameters())
    # The one table is learnt by both; no weight of it is the generator's own, or optimized twice.
    assert not torch.equal(embeddings.grad, of_detector)
    own = {name for name, _ in objective.partner.named_parameters()}
    assert not any("tokens" in name for name in own)
    options = TrainingOptions()
    optimized = [
        id(weight)
        for module in objective.trained
        for optimizer in build_optimizers(module, options)
        for group in optimizer.param_groups
        for weight in group["params"]
    ]
    assert len(optimized) == len(set(optimized)) == len(list(objective.parameters()))


def test_draws_follow_the_distribution_and_their_number_alone():
    torch.manual_seed(4)
    hidden, weight, bias = torch.randn(3, 5), torch.randn(40, 5), torch.randn(40)
    probs = (hidden.double() @ weight.double().T + bias.double()).softmax(1)
    grid = (torch.arange(20_000) + 0.5) / 20_000
    for row in range(3):
        drawn = drawn_tokens(hidden[row].expand(len(grid), -1), weight, bias, grid)
        shares = torch.bincount(drawn, minlength=40) / len(grid)
        torch.testing.assert_close(shares.double(), probs[row], atol=2e-4, rtol=0)
    numbers = torch.rand(3)
    together = drawn_tokens(hidden, weight, bias, numbers)
    alone = [drawn_tokens(hidden[i, None], weight, bias, numbers[i, None]) for i in range(3)]
    assert together.tolist() == [int(one) for one in alone]
    assert drawn_tokens(hidden[:0], weight, bias, numbers[:0]).shape == (0,)
    last = torch.full((3,), 1 - 2.0**-24)
    certain = torch.where(torch.arange(40) == 39, 1e4, 0.0)
    assert drawn_tokens(hidden, weight, certain, last).tolist() == [39] * 3


def test_parts_of_a_batch_add_up(tmp_path, tokenizer):
    batch, _ = batch_of(tmp_path, tokenizer)
    objective = objective_of()
    loss, nll = objective(batch)
    parts = [batch.rows(slice(0, None, 2)), batch.rows(slice(1, None, 2))]
    both = [objective(part) for part in parts]
    torch.testing.assert_close(both[0][0] + both[1][0], loss, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(both[0][1] + both[1][1], nll, rtol=1e-5, atol=1e-4)
    idle = batch.rows(slice(0, 1)).without_targets()
    loss, nll = objective(idle)
    assert (loss.item(), nll.item(), idle.n_tokens) == (0.0, 0.0, 0)
    loss.backward()
    of_pooler = {id(weight) for weight in objective.unused}
    for name, weight in objective.named_parameters():
        assert id(weight) in of_pooler or weight.grad is not None, name


@pytest.mark.parametrize("ties", [False, True])
def test_figures_of_detection_are_those_of_scikit_learn(ties):
    generator = np.random.default_rng(3)
    gold = generator.random(300) < 0.15
    scores = (generator.normal(size=300) + gold).astype(np.float32)
    scores = np.round(scores) if ties else scores
    figures = detection_figures(scores, gold)
    assert figures["detection_auc"] == pytest.approx(roc_auc_score(gold, scores))
    assert figures["detection_f1"] == pytest.approx(f1_score(gold, scores > 0))
    assert figures["detection_accuracy"] == pytest.approx(accuracy_score(gold, scores > 0))
    none = detection_figures(scores[~gold], gold[~gold])
    assert none["detection_auc"] == 0.5 and math.isfinite(none["detection_f1"])


@pytest.mark.parametrize(
    ("preset", "share", "sizes"),
    [
        ("tiny", 0.25, (32, 1, 128)),
        ("mini", 0.25, (64, 1, 256)),
        ("small", 0.25, (128, 2, 512)),
        ("base", 0.25, (192, 3, 768)),
        ("base", 1 / 3, (256, 4, 1024)),
        ("base", 1.0, (768, 12, 3072)),
        ("tiny", 0.01, (2, 1, 5)),
    ],
)
def test_the_generator_is_a_share_of_the_detectors_width(preset, share, sizes):
    size = BACKBONE_PRESETS[preset]
    config = generator_config(StackConfig.of_size(size, 100), share)
    assert (config.d_model, config.n_heads, config.d_ff) == sizes
    assert config.n_layers == size.n_layers
    assert isinstance(Generator(StackConfig.of_size(size, 100), 1.0).project, nn.Identity)


@torch.no_grad()
def test_the_generator_computes_what_that_of_transformers_does(tmp_path, tokenizer):
    transformers = pytest.importorskip("transformers")
    batch, _ = batch_of(tmp_path, tokenizer)
    objective = objective_of(0.5)
    theirs = transformers.ElectraForMaskedLM(
        transformers.ElectraConfig(
            vocab_size=WORDS + 5,
            embedding_size=12,
            hidden_size=6,
            num_hidden_layers=2,
            num_attention_heads=1,
            intermediate_size=10,
        )
    ).eval()
    embedding, own = objective.model.backbone.embedding, objective.partner
    pairs = [
        (theirs.electra.embeddings.word_embeddings.weight, embedding.tokens.weight),
        (theirs.electra.embeddings.position_embeddings.weight, embedding.positions.weight),
        (theirs.electra.embeddings.token_type_embeddings.weight, embedding.segments.weight),
        (theirs.generator_lm_head.weight, embedding.tokens.weight),
        (theirs.generator_lm_head.bias, own.head.output_bias),
    ]
    for layer, ours in zip(theirs.electra.encoder.layer, own.encoder.layers, strict=True):
        for index, name in enumerate(("query", "key", "value")):
            module = getattr(layer.attention.self, name)
            pairs += [(module.weight, ours.self_attention.in_weight[index])]
            pairs += [(module.bias, ours.self_attention.in_bias[index])]
        pairs += modules(
            (layer.attention.output.dense, ours.self_attention.out_proj),
            (layer.attention.output.LayerNorm, ours.residuals[0].norm),
            (layer.intermediate.dense, ours.feed_forward.linear1),
            (layer.output.dense, ours.feed_forward.linear2),
            (layer.output.LayerNorm, ours.residuals[1].norm),
        )
    pairs += modules(
        (theirs.electra.embeddings.LayerNorm, embedding.norm),
        (theirs.electra.embeddings_project, own.project),
        (theirs.generator_predictions.dense, own.head.transform),
        (theirs.generator_predictions.LayerNorm, own.head.norm),
    )
    for weight, ours in pairs:
        weight.copy_(ours.reshape(weight.shape))
    expected = theirs(batch.ids, batch.mask.long(), batch.segments).logits[batch.masked]
    embedded = embedding(batch.ids, batch.segments)
    found = own(embedded, batch.mask, batch.masked) @ embedding.tokens.weight.T
    torch.testing.assert_close(found + own.head.output_bias, expected, atol=1e-4, rtol=1e-4)


def modules(*pairs):
    return [
        (getattr(theirs, name), getattr(ours, name))
        for theirs, ours in pairs
        for name in ("weight", "bias")
    ]
