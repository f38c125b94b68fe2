"""What the two graphs of a translator compute: how the state of each architecture goes through.

A form says what the encoder gives: tensors that every step reads, the memory, and tensors that each
step takes and gives anew, the state.

Shapes: B batch, S source length, T target tokens, D d_model, H heads, K d_head, L decoder layers,
P history, V vocabulary, k kernel size, R vectors of a cell's state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from attn_cli.convert.onnx_graph import Port
from attn_cli.convert.onnx_layers import N_POSITIONS, GrownCache, numbered
from attn_cli.models.convolutional import ConvolutionalSeq2Seq, ConvolutionalState
from attn_cli.models.recurrent_seq2seq import RecurrentSeq2Seq, RecurrentState
from attn_cli.models.seq2seq import Transformer
from attn_cli.models.seq2seq_base import Seq2SeqModel
from attn_cli.nn.cache import KeyValue
from attn_cli.nn.convolution import ConvolvedMemory
from attn_cli.nn.state_attention import Memory

Tensors = tuple[Tensor, ...]
SOURCE = "source_length"


class StepForm(nn.Module, ABC):
    """How a model's decoder goes through a graph.

    Attributes:
        one_token: whether a step reads one token, or any number of them.
        memory: what the encoder gives and every step reads.
        state: what the encoder gives first, and each step anew.
    """

    one_token: ClassVar[bool] = True
    memory: tuple[Port, ...]
    state: tuple[Port, ...]

    @abstractmethod
    def start(self, ids: Tensor, mask: Tensor) -> Tensors:
        """Memory and state. Shape: (B, S) each, the second one boolean."""

    @abstractmethod
    def advance(self, tokens: Tensor, mask: Tensor, memory: Tensors, state: Tensors) -> Tensors:
        """Logits (B, T, V) and the state after it. Shape: tokens (B, T), mask (B, S), boolean."""

    def after(self) -> tuple[Port, ...]:
        """The state that a step gives."""
        return tuple(
            Port(f"new_{port.name}", port.axes, port.what, port.type) for port in self.state
        )


class TransformerForm(StepForm):
    """Keys and values of every layer: of the source, and of the target so far."""

    one_token = False

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model
        config = model.config
        heads = (config.n_heads, config.d_head(config.d_model, config.n_heads))
        self._n_layers = config.n_decoder_layers
        self._heads = heads
        sizes = (self._n_layers, 2, "batch", heads[0])
        keys = "keys and values of each layer, of the"
        self.memory = (Port("memory", (*sizes, SOURCE, heads[1]), f"{keys} source", "float32"),)
        self.state = (
            Port("cache", (*sizes, "history", heads[1]), f"{keys} target so far", "float32"),
        )

    def start(self, ids: Tensor, mask: Tensor) -> Tensors:
        """See `StepForm`: (L, 2, B, H, S, K), and as much without history."""
        model, places = self.model, numbered(ids.shape[1])
        x = model.src_embedding(ids, places)
        x = model.encoder(x, mask[:, None, None, :], positions=places)
        memory = torch.stack([torch.stack(pair) for pair in model.decoder.project(x)])
        n_heads, width = self._heads
        return memory, x.new_zeros(self._n_layers, 2, ids.shape[0], n_heads, 0, width)

    def advance(self, tokens: Tensor, mask: Tensor, memory: Tensors, state: Tensors) -> Tensors:
        """See `StepForm`."""
        (pairs,), (cache,), model = memory, state, self.model
        history, length = cache.shape[4], tokens.shape[1]
        places = numbered(length, history)
        grown = GrownCache(cache)
        x, _ = model.decoder(
            model.tgt_embedding(tokens, places),
            [KeyValue(pairs[layer, 0], pairs[layer, 1]) for layer in range(self._n_layers)],
            mask[:, None, None, :],
            places.earlier[None, None],
            positions=places,
            cache=grown,
        )
        return model.logits(x), torch.stack(grown.grown)

    def after(self) -> tuple[Port, ...]:
        """The history is longer after a step."""
        (port,) = super().after()
        axes = tuple("history + target_length" if a == "history" else a for a in port.axes)
        return (Port(port.name, axes, port.what, port.type),)


class ConvolutionalForm(StepForm):
    """The last inputs of each layer's convolution, and how many tokens came before."""

    def __init__(self, model: ConvolutionalSeq2Seq) -> None:
        super().__init__()
        self.model = model
        config = model.config
        layers, width = config.n_decoder_layers, config.d_model
        self._window = layers, config.kernel_size - 1, width
        axes = layers, 2, "batch", SOURCE, width
        windows = "batch", layers, config.kernel_size - 1, width
        self.memory = (Port("memory", axes, "keys and values of each layer's source", "float32"),)
        self.state = (
            Port("windows", windows, "the last inputs of each layer", "float32"),
            Port("positions", ("batch",), "tokens of the target so far"),
        )

    def start(self, ids: Tensor, mask: Tensor) -> Tensors:
        """See `StepForm`: (L, 2, B, S, D), (B, L, k - 1, D), (B,)."""
        model = self.model
        encoded = model.encoder(model.src_embedding(ids, numbered(ids.shape[1])), mask)
        layers = [layer.project(encoded) for layer in model.decoder]
        memory = torch.stack([torch.stack((each.key, each.value)) for each in layers])
        windows = memory.new_zeros(ids.shape[0], *self._window)
        return memory, windows, ids.new_zeros(ids.shape[0])

    def advance(self, tokens: Tensor, mask: Tensor, memory: Tensors, state: Tensors) -> Tensors:
        """See `StepForm`."""
        (pairs,), (windows, positions) = memory, state
        layers = range(len(self.model.decoder))
        before = ConvolutionalState(
            beam_size=1,
            memory=tuple(ConvolvedMemory(pairs[n, 0], pairs[n, 1], mask) for n in layers),
            windows=windows,
            positions=positions,
            longest=N_POSITIONS - 1,
        )
        logits, after, _ = self.model.step(before, tokens)
        return logits, after.windows, after.positions


class RecurrentForm(StepForm):
    """The states of the decoder's cells, and what is fed back."""

    def __init__(self, model: RecurrentSeq2Seq) -> None:
        super().__init__()
        self.model = model
        config = model.config
        width, parts = config.d_model, model.decoder.n_parts
        axes = "batch", SOURCE, width
        self.memory = (
            Port("memory_keys", axes, "what is compared with a state of the decoder", "float32"),
            Port("memory_values", axes, "what is attended to", "float32"),
        )
        feeds = config.input_feeding and config.attend_from != "previous"
        cells = "batch", config.n_decoder_layers, 1, parts, width
        self.state = (Port("cells", cells, "the states of the decoder's cells", "float32"),)
        if feeds:
            fed = Port("fed", ("batch", width), "the output that is fed back", "float32")
            self.state += (fed,)

    def start(self, ids: Tensor, mask: Tensor) -> Tensors:
        """See `StepForm`: (B, S, D) twice, (B, L, 1, R, D), and (B, D) if output is fed back."""
        state = self.model.start(ids, mask)
        return state.memory.key, state.memory.value, *self._kept(state)

    def advance(self, tokens: Tensor, mask: Tensor, memory: Tensors, state: Tensors) -> Tensors:
        """See `StepForm`."""
        fed = state[1] if len(state) > 1 else state[0].new_zeros(tokens.shape[0], 0)
        before = RecurrentState(
            beam_size=1, memory=Memory(memory[0], memory[1], mask), cells=state[0], fed=fed
        )
        logits, after, _ = self.model.step(before, tokens)
        return logits, *self._kept(after)

    def _kept(self, state: RecurrentState) -> Tensors:
        return (state.cells, state.fed)[: len(self.state)]


def form_of(model: Seq2SeqModel) -> StepForm | None:
    """The form of a model's steps; None where it has none."""
    if isinstance(model, Transformer):
        return TransformerForm(model)
    if isinstance(model, ConvolutionalSeq2Seq):
        return ConvolutionalForm(model)
    # Without attention nobody reads the encoder's outputs, which PyTorch's tracer can't leave out.
    if isinstance(model, RecurrentSeq2Seq) and model.has_attention:
        return RecurrentForm(model)
    return None
