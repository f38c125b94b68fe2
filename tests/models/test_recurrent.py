from __future__ import annotations

import pytest
import torch
from torch import nn

from attn_cli.models.recurrent import RecurrentConfig, RecurrentEncoder


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(1)
    config = RecurrentConfig(vocab_size=30, d_model=8, n_layers=2, dropout=0.0)
    return RecurrentEncoder(config).eval()


@torch.no_grad()
def test_each_text_is_read_as_torch_reads_it_alone(encoder):
    """The backward direction begins at the text's own end, not at that of the padding."""
    lengths = [5, 1, 9]
    ids = torch.zeros(3, 9, dtype=torch.long)
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    ids[mask] = torch.randint(1, 30, (sum(lengths),))
    stacked = nn.LSTM(8, 4, num_layers=2, bidirectional=True, batch_first=True)
    for name, weight in stacked.named_parameters():
        layer = int(name.split("_l")[1][0])
        own = name.replace(f"_l{layer}", "_l0")
        weight.copy_(dict(encoder.recurrent.layers[layer].named_parameters())[own])
    hidden = encoder(ids, mask)
    pooled = encoder.pool(hidden, mask)
    for row, length in enumerate(lengths):
        alone, _ = stacked(encoder.tokens(ids[row : row + 1, :length]))
        torch.testing.assert_close(hidden[row, :length], alone[0])
        torch.testing.assert_close(encoder.layers(ids, mask)[-1][row, :length], alone[0])
        project = encoder.attention_pool.attention.score.project
        u = torch.tanh(alone[0] @ project.weight.T + project.bias)
        weights = (u @ encoder.attention_pool.query).softmax(0)
        torch.testing.assert_close(pooled[row], weights @ alone[0])


def test_an_odd_width_is_refused():
    with pytest.raises(ValueError, match="two directions"):
        RecurrentConfig(vocab_size=5, d_model=7, n_layers=1)
