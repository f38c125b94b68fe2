"""The one training loop: set up, fit, one update, validate.

It knows neither the model nor the data. An objective is a module that maps a batch to a loss sum
and a negative log-likelihood sum; batches come from `data.batching.stream`; `Task.validate` says
how good the current weights are.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from attn_cli.config import parse_duration
from attn_cli.config.training import TrainingOptions
from attn_cli.data.batching import Placed, Position
from attn_cli.device import use_bf16
from attn_cli.errors import AttnError, InterruptedTrainingError
from attn_cli.memory import is_out_of_memory
from attn_cli.nn.lora import plain_weights
from attn_cli.train.averaging import MovingAverage
from attn_cli.train.checkpoints import Checkpoints
from attn_cli.train.monitor import Monitor
from attn_cli.train.optim import build_optimizers, learning_rate_factor, set_learning_rate
from attn_cli.train.processes import Processes
from attn_cli.train.progress import Progress, Validated
from attn_cli.train.signals import StopSignals
from attn_cli.train.state import TensorState
from attn_cli.wording import plural

_VALIDATIONS = 10  # a run, where --validate-every does not say otherwise
_SKIPS_ALLOWED = 5  # updates in a row whose loss is not finite


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        objective: maps a batch to (loss sum, negative log-likelihood sum), both in nats.
        model: the module inside it whose parameters are trained and saved.
        stream: endless placed batches from a position on.
        validate: figures of the current weights on the dev data, e.g. {"loss": 2.1, "bleu": 30.2}.
        save: writes the weights to use into the model directory.
        rates: factors of the peak learning rate, by the parameter's name; 1 where none is given.
        validates_often: whether a validation costs less than a saved state, and comes so often
            that states are saved by the clock alone, and few validations are said.
        partner: a module inside the objective that is trained along and saved with the state, but
            is no part of the model: a discriminator.
        begin_update: is told before each update what share of the run is done.
        parts: how many parts a batch is cut into, whose objective needs as many times the memory.
        starts_trained: whether the first weights are worth keeping: they are validated too.
    """

    objective: nn.Module
    model: nn.Module
    stream: Callable[[Position], Generator[Placed, None, None]]
    validate: Callable[[], dict[str, float]]
    save: Callable[[Mapping[str, Tensor], Mapping[str, Any]], None]
    rates: Mapping[str, float] = field(default_factory=dict)
    validates_often: bool = False
    partner: nn.Module | None = None
    begin_update: Callable[[float], None] = lambda done: None
    parts: int = 1
    starts_trained: bool = False


class Trainer:
    """Trains a task's model to the end of its run; resumes where a saved state stands.

    Args:
        task: what is trained.
        options: how.
        processes: this process among its peers.
        checkpoints: where states are saved.
        monitor: what is said and logged.
    """

    def __init__(
        self,
        task: Task,
        options: TrainingOptions,
        processes: Processes,
        checkpoints: Checkpoints,
        monitor: Monitor,
    ) -> None:
        self.task = task
        self.options = options
        self.processes = processes
        self.checkpoints = checkpoints
        self.monitor = monitor
        self.progress = Progress()
        self.module = processes.wrap(task.objective)
        if options.compile:
            self.module = torch.compile(self.module)  # type: ignore[assignment]
        self.optimizers = build_optimizers(task.model, options, task.rates)
        if task.partner is not None:
            self.optimizers += build_optimizers(task.partner, options)
        self.average = MovingAverage(task.model, options.ema)
        self._bf16 = use_bf16(options.precision, processes.device)
        self._limit = parse_duration(options.max_time) if options.max_time else math.inf
        self._save_every = parse_duration(options.save_every)
        self._resumed_at = self._saved_at = time.monotonic()

    def fit(self) -> Progress:
        """Trains until a limit, until patience ends, or until a signal.

        Raises:
            InterruptedTrainingError: a signal came; the state is saved.
            AttnError: the loss was not finite several times in a row.
        """
        self._resume()
        self.task.objective.train()
        stream = contextlib.closing(self.task.stream(self.progress.position))
        with StopSignals() as signals, self.monitor.watching(), stream as batches:
            if self.task.starts_trained and self.progress.step == 0:
                self._validate()
            while not self.progress.finished:
                self._update([next(batches) for _ in range(self.options.accumulate)])
                self._look_around(signals)
        self._finish()
        return self.progress

    def _update(self, placed: Sequence[Placed]) -> None:
        """One optimizer update on one global batch: the loss is a token sum over all of it."""
        progress = self.progress
        factor = learning_rate_factor(progress.step, self._share_done(), self.options)
        set_learning_rate(self.optimizers, factor)
        self.task.begin_update(self._share_done())
        n_tokens = sum(item.batch.n_tokens for item in placed)
        sums = self._gradient(placed, n_tokens)
        sums = self.processes.total(*sums)
        norm = nn.utils.clip_grad_norm_(
            self.task.model.parameters(), self.options.clip_norm or math.inf
        )
        if math.isfinite(sums[0]) and math.isfinite(float(norm)):
            for optimizer in self.optimizers:
                optimizer.step()
            self.average.update(progress.step)
            progress.loss_sum += sums[0]
            progress.nll_sum += sums[1]
            progress.token_sum += n_tokens
            progress.skipped_in_a_row = 0
        else:
            self._skip(sums[0], float(norm))
        self._zero_grad()
        progress.step += 1
        progress.position, progress.epochs = placed[-1].after, placed[-1].epochs
        # A masked language model predicts a few of the tokens that it reads.
        n_read = sum(getattr(item.batch, "n_read", item.batch.n_tokens) for item in placed)
        self.monitor.step(progress, self._share_done(), n_read)

    def _gradient(self, placed: Sequence[Placed], n_tokens: int) -> list[float]:
        """Sets the update's gradient; a batch that does not fit into memory is cut and retried.

        A pass that fails has added a part of its gradient already, so all of it is made again.
        """
        shares = [self.processes.share(item.batch) for item in placed]
        largest = max(len(share) for share in shares)
        n_parts = min(self.task.parts, largest)
        while True:
            try:
                return self._accumulate(shares, n_parts, n_tokens)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self.processes.world > 1 or n_parts >= largest:
                    raise AttnError(
                        f"out of memory on {self.processes.device} with "
                        f"{plural(-(-largest // n_parts), 'sentence')} at a time; lower "
                        "--batch-tokens and raise --accumulate, or cut lines with --max-len"
                    ) from error
            self._zero_grad()
            n_parts *= 2
            self.monitor.warn_once("a batch did not fit into memory; such batches are halved")

    def _accumulate(self, batches: Sequence[Any], n_parts: int, n_tokens: int) -> list[float]:
        """Adds the gradients of all batches, each cut into parts; returns the loss sums."""
        parts = [part for batch in batches for part in _cut(batch, n_parts)]
        sums = [0.0, 0.0]
        for number, part in enumerate(parts):
            last = number + 1 == len(parts)
            found = self._backward(part, n_tokens, last=last)
            sums = [total + value for total, value in zip(sums, found, strict=True)]
        return sums

    def _backward(self, batch: Any, n_tokens: int, *, last: bool) -> list[float]:
        """Adds a batch's gradient."""
        batch = batch.to(self.processes.device)
        held = self.processes.holding_back(self.module)
        with held if not last else torch.enable_grad():
            with torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self._bf16):
                loss, nll = self.module(batch)
            # DistributedDataParallel takes the mean over ranks; the loss is a sum over them.
            (loss * (self.processes.world / n_tokens)).backward()
        return [float(loss.detach()), float(nll)]

    def _zero_grad(self) -> None:
        """Forgets the gradients of all that is trained."""
        for module in (self.task.model, self.task.partner):
            if module is not None:
                module.zero_grad(set_to_none=True)

    def _skip(self, loss: float, norm: float) -> None:
        """Leaves an update out whose loss or gradient is not finite."""
        progress = self.progress
        progress.skipped += 1
        progress.skipped_in_a_row += 1
        what = f"step {progress.step + 1}: loss {loss}, gradient norm {norm}"
        self.monitor.warn(f"{what}: not finite, update skipped")
        if progress.skipped_in_a_row > _SKIPS_ALLOWED:
            raise AttnError(
                f"{what}: {progress.skipped_in_a_row} updates in a row were not finite; the last "
                "saved state is intact. Lower --lr and --matrix-lr, or use --precision float32"
            )

    def _look_around(self, signals: StopSignals) -> None:
        """Between updates: validate, save, stop, as rank 0 sees it and all ranks agree."""
        progress = self.progress
        progress.seconds += time.monotonic() - self._resumed_at
        self._resumed_at = time.monotonic()
        since_saved = time.monotonic() - self._saved_at
        progress.seconds, signal_number, save = self.processes.agree(
            progress.seconds, signals.received, since_saved >= self._save_every
        )
        due = self._validation_due()
        if due or save or signal_number:
            self._require_finite_weights()
        if due:
            progress.validations += 1
            self._validate()
            if self._share_done() >= 1:
                progress.finished = "limit reached"
            elif self.options.patience and progress.since_best >= self.options.patience:
                progress.finished = f"no better validation in {self.options.patience}"
            save = save or not self.task.validates_often or bool(progress.finished)
            (signal_number,) = self.processes.agree(signals.received)
        if save or signal_number:
            self._save()
        if signal_number and not progress.finished:
            raise InterruptedTrainingError(
                f"stopped after step {progress.step}, state saved; the same command continues",
                int(signal_number),
            )

    def _require_finite_weights(self) -> None:
        """Raises AttnError if the weights are spoilt: they must not replace those on disk."""
        for name, weight in self.task.model.named_parameters():
            if not bool(torch.isfinite(weight).all()):
                raise AttnError(
                    f"step {self.progress.step}: {name} is no finite number any more; "
                    "what was saved is intact. Lower --lr and --matrix-lr, or use --precision "
                    "float32"
                )

    def _share_done(self) -> float:
        """The share of the run that is done, by whichever limit comes first."""
        options, progress = self.options, self.progress
        return max(
            progress.step / (options.max_steps or math.inf),
            progress.epochs / (options.max_epochs or math.inf),
            progress.seconds / self._limit,
        )

    def _validation_due(self) -> bool:
        if self._share_done() >= 1:
            return True
        if self.options.validate_every:
            return self.progress.step % self.options.validate_every == 0
        return self._share_done() * _VALIDATIONS >= self.progress.validations + 1

    def _validate(self) -> None:
        """Measures the averaged weights, logs the figures, keeps the weights if they are good."""
        progress, metric = self.progress, self.options.metric
        if self.processes.is_main:
            with self.average.applied():
                self.task.objective.eval()
                figures = self.task.validate()
                self.task.objective.train()
                loss = _finite(-figures["loss"])
                good = loss if metric == "loss" else _finite(figures[metric])
                self._rank_among_best(Validated(good, loss, progress.step))
            is_best = progress.since_best == 0
            progress.log_bytes = self.monitor.validation(
                progress, figures, is_best=is_best, often=self.task.validates_often
            )
            progress.loss_sum = progress.nll_sum = 0.0
            progress.token_sum = 0
        since, size = self.processes.agree(progress.since_best, progress.log_bytes)
        progress.since_best, progress.log_bytes = int(since), int(size)

    def _rank_among_best(self, found: Validated) -> None:
        progress, keep = self.progress, self.options.keep_best
        is_best = not progress.best or found.beats(progress.best[0])
        progress.since_best = 0 if is_best else progress.since_best + 1
        progress.best = sorted([*progress.best, found], key=lambda one: one.rank)[:keep]
        weights = plain_weights(self.task.model)
        meta = {"step": found.step, "metric": self.options.metric, "figure": found.figure}
        if is_best:
            self.task.save(weights, meta)
        kept = [one.step for one in progress.best]
        if keep > 1 and progress.step in kept:
            self.checkpoints.save_best(progress.step, weights, meta)

    def _finish(self) -> None:
        """Averages the best weights where that was asked for."""
        steps = [one.step for one in self.progress.best[: self.options.average]]
        if not self.processes.is_main or len(steps) < 2:
            return
        self.task.save(self.checkpoints.average(steps), {"average_of_steps": steps})

    def _save(self) -> None:
        """Saves all that is needed to continue to the same bytes."""
        self._saved_at = time.monotonic()
        tensors = self._state().tensors(self.processes)
        if self.processes.is_main:
            meta = {"progress": self.progress.to_meta()}
            self.checkpoints.save_state(self.progress.step, tensors, meta)
            self.checkpoints.keep_best([one.step for one in self.progress.best])

    def _resume(self) -> None:
        """Continues from the newest whole state, if there is one."""
        loaded = self.checkpoints.load_state(self.monitor.warn, self._state_problem)
        if loaded is None:
            self.monitor.cut_log(0)
            return
        tensors, meta = loaded
        self._state().load(tensors, self.processes)
        self.progress = Progress.from_meta(meta["progress"])
        self.monitor.resumed(self.progress)

    def _state_problem(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> str | None:
        """Why a whole state can't be continued from here, if it can't."""
        try:
            Progress.from_meta(meta["progress"])
        except (KeyError, TypeError, ValueError):
            return "its progress is not what this version of attn writes"
        return self._state().problem(tensors)

    def _state(self) -> TensorState:
        return TensorState(self.task.model, self.optimizers, self.average, self.task.partner)


def _finite(figure: float) -> float:
    return figure if math.isfinite(figure) else -math.inf


def _cut(batch: Any, n_parts: int) -> list[Any]:
    size = -(-len(batch) // n_parts)
    return [batch.rows(slice(first, first + size)) for first in range(0, len(batch), size)]
