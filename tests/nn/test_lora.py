from __future__ import annotations

import torch

from attn_cli.models import build_model
from attn_cli.models.stack import StackConfig
from attn_cli.models.text import HeadConfig
from attn_cli.nn.lora import adapt, is_update, plain_weights

CONFIG = StackConfig(vocab_size=20, d_model=16, d_ff=32, n_heads=2, n_layers=2, dropout=0.0)
HEADS = [HeadConfig(name="task", kind="text", n_outputs=3)]
IDS = torch.randint(0, 20, (4, 7), generator=torch.Generator().manual_seed(1))
MASK = torch.ones_like(IDS, dtype=torch.bool)


def model(seed=1):
    torch.manual_seed(seed)
    return build_model("bert", CONFIG, HEADS).eval()


def run(own):
    with torch.no_grad():
        return own(IDS, MASK, None, "task")


def adapted():
    own = model()
    assert adapt(own.backbone, 2) == 2 * 4  # in, out, inner, outer of each layer
    return own


def test_at_first_nothing_changes():
    torch.testing.assert_close(run(adapted()), run(model()), rtol=0, atol=0)


def test_merged_weights_are_those_of_the_plain_model_and_answer_as_the_adapted_one():
    own = adapted()
    with torch.no_grad():
        for name, weight in own.named_parameters():
            if is_update(name):
                weight.add_(torch.randn_like(weight) * 0.3)
    plain = model(seed=2)
    weights = plain_weights(own)
    assert set(weights) == {name for name, _ in plain.named_parameters()}
    with torch.no_grad():
        for name, weight in plain.named_parameters():
            weight.copy_(weights[name])
    assert not torch.allclose(run(own), run(model()))
    torch.testing.assert_close(run(plain), run(own))


def test_a_merged_matrix_is_w_plus_two_b_a():
    own = adapted()
    part = own.backbone.encoder.layers[0].self_attention
    update = part.parametrizations.in_weight[0]
    with torch.no_grad():
        update.up.normal_()
    original = part.parametrizations.in_weight.original
    assert update.down.shape == (3, 2, 16) and update.up.shape == (3, 16, 2)
    expected = torch.stack([original[i] + 2 * update.up[i] @ update.down[i] for i in range(3)])
    name = "backbone.encoder.layers.0.self_attention.in_weight"
    torch.testing.assert_close(plain_weights(own)[name], expected.detach())


def test_the_matrices_themselves_learn_no_more():
    own = adapted()
    own(IDS, MASK, None, "task").sum().backward()
    part = own.backbone.encoder.layers[1].feed_forward.linear1
    assert part.parametrizations.weight.original.grad is None
    assert part.parametrizations.weight[0].up.grad.abs().sum() > 0
