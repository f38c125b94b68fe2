"""What a sequence-to-sequence training minimizes: how likely references are, or how bad outputs."""

from __future__ import annotations

from dataclasses import dataclass

from attn_cli.config import changed, option

CRITERIA = ("likelihood", "risk", "reinforce")
CANDIDATES = ("sample", "beam")


@dataclass(frozen=True, kw_only=True)
class CriterionOptions:
    """The criterion, and how sampled outputs are judged where it needs them.

    Raises:
        ValueError: an option that the criterion does not read.
    """

    criterion: str = option(
        "likelihood",
        "Minimize the references' negative log-likelihood, or (from --init, slower) 1 - sentence "
        "BLEU of sampled outputs: its expectation among them (risk), or against the greedy output "
        "(reinforce).",
        choices=CRITERIA,
    )
    samples: int = option(
        5, "Risk, reinforce: outputs judged for each source.", low=1, high=1000, rare=True
    )
    candidates: str = option(
        "sample",
        "Risk: the outputs are drawn from the model, or are the best of a beam as wide.",
        choices=CANDIDATES,
        rare=True,
    )
    sharpness: float = option(
        0.005,
        "Risk: exponent of the probabilities that the outputs share out among them.",
        low=1e-6,
        high=100.0,
        rare=True,
    )
    likelihood_weight: float = option(
        0.3,
        "Risk, reinforce: weight of a token's likelihood beside them.",
        low=0.0,
        high=1.0,
        rare=True,
    )
    with_reference: bool = option(
        False,
        "Risk: the reference is one of the outputs.",
        flag="--with-reference/--without-reference",
        rare=True,
    )

    def __post_init__(self) -> None:
        of_risk = ("--candidates", "--sharpness", "--with-reference")
        unread = {
            "likelihood": ("--samples", "--likelihood-weight", *of_risk),
            "reinforce": of_risk,
        }.get(self.criterion, ())
        if in_vain := changed(self, among=unread):
            raise ValueError(f"--criterion {self.criterion} does not read {', '.join(in_vain)}")
        if self.criterion == "risk" and self.samples + self.with_reference < 2:
            raise ValueError(
                "--criterion risk compares outputs: --samples 1 leaves nothing to compare"
            )

    @property
    def samples_outputs(self) -> bool:
        """Whether training judges outputs of the model's own."""
        return self.criterion != "likelihood"
