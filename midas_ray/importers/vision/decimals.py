"""Columns of decimal numbers as integers, exactly."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from midas_ray.book.events import IntArray
from midas_ray.book.kernels import MAX_DECIMALS

_MOST = 10**18


@dataclass(frozen=True, slots=True)
class Decimals:
    """n numbers: value = ints / 10^decimals."""

    ints: IntArray
    decimals: int

    @classmethod
    def of(cls, column: pa.Array) -> "Decimals | None":
        """A decimal128 column without nulls, at the fewest decimals that hold it; None beyond 18 digits."""
        for decimals in range(MAX_DECIMALS + 1):
            try:
                cast = pc.cast(column, pa.decimal128(38, decimals))
            except pa.ArrowInvalid:  # it would lose digits
                continue
            words = np.frombuffer(cast.buffers()[1], np.int64)[2 * cast.offset : 2 * (cast.offset + len(cast))]
            low, high = words[0::2], words[1::2]
            if (high != low >> 63).any() or (np.abs(low) >= _MOST).any():
                return None
            return cls(low.copy(), decimals)
        raise AssertionError("a column of MAX_DECIMALS decimals has at most so many")

    @classmethod
    def joined(cls, parts: list["Decimals"]) -> "Decimals":
        """All numbers, at the fewest decimals that hold them. Raises OverflowError beyond 18 digits."""
        most = max(part.decimals for part in parts)
        ints = np.concatenate([part.at(most) for part in parts])
        decimals = most
        while decimals and not (ints[:100] % 10).any() and not (ints % 10).any():
            ints, decimals = ints // 10, decimals - 1
        return cls(ints, decimals)

    def at(self, decimals: int) -> IntArray:
        """(n,) integers at more decimals. Raises OverflowError beyond 18 digits."""
        factor = 10 ** (decimals - self.decimals)
        if len(self.ints) and int(np.abs(self.ints).max()) * factor >= _MOST:
            raise OverflowError
        return self.ints * factor

    def __getitem__(self, rows: slice) -> "Decimals":
        return Decimals(self.ints[rows], self.decimals)
