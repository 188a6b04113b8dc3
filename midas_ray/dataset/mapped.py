"""Large arrays in files that are mapped into memory: a panel may be larger than the machine's memory.

Up to MOST_IN_MEMORY_BYTES an array is an ordinary one. A larger one lies in a file of the temporary folder (TMPDIR)
that has no name any more: the system reads and writes what is touched, and frees it when the last user is gone.
"""

import math
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_IN_MEMORY_BYTES = 1 << 30


def large_array(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array of zeros, in memory or mapped."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= MOST_IN_MEMORY_BYTES or size == 0:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(prefix="midas-columns-") as file:
        file.truncate(size)
        return _mapped(file, dtype, shape)


def _mapped(file: Any, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """A plain array over the file: of a numpy.memmap Ray would take a copy into memory before it stores it."""
    return np.memmap(file, dtype, "r+", shape=shape).view(np.ndarray)


class Rows:
    """Blocks of rows put one below the other, without holding all of them in memory twice."""

    def __init__(self) -> None:
        self._blocks: list[npt.NDArray[Any]] = []
        self._size = 0
        self._file: Any = None
        self._rows = 0

    def add(self, block: npt.NDArray[Any]) -> None:
        """Put `block` (n, ...) below what there is; all blocks are of one type and width."""
        self._rows += len(block)
        self._size += block.nbytes
        self._blocks.append(block)
        if self._file is None and self._size > MOST_IN_MEMORY_BYTES:
            self._file = tempfile.TemporaryFile(prefix="midas-columns-")  # noqa: SIM115 (it lives as long as this)
        if self._file is not None:
            kept = self._blocks[-1]
            for waiting in self._blocks:
                self._file.write(np.ascontiguousarray(waiting).data)
            self._blocks = [kept[:0]]

    def array(self) -> npt.NDArray[Any]:
        """All rows, (N, ...)."""
        if self._file is None:
            return np.concatenate(self._blocks)
        like = self._blocks[0]
        self._file.flush()
        with self._file:
            return _mapped(self._file, like.dtype, (self._rows, *like.shape[1:]))
