"""What a CTC output thinks of a text that is still being written: the probability of its prefixes.

ψ(h) is the probability of all texts that begin with h, so that ψ(h) / ψ(g) is that of the token
with which h goes on from g, and p(g) / ψ(g) that of the end (Watanabe et al. 2017, "Hybrid
CTC/attention architecture for end-to-end speech recognition", eqs. 40 to 44 and algorithm 2). What
their loop over positions finds one by one are two linear recurrences, found here at once: a product
gives every next token's ψ, a cumulative sum the paths of the one that is read.

Shapes: N recordings, K beams each, R = N K rows, S positions, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from attn_cli.nn.beam_state import BEAMS, BeamState, sentences

_LEAST = -1e4  # ln of what can't be: a text with more tokens than positions
_NEVER = float("-inf")


@dataclass(frozen=True)
class CtcPrefixes(BeamState):
    """The prefixes of N recordings with K beams each, as paths over the positions.

    Attributes:
        tokens: p(token) of each position; 0 in padding. Shape: (N, S, V).
        blank: ln p(blank) of each position; 0 in padding, where nothing but blank is. Shape:
            (N, S).
        by_token: ln γᵗ, of all paths over the first s positions that become the prefix and end
            with its last token, s = 0 … S. Shape: (R, S + 1).
        by_blank: ln γᵇ, of those that end with blank. Shape: (R, S + 1).
        last: the prefix's last token; -1: it has none. Shape: (R,).
        log_prob: ln ψ of the prefix. Shape: (R,).
        begun: whether the begin token was read, which is no token of the text.
    """

    tokens: Tensor = field(metadata=sentences(padded=1))
    blank: Tensor = field(metadata=sentences(padded=1))
    by_token: Tensor = field(metadata=BEAMS)
    by_blank: Tensor = field(metadata=BEAMS)
    last: Tensor = field(metadata=BEAMS)
    log_prob: Tensor = field(metadata=BEAMS)
    begun: bool = False

    @classmethod
    def begin(cls, log_probs: Tensor, mask: Tensor) -> Self:
        """Nothing is written yet, K = 1.

        Args:
            log_probs: of tokens and blank, the last one. Shape: (N, S, V + 1).
            mask: which positions are no padding. Shape: (N, S).
        """
        # Sums of many logarithms: in single precision their differences would be lost.
        exact = torch.float32 if log_probs.device.type == "mps" else torch.float64
        tokens = log_probs[..., :-1].float().exp() * mask[..., None]
        blank = log_probs[..., -1].to(exact).clamp_min(_LEAST) * mask
        by_blank = F.pad(blank.cumsum(1), (1, 0))
        return cls(
            beam_size=1,
            tokens=tokens,
            blank=blank,
            by_token=torch.full_like(by_blank, _NEVER),
            by_blank=by_blank,
            last=torch.full_like(by_blank[:, 0], -1, dtype=torch.long),
            log_prob=torch.zeros_like(by_blank[:, 0]),
        )

    def read(self, tokens: Tensor) -> Self:
        """Every prefix with one more token; first of all the begin token. Shape: tokens (N, K)."""
        if not self.begun:
            return dataclasses.replace(self, begun=True)
        of_token, token = self._said(tokens), tokens.flatten()
        before = torch.where((token == self.last)[:, None], self.by_blank[:, :-1], self._before())
        by_token = F.pad(_recurrence(of_token, before), (1, 0), value=_NEVER)
        blank = self.blank.repeat_interleave(self.beam_size, 0)
        by_blank = F.pad(_recurrence(blank, by_token[:, :-1]), (1, 0), value=_NEVER)
        return dataclasses.replace(
            self,
            by_token=by_token,
            by_blank=by_blank,
            last=token,
            log_prob=(before + of_token).logsumexp(1).clamp_min(_LEAST),
        )

    def next_log_probs(self, eos_id: int) -> Tensor:
        """Ln of the probability of each next token, and of the end. Shape: (N, K, V)."""
        shape = (len(self.tokens), self.beam_size, -1)
        before = self._before()
        peak = before.amax(1, keepdim=True).clamp_min(_LEAST)
        paths = (before - peak).exp().float().view(shape)
        with torch.autocast(paths.device.type, enabled=False):
            found = (paths @ self.tokens).log()
        found += (peak - self.log_prob[:, None]).float().view(shape)
        # Behind a token the same one is another only after a blank.
        last = self.last.clamp_min(0).view(shape)
        again = (self.by_blank[:, :-1] + self._said(last[:, :, 0])).logsumexp(1)
        again = (again - self.log_prob).float().view(shape)
        again = torch.where(self.last.view(shape) < 0, found.gather(2, last), again)
        found.scatter_(2, last, again)
        whole = torch.logaddexp(self.by_token[:, -1], self.by_blank[:, -1]) - self.log_prob
        found[:, :, eos_id] = whole.float().view(shape[:2])
        return found.clamp_min_(_LEAST)

    def merge(self, other: Self) -> Self:
        """See `BeamState.merge`; the recordings may have other lengths."""
        assert self.begun == other.begun
        width = max(self.by_blank.shape[1], other.by_blank.shape[1])
        return BeamState.merge(self._wider(width), other._wider(width))

    def _wider(self, width: int) -> Self:
        """With padding behind the last position, in which all paths go on with blank."""
        more = width - self.by_blank.shape[1]
        if not more:
            return self
        ends = torch.logaddexp(self.by_token[:, -1:], self.by_blank[:, -1:])
        return dataclasses.replace(
            self,
            by_token=F.pad(self.by_token, (0, more), value=_NEVER),
            by_blank=torch.cat((self.by_blank, ends.expand(-1, more)), 1),
        )

    def _said(self, tokens: Tensor) -> Tensor:
        """Ln p of one token for each beam, position by position. Shape: (N, K) -> (R, S)."""
        index = tokens[:, None].expand(-1, self.tokens.shape[1], -1)
        chosen = self.tokens.gather(2, index).transpose(1, 2).flatten(0, 1)
        return chosen.to(self.blank.dtype).log().clamp_min(_LEAST)

    def _before(self) -> Tensor:
        """Ln of all paths to the position before, which a token other than the last one ends.

        Shape: (R, S).
        """
        return torch.logaddexp(self.by_token[:, :-1], self.by_blank[:, :-1])


def _recurrence(factors: Tensor, added: Tensor) -> Tensor:
    """Ln xₛ of xₛ = fₛ (xₛ₋₁ + aₛ), x₀ = 0: Σᵣ aᵣ fᵣ … fₛ, as one cumulative sum.

    Shape: ln f and ln a (R, S) -> (R, S).
    """
    products = factors.cumsum(1)
    return products + (added - (products - factors)).logcumsumexp(1)
