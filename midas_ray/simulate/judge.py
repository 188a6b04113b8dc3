"""The judge of a capture of the simulated exchange: clean tables against the truth. Pure: tables in, verdict out.

Every row of clean/book is equal to the exchange's true book or lies in a gap of the ledger, every print is there once
or lies in a gap, and every gap has something that explains it. Whatever else is found is wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from midas_ray.simulate.true_market import Ints, TrueMarket, exact_floats
from midas_ray.tables import level_columns

Mask = npt.NDArray[np.bool_]
MOST_EXAMPLES = 5
WHOSE = {"venue": "venue", "network": "network", "both-missed": "network"}
"""Whose fault a gap of a cause is; of every other cause it is the collector's."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Something that was done to a symbol's streams, and that explains gaps inside [start_ms, end_ms] of exchange time.

    causes: gap causes that it explains. stream: `depth`, `trade`, or None for both. within: the gap must lie in the
    span as a whole (a process that was down), not only overlap it.
    """

    what: str
    start_ms: int
    end_ms: int
    causes: frozenset[str]
    stream: str | None = None
    within: bool = False

    def explains(self, stream: str, cause: str, start_ms: int, end_ms: int) -> bool:
        """Whether a gap of this stream and cause may come from it."""
        if cause not in self.causes or self.stream not in (None, stream):
            return False
        if self.within:
            return self.start_ms <= start_ms and end_ms <= self.end_ms
        return start_ms <= self.end_ms and self.start_ms <= end_ms

    def meets(self, stream: str, start_ms: int, end_ms: int) -> bool:
        """Whether it may have begun a gap of this stream, of whatever cause."""
        return (
            bool(self.causes) and self.stream in (None, stream) and start_ms <= self.end_ms and self.start_ms <= end_ms
        )


@dataclass(slots=True)
class Verdict:
    """What the judge found of one symbol; `wrong` counts everything that must not be."""

    symbol: str
    rows_equal: int = 0
    rows_in_gaps: int = 0
    rows_before_first_sync: int = 0
    rows_behind: int = 0
    rows_wrong: int = 0
    prints_found: int = 0
    prints_in_gaps: int = 0
    prints_missing: int = 0
    prints_wrong: int = 0
    gaps: dict[str, int] = field(default_factory=dict)
    gap_s: float = 0.0
    gaps_false: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        """Rows, prints and gaps that must not be."""
        return self.rows_wrong + self.prints_missing + self.prints_wrong + self.gaps_false

    def accuse(self, what: str, mask: Mask, text: pl.Series | Sequence[object]) -> int:
        """Keep examples of the places where `mask` holds; gives how many there are."""
        found = np.flatnonzero(mask)
        for at in found[:MOST_EXAMPLES].tolist():
            self.examples.append(f"{self.symbol} {what}: {text[at]}")
        return len(found)

    def line(self) -> str:
        """One line of the report."""
        gaps = " ".join(f"{cause} {count}" for cause, count in sorted(self.gaps.items())) or "none"
        return (
            f"{self.symbol}: rows {self.rows_equal} equal, {self.rows_in_gaps} in gaps, "
            f"{self.rows_before_first_sync} before the first sync, {self.rows_behind} behind, {self.rows_wrong} wrong; "
            f"prints {self.prints_found} found, {self.prints_in_gaps} in gaps, {self.prints_missing} missing, "
            f"{self.prints_wrong} wrong; gaps {gaps} ({self.gap_s:.1f} s of depth), {self.gaps_false} false"
        )


def judge(
    truth: TrueMarket,
    book: pl.DataFrame,
    trades: pl.DataFrame,
    gaps: pl.DataFrame,
    *,
    span_ms: tuple[int, int],
    print_span_ms: tuple[int, int],
    explanations: Sequence[Explanation],
    step_ms: int = 100,
    behind_ms: int = 0,
) -> Verdict:
    """Judge one symbol.

    book, trades, gaps: its clean tables, whole. span_ms, print_span_ms: exchange time of the first and the last depth
    event and trade of the whole capture. step_ms: grid of `book`. behind_ms: how old a row may be against the 100 ms
    stream where an explanation of depth was at work (a connection whose windows overlap the other's carries the book
    alone): counted apart as `behind`.
    """
    verdict = Verdict(truth.symbol)
    depth_gaps, trade_gaps = (gaps.filter(pl.col("stream") == stream) for stream in ("depth", "trade"))
    _judge_rows(verdict, truth, book, depth_gaps, span_ms, step_ms, behind_ms, explanations)
    _judge_prints(verdict, truth, trades, trade_gaps, print_span_ms)
    _judge_gaps(verdict, gaps, explanations)
    verdict.gap_s = float((_ms(depth_gaps["end"]) - _ms(depth_gaps["start"])).sum() / 1000)
    return verdict


def _ms(stamps: pl.Series) -> Ints:
    return stamps.dt.epoch("ms").to_numpy()


def _inside(moments_ms: Ints, starts_ms: Ints, ends_ms: Ints) -> Mask:
    """Whether each moment lies in some (start, end]."""
    if not len(starts_ms):
        return np.zeros(len(moments_ms), np.bool_)
    order = np.argsort(starts_ms, kind="stable")
    reach = np.maximum.accumulate(ends_ms[order])
    at = np.searchsorted(starts_ms[order], moments_ms, side="left") - 1
    return (at >= 0) & (reach[np.maximum(at, 0)] >= moments_ms)


def _judge_rows(
    verdict: Verdict,
    truth: TrueMarket,
    book: pl.DataFrame,
    gaps: pl.DataFrame,
    span_ms: tuple[int, int],
    step_ms: int,
    behind_ms: int,
    explanations: Sequence[Explanation],
) -> None:
    ts_ms, starts_ms, ends_ms = _ms(book["ts"]), _ms(gaps["start"]), _ms(gaps["end"])
    live = (book["state"] == "live").to_numpy()
    in_gap = _inside(ts_ms, starts_ms, ends_ms)
    first_live_ms = int(ts_ms[live].min()) if live.any() else span_ms[1]
    unlive_head = ~live & (ts_ms < first_live_ms) & ~in_gap
    verdict.rows_before_first_sync = int(unlive_head.sum())
    verdict.rows_in_gaps = int((~live & in_gap).sum())
    verdict.rows_wrong += verdict.accuse("row not live outside of gaps", ~live & ~in_gap & ~unlive_head, book["ts"])
    verdict.rows_wrong += verdict.accuse("live row inside a gap", live & in_gap, book["ts"])
    verdict.rows_wrong += verdict.accuse("row twice or out of order", np.diff(ts_ms, prepend=0) <= 0, book["ts"])
    verdict.rows_wrong += verdict.accuse("row off the grid", ts_ms % step_ms != 0, book["ts"])
    grid = np.arange((span_ms[0] // step_ms + 1) * step_ms, span_ms[1] + 1, step_ms)
    missing = ~np.isin(grid, ts_ms)
    verdict.rows_in_gaps += int((missing & _inside(grid, starts_ms, ends_ms)).sum())
    missing &= ~_inside(grid, starts_ms, ends_ms) & (grid >= first_live_ms)
    verdict.rows_wrong += verdict.accuse("row missing outside of gaps, ts ms", missing, grid.tolist())
    rows = book.filter(pl.Series(live & ~in_gap)).sort("ts")
    _judge_live_rows(verdict, truth, rows, behind_ms, explanations)


def _judge_live_rows(
    verdict: Verdict, truth: TrueMarket, rows: pl.DataFrame, behind_ms: int, explanations: Sequence[Explanation]
) -> None:
    ts_ms, ids = _ms(rows["ts"]), rows["last_update_id"].to_numpy()
    order = np.argsort(ids, kind="stable")
    tops = np.empty((len(ids), 4, 10), np.int64)
    tops[order] = truth.tops(ids[order])
    equal = np.ones(len(ids), np.bool_)
    for block, name in ((0, "bid"), (2, "ask")):
        px, sz = exact_floats(tops[:, block], truth.tick), exact_floats(tops[:, block + 1], truth.lot)
        absent = tops[:, block + 1] == 0
        for kind, wanted in (("px", px), ("sz", sz)):
            found = rows.select(level_columns(f"{name}_{kind}", 10)).to_numpy().astype(np.float64)
            equal &= np.where(absent, np.isnan(found), found == wanted).all(axis=1)
    text = [f"ts {ts}, last_update_id {update_id}" for ts, update_id in zip(ts_ms.tolist(), ids.tolist(), strict=True)]
    verdict.rows_wrong += verdict.accuse("row differs from the true book", ~equal, text)
    early = truth.change_ms(ids) >= ts_ms
    verdict.rows_wrong += verdict.accuse("row holds an event of ts or later", equal & early, text)
    stale = ids < truth.fresh_ids(ts_ms)
    spans = [each for each in explanations if each.stream in (None, "depth")]
    starts = np.array([each.start_ms - 1 for each in spans], np.int64)
    ends = np.array([each.end_ms + behind_ms for each in spans], np.int64)
    behind = stale & _inside(ts_ms, starts, ends) & (ids >= truth.fresh_ids(ts_ms - behind_ms))
    good = equal & ~early
    verdict.rows_wrong += verdict.accuse("row lacks events before ts", good & stale & ~behind, text)
    verdict.rows_behind = int((good & behind).sum())
    verdict.rows_equal = int((good & ~stale).sum())


def _judge_prints(
    verdict: Verdict, truth: TrueMarket, trades: pl.DataFrame, gaps: pl.DataFrame, span_ms: tuple[int, int]
) -> None:
    found = trades.select("trade_id", _epoch_ms("ts"), "px", "qty", pl.col("side").cast(pl.String), "count")
    ids = found["trade_id"]
    verdict.prints_wrong += verdict.accuse("print twice, id", ids.is_duplicated().to_numpy(), ids)
    both = found.join(truth.prints, on="trade_id", how="left", suffix="_true", maintain_order="left")
    unknown = both["px_true"].is_null().to_numpy()
    verdict.prints_wrong += verdict.accuse("print that never was, id", unknown, ids)
    same = pl.all_horizontal(pl.col(name) == pl.col(f"{name}_true") for name in ("ts_ms", "px", "qty", "side"))
    right = both.select((same & (pl.col("count") == 1)).fill_null(value=False)).to_series().to_numpy()
    verdict.prints_wrong += verdict.accuse("print differs, id", ~right & ~unknown, ids)
    verdict.prints_found = int(ids.filter(pl.Series(right)).n_unique())
    lost_from = gaps["expected_id"].to_numpy() - 1
    lost_to = gaps["found_id"].fill_null(np.iinfo(np.int64).max).to_numpy() - 1
    there = _inside(ids.to_numpy(), lost_from, lost_to)
    verdict.prints_wrong += verdict.accuse("print that a gap calls lost, id", there, ids)
    due = truth.prints.filter(pl.col("ts_ms").is_between(*span_ms)).join(found, on="trade_id", how="anti")
    known_lost = _inside(due["trade_id"].to_numpy(), lost_from, lost_to)
    verdict.prints_in_gaps = int(known_lost.sum())
    verdict.prints_missing = verdict.accuse("print missing, id", ~known_lost, due["trade_id"])


def _epoch_ms(name: str) -> pl.Expr:
    return pl.col(name).dt.epoch("ms").alias(f"{name}_ms")


def _judge_gaps(verdict: Verdict, gaps: pl.DataFrame, explanations: Sequence[Explanation]) -> None:
    """A gap is true where something explains its cause at its time."""
    for gap in gaps.select("stream", "cause", "fault", _epoch_ms("start"), _epoch_ms("end")).iter_rows(named=True):
        stream, cause, span = str(gap["stream"]), str(gap["cause"]), (int(gap["start_ms"]), int(gap["end_ms"]))
        key = f"{stream}/{cause}"
        verdict.gaps[key] = verdict.gaps.get(key, 0) + 1
        explained = _is_explained(stream, cause, *span, explanations)
        if not explained or gap["fault"] != WHOSE.get(cause, "collector"):
            verdict.gaps_false += 1
            what = f"blamed on the {gap['fault']}" if explained else "without a reason"
            verdict.examples.append(f"{verdict.symbol} gap {what}: {key} {span[0]} to {span[1]}")


def _is_explained(stream: str, cause: str, start_ms: int, end_ms: int, explanations: Sequence[Explanation]) -> bool:
    """By one explanation, or by one that opened the gap and another, in which it went on, that gave it its cause."""
    if any(each.explains(stream, cause, start_ms, end_ms) for each in explanations):
        return True
    opened = any(each.meets(stream, start_ms, end_ms) and not each.within for each in explanations)
    return opened and any(
        each.within and each.explains(stream, cause, each.start_ms, end_ms) and each.start_ms > start_ms
        for each in explanations
    )
