"""Options of `attend`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attn_cli.config import option, with_default
from attn_cli.config.command import Command, group
from attn_cli.config.decoding import MAX_INPUT
from attn_cli.config.runtime import ModelOptions, RuntimeOptions, SpeechOptions, StreamOptions
from attn_cli.config.source import RootOptions

MOST_INPUT = 4096  # tokens of a picture's side


@dataclass(frozen=True, kw_only=True)
class DrawnModelsOptions(ModelOptions):
    """Which models are drawn."""

    model: str = with_default(
        ModelOptions, "model", "", help="Model directory; several, joined by commas, side by side."
    )


@dataclass(frozen=True, kw_only=True)
class AttendOptions(RootOptions):
    """Which attention is drawn, and how.

    Raises:
        ValueError: options that exclude each other.
    """

    kind: str | None = option(
        None,
        "Which attention: cross, encoder or decoder of a translator; text or self of a "
        "classifier; word, neighbour, ….",
        show="the first of the model's; all of them in a page",
    )
    layer: str | None = option(
        None,
        "A layer from 1 (or from the last, -1, down), or all.",
        show="the last; all in a page",
    )
    head: str | None = option(
        None,
        "A head from 1, mean of all heads, or all, one by one.",
        show="mean; all in a page",
    )
    pairs: bool = option(
        False, "The second column is the target, instead of the model's own output."
    )
    words: bool = option(
        False,
        "Words instead of tokens: weights to a word's tokens are added, those from them averaged.",
    )
    peak: float | None = option(
        None,
        "The weight that is drawn brightest: one scale for all lines.",
        low=1e-6,
        high=1.0,
        show="the largest that is drawn of a line",
    )
    attribute: bool = option(
        False,
        "Beside the weights, how much each token adds to the probability of the label, or of the "
        "output's words (integrated gradients): attention is no explanation.",
        flag="--attribute",
    )
    word: int | None = option(
        None,
        "A word of a translator's output, from 1: draw it alone, over the source's text.",
        low=1,
        show="all of them",
    )
    task: str | None = option(None, "Which task of a model that has several.", show="the only one")
    beam: int = option(5, "Beam of the search for a translator's own output.", low=1, high=1000)
    max_input: int | None = option(
        None,
        "Longer inputs, in tokens, are drawn in parts; longer --pairs are unusable.",
        low=1,
        high=MOST_INPUT,
        show=f"{MAX_INPUT}, or the --max-len of its training where that is more",
    )
    format: str = option(
        "auto",
        "Shades for the eye, or a table of numbers; auto: shades on a terminal, else the table.",
        choices=("auto", "heat", "tsv"),
    )
    output: str | None = option(
        None,
        "Instead: pictures, NAME-LINE.png or .svg; one .pdf, a page a line; or one .html page.",
        flag="-o,--output",
        place="FILE",
    )

    def __post_init__(self) -> None:
        if self.output is not None and self.format != "auto":
            raise ValueError(
                f"--output is a file of its own kind: leave out --format {self.format}"
            )


@dataclass(frozen=True, kw_only=True)
class AttendCommand(Command):
    """All options of `attn attend`."""

    name: ClassVar[str] = "attend"

    model: DrawnModelsOptions = group(DrawnModelsOptions, "Model")
    attending: AttendOptions = group(AttendOptions, "Attention")
    stream: StreamOptions = group(StreamOptions, "Lines")
    runtime: RuntimeOptions = group(RuntimeOptions, "Running")
    speech: SpeechOptions = group(SpeechOptions, "Running")
