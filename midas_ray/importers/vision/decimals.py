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
        """A decimal128 column of MAX_DECIMALS without nulls, at the fewest decimals; None beyond 18 digits."""
        ints = _ints_of(column)
        if ints is not None:
            return cls(*_fewest(ints, MAX_DECIMALS))
        for decimals in range(MAX_DECIMALS):  # large numbers with fewer decimals
            try:
                ints = _ints_of(pc.cast(column, pa.decimal128(38, decimals)))
            except pa.ArrowInvalid:  # it would lose digits
                continue
            return None if ints is None else cls(ints, decimals)
        return None

    @classmethod
    def joined(cls, parts: list["Decimals"]) -> "Decimals":
        """All numbers, at the fewest decimals that hold them. Raises OverflowError beyond 18 digits."""
        most = max(part.decimals for part in parts)
        ints = np.concatenate([part.at(most) for part in parts])
        return cls(*_fewest(ints, most))

    def at(self, decimals: int) -> IntArray:
        """(n,) integers at more decimals. Raises OverflowError beyond 18 digits."""
        factor = 10 ** (decimals - self.decimals)
        if len(self.ints) and int(np.abs(self.ints).max()) * factor >= _MOST:
            raise OverflowError
        return self.ints * factor

    def __getitem__(self, rows: slice) -> "Decimals":
        return Decimals(self.ints[rows], self.decimals)


def _ints_of(column: pa.Array) -> IntArray | None:
    """The integers behind a decimal128 column; None where one has over 18 digits."""
    words = np.frombuffer(column.buffers()[1], np.int64)[2 * column.offset : 2 * (column.offset + len(column))]
    low, high = words[0::2], words[1::2]
    return low.copy() if (high == low >> 63).all() and (np.abs(low) < _MOST).all() else None


def _fewest(ints: IntArray, decimals: int) -> tuple[IntArray, int]:
    """(integers, decimals) with no more decimals than needed."""
    for kept in range(decimals):
        factor = 10 ** (decimals - kept)
        if not (ints[:100] % factor).any() and not (ints % factor).any():  # nearly always, a few tell
            return ints // factor, kept
    return ints, decimals
