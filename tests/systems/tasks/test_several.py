"""Several tasks at once: Σₜ λₜ Lₜ over one backbone, Lₜ the mean loss of the task's batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from builders import WORDS, backbone_config, tokenizer

from attn_cli.data.corpus import build_corpus
from attn_cli.data.entries import CorpusFiles
from attn_cli.data.split import Rows
from attn_cli.lines.columns import Columns
from attn_cli.lines.unusable import BadLines
from attn_cli.models import build_model
from attn_cli.models.text import HeadConfig
from attn_cli.systems.tasks import TASKS
from attn_cli.systems.tasks.predictor import task_setting
from attn_cli.systems.tasks.reader import ExampleReader, MixedReader
from attn_cli.systems.tasks.training import FinetuneObjective

WEIGHTS = {"a": 1.0, "b": 0.3}


@pytest.fixture
def tasks(tmp_path):
    """A model of two tasks, and a reader of 8 and 40 examples of them."""
    own = tokenizer()
    kind = {"kind": "text", "n_outputs": 2, "task": "classify", "max_len": 64}
    heads = [HeadConfig(name=name, **kind) for name in WEIGHTS]
    torch.manual_seed(1)
    model = build_model("bert", backbone_config("bert", own.vocab_size), heads)
    setting = task_setting(model, own, ["x", "y"], heads[0])
    kinds = {name: TASKS["classify"](setting) for name in WEIGHTS}
    readers = {}
    for name, size in (("a", 8), ("b", 40)):
        path = tmp_path / f"{name}.tsv"
        rows = [f"{' '.join(WORDS[: 1 + i % 5])} {name}\t{'xy'[i % 2]}\n" for i in range(size)]
        path.write_text("".join(rows))
        files = CorpusFiles((str(path),), Columns((0, 1)))
        bad = BadLines(print, skip_bad=False)
        corpus = build_corpus(files, tmp_path / "work", name, bad, lambda fields: None)
        nobody = np.empty(0, np.int64)
        readers[name] = ExampleReader(corpus, Rows(len(corpus), nobody), kinds[name], 40)
    return model, kinds, MixedReader(readers, WEIGHTS)


def gradient(model, loss):
    model.zero_grad()
    loss.backward()
    return {
        name: weight.grad.clone()
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }


def test_a_gradient_is_the_weighted_sum_of_those_of_the_mean_losses(tasks):
    model, kinds, reader = tasks
    objective = FinetuneObjective(model, kinds)
    updates = reader.batches(np.arange(48), 7)
    assert {len(update.parts) for update in updates} == {1, 2}
    (update,) = [update for update in updates if len(update.parts) == 2][:1]
    loss, _ = objective(update)
    together = gradient(model, loss / update.n_tokens)
    expected: dict[str, torch.Tensor] = {}
    for part in update.parts:
        batch = part.batch
        logits = model(batch.ids, batch.mask, batch.segments, part.name)
        mean = torch.nn.functional.cross_entropy(logits, batch.targets)
        for name, value in gradient(model, WEIGHTS[part.name] * mean).items():
            expected[name] = expected.get(name, torch.zeros(())) + value
    assert set(together) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(together[name], value, rtol=1e-4, atol=1e-7)


def test_every_example_comes_once_in_a_pass(tasks):
    _, kinds, reader = tasks
    updates = reader.batches(np.random.default_rng(1).permutation(48), 3)
    for name, size in (("a", 8), ("b", 40)):
        found = [part.batch for update in updates for part in update.parts if part.name == name]
        assert sum(len(batch) for batch in found) == size
        targets = torch.cat([batch.targets for batch in found])
        assert targets.sum() == size // 2


def test_a_share_of_an_update_adds_up_to_the_whole(tasks):
    """Two ranks, each with every other example of every task."""
    model, kinds, reader = tasks
    objective = FinetuneObjective(model, kinds)
    for update in reader.batches(np.arange(48), 7):
        whole = float(objective(update)[1])
        shares = [update.rows(slice(rank, None, 2)) for rank in range(2) if rank < len(update)]
        assert sum(float(objective(share)[1]) for share in shares) == pytest.approx(whole, rel=1e-5)
