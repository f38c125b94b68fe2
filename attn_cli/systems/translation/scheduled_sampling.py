"""Scheduled sampling: while it learns, the decoder reads some tokens that it samples itself.

Which tokens it reads is decided first, without gradients; the loss is then that of one pass over
them. What a token would be is never differentiated, so that is the gradient of Bengio et al. 2015.

Shapes: B batch, S source length, T target length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from attn_cli.config import choose
from attn_cli.config.seq2seq import LearningOptions
from attn_cli.models.seq2seq_base import AutoregressiveModel
from attn_cli.nn.beam_state import BeamState

Pick = Callable[[Tensor], Tensor]

_EXPONENTIAL = 0.01  # k of ε = kᵖ
_SIGMOID = 100.0  # k of ε = k / (k + k²ᵖ)

# ε, the share of gold tokens, after the share p of the run (Bengio et al. 2015, section 2.4).
DECAYS: dict[str, Callable[[float], float]] = {
    "none": lambda p: 1.0,
    "linear": lambda p: 1.0 - p,
    "exponential": lambda p: _EXPONENTIAL**p,
    "inverse-sigmoid": lambda p: _SIGMOID / (_SIGMOID + _SIGMOID ** (2 * p)),
}


def sampling_rate(options: LearningOptions, done: float) -> float:
    """The share of sampled tokens after the share `done` of the run: rate · (1 - ε)."""
    decay = choose(DECAYS, options.scheduled_sampling, "schedule")
    return options.sampling_rate * (1.0 - decay(min(1.0, done)))


def sampled(logits: Tensor) -> Tensor:
    """Tokens drawn from the model. Shape: (..., V) -> (...)."""
    return logits.softmax(-1).flatten(0, -2).multinomial(1).view(logits.shape[:-1])


def best(logits: Tensor) -> Tensor:
    """The model's best tokens. Shape: (..., V) -> (...)."""
    return logits.argmax(-1)


PICKS: dict[str, Pick] = {"sampled": sampled, "argmax": best}


def step_by_step(
    model: AutoregressiveModel[BeamState],
    src: tuple[Tensor, Tensor],
    tgt_in: Tensor,
    replaced: Tensor,
    pick: Pick,
) -> Tensor:
    """Sampled tokens follow sampled ones: each is the model's next one after all that it has read.

    Bengio et al. 2015, section 2.4: a coin for each token.

    Args:
        model: whose tokens are sampled.
        src: ids and mask of the sources.
        tgt_in: gold tokens, bos first. Shape: (B, T).
        replaced: which of them the model's own take the place of. Shape: (B, T), boolean.
        pick: takes a token from logits.

    Returns:
        What the decoder reads. Shape: (B, T).
    """
    state, tokens = model.start(*src), tgt_in.clone()
    for at in range(tgt_in.shape[1] - 1):
        logits, state, _ = model.step(state, tokens[:, at : at + 1])
        chosen = replaced[:, at + 1]
        if bool(chosen.any()):
            tokens[chosen, at + 1] = pick(logits[chosen, 0].float())
    return tokens


def two_pass(
    model: AutoregressiveModel[BeamState],
    src: tuple[Tensor, Tensor],
    tgt_in: Tensor,
    replaced: Tensor,
    pick: Pick,
) -> Tensor:
    """Sampled tokens follow gold ones: all of them from one teacher-forced pass, in parallel.

    Mihaylova & Martins 2019, section 3; Duckworth et al. 2019, with one pass. Arguments as
    `step_by_step`.
    """
    hidden = model(*src, tgt_in).hidden
    tokens = tgt_in.clone()
    after = replaced[:, 1:]
    tokens[:, 1:][after] = pick(F.linear(hidden[:, :-1][after], *model.output_layer).float())
    return tokens


@torch.no_grad()
def sampled_inputs(
    model: AutoregressiveModel[BeamState],
    src: tuple[Tensor, Tensor],
    tgt_in: Tensor,
    rate: float,
    choice: str,
) -> Tensor:
    """What the decoder reads where a share of the gold tokens give way to sampled ones.

    Args:
        model: a recurrent one samples step by step, others in two passes; the first token, bos,
            always stays.
        src: ids and mask of the sources.
        tgt_in: gold tokens. Shape: (B, T).
        rate: that share; 0 draws no random number, 1 leaves the model to itself.
        choice: a key of `PICKS`.
    """
    if rate <= 0.0:
        return tgt_in
    replaced = torch.rand(tgt_in.shape, device=tgt_in.device) < rate
    sample = step_by_step if model.is_recurrent else two_pass
    return sample(model, src, tgt_in, replaced, choose(PICKS, choice, "choice of tokens"))
