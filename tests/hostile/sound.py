"""A sound model directory, made without training, for the hostile ones to be made from."""

from __future__ import annotations

from pathlib import Path

WORDS = "ba ke li mo nu ra vo"


def write_sound_model(place: Path) -> Path:
    """A transformer of 30 thousand weights, random but whole, with its tokenizer."""
    import torch

    from attn_cli.config.tokenizing import TokenizerOptions
    from attn_cli.models import build_model
    from attn_cli.models.directory import ModelConfig, write_config, write_weights
    from attn_cli.models.seq2seq import TransformerConfig
    from attn_cli.tokenizers.tokenizer_files import write_tokenizers
    from attn_cli.tokenizers.tokenizer_training import train_tokenizer

    place.mkdir(parents=True)
    options = TokenizerOptions(type="unigram", vocab_size=21)
    tokenizer = train_tokenizer([WORDS] * 3, options, seed=1, threads=1, say=lambda text: None)
    write_tokenizers(place, tokenizer, tokenizer)
    config = TransformerConfig(
        d_model=32,
        d_ff=64,
        n_heads=2,
        n_encoder_layers=1,
        n_decoder_layers=1,
        dropout=0.1,
        src_vocab=tokenizer.vocab_size,
        tgt_vocab=tokenizer.vocab_size,
        share_embeddings=True,
    )
    torch.manual_seed(1)
    model = build_model("transformer", config)
    write_weights(place, dict(model.named_parameters()), {})
    write_config(place, ModelConfig("transformer", "translate", config, {}, finished=True))
    return place
