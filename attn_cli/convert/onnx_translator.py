"""Translators of ours as two graphs of ONNX: one reads the source, one writes the next token.

Shapes: B batch, S source length, T target tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from attn_cli.config import shown
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
from attn_cli.convert.onnx_layers import N_POSITIONS, TABLED, say_plainly
from attn_cli.convert.onnx_steps import SOURCE, StepForm, Tensors, form_of
from attn_cli.convert.output import replace_directory
from attn_cli.errors import DataError
from attn_cli.models.directory import load_model, read_config
from attn_cli.models.seq2seq_base import AutoregressiveModel
from attn_cli.tokenizers.tokenizer import Tokenizer
from attn_cli.tokenizers.tokenizer_files import read_tokenizers, write_tokenizers

Say = Callable[[str], None]
_ENCODER, _STEP = "encoder.onnx", "step.onnx"
# Sources and targets that are compared: one row and several, short and long.
_SIZES = ((1, 3, 2), (3, 9, 5), (2, 30, 12))
_USE = (
    "Run encoder.onnx once, on tokens of the source and source_end. Then run step.onnx again and "
    "again: tokens are target_start at first, later the token that was chosen last; attention_mask "
    "and what encoder.onnx gave go in by their names, but for what a step gives anew as new_NAME, "
    "which goes in as NAME. The next token is chosen by the logits of the last position, never one "
    "of never_written, until target_end."
)


def translator_to_onnx(folder: Path, output: Path, say: Say, *, overwrite: bool = False) -> None:
    """Writes a model directory of a translator as two graphs of ONNX.

    Args:
        folder: the model directory, of a translator of texts.
        output: the directory to write.
        say: is told how near the graphs come to PyTorch.
        overwrite: whether a model in `output` may be replaced.

    Raises:
        AttnError: a graph can't be written, or computes something else.
        DataError: the model is no such translator.
        UsageError: the package is not installed, or `output` holds a model.
    """
    require_onnx()
    arch = read_config(folder).arch
    _, model = load_model(folder, torch.device("cpu"))
    if not isinstance(model, AutoregressiveModel):
        raise DataError(
            f"{folder}: --to onnx writes translators that write one token after another, this "
            f"model is {shown(arch)}"
        )
    if model.config.source != "text":
        raise DataError(f"{folder}: this model reads files; --to onnx writes translators of texts")
    src, tgt = read_tokenizers(folder)
    model.check_vocabulary(src.vocab_size, tgt.vocab_size, str(folder))
    expected = [_expected(model, *sizes) for sizes in _SIZES]  # before its layers are changed
    say_plainly(model)
    form = form_of(model)
    if form is None:
        raise DataError(
            f"{folder}: --to onnx writes recurrent translators with attention alone; train-mt "
            "--attention general makes one"
        )
    graphs = _graphs(form, model)
    with replace_directory(output, folder, overwrite) as stage:
        graphs = [write_graph(graph, stage, output) for graph in graphs]
        write_tokenizers(stage, src, tgt)
        values = {"architecture": arch, **_described(src, tgt), "n_positions": _end(model)}
        write_description(stage, values, graphs)
        _compare(form, graphs, expected, stage, output, say)
    if _end(model) == N_POSITIONS:
        say(f"{output}: has {N_POSITIONS:,} positions: longer texts fail there")


def _described(src: Tokenizer, tgt: Tokenizer) -> dict[str, object]:
    """How the graphs are used."""
    sides = {"source": src, "target": tgt}
    return {
        "task": "translate",
        "use": _USE,
        "source_end": src.eos_id,
        "target_start": tgt.bos_id,
        "target_end": tgt.eos_id,
        "never_written": list(tgt.never_written),
        "special_ids": {
            side: {name: i for name, i in tokenizer.special_ids.items() if i >= 0}
            for side, tokenizer in sides.items()
        },
    }


def _end(model: AutoregressiveModel) -> int | None:
    """How many positions there are; None: any number."""
    tabled = vars(model.config).get("positions") in TABLED
    return N_POSITIONS if tabled else model.n_positions


@torch.no_grad()
def _graphs(form: StepForm, model: AutoregressiveModel) -> list[Graph]:
    """Both graphs, with inputs in which no two sizes are the same."""
    ids, mask = drawn(model.config.src_vocab, (3, 7)), ragged(3, 7)
    tokens = drawn(model.config.tgt_vocab, (3, 5))
    started = form.start(ids, mask)
    memory, state = _parted(form, started)
    for some in (tokens[:, :1],) if form.one_token else (tokens,):
        state = form.advance(some, mask, memory, state)[1:]
    rows = "batch", SOURCE
    length = 1 if form.one_token else "target_length"
    masked = Port("attention_mask", rows, "1 where there is a token, 0 where there is padding")
    read = Port("input_ids", rows, "tokens of the source and its end; padding behind")
    written = Port("tokens", ("batch", length), "the next tokens of the target")
    logits = ("batch", length, model.config.tgt_vocab)
    given = form.memory + form.state
    return [
        Graph(_ENCODER, _Source(form).eval(), (ids, mask.long()), (read, masked), given),
        Graph(
            _STEP,
            _Step(form).eval(),
            (tokens[:, : 1 if form.one_token else 2], mask.long(), *memory, *state),
            (written, masked, *given),
            (Port("logits", logits, "of the token behind each", "float32"), *form.after()),
        ),
    ]


def _parted(form: StepForm, tensors: Tensors) -> tuple[Tensors, Tensors]:
    """Memory and state."""
    size = len(form.memory)
    return tensors[:size], tensors[size:]


class _Source(nn.Module):
    """The first graph."""

    def __init__(self, form: StepForm) -> None:
        super().__init__()
        self.form = form

    def forward(self, ids: Tensor, mask: Tensor) -> Tensors:
        """Shape: (B, S) each."""
        return self.form.start(ids, mask.bool())


class _Step(nn.Module):
    """The second graph."""

    def __init__(self, form: StepForm) -> None:
        super().__init__()
        self.form = form

    def forward(self, tokens: Tensor, mask: Tensor, *given: Tensor) -> Tensors:
        """Shape: (B, T), (B, S), and as the form says."""
        return self.form.advance(tokens, mask.bool(), *_parted(self.form, given))


Example = tuple[Tensor, Tensor, Tensor, Tensor]


@torch.no_grad()
def _expected(model: AutoregressiveModel, batch: int, n_source: int, n_target: int) -> Example:
    """Random sources, their mask, targets, and the logits of the model itself."""
    limit = _end(model) or N_POSITIONS
    ids = drawn(model.config.src_vocab, (batch, min(n_source, limit)))
    mask = ragged(*ids.shape)
    targets = drawn(model.config.tgt_vocab, (batch, min(n_target, limit)))
    return ids, mask, targets, model.logits(model(ids, mask, targets).hidden)


def _compare(
    form: StepForm,
    graphs: list[Graph],
    expected: list[Example],
    stage: Path,
    output: Path,
    say: Say,
) -> None:
    """Writes the targets with the graphs: a token first, then all others, at once if that goes."""
    encoder, step = graphs
    encode, advance = (runner(stage / graph.file) for graph in graphs)
    if encode is None or advance is None:
        tell_unchecked(output, say)
        return
    comparison = Comparison()
    for ids, mask, targets, logits in expected:
        given = [torch.from_numpy(x) for x in encode(fed(encoder, (ids, mask.long())))]
        memory, state = _parted(form, tuple(given))
        size = targets.shape[1]
        ends = [1, *(range(2, size) if form.one_token else ()), size]
        for first, end in zip([0, *ends], ends, strict=False):
            if first < end:
                inputs = (targets[:, first:end], mask.long(), *memory, *state)
                found, *after = advance(fed(step, inputs))
                comparison.add(found, logits[:, first:end])
                state = tuple(map(torch.from_numpy, after))
    comparison.tell(output, say)
