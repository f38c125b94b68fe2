"""States of trainings whose weights are sharded: each process writes its part, any number reads.

state-00001200/shard-00001-model-00001-of-00001.safetensors   the part of the first process
state-00001200/state.json                                     checksums, and where training stands

`torch.distributed.checkpoint` writes and reads the tensors, in the form of safetensors: no pickle.
A folder has its name once all of it is on the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.tensor import DTensor, distribute_tensor

from attn_cli.errors import AttnError, DataError
from attn_cli.files import inside, read_bounded, sync_folder, write_atomically
from attn_cli.model_files import read_header
from attn_cli.train.exchange import exchange
from attn_cli.train.processes import Processes

PARTIAL = "partial-"
_MANIFEST = "state.json"
_MANIFEST_BYTES = 1 << 26
_DIGEST = 32  # bytes


def save_distributed(
    folder: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, object], processes: Processes
) -> None:
    """Writes a state, of which each rank has its parts; all ranks must call this.

    Args:
        folder: what it will be called; all ranks must see the same file system there.
        tensors: by name, some of them sharded; the others are the same on all ranks.
        meta: where the training stands.
        processes: those that train.

    Raises:
        AttnError: it can't be written.
    """
    partial = folder.with_name(PARTIAL + folder.name)
    with processes.together():
        if processes.is_main:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
    with processes.together(), _plainly(folder, "written", AttnError), exchange(processes):
        writer = HuggingFaceStorageWriter(str(partial), save_distributed=True)
        dcp.save(dict(tensors), storage_writer=writer, no_dist=processes.world == 1)
    file = partial / _shard(processes.rank)
    digest = bytes.fromhex(_checksum(file)) if file.exists() else bytes(_DIGEST)
    digests = processes.gather(torch.tensor(list(digest), dtype=torch.uint8))
    with processes.together():
        if processes.is_main:
            files = {_shard(r): bytes(d.tolist()).hex() for r, d in enumerate(digests) if d.any()}
            for name in files:
                if not (partial / name).exists():
                    raise AttnError(
                        f"{partial / name}: another node has written its part elsewhere; -o must "
                        "lie on a file system that all nodes share"
                    )
            manifest = json.dumps({"files": files, "meta": meta})
            write_atomically(partial / _MANIFEST, manifest.encode())
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
            sync_folder(folder.parent)


def load_distributed(
    folder: Path, layout: Mapping[str, Tensor], processes: Processes
) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Reads a state that any number of processes has written; all ranks must call this.

    Args:
        folder: where it is.
        layout: see `laid_out`.
        processes: those that train.

    Returns:
        The tensors, sharded as their weights are, and where the training stands.

    Raises:
        DataError: it is not whole, damaged or foreign, for every rank alike.
    """
    with agreed(processes):
        files, meta = _manifest(folder)
        # Each file is read through by one of the ranks.
        for name in sorted(files)[processes.rank :: processes.world]:
            if _checksum(inside(folder, name)) != files[name]:
                raise DataError(f"{folder / name}: damaged (its checksum differs)")
            read_header(folder / name)
    reader = HuggingFaceStorageReader(str(folder))
    with agreed(processes), _plainly(folder, "read", DataError):
        tensors = _room(reader, layout)
    with _plainly(folder, "read", DataError), exchange(processes):
        dcp.load(tensors, storage_reader=reader, no_dist=processes.world == 1)
    return tensors, meta


def laid_out(tensors: Mapping[str, Tensor], layout: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors, sharded as their weights are.

    Args:
        tensors: of a saved state, by name.
        layout: weights by the names of what is saved of them; see `TensorState.layout`.
    """
    found = dict(tensors)
    for name, tensor in tensors.items():
        weight = _weight_of(name, layout)
        if isinstance(weight, DTensor) and weight.shape == tensor.shape:
            placed = tensor.to(weight.device)
            mesh, places = weight.device_mesh, weight.placements
            found[name] = distribute_tensor(placed, mesh, places, src_data_rank=None)
    return found


@contextlib.contextmanager
def agreed(processes: Processes) -> Iterator[None]:
    """A block that reads data and fails on all ranks if it fails on one.

    Raises:
        DataError: what this rank has found, or that another has found something.
    """
    failed: DataError | None = None
    try:
        yield
    except DataError as error:
        failed = error
    (count,) = processes.total(float(failed is not None))
    if failed is not None:
        raise failed
    if count:
        raise DataError("another process can't read a saved state")


def _room(reader: HuggingFaceStorageReader, layout: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Memory for the tensors of a state, those of a sharded weight sharded like it."""
    tensors: dict[str, Tensor] = {}
    for name, stored in reader.read_metadata().state_dict_metadata.items():
        assert isinstance(stored, TensorStorageMetadata)
        weight, dtype = _weight_of(name, layout), stored.properties.dtype
        if isinstance(weight, DTensor) and weight.shape == stored.size:
            tensors[name] = torch.empty_like(weight, dtype=dtype, requires_grad=False)
        else:
            tensors[name] = torch.empty(stored.size, dtype=dtype)
    return tensors


def _weight_of(name: str, layout: Mapping[str, Tensor]) -> Tensor | None:
    return layout.get(name, layout.get(name.rpartition(".")[0]))


def _shard(rank: int) -> str:
    """The file of a rank, as `torch.distributed.checkpoint` calls it."""
    return f"shard-{rank + 1:05d}-model-00001-of-00001.safetensors"


def _manifest(folder: Path) -> tuple[dict[str, str], dict[str, object]]:
    """Checksums by file, and where the training stands."""
    file = inside(folder, _MANIFEST)
    raw = read_bounded(file, _MANIFEST_BYTES, "too large for a list of files")
    try:
        manifest = json.loads(raw)
        files, meta = dict(manifest["files"]), dict(manifest["meta"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"{file}: not what attn writes") from error
    there = {path.name for path in folder.iterdir()} - {_MANIFEST}
    if there != files.keys():
        name = min(there ^ files.keys())
        what = "not listed in" if name in there else "missing, but listed in"
        raise DataError(f"{folder / name}: {what} {_MANIFEST}")
    return files, meta


def _checksum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@contextlib.contextmanager
def _plainly(folder: Path, what: str, kind: type[AttnError]) -> Iterator[None]:
    """A context in which what PyTorch's checkpoints raise is an error of a kind of ours."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is one process
            yield
    except CheckpointException as error:
        cause = next(iter(error.failures.values()))[0]
        raise kind(f"{folder}: can't be {what}: {cause}") from error
    except (OSError, ValueError, KeyError, AssertionError, SafetensorError) as error:
        raise kind(f"{folder}: can't be {what}: {error}") from error
