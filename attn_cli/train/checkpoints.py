"""Training states and best weights on disk: written beside, renamed, never trusted unchecked.

checkpoints/lock                         held while a training runs
checkpoints/state-00001200.safetensors   all that is needed to continue; the last two are kept
checkpoints/best-00001200.safetensors    weights of the best validations, `--keep-best` of them
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from attn_cli.errors import AttnError, DataError
from attn_cli.files import inside, writing
from attn_cli.models.storage import load_tensors, save_tensors

StateProblem = Callable[[Mapping[str, Tensor], Mapping[str, object]], str | None]
_STATES_KEPT = 2


class Checkpoints:
    """The `checkpoints` folder of a model directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save_state(
        self, step: int, tensors: Mapping[str, Tensor], meta: Mapping[str, object]
    ) -> None:
        """Saves a training state; older ones, and refused ones, are removed once it is safe."""
        newest = self._state(step)
        save_tensors(newest, tensors, meta)
        states = self._states()
        refused = [path for path in states if path > newest]
        for path in (*states[: states.index(newest) + 1][:-_STATES_KEPT], *refused):
            path.unlink(missing_ok=True)

    def load_state(
        self, warn: Callable[[str], None], problem: StateProblem
    ) -> tuple[dict[str, Tensor], dict[str, object]] | None:
        """The newest state that is whole and fits; None if none was saved.

        Args:
            warn: is told of each state that is passed over.
            problem: says why a whole state can't be continued from, if it can't.

        Raises:
            DataError: states were saved, but none of them can be used.
        """
        states = self._states()
        for path in reversed(states):
            try:
                tensors, meta = load_tensors(inside(self.folder, path.name))
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
        for pattern in ("state-*.safetensors", *of_corpora, *of_files):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)

    def _states(self) -> list[Path]:
        return sorted(self.folder.glob("state-*.safetensors"))

    def _state(self, step: int) -> Path:
        return self.folder / f"state-{step:09d}.safetensors"

    def _best(self, step: int) -> Path:
        return self.folder / f"best-{step:09d}.safetensors"


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
