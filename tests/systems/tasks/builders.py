"""Small models and tokenizers for tests of tasks."""

from __future__ import annotations

import dataclasses

import torch

from attn_cli.config.tokenizing import TokenizerOptions
from attn_cli.models import build_model
from attn_cli.models.recurrent import RecurrentConfig
from attn_cli.models.stack import StackConfig
from attn_cli.models.text import HeadConfig
from attn_cli.systems.tasks import TASKS
from attn_cli.systems.tasks.predictor import Predictor, task_setting
from attn_cli.tokenizers.tokenizer_training import train_tokenizer

WORDS = [a + b for a in ("ba", "ke", "li", "mo") for b in ("nu", "ra", "vo")]


def tokenizer():
    options = TokenizerOptions(type="word", vocab_size=len(WORDS) + 7)
    return train_tokenizer([" ".join(WORDS)] * 3, options, seed=1, threads=1, say=lambda text: None)


def backbone_config(arch, vocab_size, **options):
    sizes = {"vocab_size": vocab_size, "d_model": 16, "n_layers": 2, "dropout": 0.0}
    if arch == "rnn":
        return RecurrentConfig(**sizes)
    return StackConfig(**sizes, d_ff=32, n_heads=2, **options)


def predictor(kind, arch="bert", *, labels=(), max_len=256, pool="mean", setting=None, **head):
    """A model of one task with random weights that tell texts apart."""
    own = tokenizer()
    torch.manual_seed(3)
    kind_class = TASKS[kind]
    config = HeadConfig(
        name="task",
        kind=kind_class.head,
        n_outputs=kind_class.outputs(labels),
        task=kind,
        max_len=max_len,
        pool=pool,
        **head,
    )
    model = build_model(arch, backbone_config(arch, own.vocab_size), [config]).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    given = task_setting(model, own, list(labels), config)
    task = kind_class(dataclasses.replace(given, **(setting or {})))
    return Predictor(model, "task", task)
