"""A file of clean/book as arrays, and the checks that need no other file."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from midas_ray.quality.findings import FileFindings
from midas_ray.quality.source import Rows
from midas_ray.quality.tick import off_grid
from midas_ray.tables import level_columns

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

SIDES = ("bid", "ask")


@dataclass(frozen=True, slots=True)
class BookRows:
    """n rows, L levels a side; rising in ts."""

    rows: Rows
    ts_us: IntArray
    state: npt.NDArray[np.str_]
    px: tuple[FloatArray, FloatArray]
    """(bid, ask), each (n, L), NaN where null."""
    sz: tuple[FloatArray, FloatArray]
    ofi: FloatArray
    """(n, 10), NaN where null."""
    last_id: IntArray
    """(n,) -1 where null."""
    step_us: int

    @classmethod
    def of(cls, rows: Rows) -> "BookRows":
        frame = rows.frame
        levels = sum(name.startswith("bid_px_") for name in frame.columns)
        return cls(
            rows,
            frame["ts"].to_physical().to_numpy(),
            frame["state"].cast(pl.String).to_numpy().astype(np.str_),
            (_matrix(frame, "bid_px", levels), _matrix(frame, "ask_px", levels)),
            (_matrix(frame, "bid_sz", levels), _matrix(frame, "ask_sz", levels)),
            _matrix(frame, "ofi", 10),
            frame["last_update_id"].fill_null(-1).to_numpy(),
            int(rows.metadata["snapshot_interval_ms"]) * 1000,
        )

    @property
    def live(self) -> BoolArray:
        return self.state == "live"


def _matrix(frame: pl.DataFrame, kind: str, levels: int) -> FloatArray:
    """(n, levels) of columns such as bid_px_01, NaN where null."""
    return np.column_stack([frame[name].to_numpy() for name in level_columns(kind, levels)])


def check_levels(at: FileFindings, book: BookRows) -> None:
    """Live rows: best bid below best ask, bids falling, asks rising, no level missing between known ones."""
    live, (bid, ask) = book.live, book.px
    at.look("crossed_book", int(live.sum()))
    at.rows(
        "crossed_book",
        live & (bid[:, 0] >= ask[:, 0]),
        lambda row: f"best bid {bid[row, 0]:g}, best ask {ask[row, 0]:g}",
        "bid < ask",
    )
    at.rows(
        "crossed_book",
        live & (np.diff(bid, axis=1) >= 0).any(axis=1),
        lambda row: f"bid prices {_numbers(bid[row])}",
        "falling bids",
    )
    at.rows(
        "crossed_book",
        live & (np.diff(ask, axis=1) <= 0).any(axis=1),
        lambda row: f"ask prices {_numbers(ask[row])}",
        "rising asks",
    )


def check_side(at: FileFindings, book: BookRows, side: int) -> None:
    """Prices and sizes of a side: finite, positive, known together without a hole, on the file's decimal grid."""
    name, px, sz = SIDES[side], book.px[side], book.sz[side]
    known = ~np.isnan(px)
    at.rows(
        "crossed_book",
        (known[:, 1:] & ~known[:, :-1]).any(axis=1),
        lambda row: f"{name} prices {_numbers(px[row])}",
        "no null above a known level",
    )
    at.rows(
        "registry_bounds",
        (known != ~np.isnan(sz)).any(axis=1),
        lambda _row: f"a {name} price without a size, or a size without a price",
        "both or neither",
    )
    _check_numbers(at, f"{name} price", px, book.rows.px_decimals)
    _check_numbers(at, f"{name} size", sz, book.rows.sz_decimals)


def _check_numbers(at: FileFindings, name: str, values: FloatArray, decimals: int) -> None:
    known = int((~np.isnan(values)).sum())
    at.look("registry_bounds", known)
    at.look("price_tick", known)
    at.rows(
        "registry_bounds",
        (np.isinf(values) | (values <= 0)).any(axis=1),
        lambda row: f"{name}s {_numbers(values[row])}",
        "finite and positive",
    )
    off = off_grid(values, decimals)
    at.rows(
        "price_tick",
        off.any(axis=1),
        lambda row: f"{name} {values[row][off[row]][0]}",
        f"a whole number / 10^{decimals}",
    )


def _numbers(values: FloatArray) -> str:
    return ", ".join("null" if np.isnan(value) else f"{value:g}" for value in values)
