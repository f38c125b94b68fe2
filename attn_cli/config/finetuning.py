"""Options of `finetune`: its tasks, what it starts from, what of it learns, and all together."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from attn_cli.config import load_json, nearest, option, refuse_unread
from attn_cli.config.command import Mode, group
from attn_cli.config.graph import GatOptions, GraphOptions
from attn_cli.config.source import LabelledSourceOptions
from attn_cli.config.tokenizing import TokenizerOptions, refuse_kind
from attn_cli.config.training import FinetuneTrainingOptions, TrainingCommand, TrainingOptions
from attn_cli.errors import DataError, UsageError

NODES = "nodes"  # the task that is learnt from a graph
REGRESSIONS = ("regress", "rate")  # those whose answer is a number
POOLS = ("mean", "max", "own")
TAG_SCHEMES = ("auto", "bio", "bioes", "iob1")
TEXT_ARCHS = ("transformer", "bert", "gpt", "rnn", "han")
_SPEC = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)=([a-z]+):(.+?)(?::([0-9.]+))?")


@dataclass(frozen=True)
class TaskSpec:
    """One of the tasks that are learnt together.

    Attributes:
        name: what it is called.
        kind: a key of `systems.tasks.TASKS`.
        files: its examples.
        weight: λ of its loss.
    """

    name: str
    kind: str
    files: tuple[str, ...]
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class FinetuningOptions:
    """What is learnt, and from where."""

    task: tuple[str, ...] = option(
        (),
        "What is learnt: classify, pair, regress (a number for two texts), rate (for one), "
        "multilabel, choice, tag, qa or nodes; or several at once, each as "
        "NAME=KIND:FILE[:WEIGHT].",
    )
    init: str | None = option(
        None,
        "Model directory to start from.",
        show="random weights of --arch and --size",
        place="DIR",
    )
    dev: tuple[str, ...] = option(
        (),
        "Examples to validate on; NAME=FILE for one of several tasks.",
        show="held out",
        place="FILE",
    )
    arch: str | None = option(
        None,
        "What is trained from random weights.",
        choices=(*TEXT_ARCHS, "gat"),
        show="transformer; gat for nodes",
    )
    tokenizer: str | None = option(
        None,
        "Tokenizer of a model from random weights.",
        show="trained on the texts",
        rare=True,
        place="FILE|DIR",
    )
    max_len: int = option(
        256,
        "Longest sequence in tokens; longer texts are read in windows, sentences (han) in parts.",
        low=8,
        high=1 << 20,
    )
    stride: int | None = option(
        None,
        "Tokens between the windows of a long text.",
        low=1,
        show="half of a window",
        rare=True,
    )
    pool: str = option(
        "auto",
        "A text's vector: the mean or maximum of its tokens', or the architecture's own (BERT: "
        "first token and pooler; GPT: last token; rnn, han: attention); auto: mean for BERT, own "
        "for others.",
        choices=("auto", *POOLS),
        rare=True,
    )
    balance: bool = option(
        False, "Weigh labels by the inverse of their frequency (classify, pair, tag).", rare=True
    )
    dropout: float | None = option(
        None,
        "Dropout while training.",
        low=0.0,
        high=0.99,
        show="the model's own; 0.1 if new, 0.5 for han, 0.6 for nodes",
    )
    freeze: int = option(
        0, "Lowest layers that are not trained, the embeddings counted as the first.", low=0
    )
    layer_decay: float = option(
        1.0,
        "Factor of the learning rate from each layer to the one below.",
        low=0.01,
        high=1.0,
        rare=True,
    )
    lora: int = option(
        0,
        "Rank of the updates that the layers' matrices learn instead of learning themselves; 0: "
        "they learn themselves.",
        low=0,
        high=4096,
    )
    scheme: str = option(
        "auto",
        "How spans are tagged; IOB1 (I- begins a span) is learnt, and answered, as BIO; auto: as "
        "the tags look.",
        choices=TAG_SCHEMES,
        rare=True,
    )
    embeddings: str | None = option(
        None,
        "Word vectors (word2vec or GloVe as text) that token vectors start from.",
        rare=True,
        place="FILE",
    )

    def specs(self, files: list[str], kinds: Collection[str]) -> list[TaskSpec]:
        """The tasks that are learnt.

        Args:
            files: named on the command line.
            kinds: that there are.

        Raises:
            ValueError: a task can't be read, or stands there twice.
        """
        if len(self.task) == 1 and "=" not in self.task[0]:
            _require_kind(self.task[0], (*kinds, NODES))
            return [TaskSpec("task", self.task[0], tuple(files or ["-"]))]
        if not self.task:
            raise ValueError(f"--task says what is learnt: one of {', '.join((*kinds, NODES))}")
        if files:
            raise ValueError("several tasks name their files themselves: NAME=KIND:FILE[:WEIGHT]")
        specs = [_spec(text, kinds) for text in self.task]
        if len({spec.name for spec in specs}) < len(specs):
            raise ValueError("two tasks have the same name")
        return specs

    def dev_file(self, spec: TaskSpec, specs: list[TaskSpec]) -> str | None:
        """The file that validates a task, if one was given.

        Raises:
            ValueError: it is not said which task a file validates.
        """
        if len(specs) == 1 and self.dev and specs[0].name == "task":
            if len(self.dev) > 1:
                raise ValueError("one task is validated on one --dev file")
            return self.dev[0]
        return _by_task("--dev", self.dev, specs).get(spec.name)

    def columns(self, given: str | None, spec: TaskSpec, specs: list[TaskSpec]) -> str | None:
        """The columns of a task's files: those of all, or its own of `a=text,label;b=2,1`.

        Raises:
            ValueError: it is not said which task some columns are of.
        """
        if not given or "=" not in given:
            return given
        return _by_task("--columns", given.split(";"), specs).get(spec.name)


@dataclass(frozen=True, kw_only=True)
class FinetuneSizeOptions:
    """How large a model from random weights is."""

    size: str = option(
        "mini",
        "Size of a model from random weights.",
        choices=("tiny", "mini", "small", "base", "large"),
    )


def _spec(text: str, kinds: Collection[str]) -> TaskSpec:
    found = _SPEC.fullmatch(text)
    if not found:
        raise ValueError(f"--task {text[:80]}: not of the form NAME=KIND:FILE[:WEIGHT]")
    name, kind, file, weight = found.groups()
    _require_kind(kind, kinds)
    return TaskSpec(name, kind, (file,), float(weight or 1.0))


def _by_task(flag: str, given: Iterable[str], specs: list[TaskSpec]) -> dict[str, str]:
    """The values of `NAME=VALUE`, by the task's name."""
    names = [spec.name for spec in specs]
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.strip().partition("=")
        if not equals or name not in names or name in found:
            raise ValueError(f"{flag} {text}: NAME=… once for each of the tasks {', '.join(names)}")
        found[name] = value
    return found


def _require_kind(kind: str, known: Collection[str]) -> None:
    if kind not in known:
        raise ValueError(
            f"--task {kind[:80]}: there is no such task{nearest(kind, known)}; known: "
            f"{', '.join(known)}"
        )


def _labels_nodes(given: Mapping[str, object]) -> bool:
    return given.get("task") in ((NODES,), [NODES])


def _labels_recordings(given: Mapping[str, object]) -> bool:
    return given.get("source") == "audio"


def _reads_documents(given: Mapping[str, object]) -> bool:
    """Whether these options train a hierarchical attention network."""
    if _labels_nodes(given):
        return False
    if given.get("init"):
        try:
            return load_json(Path(str(given["init"])) / "config.json").get("arch") == "han"
        except DataError:
            return False  # what is wrong with it is said where it is loaded
    return given.get("arch") == "han"


def _makes_word_tokenizer(given: Mapping[str, object]) -> bool:
    """Whether these options train one for documents; the model to start from brings its own."""
    return _reads_documents(given) and not given.get("init")


@dataclass(frozen=True, kw_only=True)
class FinetuneCommand(TrainingCommand):
    """All options of `attn finetune`.

    Raises:
        UsageError: options that what is learnt does not read.
    """

    name: ClassVar[str] = "finetune"
    modes: ClassVar[tuple[Mode, ...]] = (
        Mode(
            lambda given: True,
            {
                "optimizer": "adamw",
                "weight_decay": 0.01,
                "label_smoothing": 0.0,
                "patience": 4,
            },
        ),
        # Documents are words, and an update sees several whole ones.
        Mode(_reads_documents, {"batch_tokens": 16384}, "han"),
        Mode(_makes_word_tokenizer, {"type": "wordpiece"}, "han"),
        # As recognizers learn: see `TranslationTrainingOptions`.
        Mode(
            _labels_recordings,
            {"optimizer": "muon", "lr": 0.004, "weight_decay": 0.0, "patience": 0},
            "audio",
        ),
        # As in Velickovic et al. 2018, section 3.3; a batch holds all nodes.
        Mode(
            _labels_nodes,
            {
                "batch_tokens": 1 << 20,
                "optimizer": "adam",
                "lr": 0.005,
                "weight_decay": 5e-4,
                "warmup": 0,
                "schedule": "constant",
                "clip_norm": 0.0,
                "ema": 0.0,
                "validate_every": 1,
                "patience": 100,
                "save_every": "10s",
            },
            "nodes",
        ),
    )

    finetuning: FinetuningOptions = group(FinetuningOptions, "Task")
    size: FinetuneSizeOptions = group(FinetuneSizeOptions, "Model")
    sound: LabelledSourceOptions = group(LabelledSourceOptions, "Sound")
    tokenizer: TokenizerOptions = group(TokenizerOptions, "Tokenizer")
    training: TrainingOptions = group(FinetuneTrainingOptions, "Training")
    gat: GatOptions = group(GatOptions, "Nodes of a graph", rare=True)
    graph: GraphOptions = group(GraphOptions, "Nodes of a graph", rare=True)

    def __post_init__(self) -> None:
        if self.labels_recordings:
            self._check_recordings()
            return
        if not self.labels_nodes:
            refuse_kind(self.init, self.finetuning.tokenizer, self.tokenizer)
            refuse_unread(f"--task {' '.join(self.finetuning.task)}", self.gat, self.graph)
            if self.finetuning.arch == "gat":
                raise UsageError("--arch gat reads a graph: it needs --task nodes")
            return
        arch = self.finetuning.arch
        if arch not in (None, "gat"):
            raise UsageError(f"--arch {arch} reads texts; --task nodes is learnt by gat")
        refuse_unread(
            "--task nodes",
            self.finetuning,
            self.size,
            self.tokenizer,
            but=("--task", "--arch", "--dropout"),
        )
        if self.stream.columns:
            raise UsageError("--columns: the headers of a graph's files name their columns")

    def _check_recordings(self) -> None:
        """Raises UsageError if options are not those of recordings."""
        if self.finetuning.task != ("classify",):
            raise UsageError("--source audio: recordings are labelled by --task classify alone")
        if self.finetuning.arch not in (None, "transformer"):
            raise UsageError(f"--arch {self.finetuning.arch} reads no recordings; leave it out")
        read = ("--task", "--init", "--dev", "--arch", "--pool", "--balance", "--dropout")
        refuse_unread("--source audio", self.finetuning, but=read)
        refuse_unread("--source audio", self.tokenizer, self.gat, self.graph)

    @property
    def labels_recordings(self) -> bool:
        """Whether recordings are what is labelled."""
        return self.sound.source == "audio"

    @property
    def labels_nodes(self) -> bool:
        """Whether a graph's nodes are what is labelled."""
        return self.finetuning.task == (NODES,)

    @property
    def init(self) -> str | None:
        """The model directory that the training starts from, if any."""
        return self.finetuning.init
