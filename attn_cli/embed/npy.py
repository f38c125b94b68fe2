"""A `.npy` file whose number of rows is known only at its end."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from attn_cli.errors import AttnError
from attn_cli.files import replacing, writing


class NpyWriter:
    """Writes float32 rows as they come; a context that leaves a whole file, or the old one.

    NumPy pads a header so that the first axis may grow in place; the header that is written first
    says 0 rows, and is written over at the end.

    Args:
        path: the file.
        row_shape: the shape of one row.

    Raises:
        AttnError: the file can't be written.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...]) -> None:
        self._path = path
        self._row_shape = row_shape
        self._rows = 0
        if path.exists() and not path.is_file():
            raise AttnError(f"{path}: not a file; --format npy needs one")
        self._replacing = replacing(path)
        self._file: BinaryIO

    def __enter__(self) -> Self:
        self._file = self._replacing.__enter__()
        self._header()
        return self

    def write(self, row: NDArray[np.float32] | None) -> None:
        """Writes a row; None, of a line without a vector, is a row of NaN."""
        if row is None:
            row = np.full(self._row_shape, np.nan, np.float32)
        with writing(self._path):
            self._file.write(np.ascontiguousarray(row, "<f4").tobytes())
        self._rows += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            with writing(self._path):
                self._file.seek(0)
                self._header()
        self._replacing.__exit__(kind, error, trace)

    def _header(self) -> None:
        shape = (self._rows, *self._row_shape)
        values: dict[str, object] = {"descr": "<f4", "fortran_order": False, "shape": shape}
        with writing(self._path):
            npy.write_array_header_1_0(self._file, values)
