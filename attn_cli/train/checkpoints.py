"""Training states and best weights on disk: written beside, renamed, never trusted unchecked.

checkpoints/lock                         held while a training runs
checkpoints/state-00001200.safetensors   all that is needed to continue; the last two are kept
checkpoints/state-00001200/              the same of a sharded training: see `distributed_states`
checkpoints/best-00001200.safetensors    weights of the best validations, `--keep-best` of them
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from attn_cli.errors import AttnError, DataError
from attn_cli.files import inside, writing
from attn_cli.models.storage import load_tensors, save_tensors
from attn_cli.train.processes import Processes

StateProblem = Callable[[Mapping[str, Tensor], Mapping[str, object]], str | None]
_STATES_KEPT = 2
_STATES = ("state-*.safetensors", "state-*[0-9]")


class Checkpoints:
    """The `checkpoints` folder of a model directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save_state(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        meta: Mapping[str, object],
        processes: Processes,
    ) -> None:
        """Saves a training state; older ones, and refused ones, are removed once it is safe.

        All ranks must call this.
        """
        newest = self._state(step)
        if processes.is_sharded:
            from attn_cli.train.distributed_states import save_distributed

            newest = newest.with_suffix("")
            save_distributed(newest, tensors, meta, processes)
        if not processes.is_main:
            return
        if not processes.is_sharded:
            save_tensors(newest, tensors, meta)
        states = self._states()
        refused = [path for path in states if _step_of(path) > _step_of(newest)]
        for path in (*states[: states.index(newest) + 1][:-_STATES_KEPT], *refused):
            remove_state(path)

    def load_state(
        self,
        warn: Callable[[str], None],
        problem: StateProblem,
        layout: Mapping[str, Tensor],
        processes: Processes,
    ) -> tuple[dict[str, Tensor], dict[str, object]] | None:
        """The newest state that is whole and fits; None if none was saved.

        Args:
            warn: is told of each state that is passed over.
            problem: says why a whole state can't be continued from, if it can't.
            layout: the weights by the names of what is saved of them.
            processes: those that train, whatever number of them has saved it.

        Raises:
            DataError: states were saved, but none of them can be used.
        """
        states = self._states()
        for path in reversed(states):
            try:
                tensors, meta = self._read(path, layout, processes)
                if cause := problem(tensors, meta):
                    raise DataError(f"{path}: not a state of this training: {cause}")
                return tensors, meta
            except DataError as error:
                warn(f"{error}; trying the state saved before it")
        if states:
            raise DataError(f"{self.folder}: no saved state is usable; --overwrite starts afresh")
        return None

    def save_best(
        self, step: int, weights: Mapping[str, Tensor], meta: Mapping[str, object]
    ) -> None:
        """Saves the weights of a good validation."""
        save_tensors(self._best(step), weights, meta)

    def keep_best(self, steps: list[int]) -> None:
        """Removes all best weights but those of these steps."""
        kept = {self._best(step) for step in steps}
        for path in self.folder.glob("best-*.safetensors"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def average(self, steps: list[int]) -> dict[str, Tensor]:
        """The mean of saved best weights, summed in float64.

        Raises:
            DataError: one of them is missing or damaged.
        """
        total: dict[str, Tensor] = {}
        for step in steps:
            file = inside(self.folder, self._best(step).name)
            for name, tensor in load_tensors(file)[0].items():
                total[name] = total.get(name, torch.zeros(())) + tensor.double()
        return {name: (tensor / len(steps)).float() for name, tensor in total.items()}

    def clear_states(self) -> None:
        """Removes what only an unfinished training needs."""
        of_corpora = ("*.index", "*.index.json", "*.txt", "*.npy")
        of_files = ("*.images", "*.images.json", "*.image-numbers", "*.audio*")
        for pattern in (*_STATES, "partial-state-*", *of_corpora, *of_files):
            for path in self.folder.glob(pattern):
                remove_state(path)

    def _read(
        self, path: Path, layout: Mapping[str, Tensor], processes: Processes
    ) -> tuple[dict[str, Tensor], dict[str, object]]:
        """A saved state; the parts of it that belong here, of a sharded training."""
        if not path.is_dir() and not processes.is_sharded:
            return load_tensors(inside(self.folder, path.name))
        from attn_cli.train.distributed_states import laid_out, load_distributed

        if path.is_dir():
            return load_distributed(path, layout, processes)
        tensors, meta = load_tensors(inside(self.folder, path.name))
        return laid_out(tensors, layout), meta

    def _states(self) -> list[Path]:
        """Files and folders, in the order of their steps."""
        found = [path for pattern in _STATES for path in self.folder.glob(pattern)]
        return sorted(found, key=_step_of)

    def _state(self, step: int) -> Path:
        return self.folder / f"state-{step:09d}.safetensors"

    def _best(self, step: int) -> Path:
        return self.folder / f"best-{step:09d}.safetensors"


def remove_state(path: Path) -> None:
    """Removes a file, or the folder of a sharded state."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _step_of(path: Path) -> str:
    return path.name.removesuffix(".safetensors")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; the system gives it back when the process ends, however it ends.

    Raises:
        AttnError: another training holds it.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file: IO[str] = inside(folder, "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise AttnError(
            f"{folder.parent}: another training is writing there; wait for it, or choose another -o"
        ) from error
    try:
        yield
    finally:
        file.close()
