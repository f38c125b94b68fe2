"""What is chosen where the options leave it open, by counts of corpora small and large."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from attn_cli.config.command import resolve
from attn_cli.config.finetuning import FinetuneCommand
from attn_cli.config.pretraining import PretrainCommand
from attn_cli.config.translation import TrainMtCommand
from attn_cli.data.split import Rows
from attn_cli.systems.pretraining import recipe as pretraining
from attn_cli.systems.suited import Amount, mean_tokens, suited
from attn_cli.systems.tasks import recipe as tasks
from attn_cli.systems.translation import recipe as translation

SYSTEMS = {
    "train-mt": (TrainMtCommand, translation.USUAL, "pair"),
    "continued": (TrainMtCommand, translation.CONTINUED, "pair"),
    "pretrain": (PretrainCommand, pretraining.USUAL, "document"),
    "finetune": (FinetuneCommand, tasks.USUAL, "example"),
}


def chosen(system, examples, mean, *, longest=1, **given):
    command, usual, noun = SYSTEMS[system]
    given |= {"task": ("classify",)} if command is FinetuneCommand else {}
    training = resolve(command, given).training
    return suited(training, usual, Amount(noun, examples, examples * mean), longest)


@pytest.mark.parametrize(
    ("system", "examples", "mean", "batch", "warmup", "passes"),
    [
        # What was measured: Multi30k, the quickstart's grammar, novels, TREC, SST-2, SICK.
        ("train-mt", 29_000, 17.5, 2048, 200, 51),
        ("train-mt", 23_760, 10.5, 1024, 200, 60),
        ("pretrain", 2603, 960, 4096, 50, 10),
        ("finetune", 4908, 13, 1024, 50, 8),
        ("finetune", 6920, 25, 1024, 50, 5),
        ("finetune", 4439, 25, 1024, 50, 9),
        # Smaller: more passes, smaller batches.
        ("train-mt", 2000, 16, 512, 200, 60),
        ("train-mt", 200, 16, 512, 188, 300),
        ("train-mt", 3, 5, 512, 30, 300),
        ("pretrain", 40, 600, 1024, 50, 86),
        ("finetune", 300, 12, 256, 41, 29),
        ("finetune", 30, 12, 256, 14, 100),
        # Larger: no run without end.
        ("train-mt", 400_000, 25, 2048, 200, 5),
        ("train-mt", 10_000_000, 25, 2048, 200, 0.82),
        ("pretrain", 100_000, 10_000, 4096, 50, 0.41),
        ("finetune", 5_000_000, 25, 1024, 50, 0.82),
        # Weights that have learnt before.
        ("continued", 29_000, 17.5, 2048, 20, 5),
        ("continued", 200, 16, 512, 19, 30),
    ],
)
def test_what_suits_a_corpus(system, examples, mean, batch, warmup, passes):
    training = chosen(system, examples, mean).training
    found = training.batch_tokens, training.warmup, training.max_epochs
    assert found == (batch, warmup, passes)


def test_a_batch_holds_some_examples_and_the_longest():
    """Questions in windows of 384 tokens; lines that a batch of 512 would have cut."""
    assert chosen("finetune", 4165, 384).training.batch_tokens == 4096
    assert chosen("finetune", 900, 50_000).training.batch_tokens == 4096
    assert chosen("train-mt", 900, 100, longest=640).training.batch_tokens == 1024
    assert chosen("pretrain", 1, 2500, longest=128).training.batch_tokens == 1024  # it is cut


def test_what_was_chosen_is_said_and_why():
    assert chosen("train-mt", 200, 16).said == (
        "for 200 pairs of 16 tokens or so: batches of 512 tokens, some 6 a pass; 300 passes, "
        "1,900 updates or so, as there are few pairs; warm-up over 188 updates, a tenth of the run",
    )
    assert chosen("finetune", 4165, 384).said == (
        "for 4,165 examples of 380 tokens or so: batches of 4,096 tokens, as examples are long, "
        "some 390 a pass; 9 passes, some 3,500 updates; warm-up over 50 updates",
    )
    assert (
        "0.41 passes, 100,000 updates or so, as there are many"
        in chosen("pretrain", 100_000, 10_000).said[0]
    )


@pytest.mark.parametrize("limit", [{"max_steps": 7}, {"max_time": "1m"}, {"max_epochs": 2.0}])
def test_what_a_user_decides_wins_and_is_not_said(limit):
    given = {"batch_tokens": 100, "warmup": 3, **limit}
    found = chosen("train-mt", 200, 16, longest=640, **given)
    assert found.training == dataclasses.replace(resolve(TrainMtCommand, given).training)
    assert not found.said
    (said,) = chosen("train-mt", 200, 16, **limit).said
    assert "passes" not in said
    assert "batches of 512 tokens" in said


def test_the_warm_up_is_a_tenth_of_whatever_ends_the_run_first():
    assert chosen("train-mt", 29_000, 17.5, max_steps=800).training.warmup == 80
    assert chosen("train-mt", 29_000, 17.5, max_steps=1).training.warmup == 1
    assert chosen("train-mt", 29_000, 17.5, max_time="9s").training.warmup == 200
    assert chosen("train-mt", 29_000, 17.5, max_epochs=2.0, max_steps=900).training.warmup == 50
    halved = chosen("train-mt", 29_000, 17.5, max_epochs=4.0, accumulate=2).training
    assert halved.warmup == 50


def test_tokens_are_counted_from_everywhere_in_a_corpus():
    """One that is sorted by length, of which the beginning tells little."""
    rows = Rows(100_000, np.arange(3))
    asked = []

    def count(numbers):
        asked.append(numbers)
        return (numbers / 1000).astype(int).tolist()

    assert mean_tokens(rows, count) == pytest.approx(50, abs=1)
    assert len(asked[0]) == 500
    assert mean_tokens(Rows(2, np.empty(0, np.int64)), lambda numbers: [3] * len(numbers)) == 3.0
