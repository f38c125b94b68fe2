"""Options of `pretrain`: objective, masking, tokenizer, size, and all together."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from attn_cli.config import option, said_default, with_default
from attn_cli.config.attention import ACTIVATIONS, AttentionOptions
from attn_cli.config.command import Mode, group
from attn_cli.config.tokenizing import SENTENCEPIECE_TYPES, TokenizerOptions, refuse_kind
from attn_cli.config.training import PretrainTrainingOptions, TrainingCommand, TrainingOptions

# Keys of pretraining.objectives.OBJECTIVES.
OBJECTIVE_NAMES = ("mlm+nsp", "mlm", "rtd", "clm", "bilm")
OF_REPLACING = frozenset({"--generator-size", "--detection-weight"})  # options of rtd alone


@dataclass(frozen=True, kw_only=True)
class ObjectiveOptions:
    """What is learnt from which text."""

    objective: str = option(
        "mlm+nsp",
        "Masked tokens and whether one segment follows another (BERT), masked tokens alone "
        "(RoBERTa), which tokens were replaced (ELECTRA), the next token (GPT), or the next and "
        "the one before (ELMo).",
        choices=OBJECTIVE_NAMES,
    )
    init: str | None = option(
        None, "Continue from this model directory: its sizes, tokenizer, weights.", place="DIR"
    )
    dev: str | None = option(
        None,
        "Documents to validate on.",
        show="1 % of the corpus, 50 to 500 documents",
        place="FILE",
    )
    tokenizer: str | None = option(
        None,
        "Use this tokenizer instead of training one.",
        show="trained on the corpus",
        place="FILE|DIR",
    )
    max_len: int = option(128, "Tokens of an input, special ones included.", low=16, high=1 << 20)


@dataclass(frozen=True, kw_only=True)
class MaskingOptions:
    """Which tokens are hidden, how segments are paired, and what replaces tokens."""

    mask: float = option(
        0.15, "Share of the tokens to predict.", low=0.001, high=0.9, flag="--mask,--mask-rate"
    )
    whole_word: bool = option(
        False, "Hide all pieces of a word together.", flag="--whole-word/--no-whole-word"
    )
    span: bool = option(False, "Hide spans of whole words (SpanBERT).", flag="--span/--no-span")
    static_masking: bool = option(
        False,
        "Hide the same tokens in every epoch, to reproduce older work.",
        flag="--static-masking/--dynamic-masking",
        rare=True,
    )
    short_seq: float = option(
        0.1, "Share of shorter segment pairs (mlm+nsp).", low=0.0, high=1.0, rare=True
    )
    nsp_weight: float = option(
        1.0,
        "Weight of next-sentence prediction beside that of a masked token (mlm+nsp).",
        low=0.0,
        high=1000.0,
        rare=True,
    )
    generator_size: float = option(
        0.25,
        "Width of the generator whose tokens replace hidden ones, in widths of the model (rtd).",
        low=0.01,
        high=1.0,
        rare=True,
    )
    detection_weight: float = option(
        50.0,
        "Weight of a detected token beside that of a hidden one (rtd).",
        low=0.01,
        high=1e4,
        rare=True,
    )


@dataclass(frozen=True, kw_only=True)
class StackSizeOptions:
    """How large: a preset, each part of which can be set by itself."""

    size: str = option(
        "auto",
        "Preset; auto: by corpus size and device.",
        choices=("auto", "tiny", "mini", "small", "base", "large"),
    )
    d_model: int | None = option(
        None, "Width of the model.", low=1, high=1 << 16, show="by size", rare=True
    )
    d_ff: int | None = option(
        None, "Width of the feed-forward networks.", low=1, high=1 << 20, show="by size", rare=True
    )
    n_heads: int | None = option(
        None, "Attention heads.", low=1, high=1024, show="by size", rare=True
    )
    n_layers: int | None = option(None, "Layers.", low=1, high=256, show="by size", rare=True)


def _not_given(name: str, show: str = "") -> Any:
    """The choice of attention, None where it is not given."""
    (field,) = (field for field in dataclasses.fields(AttentionOptions) if field.name == name)
    return with_default(AttentionOptions, name, None, show=show or said_default(field.default))


@dataclass(frozen=True, kw_only=True)
class StackVariantOptions:
    """Which stack: the choices that a size does not make. None: what suits the objective."""

    attention: str | None = _not_given("attention")
    normalize: str | None = _not_given("normalize")
    projections: str | None = _not_given("projections")
    tie_key_value: bool | None = _not_given("tie_key_value")
    combine: str | None = _not_given("combine")
    positions: str | None = _not_given("positions", show="rotary")
    max_distance: int | None = _not_given("max_distance")
    dropout: float | None = option(
        None, "Dropout of every sublayer.", low=0.0, high=0.99, show="0.1; tiny, mini: 0"
    )
    max_positions: int | None = option(
        None, "Longest input in tokens.", low=1, high=1 << 20, show="512", rare=True
    )
    norm: str | None = option(
        None, "Where sublayers are normalized.", choices=("pre", "post"), show="pre", rare=True
    )
    activation: str | None = option(
        None, "Activation function.", choices=ACTIVATIONS, show="gelu", rare=True
    )


@dataclass(frozen=True, kw_only=True)
class PretrainTokenizerOptions(TokenizerOptions):
    """What tokenizer is made of the corpus; its kind suits the objective where none is named."""

    type: str = option(
        "auto",
        "Kind of pieces; auto: wordpiece.",
        choices=("auto", "wordpiece", *SENTENCEPIECE_TYPES),
        flag="--type,--tokenizer-type",
    )

    def __post_init__(self) -> None:
        if self.type != "auto":
            super().__post_init__()

    def decided(self, kind: str, *, lossless: bool = False) -> TokenizerOptions:
        """The options with this kind where none is named.

        Args:
            kind: what suits the objective.
            lossless: whether the objective has to give every character back, as far as the kind
                of tokenizer can.

        Raises:
            ValueError: an option does not go with it.
        """
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["type"] = kind if self.type == "auto" else self.type
        values["lossless"] |= lossless and values["type"] != "wordpiece"
        return TokenizerOptions(**values)


@dataclass(frozen=True, kw_only=True)
class PretrainCommand(TrainingCommand):
    """All options of `attn pretrain`."""

    name: ClassVar[str] = "pretrain"
    modes: ClassVar[tuple[Mode, ...]] = (
        Mode(
            lambda given: True,
            {"matrix_factor": 7.5, "label_smoothing": 0.0},
        ),
    )

    objective: ObjectiveOptions = group(ObjectiveOptions, "Objective")
    size: StackSizeOptions = group(StackSizeOptions, "Model")
    variant: StackVariantOptions = group(StackVariantOptions, "Model")
    masking: MaskingOptions = group(MaskingOptions, "Masking")
    tokenizer: PretrainTokenizerOptions = group(PretrainTokenizerOptions, "Tokenizer")
    training: TrainingOptions = group(PretrainTrainingOptions, "Training")

    def __post_init__(self) -> None:
        refuse_kind(self.init, self.objective.tokenizer, self.tokenizer)

    @property
    def init(self) -> str | None:
        """The model directory that the training continues, if any."""
        return self.objective.init
