"""Translators of ours -> models of CTranslate2, whose own library writes and quantizes them.

Shapes: D d_model, K d_head, V vocabulary, P positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attn_cli.convert.output import replace_directory
from attn_cli.convert.translator_parts import (
    Affine,
    Heads,
    Translator,
    heads_of,
    open_translator,
    written_bias,
)
from attn_cli.errors import DataError, UsageError
from attn_cli.files import writing
from attn_cli.nn.attention import MultiHeadAttention
from attn_cli.nn.positions import Positions, RelativePositions, TokenEmbedding
from attn_cli.nn.transformer import DecoderLayer, EncoderLayer, FeedForward, Residual
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import write_tokenizers

if TYPE_CHECKING:
    from ctranslate2.specs.attention_spec import MultiHeadAttentionSpec
    from ctranslate2.specs.common_spec import LayerNormSpec, LinearSpec
    from ctranslate2.specs.transformer_spec import (
        FeedForwardSpec,
        TransformerDecoderSpec,
        TransformerEncoderSpec,
        TransformerSpec,
    )

NAME = "CTranslate2"
_POSITIONS = 2048  # of a table, where ours has no end
_INSIDE = ("relative", "rotary")  # of attention: no table is added to the tokens
# Our activation -> theirs.
_ACTIVATIONS = {
    "relu": "RELU",
    "gelu": "GELU",
    "gelu-tanh": "GELUTanh",
    "gelu-sigmoid": "GELUSigmoid",
    "swish": "SWISH",
}


def to_ctranslate2(
    folder: Path,
    output: Path,
    say: Callable[[str], None],
    *,
    precision: str = "float32",
    overwrite: bool = False,
) -> None:
    """Writes a model directory as a model of CTranslate2.

    Args:
        folder: the model directory, of a transformer that translates.
        output: the directory to write.
        say: is told of what theirs does in another way.
        precision: of the stored weights: "float32" or "int8".
        overwrite: whether a model in `output` may be replaced.

    Raises:
        DataError: the model has parts that CTranslate2 lacks.
        UsageError: the library is not installed, or `output` holds a model.
    """
    translator, spec = ctranslate2_spec(folder, f"--to {NAME.lower()}", precision)
    with replace_directory(output, folder, overwrite) as stage:
        with writing(output):
            spec.save(str(stage))
        write_tokenizers(stage, translator.src, translator.tgt)
    say(
        f"{output}: takes pieces (attn tokenize encode), and searches as attn decode does with "
        f"{_search(translator)}"
    )
    if n_positions := table_size(translator):
        say(f"{output}: has {n_positions:,} positions: longer texts fail there")


def ctranslate2_spec(
    folder: Path, flag: str, precision: str = "float32"
) -> tuple[Translator, TransformerSpec]:
    """A model directory's translator, and the same as CTranslate2's library writes it.

    Args:
        folder: the model directory.
        flag: the option that asks for it, for messages.
        precision: as in `to_ctranslate2`.

    Raises:
        DataError: the model has parts that CTranslate2 lacks.
        UsageError: the library is not installed.
    """
    try:
        import ctranslate2  # noqa: F401 - asked before anything is read
    except ImportError as error:
        raise UsageError(
            f"{flag} needs: pip install '.[fast]' beside attn's pyproject.toml"
        ) from error
    translator = open_translator(folder, NAME, {})
    if not translator.config.n_encoder_layers:
        raise DataError(f"{folder}: {NAME} needs an encoder layer, this model has none")
    with torch.no_grad():
        spec = _spec(translator)
    spec.validate()
    spec.optimize(quantization=precision)
    return translator, spec


def table_size(translator: Translator) -> int | None:
    """Positions of the model as CTranslate2 has it; None: any number of them."""
    if translator.config.positions in _INSIDE:
        return None
    return translator.model.n_positions or _POSITIONS


def piece_names(tokenizer: Tokenizer) -> list[str]:
    """What CTranslate2 calls each token."""
    return [piece or f"<no token {index}>" for index, piece in enumerate(tokenizer.vocabulary)]


def _search(translator: Translator) -> str:
    """The options of theirs that look as long for better outputs, and rank them alike."""
    own = translator.defaults
    beam = own.beam or 5
    penalty = 1.0 if own.length_penalty is None else own.length_penalty
    patience = 1 if own.stopping == "count" or beam == 1 else 2
    return f"beam_size={beam}, patience={patience}, length_penalty={penalty:g}"


def _spec(translator: Translator) -> TransformerSpec:
    """The model as their library's specification."""
    from ctranslate2.specs import common_spec, transformer_spec

    config, model = translator.config, translator.model
    parts = {
        "pre_norm": config.norm == "pre",
        "activation": common_spec.Activation[_ACTIVATIONS[config.activation]],
        "relative_position": config.positions == "relative",
        "rotary_dim": 0 if config.positions == "rotary" else None,  # 0: all of a head
    }
    sizes = config.n_encoder_layers, config.n_heads
    encoder = transformer_spec.TransformerEncoderSpec(*sizes, **parts)
    sizes = config.n_decoder_layers, config.n_heads
    decoder = transformer_spec.TransformerDecoderSpec(*sizes, **parts)
    spec = transformer_spec.TransformerSpec(encoder, decoder)
    assert isinstance(model.src_embedding, TokenEmbedding)
    encoder.embeddings[0].weight = _values(model.src_embedding.tokens.weight)
    decoder.embeddings.weight = _values(model.tgt_embedding.tokens.weight)
    for part, embedding, stack in (
        (encoder, model.src_embedding, model.encoder),
        (decoder, model.tgt_embedding, model.decoder),
    ):
        part.scale_embeddings = config.scale_embeddings
        if config.positions not in _INSIDE:
            part.position_encodings.encodings = _table(embedding)
        if isinstance(stack.norm, nn.LayerNorm):
            _set_norm(part.layer_norm, stack.norm)
    _set_encoder(encoder, model.encoder.layers, translator)
    _set_decoder(decoder, model.decoder.layers, translator)
    weight, _ = model.output_layer
    _set_linear(decoder.projection, [Affine(weight, written_bias(translator))])
    _set_vocabulary(spec, translator)
    return spec


def _table(embedding: TokenEmbedding) -> NDArray[np.float32]:
    """What is added to the token at each position. Shape: (P, D)."""
    n, d_model = embedding.n_positions or _POSITIONS, embedding.tokens.embedding_dim
    added = embedding.positions(Positions.first(n, torch.device("cpu")))
    return _values(added[0] if isinstance(added, Tensor) else torch.zeros(n, d_model))


def _set_vocabulary(spec: TransformerSpec, translator: Translator) -> None:
    tokens = {
        side: piece_names(tokenizer)
        for side, tokenizer in (("source", translator.src), ("target", translator.tgt))
    }
    for side, pieces in tokens.items():
        if len(set(pieces)) < len(pieces):
            raise DataError(f"{translator.folder}: two {side} tokens have one name: {NAME} has one")
    spec.register_source_vocabulary(tokens["source"])
    spec.register_target_vocabulary(tokens["target"])
    tgt, names = translator.tgt, tokens["target"]
    spec.config.unk_token = names[tgt.unk_id if tgt.unk_id >= 0 else tgt.pad_id]
    spec.config.bos_token = spec.config.decoder_start_token = names[tgt.bos_id]
    spec.config.eos_token = names[tgt.eos_id]
    spec.config.add_source_eos = True
    spec.config.layer_norm_epsilon = translator.model.encoder.layers[0].residuals[0].norm.eps


def _set_encoder(
    spec: TransformerEncoderSpec, layers: Sequence[EncoderLayer], translator: Translator
) -> None:
    for theirs, layer in zip(spec.layer, layers, strict=True):
        to_self, feed_forward = layer.residuals
        _set_attention(theirs.self_attention, layer.self_attention, to_self, translator)
        _set_feed_forward(theirs.ffn, layer.feed_forward, feed_forward)


def _set_decoder(
    spec: TransformerDecoderSpec, layers: Sequence[DecoderLayer], translator: Translator
) -> None:
    for theirs, layer in zip(spec.layer, layers, strict=True):
        to_self, to_memory, feed_forward = layer.residuals
        _set_attention(theirs.self_attention, layer.self_attention, to_self, translator)
        _set_attention(theirs.attention, layer.cross_attention, to_memory, translator)
        _set_feed_forward(theirs.ffn, layer.feed_forward, feed_forward)


def _set_attention(
    spec: MultiHeadAttentionSpec,
    attention: MultiHeadAttention,
    residual: Residual,
    translator: Translator,
) -> None:
    """The maps of one input below each other, as theirs are: q, k, v of itself, or q and k, v."""
    heads: Heads = heads_of(attention, translator.config)
    to_self = len(spec.linear) == 2
    groups = [[*heads[:3]]] if to_self else [[heads.query], [heads.key, heads.value]]
    for theirs, maps in zip(spec.linear, [*groups, [heads.output]], strict=True):
        _set_linear(theirs, maps)
    _set_norm(spec.layer_norm, residual.norm)
    scheme = attention.attention.positions
    if isinstance(scheme, RelativePositions):
        spec.relative_position_keys = _values(scheme.keys)
        spec.relative_position_values = _values(scheme.values)


def _set_feed_forward(spec: FeedForwardSpec, network: FeedForward, residual: Residual) -> None:
    for theirs, linear in (
        (spec.linear_0, network.linear1),
        (spec.linear_1, network.linear2),
    ):
        _set_linear(theirs, [Affine(linear.weight, linear.bias)])
    _set_norm(spec.layer_norm, residual.norm)


def _set_linear(spec: LinearSpec, maps: Sequence[Affine]) -> None:
    spec.weight = _values(torch.cat([each.weight for each in maps]))
    spec.bias = _values(torch.cat([each.bias for each in maps]))


def _set_norm(spec: LayerNormSpec, norm: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = _values(norm.weight), _values(norm.bias)


def _values(tensor: Tensor) -> NDArray[np.float32]:
    """A copy: quantization writes into what it is given."""
    return tensor.detach().float().numpy().copy()
