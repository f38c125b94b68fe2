"""How much each token of a source adds to the probability of each token of its output.

Shapes: S source length, T target length and its end, D d_model, m points.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized

import torch
from torch import Tensor
from torch.nn import functional as F

from attn_cli.errors import UsageError
from attn_cli.nn.attribution import Attributions, in_place_of, integrated_gradients
from attn_cli.nn.positions import TokenEmbedding
from attn_cli.systems.translation.text_source import TextSide
from attn_cli.systems.translation.translator import AutoregressiveTranslator


class WordAttribution:
    """Attributions of p(y_t | y_<t, x) to the tokens of x; see `nn.attribution`.

    The baseline is a source whose tokens all are the vector 0, but for its end; the target up to
    the token stays as it is.

    Args:
        translator: the model, not prepared (its products need gradients).

    Raises:
        UsageError: it reads no text.
    """

    def __init__(self, translator: object) -> None:
        # Who writes all words at once has none with a probability after those before it.
        assert isinstance(translator, AutoregressiveTranslator)  # as `ATTRIBUTED` says
        side, embedding = translator.src, translator.models[0].src_embedding
        if not isinstance(side, TextSide) or not isinstance(embedding, TokenEmbedding):
            raise UsageError("--attribute: this model reads no tokens of a text; leave it out")
        self._translator = translator
        self._embedding = embedding
        self._marks = sorted(side.tokenizer.reserved_ids - {side.tokenizer.unk_id})

    def __call__(self, src: Sized, tgt: Sequence[int]) -> Attributions:
        """Of a source and an output without bos and eos. Shape: (T, S)."""
        model = self._translator.models[0]
        src_ids, src_mask, tgt_ids = self._translator.tensors([src], [tgt])
        targets = tgt_ids[:, 1:]

        def probabilities(points: Tensor) -> Tensor:
            count = len(points)
            inputs = [tensor.expand(count, -1) for tensor in (src_ids, src_mask, tgt_ids[:, :-1])]
            with in_place_of(self._embedding, self._embedding.of_vectors(points)):
                hidden = model(*inputs).hidden
            log_probs = F.linear(hidden, *model.output_layer).float().log_softmax(-1)
            found = log_probs.gather(-1, targets.expand(count, -1)[..., None])
            return found.squeeze(-1).exp()

        with torch.no_grad():
            vectors = self._embedding.tokens(src_ids[0])  # (S, D)
        marks = torch.isin(src_ids[0], src_ids.new_tensor(self._marks))
        return integrated_gradients(probabilities, vectors, vectors * marks[:, None])
