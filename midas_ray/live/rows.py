"""Grid rows from the replay's integers, as the arrays that reading clean/book gives, without the tables in between."""

from dataclasses import replace

import numpy as np

from midas_ray.book import kernels as k
from midas_ray.book.rows import RowChunk
from midas_ray.book.scale import Scale
from midas_ray.features.hour_rows import GridRows
from midas_ray.features.statistics import BoolArray, FloatArray, IntArray
from midas_ray.tables import MIN_LEVELS


def grid_rows(chunk: RowChunk, chosen: BoolArray, scale: Scale, step_ms: int) -> GridRows:
    """The chosen rows of a chunk, ten levels; their decimals are the fewest that hold them, as in clean/book."""
    ints, known = chunk.ints[chosen], chunk.known[chosen]
    levels = np.arange(MIN_LEVELS)
    px, sz = list[IntArray](), list[IntArray]()
    absent = list[BoolArray]()
    for side in (0, 1):
        keys = chunk.keys[chosen, side, :MIN_LEVELS]
        absent.append((known[:, side, None] <= levels) | (keys == k.LOWEST_KEY))
        px.append(np.where(absent[side], 0, np.abs(keys)))
        sz.append(np.where(absent[side], 0, chunk.sizes[chosen, side, :MIN_LEVELS]))
    no_flow = known[:, 2, None] <= np.arange(k.OFI_LEVELS)
    ofi = np.where(no_flow, 0, chunk.ofi[chosen])
    return GridRows(
        ts_us=ints[:, 0] * 1000,
        live=ints[:, 3] == k.LIVE,
        px=(_floats(scale.px_float(px[0]), absent[0]), _floats(scale.px_float(px[1]), absent[1])),
        sz=(_floats(scale.sz_float(sz[0]), absent[0]), _floats(scale.sz_float(sz[1]), absent[1])),
        ofi=_floats(scale.sz_float(ofi), no_flow),
        px_scale=10.0 ** fewest_decimals(px, scale.px_decimals),
        sz_scale=10.0 ** fewest_decimals([*sz, ofi], scale.sz_decimals),
        grid_us=step_ms * 1000,
    )


def fewest_decimals(blocks: list[IntArray], decimals: int) -> int:
    """The fewest decimals that hold integers of so many decimals."""
    fewest = 0
    for block in blocks:
        for part in (block[:100], block):  # nearly always, a few tell
            while fewest < decimals and (part % 10 ** (decimals - fewest)).any():
                fewest += 1
    return fewest


def _floats(values: FloatArray, absent: BoolArray) -> FloatArray:
    """One column after the other in memory, NaN where absent."""
    return np.asfortranarray(np.where(absent, np.nan, values))


def later(rows: GridRows, first: int) -> GridRows:
    """The rows from position `first` on."""
    if first == 0:
        return rows
    return replace(
        rows,
        ts_us=rows.ts_us[first:],
        live=rows.live[first:],
        px=(np.asfortranarray(rows.px[0][first:]), np.asfortranarray(rows.px[1][first:])),
        sz=(np.asfortranarray(rows.sz[0][first:]), np.asfortranarray(rows.sz[1][first:])),
        ofi=np.asfortranarray(rows.ofi[first:]),
    )


def joined(rows: GridRows | None, more: GridRows) -> GridRows:
    """Rows and those that follow; the decimals are those that all of them need."""
    if rows is None:
        return more
    return GridRows(
        ts_us=np.concatenate([rows.ts_us, more.ts_us]),
        live=np.concatenate([rows.live, more.live]),
        px=(_below(rows.px[0], more.px[0]), _below(rows.px[1], more.px[1])),
        sz=(_below(rows.sz[0], more.sz[0]), _below(rows.sz[1], more.sz[1])),
        ofi=_below(rows.ofi, more.ofi),
        px_scale=max(rows.px_scale, more.px_scale),
        sz_scale=max(rows.sz_scale, more.sz_scale),
        grid_us=rows.grid_us,
    )


def _below(rows: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Stacked, one column after the other in memory."""
    return np.asfortranarray(np.concatenate([rows, more]))
