"""The one training loop: set up, fit, one update, validate.

It knows neither the model nor the data. An `Objective` maps a batch to its loss; batches come from
`data.batching.stream`; `Training.validate` says how good the current weights are.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic

from torch import Tensor

from attn_cli.config import parse_duration
from attn_cli.config.training import TrainingOptions
from attn_cli.data.batching import B, Peers, Placed, Position
from attn_cli.device import use_bf16
from attn_cli.errors import AttnError, InterruptedTrainingError
from attn_cli.models.directory import NOTE
from attn_cli.nn.lora import plain_weights
from attn_cli.train.averaging import MovingAverage
from attn_cli.train.checkpoints import Checkpoints
from attn_cli.train.dropout_warmup import DropoutWarmup
from attn_cli.train.kept import KeptWeights
from attn_cli.train.limits import Limits
from attn_cli.train.monitor import Monitor
from attn_cli.train.objective import Objective
from attn_cli.train.optim import build_optimizers, learning_rate_factor, set_rates
from attn_cli.train.passes import Passes
from attn_cli.train.processes import Processes
from attn_cli.train.progress import LOWER_IS_BETTER, Progress, Validated
from attn_cli.train.signals import StopSignals
from attn_cli.train.spread import Spread
from attn_cli.train.state import TensorState
from attn_cli.train.team import Crew

_SKIPS_ALLOWED = 5  # updates in a row whose loss is not finite


@dataclass(frozen=True)
class Training(Generic[B]):
    """What is trained.

    Attributes:
        objective: what is minimized; its model is trained and saved.
        stream: endless placed batches from a position on, which all ranks read together.
        validate: figures of the current weights on the dev data, e.g. {"loss": 2.1, "bleu": 30.2};
            all ranks call it, and what it is given shares its work out among them.
        rates: factors of the peak learning rate, by the parameter's name; 1 where none is given.
        validates_often: whether a validation costs less than a saved state, and comes so often
            that states are saved by the clock alone, and few validations are said.
        starts_trained: whether the first weights are worth keeping: they are validated too.
        says_nothing_below: what a metric's figure must reach; below, the loss decides which
            weights are better. Of a metric of errors, its negative.
        too_young: what is then said of them, and kept with them.
        validation_epochs: the passes over the training data that take as long as a validation,
            about: an estimate, by which validations are planned where no clock ends the run.
    """

    objective: Objective[B]
    stream: Callable[[Position, Peers], Generator[Placed[B], None, None]]
    validate: Callable[[Spread], dict[str, float]]
    rates: Mapping[str, float] = field(default_factory=dict)
    validates_often: bool = False
    starts_trained: bool = False
    says_nothing_below: Mapping[str, float] = field(default_factory=dict)
    too_young: str = ""
    validation_epochs: float = 0.0


class Trainer(Generic[B]):
    """Trains a model to the end of its run; resumes where a saved state stands.

    Args:
        training: what is trained.
        options: how.
        processes: this process among its peers.
        checkpoints: where states are saved.
        monitor: what is said and logged.
        save: writes the weights to use into the model directory, and what is told of them.
        crew: the processes that this one started, or that started it.
    """

    def __init__(
        self,
        training: Training[B],
        options: TrainingOptions,
        processes: Processes,
        checkpoints: Checkpoints,
        monitor: Monitor,
        save: Callable[[Mapping[str, Tensor], Mapping[str, object]], None],
        crew: Crew | None = None,
    ) -> None:
        self.training = training
        self.objective = training.objective
        self.options = options
        self.processes = processes
        self.checkpoints = checkpoints
        self.monitor = monitor
        self._save_weights = save
        self._kept = KeptWeights(save, often=training.validates_often)
        self.crew = crew or Crew()
        self.progress = Progress()
        self.optimizers = build_optimizers(
            self.objective.model, options, training.rates, self._each, processes.deal
        )
        if self.objective.partner is not None:
            self.optimizers += build_optimizers(
                self.objective.partner, options, None, self._each, processes.deal
            )
        self.average = MovingAverage(self.objective.averaged, options.ema)
        self._dropout = DropoutWarmup(self.objective.model, options.dropout_warmup)
        bf16 = use_bf16(options.precision, processes.device, learns=True)
        self._passes = Passes(self.objective, options, monitor, bf16=bf16)
        self._limits = Limits(
            options, training.validation_epochs, starts_trained=training.starts_trained
        )
        self._save_every = parse_duration(options.save_every)
        self._resumed_at = self._saved_at = time.monotonic()
        self._batches: Generator[Placed[B], None, None] | None = None

    def fit(self) -> Progress:
        """Trains until a limit, until patience ends, or until a signal.

        Raises:
            InterruptedTrainingError: a signal came; the state is saved.
            AttnError: the loss was not finite several times in a row.
        """
        self.crew.await_call()
        with self.processes.together():
            self._resume()
        self._assemble()
        self._resumed_at = time.monotonic()
        self.objective.train()
        stream = contextlib.closing(self)  # of what is read ahead
        with StopSignals() as signals, self._watched(), self._written(), stream:
            if self.training.starts_trained and not self.progress.best:
                self._validate()
            if self.crew.measures:
                self._save()
            while not self.progress.finished:
                began = time.monotonic()
                n_read = self._update([self._next() for _ in range(self.options.accumulate)])
                left = self.monitor.seconds_left(self._share_done())
                self.crew.timed(n_read, time.monotonic() - began, left)
                self._after_update(signals)
                if self.crew.joins:
                    self._go_back()
                    self._assemble()
        self._finish()
        return self.progress

    def _assemble(self) -> None:
        """Trains on in the processes that are to; all of them have taken up the same state."""
        self.close()
        self.processes = self.crew.assemble(self.processes, self.progress)
        self.processes.align(self.objective.trained)

    def close(self) -> None:
        """Ends the stream of batches, which others are to read with this rank, or no longer."""
        if self._batches is not None:
            self._batches.close()
            self._batches = None

    def _next(self) -> Placed[B]:
        """The next batch; a stream that is opened here goes on where the training stands."""
        if self._batches is None:
            self._batches = self.training.stream(self.progress.position, self.processes)
        return next(self._batches)

    def _each(
        self, function: Callable[[Tensor], Tensor], stacks: Iterable[Tensor]
    ) -> Iterable[Tensor]:
        return self.processes.each(function, stacks)

    def _watched(self) -> contextlib.AbstractContextManager[None]:
        return self.monitor.watching(self.progress, self.options, self._share_done())

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        """A context that leaves no good weights and no line of the log in memory alone."""
        try:
            yield
        finally:
            self._write()

    def _write(self) -> None:
        self._kept.write()
        self.monitor.write_log()

    def _update(self, placed: Sequence[Placed[B]]) -> int:
        """One optimizer update on one global batch: the loss is a token sum over all of it.

        Returns:
            The tokens that were read.
        """
        progress = self.progress
        self.processes.waiting.step = progress.step + 1
        factor = learning_rate_factor(progress.step, self._share_done(), self.options)
        set_rates(self.optimizers, factor, progress.step)
        self.objective.begin_update(self._share_done())
        self._dropout.set(progress.epochs)
        n_tokens = sum(item.batch.n_tokens for item in placed)
        sums = self.processes.total(
            *self._passes.gradient([item.batch for item in placed], n_tokens, self.processes)
        )
        self.processes.sum_gradients(self.objective.trained)
        # Model and partner work against each other: neither's gradient may shrink the other's.
        largest = self.options.clip_norm or math.inf
        norm = math.hypot(
            *(self.processes.clip(module, largest) for module in self.objective.trained)
        )
        if math.isfinite(sums[0]) and math.isfinite(norm):
            for optimizer in self.optimizers:
                optimizer.step()
            self.average.update(progress.step)
            progress.loss_sum += sums[0]
            progress.nll_sum += sums[1]
            progress.token_sum += n_tokens
            progress.skipped_in_a_row = 0
        else:
            self._skip(sums[0], norm)
        self._passes.zero_grad()
        progress.step += 1
        progress.position, progress.epochs = placed[-1].after, placed[-1].epochs
        n_read = sum(item.batch.n_read for item in placed)
        self.monitor.step(progress, self._share_done(), n_read)
        return n_read

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
                "saved state is intact. Lower --lr, or use --precision float32"
            )

    def _after_update(self, signals: StopSignals) -> None:
        """Between updates: validate, save, stop, as rank 0 sees it and all ranks agree."""
        progress = self.progress
        progress.seconds += time.monotonic() - self._resumed_at
        self._resumed_at = time.monotonic()
        since_saved = time.monotonic() - self._saved_at
        progress.seconds, signal_number, save, verdict = self.processes.agree(
            progress.seconds,
            signals.received,
            since_saved >= self._save_every,
            self.crew.verdict or progress.processes,
        )
        if 0 < verdict < self.processes.world:
            self._part()
            return
        if verdict != progress.processes:
            progress.processes = int(verdict)
            save = True
        due = self._limits.validation_due(progress)
        if due or save or signal_number:
            self._state().require_finite(progress.step, self.processes)
        if due:
            progress.validations += 1
            self._validate()
            if self._share_done() >= 1:
                progress.finished = "limit reached"
            elif self.options.patience and progress.since_best >= self.options.patience:
                progress.finished = f"no better validation in {self.options.patience}"
            save = save or not self.training.validates_often or bool(progress.finished)
            (signal_number,) = self.processes.agree(signals.received)
        if save or signal_number:
            self._save()
        if signal_number and not progress.finished:
            raise InterruptedTrainingError(
                f"stopped after step {progress.step}, state saved; the same command continues",
                int(signal_number),
            )

    def _part(self) -> None:
        """Rank 0 goes on alone; the others wait to take up what was saved with it."""
        self.close()
        self.processes = self.processes.leave()
        self.crew.part()
        if not self.processes.is_main:
            self._go_back()
            self._assemble()

    def _go_back(self) -> None:
        """To the saved state from which updates were timed: those who were chosen make them again.

        So what was chosen, not when, decides which bytes a training ends with.
        """
        seconds = self.progress.seconds
        self.close()
        self._resume(again=True)
        self.progress.seconds = seconds

    def _share_done(self) -> float:
        return self._limits.share_done(self.progress)

    def _validate(self) -> None:
        """Measures the averaged weights, logs the figures, keeps the weights if they are good."""
        progress, metric = self.progress, self.options.metric
        began = time.monotonic()
        if self.processes.is_main:
            self.monitor.validating(progress)
        with self.average.applied(), self.processes.whole(self.objective):
            self.objective.eval()
            figures = self.training.validate(self.processes.spread)
            self.objective.train()
            if self.processes.is_main:
                loss = _finite(-figures["loss"])
                sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
                good = loss if metric == "loss" else _finite(sign * figures[metric])
                if good < self.training.says_nothing_below.get(metric, -math.inf):
                    good = -math.inf
                progress.validation_seconds += time.monotonic() - began
                self._keep_if_good(Validated(good, loss, progress.step))
                self._kept.write_in_time()
        if self.processes.is_main:
            is_best = progress.since_best == 0
            progress.log_bytes = self.monitor.validation(
                progress, figures, is_best=is_best, often=self.training.validates_often
            )
            progress.loss_sum = progress.nll_sum = 0.0
            progress.token_sum = 0
        since, size, progress.validation_seconds = self.processes.agree(
            progress.since_best, progress.log_bytes, progress.validation_seconds
        )
        progress.since_best, progress.log_bytes = int(since), int(size)

    def _keep_if_good(self, validated: Validated) -> None:
        progress, keep = self.progress, self.options.keep_best
        is_best = not progress.best or validated.beats(progress.best[0])
        progress.since_best = 0 if is_best else progress.since_best + 1
        progress.best = sorted([*progress.best, validated], key=lambda item: item.rank)[:keep]
        weights = plain_weights(self.objective.model)
        meta: dict[str, object] = {
            "step": validated.step,
            "metric": self.options.metric,
            "figure": validated.measured(self.options.metric),
        }
        if validated.says_nothing:
            meta |= {"metric": "loss", "figure": -validated.minus_loss}
            meta |= {NOTE: self.training.too_young} if self.training.too_young else {}
        if is_best:
            self._kept.keep(weights, meta)
        if keep > 1 and validated in progress.best:
            self.checkpoints.save_best(progress.step, weights, meta)

    def _finish(self) -> None:
        """Averages the best weights where that was asked for."""
        steps = [item.step for item in self.progress.best[: self.options.average]]
        if self.processes.is_main and len(steps) > 1:
            self._save_weights(self.checkpoints.average(steps), {"average_of_steps": steps})

    def _save(self) -> None:
        """Saves all that is needed to continue to the same bytes."""
        self._saved_at = time.monotonic()
        tensors = self._state().tensors(self.processes)
        if self.processes.is_main:
            self._write()
        meta = {"progress": self.progress.to_meta()}
        self.checkpoints.save_state(self.progress.step, tensors, meta, self.processes)
        if self.processes.is_main:
            self.checkpoints.keep_best([item.step for item in self.progress.best])

    def _resume(self, *, again: bool = False) -> None:
        """Continues from the newest whole state, if there is one; `again`: says nothing of it."""
        loaded = self.checkpoints.load_state(
            self.monitor.warn, self._state_problem, self._state().layout(), self.processes
        )
        if loaded is None:
            self.monitor.cut_log(0)
            return
        tensors, meta = loaded
        self._state().load(tensors, self.processes)
        self.progress = Progress.from_meta(meta["progress"])
        if again:
            self.monitor.cut_log(self.progress.log_bytes)
        else:
            self.monitor.resumed(self.progress)

    def _state_problem(
        self, tensors: Mapping[str, Tensor], meta: Mapping[str, object]
    ) -> str | None:
        """Why a whole state can't be continued from here, if it can't."""
        try:
            Progress.from_meta(meta["progress"])
        except (KeyError, TypeError, ValueError):
            return "its progress is not what this version of attn writes"
        return self._state().problem(tensors)

    def _state(self) -> TensorState:
        return TensorState(
            self.objective.model, self.optimizers, self.average, self.objective.partner
        )


def _finite(figure: float) -> float:
    return figure if math.isfinite(figure) else -math.inf
