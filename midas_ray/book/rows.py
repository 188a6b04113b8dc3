"""Grid rows that a replay writes: integer buffers for the kernel, handed on as chunks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from midas_ray.book import kernels as k
from midas_ray.book.events import IntArray


@dataclass(frozen=True, slots=True)
class RowChunk:
    """Consecutive grid rows, integers at the book's scale.

    ints: (n, 4): ts_ms, last_update_id, n_updates, state. keys, sizes: (n, 2, depth). known: (n, 3): known levels
    of bids and asks, known levels of the OFI. ofi: (n, 10).
    """

    ints: IntArray
    keys: IntArray
    sizes: IntArray
    known: IntArray
    ofi: IntArray


class RowSink:
    """Where a replay puts its rows: ts in (first_ms, last_ms] on the grid of step_ms.

    `on_chunk` takes each full buffer and, at `flush`, what is left.
    """

    def __init__(
        self,
        *,
        step_ms: int,
        first_ms: int,
        last_ms: int,
        depth: int,
        on_chunk: Callable[[RowChunk], None],
        capacity: int = 36_000,
    ) -> None:
        self.step_ms = step_ms
        self.first_ms = first_ms
        self.last_ms = last_ms
        self._on_chunk = on_chunk
        self.ints: IntArray = np.zeros((capacity, 4), np.int64)
        self.keys: IntArray = np.zeros((capacity, 2, depth), np.int64)
        self.sizes: IntArray = np.zeros((capacity, 2, depth), np.int64)
        self.known: IntArray = np.zeros((capacity, 3), np.int64)
        self.ofi: npt.NDArray[np.int64] = np.zeros((capacity, k.OFI_LEVELS), np.int64)
        self.n_rows = 0

    def flush(self) -> None:
        """Hand on the rows written so far."""
        n = self.n_rows
        if n:
            self._on_chunk(RowChunk(self.ints[:n], self.keys[:n], self.sizes[:n], self.known[:n], self.ofi[:n]))
        self.n_rows = 0
