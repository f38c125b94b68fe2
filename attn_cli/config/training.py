"""Options of every training: limits, optimizer, schedule, averaging, validation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from attn_cli.config import option, parse_duration


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Where a training writes, and what it may replace."""

    output: str | None = option(
        None, "Model directory.", flag="-o,--output", show="$ATTN_MODEL or attn-model"
    )
    overwrite: bool = option(False, "Replace what another training left in the output directory.")
    dry_run: bool = option(False, "Read, check, print size and plan, train one step, keep nothing.")
    tensorboard: str | None = option(None, "Also log to this TensorBoard directory.")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a model is trained; saved with it."""

    batch_tokens: int = option(2048, "Tokens of one batch, padding included.", low=1)
    accumulate: int = option(1, "Batches per update.", low=1)
    max_steps: int | None = option(None, "Stop after this many updates.", low=1)
    max_epochs: float | None = option(
        None, "Stop after this many passes.", low=1e-6, show="by corpus size, if nothing else stops"
    )
    max_time: str | None = option(None, "Stop after this long: 90s, 30m, 2h.")
    optimizer: str = option("muon", "Optimizer of the matrices.", choices=("muon", "adamw", "adam"))
    lr: float = option(0.004, "Peak learning rate of AdamW or Adam.", low=0.0)
    matrix_lr: float = option(0.015, "Peak learning rate of Muon.", low=0.0)
    weight_decay: float = option(
        0.0, "Weight decay of matrices: decoupled, or with adam an L2 penalty.", low=0.0
    )
    warmup: int = option(
        200, "Updates of linear warm-up; at most a tenth of a linear or cosine run.", low=0
    )
    schedule: str = option(
        "linear",
        "Learning rate after the warm-up, down to the end of the run.",
        choices=("linear", "cosine", "inverse-sqrt", "constant"),
    )
    clip_norm: float = option(1.0, "Largest gradient norm; 0 clips nothing.", low=0.0)
    label_smoothing: float = option(0.1, "Label smoothing.", low=0.0, high=0.99)
    ema: float = option(
        0.999,
        "Decay of the averaged weights that are validated and kept; 0: none.",
        low=0,
        high=0.99999,
    )
    validate_every: int | None = option(
        None, "Updates between validations.", low=1, show="10 validations a run"
    )
    metric: str = option(
        "bleu", "Decides which weights are best.", choices=("loss", "bleu", "chrf")
    )
    patience: int = option(
        0, "Stop after this many validations without a better one; 0: never.", low=0
    )
    keep_best: int = option(1, "How many best checkpoints are kept.", low=1, high=1000)
    average: int = option(1, "Average this many best checkpoints at the end.", low=1, high=1000)
    save_every: str = option("10m", "Time between saved states, besides validations.")
    precision: str = option(
        "auto",
        "Arithmetic; auto: bf16 on a GPU that has it, float32 elsewhere.",
        choices=("auto", "float32", "bf16"),
    )

    def __post_init__(self) -> None:
        if self.average > self.keep_best:
            raise ValueError(f"average {self.average} needs keep_best {self.average} or more")
        for name in ("max_time", "save_every"):
            value = getattr(self, name)
            if value is not None:
                try:
                    parse_duration(value)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error


def again(name: str, default: Any, **changes: Any) -> Any:
    """An option of `TrainingOptions` with the default (and choices) that suit another command."""
    (field,) = (f for f in dataclasses.fields(TrainingOptions) if f.name == name)
    return dataclasses.field(default=default, metadata={**field.metadata, **changes})


@dataclass(frozen=True, kw_only=True)
class ContinuedTrainingOptions(TrainingOptions):
    """How a translator learns that `--init` gives: by small steps from the first one on."""

    lr: float = again("lr", 0.0005)
    matrix_lr: float = again("matrix_lr", 0.002)
    warmup: int = again("warmup", 20)
    schedule: str = again("schedule", "constant")


@dataclass(frozen=True, kw_only=True)
class SampledTrainingOptions(ContinuedTrainingOptions):
    """How it learns from outputs that it samples: their gradient is mostly noise.

    Updates are dear, so batches are small; what they found by chance, small steps at the end undo.
    """

    batch_tokens: int = again("batch_tokens", 1024)
    lr: float = again("lr", 0.0004)
    matrix_lr: float = again("matrix_lr", 0.001)
    schedule: str = again("schedule", "linear")


def _shown(name: str) -> Any:
    """An option of `TrainingOptions` whose help also shows the defaults of continued trainings."""
    groups = (TrainingOptions, ContinuedTrainingOptions, SampledTrainingOptions)
    usual, continued, sampled = (getattr(group, name) for group in groups)
    shown = str(usual)
    if continued != usual:
        shown += f"; with --init {continued}"
    if sampled != continued:
        shown += f"; with --init and risk or reinforce {sampled}"
    return again(name, usual, show=shown)


@dataclass(frozen=True, kw_only=True)
class TranslatorTrainingOptions(TrainingOptions):
    """How a translator learns from random weights."""

    batch_tokens: int = _shown("batch_tokens")
    lr: float = _shown("lr")
    matrix_lr: float = _shown("matrix_lr")
    warmup: int = _shown("warmup")
    schedule: str = _shown("schedule")


@dataclass(frozen=True, kw_only=True)
class PretrainTrainingOptions(TrainingOptions):
    """How an encoder or a language model is pre-trained."""

    batch_tokens: int = again("batch_tokens", 4096)
    matrix_lr: float = again("matrix_lr", 0.03)
    warmup: int = again("warmup", 50)
    label_smoothing: float = again("label_smoothing", 0.0)
    metric: str = again("metric", "loss", choices=("loss",))


@dataclass(frozen=True, kw_only=True)
class FinetuneTrainingOptions(TrainingOptions):
    """How a model is fine-tuned, or a small one trained from scratch, on labelled examples."""

    batch_tokens: int = again("batch_tokens", 1024)
    optimizer: str = again("optimizer", "adamw")
    lr: float = again(
        "lr",
        0.0,
        help="Peak learning rate of AdamW; 0: 2e-4 from --init, 1e-3 with --lora, with all layers "
        "frozen or from random weights.",
    )
    weight_decay: float = again("weight_decay", 0.01)
    warmup: int = again("warmup", 50)
    label_smoothing: float = again("label_smoothing", 0.0)
    metric: str = again(
        "metric",
        "auto",
        help="Decides which weights are best; auto: the task's own.",
        choices=(
            *(
                "auto",
                "loss",
                "score",
                "accuracy",
                "macro_f1",
                "micro_f1",
                "mcc",
                "pearson",
                "spearman",
            ),
            *("span_f1", "squad_em", "squad_f1"),
        ),
    )
    patience: int = again("patience", 4)


@dataclass(frozen=True, kw_only=True)
class NodesTrainingOptions(FinetuneTrainingOptions):
    """How a graph attention network is trained: as in Velickovic et al. 2018, section 3.3."""

    batch_tokens: int = again("batch_tokens", 1 << 20, help="Labelled nodes of one batch.")
    optimizer: str = again("optimizer", "adam")
    lr: float = again("lr", 0.005)
    weight_decay: float = again("weight_decay", 5e-4)
    warmup: int = again("warmup", 0)
    schedule: str = again("schedule", "constant")
    clip_norm: float = again("clip_norm", 0.0)
    ema: float = again("ema", 0.0)
    validate_every: int | None = again("validate_every", 1)
    patience: int = again("patience", 100)
    save_every: str = again("save_every", "10s")
