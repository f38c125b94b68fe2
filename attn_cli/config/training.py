"""Options of every training: limits, optimizer, schedule, averaging, validation."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass

from attn_cli.config import option, parse_duration, with_default
from attn_cli.config.command import Command, group
from attn_cli.config.describing import CardOptions
from attn_cli.config.runtime import RuntimeOptions, SpeechOptions, StreamOptions

BY_CORPUS = -1  # a warm-up that the corpus decides, as it does a batch of 0 tokens
MOST_PROCESSES = 1024
LEAST_RATE = 1e-9  # a rate of 0 learns nothing, and is a mistake


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Where a training writes, and what it may replace."""

    output: str | None = option(
        None, "Model directory.", flag="-o,--output", show="$ATTN_MODEL or attn-model", place="DIR"
    )
    overwrite: bool = option(False, "Replace what another training left there.")
    dry_run: bool = option(
        False,
        "Read, check, print size, plan and the time it takes, train a few steps, keep nothing.",
    )
    tensorboard: str | None = option(
        None, "Also log to this TensorBoard directory.", rare=True, place="DIR"
    )

    @property
    def path(self) -> str:
        """The model directory that is written."""
        return self.output or os.environ.get("ATTN_MODEL") or "attn-model"


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a model is trained; saved with it."""

    batch_tokens: int = option(2048, "Tokens of one batch, padding included.", low=1)
    accumulate: int = option(1, "Batches per update.", low=1, rare=True)
    max_steps: int | None = option(None, "Stop after this many updates.", low=1)
    max_epochs: float | None = option(
        None, "Stop after this many passes.", low=1e-6, show="by corpus size, if nothing else stops"
    )
    max_time: str | None = option(None, "Stop after this long: 90s, 30m, 2h.")
    optimizer: str = option(
        "muon", "Optimizer of the matrices.", choices=("muon", "adamw", "adam"), rare=True
    )
    lr: float = option(0.004, "Peak learning rate; Muon's is a multiple of it.", low=LEAST_RATE)
    matrix_factor: float = option(
        3.75, "Muon's learning rate, as a multiple of --lr.", low=LEAST_RATE, rare=True
    )
    weight_decay: float = option(
        0.0, "Weight decay of matrices: decoupled, or with adam an L2 penalty.", low=0.0, rare=True
    )
    warmup: int = option(
        200,
        "Updates of linear warm-up; at most a tenth of a linear or cosine run.",
        low=0,
        rare=True,
    )
    schedule: str = option(
        "linear",
        "Learning rate after the warm-up, down to the end of the run.",
        choices=("linear", "cosine", "inverse-sqrt", "constant"),
        rare=True,
    )
    clip_norm: float = option(1.0, "Largest gradient norm; 0 clips nothing.", low=0.0, rare=True)
    label_smoothing: float = option(0.1, "Label smoothing.", low=0.0, high=0.99)
    dropout_warmup: float = option(
        0.0, "Passes over the training data in which dropout grows from 0.", low=0.0, rare=True
    )
    ema: float = option(
        0.999,
        "Decay of the averaged weights that are validated and kept; 0: none.",
        low=0,
        high=0.99999,
        rare=True,
    )
    validate_every: int | None = option(
        None, "Updates between validations.", low=1, show="10 validations a run", rare=True
    )
    metric: str = option(
        "bleu", "Decides which weights are best.", choices=("loss", "bleu", "chrf")
    )
    patience: int = option(
        0, "Stop after this many validations without a better one; 0: never.", low=0
    )
    keep_best: int = option(1, "How many best checkpoints are kept.", low=1, high=1000, rare=True)
    average: int = option(
        1, "Average this many best checkpoints at the end.", low=1, high=1000, rare=True
    )
    save_every: str = option("10m", "Time between saved states, besides validations.", rare=True)
    precision: str = option(
        "auto",
        "Arithmetic; auto: bf16 where the GPU or CPU multiplies it, float32 elsewhere.",
        choices=("auto", "float32", "bf16"),
        rare=True,
    )

    def __post_init__(self) -> None:
        if self.average > self.keep_best:
            raise ValueError(f"--average {self.average} needs --keep-best {self.average} or more")
        for name in ("max_time", "save_every"):
            value = getattr(self, name)
            if value is not None:
                try:
                    parse_duration(value)
                except ValueError as error:
                    raise ValueError(f"--{name.replace('_', '-')}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class TranslationTrainingOptions(TrainingOptions):
    """How a sequence-to-sequence model is trained."""

    batch_tokens: int = with_default(
        TrainingOptions, "batch_tokens", 0, show="512 to 2048, by corpus size"
    )
    warmup: int = with_default(TrainingOptions, "warmup", BY_CORPUS, show="200, with --init 20")
    metric: str = with_default(
        TrainingOptions,
        "metric",
        "bleu",
        help="Decides the best weights.",
        choices=("loss", "bleu", "chrf", "wer"),
    )


@dataclass(frozen=True, kw_only=True)
class PretrainTrainingOptions(TrainingOptions):
    """How an encoder or a language model is pre-trained."""

    batch_tokens: int = with_default(
        TrainingOptions, "batch_tokens", 0, show="1024 to 4096, by corpus size"
    )
    warmup: int = with_default(TrainingOptions, "warmup", BY_CORPUS, show="50")
    metric: str = with_default(TrainingOptions, "metric", "loss", choices=("loss",))


@dataclass(frozen=True, kw_only=True)
class FinetuneTrainingOptions(TrainingOptions):
    """How a model is fine-tuned, or a small one trained from scratch, on labelled examples."""

    batch_tokens: int = with_default(
        TrainingOptions,
        "batch_tokens",
        0,
        show="256 to 4096, by number and length of the examples",
    )
    warmup: int = with_default(TrainingOptions, "warmup", BY_CORPUS, show="50")
    lr: float = with_default(
        TrainingOptions,
        "lr",
        0.0,
        help="Peak learning rate; Muon's is a multiple of it.",
        show="from --init 5e-5 at 768 wide, 2e-4 at 384, 1e-3 at 128; 1e-3 with --lora, with all "
        "layers frozen or from random weights",
    )
    metric: str = with_default(
        TrainingOptions,
        "metric",
        "auto",
        help="Decides which weights are best; auto: the task's own.",
        choices=(
            *("auto", "loss", "score", "accuracy", "macro_f1", "micro_f1", "mcc", "pearson"),
            *("spearman", "span_f1", "squad_em", "squad_f1"),
        ),
    )


@dataclass(frozen=True, kw_only=True)
class TrainingRuntimeOptions(RuntimeOptions):
    """Where a training runs, and in how many processes."""

    processes: str = option(
        "auto",
        "Processes here that train as one; auto: as many as are fastest, of a CPU.",
        place="N|auto",
    )
    shard: bool = option(
        False,
        "Spread weights, gradients and optimizer state over the processes (FSDP2): each keeps a "
        "part of them.",
        rare=True,
    )
    compile: bool = option(
        False,
        "Compile the layers of a transformer: faster on a GPU after some minutes, slower on a CPU.",
        rare=True,
    )
    checkpoint_activations: bool = option(
        False,
        "Keep of each layer of a transformer its input alone, and compute the rest again on the "
        "way back: less memory for a third more work.",
        rare=True,
    )
    rank_timeout: str = option(
        "30m",
        "How long a process waits for another at an update before the training ends.",
        rare=True,
    )

    def __post_init__(self) -> None:
        try:
            parse_duration(self.rank_timeout)
        except ValueError as error:
            raise ValueError(f"--rank-timeout: {error}") from error
        if self.processes == "auto":
            return
        if not (self.processes.isdecimal() and 1 <= int(self.processes) <= MOST_PROCESSES):
            raise ValueError(
                f"--processes {self.processes[:80]}: a whole number from 1 to {MOST_PROCESSES}, or "
                "auto"
            )

    @property
    def n_processes(self) -> int | None:
        """How many processes were asked for; None: as many as are found to be fastest."""
        return None if self.processes == "auto" else int(self.processes)


@dataclass(frozen=True, kw_only=True)
class TrainingCommand(Command, ABC):
    """The options that every training command has."""

    output: OutputOptions = group(OutputOptions, "Output", saved=False)
    card: CardOptions = group(CardOptions, "Output")
    training: TrainingOptions = group(TrainingOptions, "Training")
    stream: StreamOptions = group(StreamOptions, "Lines", saved=False)
    runtime: TrainingRuntimeOptions = group(TrainingRuntimeOptions, "Running", saved=("seed",))
    speech: SpeechOptions = group(SpeechOptions, "Running", saved=False)

    @property
    @abstractmethod
    def init(self) -> str | None:
        """The model directory that the training starts from, if any."""
