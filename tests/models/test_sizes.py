from __future__ import annotations

import pytest
import torch

from attn_cli.config.pretraining import StackSizeOptions, StackVariantOptions
from attn_cli.config.seq2seq import Seq2SeqVariantOptions, SizeOptions
from attn_cli.errors import UsageError
from attn_cli.models.sizes import choose_backbone_size, seq2seq_config, stack_config
from attn_cli.models.stack import Bert


def weights(size, variant=None, **parts):
    options = StackSizeOptions(**parts)
    variant = variant or StackVariantOptions(norm="post")
    with torch.device("meta"):
        model = Bert(stack_config(options, variant, size, 30522, {}))
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize(
    ("size", "layers", "width"),
    [("tiny", 2, 128), ("mini", 4, 256), ("small", 4, 512), ("base", 12, 768), ("large", 24, 1024)],
)
def test_sizes_have_the_published_numbers_of_weights(size, layers, width):
    """Counted by hand from Devlin et al. 2019; transformers' BertModel has as many."""
    embeddings = (30522 + 512 + 2) * width + 2 * width
    attention = 4 * (width * width + width) + 2 * width
    feed_forward = 2 * 4 * width * width + 4 * width + width + 2 * width
    pooler = width * width + width
    expected = embeddings + layers * (attention + feed_forward) + pooler
    assert weights(size) == expected
    published = {"tiny": 4.4e6, "mini": 11.2e6, "small": 28.8e6, "base": 109.5e6, "large": 335.1e6}
    assert expected == pytest.approx(published[size], rel=0.01)


def test_a_part_can_be_set_by_itself():
    config = stack_config(
        StackSizeOptions(d_model=60, n_heads=3),
        StackVariantOptions(positions="sinusoidal", dropout=0.3),
        "mini",
        100,
        {"norm": "pre"},
    )
    assert (config.d_model, config.d_ff, config.n_heads, config.n_layers) == (60, 240, 3, 4)
    assert (config.positions, config.norm, config.dropout) == ("sinusoidal", "pre", 0.3)
    with pytest.raises(UsageError, match="not a multiple"):
        stack_config(StackSizeOptions(d_model=61), StackVariantOptions(), "mini", 100, {})


def test_the_size_fits_the_corpus_and_the_device():
    sizes = [
        choose_backbone_size("auto", n, on_gpu=gpu)[0]
        for n in (10**4, 10**7, 10**10)
        for gpu in (False, True)
    ]
    assert sizes == ["tiny", "tiny", "mini", "mini", "small", "base"]
    assert choose_backbone_size("large", 1, on_gpu=False) == ("large", "as asked for")


@pytest.mark.parametrize(
    ("arch", "decoder", "sizes", "variant", "expected"),
    [
        ("transformer", "autoregressive", {}, {}, "rotary"),
        ("transformer", "autoregressive", {}, {"attention": "cosine"}, "rotary"),
        ("transformer", "autoregressive", {}, {"attention": "additive"}, "sinusoidal"),
        ("transformer", "autoregressive", {}, {"attention": "mean"}, "sinusoidal"),
        ("transformer", "autoregressive", {"n_heads": 128}, {}, "sinusoidal"),
        ("transformer", "autoregressive", {"n_heads": 128}, {"combine": "mean"}, "rotary"),
        # The vectors of masked tokens are equal: turning them tells nobody where they stand.
        ("transformer", "mask-predict", {}, {}, "sinusoidal"),
        ("transformer", "mask-predict", {}, {"positions": "relative"}, "relative"),
        ("cnn", "autoregressive", {}, {}, "learned"),
    ],
)  # fmt: skip
def test_positions_are_those_that_the_attention_can_use(arch, decoder, sizes, variant, expected):
    config = seq2seq_config(
        arch,
        SizeOptions(**sizes),
        Seq2SeqVariantOptions(**variant),
        "tiny",
        (50, 50),
        share=True,
        decoder=decoder,
        max_len=20,
    )
    assert config.positions == expected


def test_positions_that_were_asked_for_are_not_replaced():
    with pytest.raises(UsageError, match="even width, not 1"):
        seq2seq_config(
            "transformer",
            SizeOptions(n_heads=128),
            Seq2SeqVariantOptions(positions="rotary"),
            "tiny",
            (50, 50),
            share=True,
            decoder="autoregressive",
            max_len=20,
        )
