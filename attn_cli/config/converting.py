"""Options of `convert`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attn_cli.config import option
from attn_cli.config.command import Command, group
from attn_cli.config.runtime import SpeechOptions

PRECISIONS = ("float32", "float16", "bfloat16", "int8")


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """What a model becomes, and where it goes."""

    output: str | None = option(
        None,
        "Directory to write.",
        flag="-o,--output",
        show="$ATTN_MODEL or attn-model",
        place="DIR",
    )
    to: str = option(
        "attn", "What to write.", choices=("attn", "huggingface", "ctranslate2", "onnx")
    )
    task: str | None = option(
        None,
        "What a classifier of texts does; pair and regress: with two texts together.",
        choices=("classify", "pair", "multilabel", "regress", "rate"),
        show="by its config.json",
    )
    scheme: str | None = option(
        None,
        "How a tagger's spans were tagged in its training: IOB1 has I- where BIO has B-.",
        choices=("bio", "iob1"),
        show="as its tags tell, else bio",
        rare=True,
    )
    precision: str = option(
        "float32",
        "What weights are stored as. float16, bfloat16: half of the size, int8: a quarter; DIR is "
        "then a model of attn.",
        choices=PRECISIONS,
    )
    tokenizer: str | None = option(
        None,
        "Give a model of attn this tokenizer (or that of a directory): pieces that it had keep "
        "their vectors, others begin as the mean of what they were cut into.",
        place="FILE|DIR",
    )
    trim_vocabulary: str | None = option(
        None,
        "Keep the pieces alone that a model of attn needs for these lines, source and target, and "
        "those of which any text can be written.",
        place="FILE",
    )
    dev: str | None = option(
        None,
        "Of --precision, --tokenizer, --trim-vocabulary and averages: lines as decode reads them, "
        "references behind; says the quality on them before and after.",
        place="FILE",
    )
    shortlist: str | None = option(
        None,
        "Pairs (source<TAB>target lines), best those of its training, of which a translator gets "
        "the table that decode --shortlist reads: the words that a source's words may become.",
        place="FILE",
    )
    shortlist_size: int = option(
        50,
        "With --shortlist: target tokens kept for a source token.",
        low=1,
        high=10_000,
        rare=True,
    )
    overwrite: bool = option(False, "Replace the model in the output directory.")


@dataclass(frozen=True, kw_only=True)
class ConvertCommand(Command):
    """All options of `attn convert`."""

    name: ClassVar[str] = "convert"

    converting: ConvertOptions = group(ConvertOptions, "Options")
    speech: SpeechOptions = group(SpeechOptions, "Running")
