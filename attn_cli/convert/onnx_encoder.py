"""Encoders of ours, with the heads of their tasks, as one graph of ONNX.

The inputs have the names that transformers gives them, so that what runs its graphs runs ours.

Shapes: B batch, T length, D d_model, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from attn_cli.config import shown
from attn_cli.config.embedding import EmbedDefaults
from attn_cli.config.finetuning import REGRESSIONS
from attn_cli.convert.onnx_graph import (
    Comparison,
    Graph,
    Port,
    drawn,
    fed,
    ragged,
    require_onnx,
    runner,
    tell_unchecked,
    write_description,
    write_graph,
)
from attn_cli.convert.onnx_layers import N_POSITIONS, TABLED, read_reversed, say_plainly
from attn_cli.convert.onnx_text_graph import (
    TextGraph,
    as_numbers,
    meaning_of,
    pooled_of,
    vectors_of,
)
from attn_cli.convert.output import replace_directory
from attn_cli.data.label_files import labels_name, read_labels
from attn_cli.data.templates import TEMPLATES
from attn_cli.errors import DataError
from attn_cli.models.directory import CONFIG, ModelConfig, load_model
from attn_cli.models.stack import StackConfig
from attn_cli.models.text import HeadConfig, TextModel
from attn_cli.nn.heads import SpanHead
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import load_tokenizer, write_tokenizers

Say = Callable[[str], None]
_FILE = "model.onnx"
_LONGEST = 512  # tokens of a text where neither task nor model sets a limit
_ROWS = "batch", "length"
# Sizes that are compared: one row and several, short and long.
_SIZES = ((1, 3), (3, 9), (2, 40))


def encoder_to_onnx(folder: Path, output: Path, say: Say, *, overwrite: bool = False) -> None:
    """Writes a model directory of an encoder as a graph of ONNX.

    Args:
        folder: the model directory: a classifier, tagger or other model of tasks, or an encoder.
        output: the directory to write.
        say: is told how near the graph comes to PyTorch.
        overwrite: whether a model in `output` may be replaced.

    Raises:
        AttnError: the graph can't be written, or computes something else.
        DataError: the model is no such encoder.
        UsageError: the package is not installed, or `output` holds a model.
    """
    require_onnx()
    config, model = load_model(folder, torch.device("cpu"))
    if not isinstance(model, TextModel):
        raise DataError(
            f"{folder}: --to onnx writes encoders of texts, the models of their tasks, and "
            f"transformers that translate; this model is {shown(config.arch)}"
        )
    _check_kind(folder, config, model)
    tokenizer = load_tokenizer(str(folder))
    model.check_vocabulary(tokenizer.vocab_size, str(folder))
    reader = _Reader(folder, config, model, tokenizer)
    expected = reader.expected()  # before the model's layers are said otherwise
    graph = reader.graph()
    with replace_directory(output, folder, overwrite) as stage:
        graph = write_graph(graph, stage, output)
        write_tokenizers(stage, tokenizer, tokenizer)
        write_description(stage, reader.described(), [graph])
        _compare(graph, expected, stage, output, say)


def _check_kind(folder: Path, config: ModelConfig, model: TextModel) -> None:
    """Raises DataError for backbones whose work is no graph of a batch of texts."""
    if model.backbone.joins_rows:
        raise DataError(
            f"{folder}: {config.arch} makes documents of sentences, whose number differs: no graph "
            "of a batch of texts; fine-tune another architecture (--arch transformer, rnn)"
        )
    if config.arch == "gpt" and not config.heads:
        raise DataError(
            f"{folder}: a language model that continues texts; --to onnx writes encoders, models "
            "of tasks and translators (--to huggingface writes it as GPT-2)"
        )


def _compare(
    graph: Graph,
    expected: list[tuple[tuple[Tensor, ...], list[Tensor]]],
    stage: Path,
    output: Path,
    say: Say,
) -> None:
    """Runs the graph on the inputs whose outputs are known."""
    run = runner(stage / _FILE)
    if run is None:
        tell_unchecked(output, say)
        return
    comparison = Comparison()
    for inputs, outputs in expected:
        mask = inputs[1].bool()
        for port, found, wanted in zip(
            graph.outputs, run(fed(graph, inputs)), outputs, strict=True
        ):
            comparison.add(found, wanted, mask if "length" in port.axes else None)
    comparison.tell(output, say)


class _Reader:
    """What is to be known of a model to write it.

    Args:
        folder: its directory.
        config: its configuration.
        model: the model.
        tokenizer: its tokenizer.
    """

    def __init__(
        self, folder: Path, config: ModelConfig, model: TextModel, tokenizer: Tokenizer
    ) -> None:
        self._folder = folder
        self._config = config
        self._model = model
        self._tokenizer = tokenizer
        self._heads = [head for head in config.heads if head.task]
        own = config.options.get("embedding")
        self._defaults = EmbedDefaults.read(own, str(folder / CONFIG))
        size = model.config
        self._has_segments = isinstance(size, StackConfig) and size.n_segments > 1
        longest = [head.max_len for head in self._heads] or [self._defaults.max_len or _LONGEST]
        tabled = isinstance(size, StackConfig) and size.positions in TABLED
        limits = [N_POSITIONS] if tabled else []
        limits += [model.backbone.max_len] if model.backbone.max_len else []
        self.max_len = min([max(longest), *limits])

    def inputs(self, batch: int, length: int) -> tuple[Tensor, ...]:
        """Random inputs. Shape: (B, T) each."""
        ids, mask = drawn(self._tokenizer.vocab_size, (batch, length)), ragged(batch, length)
        segments = (torch.arange(length) >= length // 2).long().repeat(batch, 1)
        return (ids, mask.long(), segments)[: 2 + self._has_segments]

    @torch.no_grad()
    def expected(self) -> list[tuple[tuple[Tensor, ...], list[Tensor]]]:
        """Inputs of several sizes, and what the model itself makes of them."""
        model, found = self._model, []
        for batch, length in _SIZES:
            inputs = self.inputs(batch, min(length, self.max_len))
            ids, mask = inputs[0], inputs[1].bool()
            segments = inputs[2] if self._has_segments else None
            outputs = [
                as_numbers(model(ids, mask, segments, head.name), head) for head in self._heads
            ]
            if not outputs:
                hidden = vectors_of(model, ids, mask, segments)
                outputs = [hidden, pooled_of(hidden, mask, self._defaults, self._first_is_whole)]
            found.append((inputs, outputs))
        return found

    @property
    def _first_is_whole(self) -> bool:
        """Whether special tokens take part in a text's vector, as `attn embed` makes it."""
        return self._model.backbone.template == "bert"

    def graph(self) -> Graph:
        """The graph; the model is for that alone afterwards."""
        say_plainly(self._model)
        read_reversed(self._model)
        module = TextGraph(self._model, self._heads, self._defaults, self._first_is_whole)
        inputs = [
            Port("input_ids", _ROWS, "tokens of a text, special ones included; padding behind"),
            Port("attention_mask", _ROWS, "1 where there is a token, 0 where there is padding"),
        ]
        if self._has_segments:
            inputs.append(
                Port("token_type_ids", _ROWS, "0 for the first text, 1 for the second's tokens")
            )
        sample = self.inputs(3, min(7, self.max_len))
        return Graph(_FILE, module.eval(), sample, tuple(inputs), tuple(self._outputs()))

    def _outputs(self) -> list[Port]:
        d_model = self._model.backbone.d_model
        if not self._heads:
            return [
                Port("last_hidden_state", (*_ROWS, d_model), "a vector of each token", "float32"),
                Port("pooled", ("batch", d_model), "the vector that attn embed gives", "float32"),
            ]
        ports = []
        for head in self._heads:
            axes = ("batch",) if head.kind == "text" else _ROWS
            name = self._output_name(head)
            ports.append(Port(name, (*axes, head.n_outputs), meaning_of(head), "float32"))
        return ports

    def _output_name(self, head: HeadConfig) -> str:
        return "logits" if len(self._heads) == 1 else f"logits_{head.name}"

    def described(self) -> dict[str, object]:
        """The content of a config.json, but for the graph."""
        tokenizer = self._tokenizer
        special = {name: i for name, i in tokenizer.special_ids.items() if i >= 0}
        template = TEMPLATES[self._model.backbone.template](tokenizer, self.max_len)
        frame = {
            "before": template.first_id,
            "between": template.separator_id,
            "behind": template.last_id,
        }
        values: dict[str, object] = {
            "architecture": self._config.arch,
            "special_ids": special,
            "frame": frame,  # the tokens before, between and behind one or two texts
            "max_len": self.max_len,
        }
        if self._heads:
            return {**values, "tasks": [self._task(head) for head in self._heads]}
        own = self._defaults
        pooled: dict[str, object] = {"pool": own.pool, "normalize": own.normalize}
        if own.prompts:
            pooled |= {"prompts": own.prompts, "prompt": own.prompt}
        return {**values, "pooled": pooled}

    def _task(self, head: HeadConfig) -> dict[str, object]:
        """What is to be known of a task's outputs."""
        values: dict[str, object] = {
            "name": head.name,
            "task": head.task,
            "output": self._output_name(head),
            "max_len": min(head.max_len, self.max_len),
        }
        file = labels_name("" if len(self._heads) == 1 else head.name)
        if (self._folder / file).exists():
            name = "" if len(self._heads) == 1 else head.name
            values["labels"] = read_labels(self._folder, name)
        if head.task in REGRESSIONS:
            values |= {"low": head.low, "high": head.high}
        module = self._model.heads[head.name]
        if isinstance(module, SpanHead):
            values["no_answer_threshold"] = float(module.no_answer_threshold)
        if head.scheme:
            values["scheme"] = head.scheme
        return values
