"""How a model is computed in training, and where it lies: whole, or spread over the processes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from attn_cli.config.training import TrainingOptions, TrainingRuntimeOptions
from attn_cli.data.batching import B
from attn_cli.device import use_bf16
from attn_cli.errors import AttnError
from attn_cli.nn.stacked import stack_layers
from attn_cli.train.objective import Objective
from attn_cli.train.processes import Processes
from attn_cli.train.progress import Progress
from attn_cli.train.team import Crew


def arrange(
    objective: Objective[B],
    training: TrainingOptions,
    runtime: TrainingRuntimeOptions,
    processes: Processes,
    crew: Crew,
) -> tuple[Processes, Crew, list[str]]:
    """Prepares a model for its training, as the options say.

    Args:
        objective: what is trained; changed in place.
        training: how it is trained.
        runtime: what is asked for.
        processes: this process as it is.
        crew: what it waits for, or what waits for it.

    Returns:
        This process among those that train; whom it has still to wait for; what is to be said.
    """
    if runtime.compile:
        compile_layers(objective)
    if runtime.checkpoint_activations:
        recompute(objective)
    if not runtime.shard:
        return processes, crew, []
    # Before an optimizer remembers anything of whole weights.
    crew.await_call()
    processes = crew.assemble(processes, Progress())
    if processes.world == 1:
        return processes, Crew(), ["--shard: one process keeps all; add --processes N, or torchrun"]
    from attn_cli.train.sharding import ShardedProcesses

    bf16 = use_bf16(training.precision, processes.device, learns=True)
    sharded = ShardedProcesses.shard(objective, processes, bf16=bf16)
    return (
        sharded,
        Crew(),
        [f"--shard: {processes.world} processes, each with its part of the model"],
    )


def compile_layers(module: nn.Module) -> None:
    """Compiles each layer for training, once for all layers of a kind and all sizes of a batch.

    Raises:
        AttnError: when a layer is first used: there is no compiler, or it fails.
    """
    for layer in stack_layers(module):
        layer.forward = _compiled(layer, layer.forward)


def _compiled(layer: nn.Module, forward: Callable[..., object]) -> Callable[..., object]:
    try:
        in_training = torch.compile(forward, dynamic=True)
    except UnicodeDecodeError as error:
        raise AttnError(
            "--compile: PyTorch's compiler reads its own files as the locale is encoded, which "
            "is not UTF-8 here; set PYTHONUTF8=1, or leave it out"
        ) from error

    @wraps(forward)
    def compiled(*args: object, **kwargs: object) -> object:
        # Searches of a validation, step by step, would be compiled anew for each length.
        if not (layer.training and torch.is_grad_enabled()):
            return forward(*args, **kwargs)
        try:
            return in_training(*args, **kwargs)
        except torch._dynamo.exc.TorchDynamoException as error:
            cause = str(error).strip().partition("\n")[0]
            raise AttnError(f"--compile: {cause}; leave it out, or install a compiler") from error

    return compiled


def recompute(module: nn.Module) -> None:
    """Lets each layer keep its input alone for the way back (Chen et al. 2016).

    All else that it keeps, which is most of what a training's batch takes in memory, is computed
    again, with the same random numbers.
    """
    for layer in stack_layers(module):
        again = partial(checkpoint, layer.forward, use_reentrant=False)
        layer.forward = again
