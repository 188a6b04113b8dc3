"""Grid rows straight from the replay's integers are those of clean/book, read back."""

from pathlib import Path

import numpy as np
import polars as pl

from midas_ray.book.rows import RowChunk
from midas_ray.book.scale import Scale
from midas_ray.capture.journal import read_blocks
from midas_ray.features import clean_hour
from midas_ray.features.hour_rows import GridRows
from midas_ray.live.replay import LiveReplay
from midas_ray.live.rows import grid_rows
from midas_ray.reconstruct.tables import book_frame, decimals_of
from midas_ray.settings import BookSettings
from midas_ray.venues import get_venue
from tests.capture.running import journals
from tests.features.raw_market import SYMBOL, VENUE, RawMarket


def rows_of_frame(frame: pl.DataFrame, scale: Scale) -> GridRows:
    table = frame.to_arrow().replace_schema_metadata(decimals_of(frame, scale) | {"snapshot_interval_ms": "100"})
    start_us = (int(clean_hour.ints_of(table, "ts")[0]) - 1) // 3_600_000_000 * 3_600_000_000
    return clean_hour.grid_rows(table, "test", start_us, 60_000_000)


def test_as_the_tables_give_them(tmp_path: Path) -> None:
    market = RawMarket(tmp_path, 3)
    market.open()
    market.snapshot()
    market.minutes(2)
    market.lose_depth(7)
    market.finer_numbers()
    market.few_levels()
    market.minutes(1)
    market.close()
    chunks: list[tuple[RowChunk, Scale]] = []

    class Keeping(LiveReplay):
        def _take_chunk(self, chunk: RowChunk) -> None:
            chunks.append((RowChunk(*(getattr(chunk, name).copy() for name in RowChunk.__slots__)), self._book.scale))

    replay = Keeping(get_venue(VENUE), SYMBOL, market.now_ms // 3_600_000 - 1, BookSettings())
    for path in journals(tmp_path):
        with path.open("rb") as stream:
            replay.feed(read_blocks(stream, str(path)))
    replay.take_rows()
    assert sum(len(chunk.ints) for chunk, _ in chunks) > 1500
    states = set()
    for chunk, scale in chunks:
        direct = grid_rows(chunk, np.ones(len(chunk.ints), dtype=np.bool_), scale, 100)
        read = rows_of_frame(book_frame(chunk, SYMBOL, scale), scale)
        states |= set(direct.live.tolist())
        assert (direct.px_scale, direct.sz_scale, direct.grid_us) == (read.px_scale, read.sz_scale, read.grid_us)
        for name in ("ts_us", "live", "ofi"):
            assert np.array_equal(getattr(direct, name), getattr(read, name), equal_nan=name == "ofi"), name
        for side in (0, 1):
            assert np.array_equal(direct.px[side], read.px[side], equal_nan=True)
            assert np.array_equal(direct.sz[side], read.sz[side], equal_nan=True)
            assert direct.px[side].flags.f_contiguous
    assert states == {True, False}
