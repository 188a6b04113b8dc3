"""What was published, as a table: the last revision of each bucket, in the columns of batch's features."""

import re
from datetime import date

import numpy as np
import polars as pl

from midas_ray.errors import UsageError
from midas_ray.features.registry import FEATURES
from midas_ray.features.table import FeatureRows, to_table
from midas_ray.live.publication import Publication
from midas_ray.live.record import TABLE, file_suffix, read_lines
from midas_ray.storage import Storage

_BUCKET = re.compile(r"-(\d+)ms\.jsonl$")


def last_publications(storage: Storage, venue: str, symbol: str, bucket_us: int, since: date) -> list[Publication]:
    """The last publication of each bucket of this length, of days from `since` on, in order. Raises DataError."""
    last: dict[int, Publication] = {}
    for path in storage.list_files(f"{TABLE}/venue={venue}/symbol={symbol}", file_suffix(bucket_us)):
        if path.partition("/date=")[2][:10] >= since.isoformat():
            last |= {each.ts_us: each for each in read_lines(storage.read_bytes(path), path)}
    return [last[ts_us] for ts_us in sorted(last)]


def live_frame(storage: Storage, paths: list[str], symbol: str, time_bucket_ms: int | None) -> pl.DataFrame:
    """Rows of these files of one symbol, in order of ts; files may grow meanwhile.

    Raises UsageError where they hold several lengths of bucket and none, or another one, was chosen; DataError.
    """
    lengths = sorted({int(found[1]) for path in paths if (found := _BUCKET.search(path))})
    if time_bucket_ms is None and len(lengths) > 1:
        raise UsageError(
            f"{symbol}: live features have buckets of {' and '.join(map(str, lengths))} ms: say which with "
            "time_bucket_ms=..."
        )
    chosen = time_bucket_ms if time_bucket_ms is not None else (lengths or [0])[0]
    last: dict[int, Publication] = {}
    for path in paths:
        if path.endswith(file_suffix(chosen * 1000)):
            last |= {each.ts_us: each for each in read_lines(storage.read_bytes(path), path)}
    ordered = [last[ts_us] for ts_us in sorted(last)]
    shape = (len(ordered), len(FEATURES))
    rows = FeatureRows(
        np.array(sorted(last), dtype=np.int64),
        np.array([each.values for each in ordered]).reshape(shape),
        np.array([each.kinds for each in ordered], dtype=np.uint8).reshape(shape),
        np.array([each.coverage for each in ordered], dtype=np.float64),
        np.array([each.trades_coverage for each in ordered], dtype=np.float64),
    )
    frame = pl.from_arrow(to_table(rows, symbol))
    assert isinstance(frame, pl.DataFrame)
    return frame
