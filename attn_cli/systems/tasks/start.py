"""The model that a fine-tuning trains: what it starts from, and what of it learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from attn_cli.config import changed, shown
from attn_cli.config.finetuning import FinetuneCommand, FinetuningOptions
from attn_cli.data.label_files import read_labels
from attn_cli.data.templates import TEMPLATES
from attn_cli.errors import UsageError
from attn_cli.models import BACKBONES, build_model
from attn_cli.models.backbone import BackboneConfig
from attn_cli.models.directory import load_model, read_config
from attn_cli.models.sizes import BACKBONE_PRESETS
from attn_cli.models.text import HeadConfig, TextModel
from attn_cli.nn.dropout import Dropout
from attn_cli.nn.lora import adapt, is_update
from attn_cli.systems.tasks import TASKS
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.wording import some

_ARCHS = {"transformer": "bert"}  # names of --arch that are not keys of BACKBONES


@dataclass(frozen=True)
class TextModelStart:
    """What a model is built from.

    Attributes:
        arch: a key of `BACKBONES`.
        config: the backbone's configuration.
        model: whose weights it takes; None: random ones.
        where: its directory.
        labels: of its tasks that have some, by name.
    """

    arch: str
    config: BackboneConfig
    model: TextModel | None = None
    where: str = ""
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def pool(self, wanted: str) -> str:
        """How a text's vectors become one: as `--pool` says."""
        if wanted != "auto":
            return wanted
        return BACKBONES[self.arch].usual_pool

    def build(
        self,
        heads: Sequence[HeadConfig],
        labels: Mapping[str, Sequence[str]],
        seed: int,
        dropout: float | None = None,
    ) -> tuple[TextModel, list[str]]:
        """The model with these heads, and this dropout instead of its own.

        An output layer goes on learning where the model to start from has one of the same task and
        the same labels.

        Args:
            heads: the output layers.
            labels: of each, by name; none where its task has none.
            seed: of random weights.
            dropout: instead of the model's own.

        Returns:
            The model, and what became of the output layers of the one that it starts from.
        """
        torch.manual_seed(seed)
        model = build_model(self.arch, self.config, heads)
        for module in model.modules():
            if isinstance(module, Dropout) and dropout is not None:
                module.p = dropout
        said: list[str] = []
        if self.model is not None:
            model.backbone.load_state_dict(self.model.backbone.state_dict())
            for head in heads:
                if before := self._head_like(head):
                    same = list(self.labels[before]) == list(labels[head.name])
                    said.append(self._said_of(before, labels[head.name], same=same))
                    if same:
                        weights = self.model.heads[before].state_dict()
                        model.heads[head.name].load_state_dict(weights)
        return model, said

    def _head_like(self, head: HeadConfig) -> str | None:
        """The output layer for labels of the same task that the model to start from has."""
        assert self.model is not None
        before = self.model.head_configs
        return next((n for n in self.labels if before[n].task == head.task), None)

    def _said_of(self, name: str, labels: Sequence[str], *, same: bool) -> str:
        if same:
            return f"the output layer of {self.where} goes on learning"
        theirs, ours = (some([*map(shown, labels)]) for labels in (self.labels[name], labels))
        return (
            f"labels {ours} are not those of {self.where} ({theirs}): its output layer starts anew"
        )


def starting_point(options: FinetuningOptions, size: str, tokenizer: Tokenizer) -> TextModelStart:
    """What to train: the backbone of `--init`, or a new one of `--arch` and `--size`.

    Raises:
        DataError: the directory is damaged, or its tokenizer is of another model.
        UsageError: its model is no encoder of texts.
    """
    if options.init:
        return _pretrained(Path(options.init), tokenizer)
    arch = _ARCHS.get(options.arch or "transformer", options.arch or "")
    config = BACKBONES[arch].Config.of_size(BACKBONE_PRESETS[size], tokenizer.vocab_size)
    return TextModelStart(arch, config)


def reads_documents(options: FinetuningOptions) -> bool:
    """Whether the model reads texts sentence by sentence.

    Raises:
        DataError: the directory to start from is damaged.
    """
    arch = read_config(Path(options.init)).arch if options.init else options.arch
    backbone = BACKBONES.get(_ARCHS.get(arch or "", arch or ""))
    return backbone is not None and TEMPLATES[backbone.template].by_sentence


def check_start(options: FinetuneCommand) -> None:
    """Makes sure that no other option contradicts `--init`.

    Raises:
        DataError: the directory is missing or damaged.
        UsageError: options that the directory decides.
    """
    chosen = options.finetuning
    if not chosen.init:
        return
    before = read_config(Path(chosen.init)).arch
    asked = changed(chosen, among=("--tokenizer",)) + changed(options.size)
    if chosen.arch and _ARCHS.get(chosen.arch, chosen.arch) != before:
        asked.insert(0, f"--arch {chosen.arch} (there: {before})")
    if asked:
        raise UsageError(f"--init {chosen.init} decides otherwise than {', '.join(asked)}")


def _pretrained(path: Path, tokenizer: Tokenizer) -> TextModelStart:
    config, model = load_model(path, torch.device("cpu"))
    if not isinstance(model, TextModel):
        raise UsageError(
            f"--init {path}: architecture {config.arch} is no encoder of texts; attn pretrain and "
            "attn convert make some"
        )
    model.check_vocabulary(tokenizer.vocab_size, str(path))
    tasks = [head for head in config.heads if head.task]
    labels = {
        head.name: read_labels(path, head.name if len(tasks) > 1 else "")
        for head in tasks
        if head.task in TASKS and TASKS[head.task].labelled
    }
    return TextModelStart(config.arch, model.config, model, str(path), labels)


def what_learns(model: TextModel, options: FinetuningOptions) -> dict[str, float]:
    """Freezes what does not learn, and gives each parameter the factor of its learning rate.

    Layers from the top down learn more slowly by `layer_decay` each (Howard & Ruder 2018; Clark et
    al. 2020). With `lora` the layers' matrices get low-rank updates, and nothing else of the layers
    and the embeddings learns; the pooler and the heads do.

    Args:
        model: with the heads of its tasks.
        options: `freeze`, `layer_decay`, `lora`.

    Raises:
        UsageError: there are fewer layers than are to be frozen, or no matrices to be updated.
    """
    depths = model.backbone.depths
    if options.freeze > len(depths):
        raise UsageError(
            f"--freeze {options.freeze}: this model has {len(depths)} layers, the embeddings "
            "counted"
        )
    if options.lora and not adapt(model.backbone, options.lora):
        raise UsageError("--lora updates attention and feed-forward matrices; this model has none")
    names = {id(weight): name for name, weight in model.named_parameters()}
    rates: dict[str, float] = {}
    for depth, modules in enumerate(depths):
        for module in modules:
            for weight in module.parameters():
                name = names[id(weight)]
                chosen = not options.lora or is_update(name)
                weight.requires_grad_(depth >= options.freeze and chosen)
                rates[name] = options.layer_decay ** (len(depths) - depth)
    return rates
