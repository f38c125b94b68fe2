"""A backbone with heads: what it is made of is checked when it is built."""

from __future__ import annotations

import pytest
import torch

from attn_cli.errors import DataError, UsageError
from attn_cli.models import BACKBONES, build_model
from attn_cli.models.recurrent import RecurrentConfig
from attn_cli.models.text import HeadConfig
from attn_cli.nn.pooling import max_of, mean_of

CONFIG = RecurrentConfig(vocab_size=9, d_model=4, n_layers=1)
IDS = torch.tensor([[3, 4, 5, 0], [6, 7, 8, 2]])
MASK = IDS > 0


def with_head(**parts):
    head = HeadConfig(**{"name": "a", "kind": "text", "n_outputs": 2, **parts})
    return build_model("rnn", CONFIG, [head]).eval()


@pytest.mark.parametrize(
    ("parts", "error", "cause"),
    [
        ({"pool": "median"}, UsageError, "unknown pooling 'median'.*mean, max, own"),
        ({"kind": "texts"}, UsageError, "unknown kind of head 'texts'.*did you mean text"),
        ({"kind": "mlm"}, DataError, "head 'a': this architecture takes no masked-language head"),
    ],
)
def test_a_head_that_can_not_be_is_refused(parts, error, cause):
    with pytest.raises(error, match=cause):
        with_head(**parts)


@torch.no_grad()
def test_each_pooling_is_the_one_that_is_named():
    hidden = {}
    for pool in ("mean", "max", "own"):
        torch.manual_seed(1)
        model = with_head(pool=pool)
        vectors = model.backbone(IDS, MASK)
        pools = {"mean": mean_of, "max": max_of, "own": model.backbone.pool}
        hidden[pool] = model.vectors(IDS, MASK, None, "a")
        torch.testing.assert_close(hidden[pool], pools[pool](vectors, MASK))
        torch.testing.assert_close(model(IDS, MASK, None, "a"), model.heads["a"](hidden[pool]))
    assert not torch.allclose(hidden["mean"], hidden["own"])


@pytest.mark.parametrize("arch", BACKBONES)
def test_chosen_positions_are_those_of_the_whole(arch):
    """A backbone without a shorter way computes all and picks."""
    parts = {"vocab_size": 9, "d_model": 4, "dropout": 0.0}
    if arch in ("bert", "gpt"):
        parts |= {"d_ff": 4, "n_heads": 2, "n_layers": 2}
    parts |= {"rnn": {"n_layers": 1}, "han": {"d_embedding": 3}}.get(arch, {})
    kind = BACKBONES[arch]
    backbone = kind(kind.Config(**parts)).eval()
    chosen = torch.tensor([[True, False, True, False], [False, True, False, False]])
    with torch.no_grad():
        wanted = backbone(IDS, MASK)[chosen]
        torch.testing.assert_close(backbone.at(IDS, MASK, None, chosen), wanted)
