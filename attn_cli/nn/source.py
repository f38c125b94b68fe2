"""What makes vectors of a source, whatever kind it is of.

Shapes: B batch, S positions that can be attended to, D d_model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class SourceEmbedding(nn.Module, ABC):
    """Makes a vector for each position of a source, be it of tokens or of what is in a file."""

    @abstractmethod
    def of_source(self, source: Tensor, mask: Tensor) -> Tensor:
        """The vectors of sources.

        Args:
            source: what the kind of source gives. Shape: (B, ...).
            mask: which positions are no padding. Shape: (B, S).

        Returns:
            Shape: (B, S, D).
        """
