"""Decimal text to integers at a symbol's decimal scale, and back: the only place where the two meet."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from midas_ray.book.kernels import MAX_DECIMALS

_EXACT = 2**53
"""Integers up to here are doubles."""


class ScaleTooSmallError(Exception):
    """A number needs more decimals than the scale holds; `scale` is the smallest that holds both."""

    def __init__(self, scale: "Scale") -> None:
        super().__init__(f"needs {scale}")
        self.scale = scale


@dataclass(frozen=True, slots=True)
class Scale:
    """Decimals of a symbol's prices and sizes: px_int = price x 10^px_decimals, exactly.

    Trailing zeros need none: spot writes 8 decimals always, and at that scale the sizes of a cheap coin exceed 64 bits.
    """

    px_decimals: int = 0
    sz_decimals: int = 0

    def widened(self, px_text: str, sz_text: str) -> "Scale":
        """The smallest scale that holds this one and the two numbers. Raises ValueError beyond MAX_DECIMALS."""
        return Scale(max(self.px_decimals, _decimals(px_text)), max(self.sz_decimals, _decimals(sz_text)))

    def px_int(self, text: str) -> int:
        """Integer price. Raises ScaleTooSmallError, or ValueError where `text` is not a plain decimal number."""
        return self._integer(text, self.px_decimals, text, "0")

    def sz_int(self, text: str) -> int:
        """Integer size. Raises as `px_int`."""
        return self._integer(text, self.sz_decimals, "0", text)

    def _integer(self, text: str, decimals: int, px_text: str, sz_text: str) -> int:
        whole, _, fraction = text.partition(".")
        if not whole.isdecimal() or not (fraction.isdecimal() or "." not in text) or not text.isascii():
            raise ValueError(f"expected a plain decimal number, found {text!r}")
        fraction = fraction.rstrip("0")
        if len(fraction) > decimals:
            raise ScaleTooSmallError(self.widened(px_text, sz_text))
        value = int(whole + fraction) * 10 ** (decimals - len(fraction))
        if value >= 10**18:
            raise ValueError(f"expected a number of at most 18 digits, found {text!r}")
        return value

    def px_text(self, value: int) -> str:
        """Decimal text of an integer price, with all decimals of the scale."""
        return _text(value, self.px_decimals)

    def sz_text(self, value: int) -> str:
        """Decimal text of an integer size, with all decimals of the scale."""
        return _text(value, self.sz_decimals)

    def px_float(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Prices in quote units: integer / 10^k, correctly rounded."""
        return _quotients(values, 10**self.px_decimals)

    def sz_float(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Sizes in base units: integer / 10^k, correctly rounded."""
        return _quotients(values, 10**self.sz_decimals)


def _quotients(values: npt.NDArray[np.int64], power: int) -> npt.NDArray[np.float64]:
    """values / power, each rounded once: so that the scale that a replay has reached does not show in any bit."""
    found = values / float(power)
    for at in zip(*np.nonzero((values > _EXACT) | (values < -_EXACT)), strict=True):
        found[at] = int(values[at]) / power  # numpy would round such an integer before it divides
    return found


def _decimals(text: str) -> int:
    decimals = len(text.partition(".")[2].rstrip("0"))
    if decimals > MAX_DECIMALS:
        raise ValueError(f"expected a number of at most {MAX_DECIMALS} decimals, found {text!r}")
    return decimals


def _text(value: int, decimals: int) -> str:
    if decimals == 0:
        return str(value)
    digits = str(value).rjust(decimals + 1, "0")
    return f"{digits[:-decimals]}.{digits[-decimals:]}"
