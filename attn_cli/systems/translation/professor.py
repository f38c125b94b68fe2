"""Professor forcing: a decoder left to itself shall behave as one that reads gold tokens.

Shapes: B batch, T target length, D d_model.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from attn_cli.nn.rnn import Recurrent


class Discriminator(nn.Module):
    """Tells from the decoder's vectors whether it read gold tokens (Lamb et al. 2016, section 2.3).

    A bidirectional GRU, and a network with one hidden layer at every position; the verdict is the
    mean over them.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        width = d_model + d_model % 2  # two directions share it
        self.cells = Recurrent("gru", d_model, width, 1, bidirectional=True)
        self.linear1 = nn.Linear(width, width)
        self.linear2 = nn.Linear(width, 1)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The logit of "read gold tokens". Shape: (B, T, D), (B, T) boolean -> (B,)."""
        vectors, _ = self.cells(hidden, mask)
        logits = self.linear2(self.linear1(vectors).relu()).squeeze(-1)
        return logits.masked_fill(~mask, 0.0).sum(1) / mask.sum(1).clamp_min(1)


def adversarial_losses(
    discriminator: Discriminator, forced: Tensor, free: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """What the discriminator loses, and what the model does (Lamb et al. 2016, eq. 3-4).

    C_d = -ln D(forced) - ln(1 - D(free)) trains the discriminator alone, C_f = -ln D(free) the
    model alone. As in the paper each learns only while the other is not hopeless: the
    discriminator where it is right less than 99 times in 100, the model where that is more than
    75. Each sentence counts as often as it has tokens, as in the loss.

    Args:
        discriminator: D.
        forced: the decoder's vectors after gold tokens. Shape: (B, T, D).
        free: those after sampled ones. Shape: (B, T, D).
        mask: the positions that count. Shape: (B, T).
    """
    tokens = mask.sum(1).to(forced.dtype)
    on_forced = discriminator(forced.detach(), mask)
    on_free = discriminator(free.detach(), mask)
    right = ((on_forced > 0).to(tokens) + (on_free < 0).to(tokens)) / 2
    accuracy = (right * tokens).sum() / tokens.sum().clamp_min(1)
    of_discriminator = ((F.softplus(-on_forced) + F.softplus(on_free)) * tokens).sum()
    frozen = {name: weight.detach() for name, weight in discriminator.named_parameters()}
    fooled = functional_call(discriminator, frozen, (free, mask))
    of_model = (F.softplus(-fooled) * tokens).sum()
    return of_discriminator * (accuracy < 0.99), of_model * (accuracy > 0.75)
