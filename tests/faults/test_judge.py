"""The judge acquits a capture without a defect and finds every planted one."""

from collections.abc import Callable
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from midas_ray.simulate.judge import Explanation, Verdict, judge
from midas_ray.simulate.true_market import TrueMarket, exact_floats
from tests.faults.made_up import Clean, faultless, ledger, true_market


@pytest.fixture(scope="module")
def truth() -> TrueMarket:
    return true_market()


@pytest.fixture(scope="module")
def clean(truth: TrueMarket) -> Clean:
    return faultless(truth)


def span_of(clean: Clean) -> tuple[int, int]:
    ts_ms = clean.book["ts"].dt.epoch("ms")
    return int(ts_ms[0]) - 1, int(ts_ms[-1])


def print_span_of(clean: Clean) -> tuple[int, int]:
    ts_ms = clean.trades["ts"].dt.epoch("ms")
    return int(ts_ms[0]), int(ts_ms[-1])


def verdict_of(
    truth: TrueMarket, clean: Clean, whole: Clean, *explanations: Explanation, behind_ms: int = 0
) -> Verdict:
    spans = {"span_ms": span_of(whole), "print_span_ms": print_span_of(whole)}
    return judge(truth, *clean, **spans, explanations=explanations, behind_ms=behind_ms)


def counts(verdict: Verdict) -> dict[str, int]:
    """What is not as in a faultless capture."""
    names = (
        "rows_wrong",
        "rows_in_gaps",
        "rows_behind",
        "prints_missing",
        "prints_wrong",
        "prints_in_gaps",
        "gaps_false",
    )
    return {name: getattr(verdict, name) for name in names if getattr(verdict, name)}


def row(clean: Clean, at: int, **values: object) -> Clean:
    """The tables with other values in one row of the book."""
    index = pl.int_range(pl.len())
    changed = [
        pl.when(index == at).then(pl.lit(value)).otherwise(pl.col(name)).alias(name) for name, value in values.items()
    ]
    schema = clean.book.schema
    return clean._replace(book=clean.book.with_columns(changed).cast(dict(schema)))  # type: ignore[arg-type]


def trade(clean: Clean, at: int, **values: object) -> Clean:
    index = pl.int_range(pl.len())
    changed = [
        pl.when(index == at).then(pl.lit(value)).otherwise(pl.col(name)).alias(name) for name, value in values.items()
    ]
    return clean._replace(trades=clean.trades.with_columns(changed).cast(dict(clean.trades.schema)))  # type: ignore[arg-type]


def test_true_tops_equal_a_plain_dict(truth: TrueMarket) -> None:
    ids = truth.changes[::97, 0] + 1  # also ids between two changes
    tops = truth.tops(ids)
    sides: list[dict[int, int]] = [{}, {}]
    for side, tick, lots in truth.first.tolist():
        sides[side][tick] = lots
    done = 0
    for at, update_id in enumerate(ids.tolist()):
        while done < len(truth.changes) and truth.changes[done, 0] <= update_id:
            _, _, side, tick, lots = truth.changes[done].tolist()
            sides[side][tick] = lots
            done += 1
        for side, sign in ((0, -1), (1, 1)):
            best = sorted((px for px, lots in sides[side].items() if lots), key=lambda px: sign * px)[:10]
            assert tops[at, 2 * side].tolist() == best
            assert tops[at, 2 * side + 1].tolist() == [sides[side][px] for px in best]


def test_a_faultless_capture_is_acquitted(truth: TrueMarket, clean: Clean) -> None:
    verdict = verdict_of(truth, clean, clean)
    assert counts(verdict) == {}
    assert verdict.wrong == 0
    assert verdict.rows_equal == len(clean.book) > 180
    assert verdict.prints_found == len(clean.trades) > 20


def other_size(clean: Clean) -> Clean:
    return row(clean, 50, ask_sz_10=clean.book["ask_sz_10"][50] + 0.001)


def other_price(clean: Clean) -> Clean:
    return row(clean, 51, bid_px_01=clean.book["bid_px_01"][51] - 0.1)


def null_level(clean: Clean) -> Clean:
    return row(clean, 52, bid_sz_07=None)


def older_row(clean: Clean) -> Clean:
    names = [name for name in clean.book.columns if name[:3] in ("bid", "ask")] + ["last_update_id"]
    return row(clean, 53, **{name: clean.book[name][52] for name in names})


def younger_row(clean: Clean) -> Clean:
    names = [name for name in clean.book.columns if name[:3] in ("bid", "ask")] + ["last_update_id"]
    return row(clean, 53, **{name: clean.book[name][54] for name in names})


def missing_row(clean: Clean) -> Clean:
    return clean._replace(book=clean.book.filter(pl.int_range(pl.len()) != 60))


def missing_end(clean: Clean) -> Clean:
    return clean._replace(book=clean.book[:-1])


def row_twice(clean: Clean) -> Clean:
    return clean._replace(book=pl.concat([clean.book[:61], clean.book[60:]]))


def unlive_row(clean: Clean) -> Clean:
    return row(clean, 62, state="gap")


def lost_print(clean: Clean) -> Clean:
    return clean._replace(trades=clean.trades.filter(pl.int_range(pl.len()) != 10))


def lost_last_print(clean: Clean) -> Clean:
    return clean._replace(trades=clean.trades[:-1])


def print_twice(clean: Clean) -> Clean:
    return clean._replace(trades=pl.concat([clean.trades, clean.trades[11:12]]))


def made_up_print(clean: Clean) -> Clean:
    return trade(clean, 12, trade_id=5)


def other_qty(clean: Clean) -> Clean:
    return trade(clean, 13, qty=clean.trades["qty"][13] * 2)


def other_taker(clean: Clean) -> Clean:
    return trade(clean, 14, side="buy" if clean.trades["side"][14] == "sell" else "sell")


def false_gap(clean: Clean) -> Clean:
    end_ms = int(clean.book["ts"].dt.epoch("ms")[70])
    without = clean.book.filter(pl.int_range(pl.len()) != 70)
    return clean._replace(book=without, gaps=ledger(("depth", end_ms - 1, end_ms, "venue", 1, 2)))


def live_in_gap(clean: Clean) -> Clean:
    end_ms = int(clean.book["ts"].dt.epoch("ms")[70])
    return clean._replace(gaps=ledger(("depth", end_ms - 1, end_ms, "down", 1, 2)))


def print_called_lost(clean: Clean) -> Clean:
    trade_id, ts_ms = int(clean.trades["trade_id"][20]), int(clean.trades["ts"].dt.epoch("ms")[20])
    return clean._replace(gaps=ledger(("trade", ts_ms, ts_ms + 1, "down", trade_id, trade_id + 1)))


DEFECTS: list[tuple[Callable[[Clean], Clean], dict[str, int]]] = [
    (other_size, {"rows_wrong": 1}),
    (other_price, {"rows_wrong": 1}),
    (null_level, {"rows_wrong": 1}),
    (older_row, {"rows_wrong": 1}),
    (younger_row, {"rows_wrong": 1}),
    (missing_row, {"rows_wrong": 1}),
    (missing_end, {"rows_wrong": 1}),
    (row_twice, {"rows_wrong": 1}),
    (unlive_row, {"rows_wrong": 1}),
    (lost_print, {"prints_missing": 1}),
    (lost_last_print, {"prints_missing": 1}),
    (print_twice, {"prints_wrong": 2}),
    (made_up_print, {"prints_wrong": 1, "prints_missing": 1}),
    (other_qty, {"prints_wrong": 1}),
    (other_taker, {"prints_wrong": 1}),
    (false_gap, {"rows_in_gaps": 1, "gaps_false": 1}),
    (live_in_gap, {"rows_wrong": 1}),
    (print_called_lost, {"prints_wrong": 1}),
]


@pytest.mark.parametrize(("plant", "expected"), DEFECTS, ids=[plant.__name__ for plant, _ in DEFECTS])
def test_a_planted_defect_is_found(
    truth: TrueMarket, clean: Clean, plant: Callable[[Clean], Clean], expected: dict[str, int]
) -> None:
    always_down = Explanation("down", 0, 2**60, frozenset({"down"}))
    verdict = verdict_of(truth, plant(clean), clean, always_down)
    assert counts(verdict) == expected
    assert verdict.wrong > 0
    assert verdict.examples


def test_losses_that_the_ledger_names_are_no_defects(truth: TrueMarket, clean: Clean) -> None:
    ts_ms = clean.book["ts"].dt.epoch("ms").to_numpy()
    at = int(np.searchsorted(ts_ms, clean.trades["ts"].dt.epoch("ms")[len(clean.trades) // 2]))
    start_ms, end_ms = int(ts_ms[at - 5]), int(ts_ms[at + 6])
    inside = (ts_ms > start_ms) & (ts_ms <= end_ms)
    prints = clean.trades["ts"].dt.epoch("ms").is_between(start_ms, end_ms)
    lost = clean.trades.filter(prints)["trade_id"]
    assert len(lost)
    gaps = ledger(
        ("depth", start_ms, end_ms, "down", 1, 2),
        ("trade", start_ms, end_ms, "down", lost.min(), lost.max() + 1),  # type: ignore[operator, arg-type]
    )
    damaged = Clean(clean.book.filter(pl.Series(~inside)), clean.trades.filter(~prints), gaps)
    down = Explanation("down", start_ms - 1, end_ms + 1, frozenset({"down"}), within=True)
    verdict = verdict_of(truth, damaged, clean, down)
    assert counts(verdict) == {"rows_in_gaps": 11, "prints_in_gaps": len(lost)}
    assert verdict.gaps == {"depth/down": 1, "trade/down": 1}
    assert verdict.wrong == 0
    shorter = Explanation("down", start_ms + 1, end_ms, frozenset({"down"}), within=True)
    assert verdict_of(truth, damaged, clean, shorter).gaps_false == 2
    before = Explanation("venue gap", start_ms - 50, start_ms + 50, frozenset({"venue"}))
    assert verdict_of(truth, damaged, clean, shorter, before).gaps_false == 0
    assert verdict_of(truth, damaged, clean, before).gaps_false == 2


def test_an_older_row_is_told_apart_only_where_depth_was_disturbed(truth: TrueMarket, clean: Clean) -> None:
    damaged, ts_ms = older_row(clean), clean.book["ts"].dt.epoch("ms").to_numpy()
    overlap = Explanation("drop on A", int(ts_ms[53]) - 50, int(ts_ms[53]), frozenset())
    assert counts(verdict_of(truth, damaged, clean, overlap, behind_ms=100)) == {"rows_behind": 1}
    assert counts(verdict_of(truth, damaged, clean, overlap, behind_ms=0)) == {"rows_wrong": 1}
    elsewhere = Explanation("drop on A", 0, int(ts_ms[40]), frozenset())
    assert counts(verdict_of(truth, damaged, clean, elsewhere, behind_ms=100)) == {"rows_wrong": 1}


def test_rows_before_the_first_sync_are_counted_apart(truth: TrueMarket, clean: Clean) -> None:
    head = pl.int_range(pl.len()) < 7
    book = clean.book.with_columns(pl.when(head).then(pl.lit("syncing")).otherwise("state").alias("state"))
    damaged = clean._replace(book=book.cast(dict(clean.book.schema)))  # type: ignore[arg-type]
    verdict = verdict_of(truth, damaged, clean)
    assert (verdict.wrong, verdict.rows_before_first_sync) == (0, 7)


def test_exact_floats_are_those_of_the_clean_tables() -> None:
    counts_of = np.array([949_999, 1, 3], np.int64)
    assert exact_floats(counts_of, Decimal("0.10")).tolist() == [94999.9, 0.1, 0.3]
