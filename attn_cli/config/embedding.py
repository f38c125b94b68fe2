"""Options of `embed`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from attn_cli.config import from_dict, nearest, option
from attn_cli.config.command import Command, group
from attn_cli.config.runtime import DeviceOptions, OneModelOptions, SpeechOptions, StreamOptions
from attn_cli.errors import UsageError

NO_PROMPT = "none"


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """Which vectors are made of a line, and how they are written.

    Raises:
        ValueError: options that exclude each other.
    """

    layer: str = option(
        "-1", "Layer: a number (0: embeddings, -1: the last), all, sum4 or concat4 (last four)."
    )
    pool: str | None = option(
        None,
        "One vector of a line's tokens; none: a vector for each.",
        choices=("mean", "cls", "max", "none"),
        show="the model's own, else mean; none with --words",
    )
    words: bool = option(False, "A vector for each word, the mean of its tokens' vectors.")
    normalize: bool | None = option(
        None, "Scale every vector to length 1.", show="as the model's own vectors, else off"
    )
    prompt: str | None = option(
        None,
        "Which of the model's prompts stands before each line, by its name; none: no prompt.",
        show="the model's own default, if any",
    )
    format: str = option(
        "auto",
        "JSON lines on stdout, or a NumPy array in --output; auto: an array where -o names a .npy.",
        choices=("auto", "json", "npy"),
    )
    output: str | None = option(
        None, "File of the array, a row a line.", flag="-o,--output", show="stdout", place="FILE"
    )
    plot: str | None = option(
        None,
        "Draw a map of the lines, too: a .png, .svg or .pdf; the next column's values colour it.",
        show="none",
        place="FILE",
    )
    projection: str = option(
        "tsne", "The map: what is alike lies together, or most variance.", choices=("tsne", "pca")
    )
    plot_texts: int = option(12, "Lines whose text stands in the map.", low=0, high=200, rare=True)
    stride: int | None = option(
        None, "Tokens by which windows of a long line advance.", low=1, show="half a window"
    )
    batch_tokens: int = option(4096, "Tokens of one batch, padding included.", low=1)
    buffer: int = option(1024, "Most lines that are read before the first is answered.", low=1)

    def __post_init__(self) -> None:
        if self.words and self.pool not in (None, "none"):
            raise ValueError(
                f"--words gives a vector a word, --pool {self.pool} one a line: choose"
            )
        output = self.output or "vectors.npy"
        if self.format == "auto" and not output.endswith(".npy"):
            raise ValueError(f"--output {output[:80]} is no .npy; say --format npy all the same")
        if self.format != "auto" and (self.format == "npy") != (self.output is not None):
            raise ValueError("--format npy and --output go together")
        if self.plot is not None and self.pooling == "none":
            raise ValueError("--plot has a point a line; tokens or words are too many: --pool mean")
        if self.plot is None and (self.projection != "tsne" or self.plot_texts != 12):
            raise ValueError("--projection and --plot-texts say how --plot draws; name its file")
        if self.prompt not in (None, NO_PROMPT) and self.pooling == "none":
            raise ValueError("--prompt stands before a line that has one vector, not one a token")
        if self.output is not None and self.pooling == "none":
            raise ValueError(
                "--format npy has one row a line; vectors of tokens need --format json"
            )

    @property
    def pooling(self) -> str:
        """`pool`, decided."""
        return self.pool or ("none" if self.words else "mean")


@dataclass(frozen=True, kw_only=True)
class EmbedDefaults:
    """What a text's vector is in a model that was made for such vectors: the defaults of `embed`.

    Kept as `embedding` among the options of a config.json.

    Raises:
        ValueError: prompts without names.
    """

    pool: str = option("mean", "Pooling.", choices=("mean", "cls", "max"))
    normalize: bool = option(False, "Whether a text's vector has length 1.")
    max_len: int | None = option(None, "Longest input in tokens.", low=4, high=1 << 20)
    prompt_names: tuple[str, ...] = option((), "Names of texts that stand before a line.")
    prompt_texts: tuple[str, ...] = option((), "These texts.")
    prompt: str | None = option(None, "The name of the one that is taken if none is asked for.")

    def __post_init__(self) -> None:
        if len(self.prompt_names) != len(self.prompt_texts):
            raise ValueError("prompt_names and prompt_texts go together")
        if self.prompt is not None and self.prompt not in self.prompt_names:
            raise ValueError(f"prompt {self.prompt!r} is none of prompt_names")

    @classmethod
    def read(cls, values: object, where: str) -> EmbedDefaults:
        """Those in a config.json; the usual ones where it has none.

        Raises:
            DataError: they are not what they should be.
        """
        return from_dict(cls, values if isinstance(values, Mapping) else {}, where)

    @property
    def prompts(self) -> dict[str, str]:
        """The prompts by name."""
        return dict(zip(self.prompt_names, self.prompt_texts, strict=True))

    def fill(self, options: EmbedOptions) -> EmbedOptions:
        """The options, what is not given decided."""
        if options.pooling == "none":
            return replace(options, normalize=bool(options.normalize))
        normalize = self.normalize if options.normalize is None else options.normalize
        return replace(options, pool=options.pool or self.pool, normalize=normalize)

    def prompt_text(self, options: EmbedOptions) -> str:
        """What stands before each line.

        Raises:
            UsageError: the model has no prompt of that name.
        """
        if options.pooling == "none" or options.prompt == NO_PROMPT:
            return ""
        name = options.prompt or self.prompt
        if name is not None and name not in self.prompts:
            known = ", ".join(self.prompt_names) or "none at all"
            raise UsageError(
                f"--prompt {name}: no prompt of this model{nearest(name, self.prompt_names)}; it "
                f"has {known}"
            )
        return self.prompts[name] if name is not None else ""


@dataclass(frozen=True, kw_only=True)
class EmbedCommand(Command):
    """All options of `attn embed`."""

    name: ClassVar[str] = "embed"

    model: OneModelOptions = group(OneModelOptions, "Model")
    embedding: EmbedOptions = group(EmbedOptions, "Vectors")
    stream: StreamOptions = group(StreamOptions, "Lines")
    device: DeviceOptions = group(DeviceOptions, "Running")
    speech: SpeechOptions = group(SpeechOptions, "Running")
