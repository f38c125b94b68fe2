"""What a model makes of inputs that are drawn: to say how far two models differ without data.

Shapes: B examples, T positions, V vocabulary, N nodes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from attn_cli.models import AnyModel
from attn_cli.models.gat import Gat
from attn_cli.models.mask_predict import MaskPredict
from attn_cli.models.recordings import RecordingClassifier
from attn_cli.models.seq2seq_base import Seq2SeqModel
from attn_cli.models.stack import Gpt
from attn_cli.models.text import TextModel
from attn_cli.nn.sparse import SparsePattern

_EXAMPLES, _LENGTH, _NODES = 8, 16, 32
_SEED = 1


@torch.inference_mode()
def sample_outputs(model: AnyModel) -> dict[str, Tensor]:
    """A model's outputs by their names: the logits of its output layers, else its vectors.

    The inputs are the same for models of the same sizes. None of recognizers.
    """
    model.eval()
    generator = torch.Generator().manual_seed(_SEED)
    if isinstance(model, TextModel):
        return _of_texts(model, generator)
    if isinstance(model, Gat):
        features = torch.rand(_NODES, model.config.n_features, generator=generator)
        nodes = torch.arange(_NODES)
        cols = torch.stack((nodes, (nodes + 1) % _NODES), 1).sort(1).values.flatten()
        edges = SparsePattern.build(nodes.repeat_interleave(2), cols, _NODES, _NODES)
        return {"labels": model(features, edges)[0]}
    if isinstance(model, RecordingClassifier):
        frames = torch.randn(_EXAMPLES, 4 * _LENGTH, model.config.n_features, generator=generator)
        return {"labels": model(frames, torch.ones(_EXAMPLES, _LENGTH, dtype=torch.bool))}
    return _of_pairs(model, generator)


def _of_texts(model: TextModel, generator: torch.Generator) -> dict[str, Tensor]:
    longest = min(_LENGTH, model.backbone.max_len or _LENGTH)
    ids = _tokens(model.config.vocab_size, longest, generator)
    mask, segments = torch.ones_like(ids, dtype=torch.bool), torch.zeros_like(ids)
    found: dict[str, Tensor] = {}
    for name, head in model.head_configs.items():
        if head.kind == "mlm":
            vectors = model.heads[name](model.backbone(ids, mask, segments))
            found[name] = F.linear(vectors, *model.vocabulary_layer)
        else:
            found[name] = model(ids, mask, segments, name)
    if found:
        return found
    vectors = model.backbone(ids, mask, segments)
    if isinstance(model.backbone, Gpt):
        return {"tokens": model.backbone.logits(vectors)}
    return {"vectors": vectors}


def _of_pairs(model: Seq2SeqModel, generator: torch.Generator) -> dict[str, Tensor]:
    config = model.config
    if config.src_vocab:
        source = _tokens(config.src_vocab, _LENGTH, generator)
        mask = torch.ones_like(source, dtype=torch.bool)
    elif config.source != "image":
        return {}
    else:
        shape = (_EXAMPLES, config.image_height, config.image_width, 3)
        source = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
        rows, columns = config.grid
        mask = torch.ones(_EXAMPLES, rows * columns, dtype=torch.bool)
    target = _tokens(config.tgt_vocab, _LENGTH, generator)
    if isinstance(model, MaskPredict):
        whole = torch.ones_like(target, dtype=torch.bool)
        masked = torch.rand(target.shape, generator=generator) < 0.5
        vectors, lengths = model(source, mask, target, masked, whole)
        return {"tokens": model.logits(vectors), "lengths": lengths}
    return {"tokens": model.logits(model(source, mask, target).hidden)}


def _tokens(vocabulary: int, length: int, generator: torch.Generator) -> Tensor:
    """Tokens of any kind. Shape: (B, T)."""
    return torch.randint(vocabulary, (_EXAMPLES, length), generator=generator)


def said_difference(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> str:
    """How far the outputs of two models differ, in words."""
    parts = []
    for name, outputs in before.items():
        off = (outputs - after[name]).abs()
        parts.append(
            f"{name}: {float(off.mean()):.2g} on average, {float(off.max()):.2g} at most, where "
            f"outputs spread by {float(outputs.std()):.2g}"
        )
    return f"outputs for {_EXAMPLES} drawn inputs differ: {'; '.join(parts)}"
