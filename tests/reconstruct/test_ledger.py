"""The gap ledger: what every loss is called, where it starts and ends, and that nothing is lost without a row of it."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_ray.book.sync import GapCause
from midas_ray.capture.journal import read_blocks
from midas_ray.capture.journal_file import JournalFile
from midas_ray.errors import DataError
from midas_ray.reconstruct.plan import HOUR_MS, HOUR_NS, RawFile, hour_keys
from midas_ray.settings import BookSettings
from midas_ray.storage import Storage
from midas_ray.tables import FAULT_OF, GAP_CAUSES
from tests.features.serial import run_features
from tests.reconstruct.market import START_MS, Market
from tests.reconstruct.test_reconstruct import STEP_MS, check_against_truth, ms, run, table, table_or_none

Row = tuple[str, str, int, int, bool]


def begun(root: Path, seed: int = 1) -> Market:
    """A live book, and a trade."""
    market = Market(root, seed=seed)
    market.open()
    market.depth(50)
    market.snapshot()
    market.depth(1000)
    market.trade()
    return market


def ledger(root: Path) -> list[Row]:
    """(stream, cause, start, end, recovered); every clean row is the same however the hours are packed."""
    found, clean = [], []
    for pack_bytes in (2**40, 1):
        run(root, pack_bytes)
        rows: list[Row] = []
        if table_or_none(root, "gaps"):
            gaps = table(root, "gaps")
            assert gaps["fault"].cast(pl.String).to_list() == [FAULT_OF[cause] for cause in gaps["cause"]]
            rows = list(
                zip(gaps["stream"], gaps["cause"], ms(gaps["start"]), ms(gaps["end"]), gaps["recovered"], strict=True)
            )
        found.append(sorted(rows))
        clean.append({name: table(root, name) for name in ("book", "trades", "gaps") if table_or_none(root, name)})
    assert found[0] == found[1], "the ledger depends on how the hours are packed"
    assert clean[0].keys() == clean[1].keys()
    for name, frame in clean[0].items():
        assert frame.equals(clean[1][name]), f"{name} depends on how the hours are packed"
    return found[0]


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("down_ms", [3_000, 2 * HOUR_MS, 26 * HOUR_MS])
def test_time_without_a_collector_is_one_row(tmp_path: Path, down_ms: int, kill: bool) -> None:
    """Within an hour, over hours without any file, over midnight twice."""
    market = begun(tmp_path)
    market.run(20, most_ms=2000)
    last_event, last_trade = market.now_ms, market.prints[-1][0]
    market.restart(0, kill=kill)
    for _ in range(10):
        market.depth(down_ms // 10, send=False)
        market.trade(send=False)
    market.recorder.close(market.recv_ns, None, "nothing came")
    market.restart(10)
    market.depth(500)
    market.trade()
    market.snapshot()
    first_known, first_trade = market.now_ms, market.now_ms
    market.run(20, most_ms=2000)
    market.close()
    assert ledger(tmp_path) == [
        ("depth", "down", last_event, first_known, True),
        ("trade", "down", last_trade, first_trade, True),
    ]
    book = table(tmp_path, "book")
    silent = book.filter(pl.col("ts").dt.epoch("ms").is_between(last_event, first_known, closed="right"))
    assert len(silent) == 0 or set(silent["state"]) == {"syncing"}
    assert len(silent) <= 1
    check_against_truth(market, book)


def test_a_gap_that_a_restart_ends_is_down_from_there_on(tmp_path: Path) -> None:
    """Lost at the end of an hour, then nobody there for hours: two rows, and no other names a part of it."""
    market = begun(tmp_path)
    market.depth(HOUR_MS - 60_000)
    last_applied = market.now_ms
    market.depth(1000, send=False)
    market.depth(1000)
    last_seen = market.now_ms
    for down_ms in (5000, HOUR_MS, 3 * HOUR_MS):
        market.restart(down_ms, kill=True)
        market.depth(1000)
    market.snapshot()
    recovered = market.now_ms
    market.depth(1000)
    market.close()
    rows = sorted((row for row in ledger(tmp_path) if row[0] == "depth"), key=lambda row: row[2])
    assert rows == [
        ("depth", "venue", last_applied, last_seen, True),
        ("depth", "down", last_seen, recovered, True),
    ]


@pytest.mark.parametrize("cause", GAP_CAUSES)
def test_the_cause_that_the_journal_names(tmp_path: Path, cause: GapCause) -> None:
    market = begun(tmp_path)
    market.depth(1000)
    start, last_trade = market.now_ms, market.prints[-1][0]
    market.depth(1000, send=False)
    market.trade(send=False)
    market.now_ms += 500
    market.recorder.missed(market.recv_ns, None, "trade", cause)
    market.trade()
    market.recorder.missed(market.recv_ns, None, "depth", cause)
    shown = market.now_ms
    market.depth(100)
    market.snapshot()
    recovered = market.now_ms
    market.depth(1000)
    market.depth(1000, send=False)  # a later loss is no more of this cause
    market.depth(1000)
    market.snapshot()
    market.depth(1000)
    market.close()
    rows = ledger(tmp_path)
    assert {("trade", cause, last_trade, shown, True), ("depth", cause, start, recovered, True)} <= set(rows)
    assert [row[1] for row in rows if row[0] == "depth" and row[2] > recovered] == ["venue"]
    assert len(rows) == 3


@pytest.mark.parametrize(
    ("streams", "depth", "trade"),
    [
        ([], "venue", "venue"),
        (["trade"], "venue", "network"),
        (["depth", "kline"], "network", "venue"),
        (None, "network", "network"),
    ],
)
def test_a_broken_connection_is_blamed_for_its_own_streams(
    tmp_path: Path, streams: list[str] | None, depth: str, trade: str
) -> None:
    market = begun(tmp_path)
    market.event("disconnect", **({} if streams is None else {"streams": streams}), reason="cut")
    market.depth(1000, send=False)
    market.trade(send=False)
    market.depth(1000)
    market.trade()
    market.snapshot()
    market.depth(1000)
    market.close()
    assert {row[0]: row[1] for row in ledger(tmp_path)} == {"depth": depth, "trade": trade}


def test_an_unknown_cause_is_one_line(tmp_path: Path) -> None:
    market = begun(tmp_path)
    market.event("missed", stream="depth", cause="gremlins")
    market.close()
    with pytest.raises(DataError, match=r"found gremlins at recv_ns \d+; a newer MIDAS"):
        run(tmp_path)


def test_an_answer_that_was_not_used_is_not_used_again(tmp_path: Path) -> None:
    market = Market(tmp_path)
    market.open()
    market.depth(50)
    market.snapshot(used=False)
    market.depth(3000)
    market.close()
    run(tmp_path)
    assert set(table(tmp_path, "book")["state"]) == {"syncing"}


def lost_trades(market: Market, **fields: object) -> int:
    """Trades end, the book goes on for three minutes; gives when the last trade was."""
    last_trade = market.prints[-1][0]
    market.event("disconnect", streams=["trade"], reason="cut", **fields)
    for _ in range(180):
        market.depth(1000)
    return last_trade


@pytest.mark.parametrize("hour", [0, 1])
def test_trades_that_nothing_proves_whole_are_a_row_to_the_end(tmp_path: Path, hour: int) -> None:
    """Also where the hour's file begins after the loss; minutes of it have no coverage and no number."""
    market = begun(tmp_path)
    for _ in range(110):
        market.depth(1000)
        market.trade()
    last_trade = lost_trades(market)
    if hour:
        market.depth(START_MS + HOUR_MS + 90_000 - market.now_ms)
        market.depth(START_MS + 2 * HOUR_MS + 90_000 - market.now_ms)
        market.depth(1000)
    market.event("connect", carried=["trade"])
    market.depth(1000)
    end = market.now_ms
    market.close()
    assert ledger(tmp_path) == [("trade", "network", last_trade, end, False)]
    storage = Storage(str(tmp_path))
    run_features(storage, "btcusdt")
    (path, *_) = storage.list_files("features", "features.parquet")
    rows = pl.DataFrame(pl.from_arrow(storage.read_parquet(path)))
    minute = rows["ts"].dt.epoch("ms")
    first, lost = (rows.filter(kept) for kept in (minute == START_MS + 60_000, minute > last_trade + 60_000))
    assert first["trades_coverage"].to_list() == [1.0]
    assert len(lost) >= 2
    assert set(lost["trades_coverage"]) == {0.0}
    assert lost["volume"].null_count() == len(lost)


def test_a_later_trade_proves_or_refutes(tmp_path: Path) -> None:
    whole = begun(tmp_path / "whole")
    lost_trades(whole)
    whole.trade()
    whole.close()
    assert ledger(tmp_path / "whole") == []
    missing = begun(tmp_path / "missing")
    last_trade = lost_trades(missing)
    missing.trade(send=False)
    missing.trade()
    missing.close()
    assert ledger(tmp_path / "missing") == [("trade", "network", last_trade, missing.now_ms, True)]


def test_streams_that_a_stopping_collector_closes_end_there(tmp_path: Path) -> None:
    market = begun(tmp_path)
    market.event("disconnect", streams=["trade"], reason="stopped")
    market.depth(100)
    market.event("disconnect", streams=["depth"], reason="stopped")
    market.now_ms += 50
    market.trade()
    market.close()
    assert ledger(tmp_path) == []


def test_a_restart_without_a_trade_since_proves_nothing(tmp_path: Path) -> None:
    market = begun(tmp_path)
    last_trade = market.now_ms
    market.restart(2 * HOUR_MS)
    market.depth(100)
    market.snapshot()
    market.depth(HOUR_MS)
    market.depth(HOUR_MS)
    market.close()
    assert [row for row in ledger(tmp_path) if row[0] == "trade"] == [
        ("trade", "down", last_trade, market.now_ms, False)
    ]


def test_trades_lost_over_files_of_two_sessions(tmp_path: Path) -> None:
    """The new session's first files hold no trade: the last one before is in the old session's."""
    market = begun(tmp_path)
    last_trade = market.now_ms
    market.restart(1000)
    market.snapshot()
    for _ in range(3):
        market.depth(HOUR_MS)
    market.trade(send=False)
    market.trade()
    market.close()
    assert [row for row in ledger(tmp_path) if row[0] == "trade"] == [
        ("trade", "down", last_trade, market.now_ms, True)
    ]


def test_a_book_whose_stream_is_gone_ends_with_its_last_event(tmp_path: Path) -> None:
    market = begun(tmp_path)
    last_event = market.now_ms
    market.event("disconnect", streams=["depth"], reason="cut")
    for _ in range(5):
        market.now_ms += 10_000
        market.trade()
    market.close()
    assert ledger(tmp_path) == [("depth", "network", last_event, market.now_ms, False)]
    assert max(ms(table(tmp_path, "book")["ts"])) <= last_event


def test_a_book_that_stays_in_its_gap_is_not_live(tmp_path: Path) -> None:
    market = begun(tmp_path)
    last_applied = market.now_ms
    market.depth(1000, send=False)
    for _ in range(5):
        market.depth(10_000)
    end = market.now_ms
    market.restart(HOUR_MS)  # a new session that receives nothing at all
    market.close()
    assert ledger(tmp_path) == [("depth", "venue", last_applied, end, True)]
    book = table(tmp_path, "book")
    after = book.filter(pl.col("ts").dt.epoch("ms") > last_applied)
    assert set(after["state"]) == {"gap"}
    assert max(ms(after["ts"])) > end - STEP_MS


def fall_back(market: Market) -> None:
    market.event("fallback", stream="btcusdt@trade", to="btcusdt@aggTrade")


def test_aggregate_trades_take_over_without_a_gap(tmp_path: Path) -> None:
    """Their ids are others; the single ids in them continue those of the trades."""
    market = begun(tmp_path)
    market.depth(HOUR_MS)
    fall_back(market)
    for _ in range(3):
        market.agg_trade()
        market.depth(HOUR_MS)
    market.restart(1000)
    market.depth(100)
    market.snapshot()
    market.trade()
    market.depth(HOUR_MS)
    market.close()
    assert [row for row in ledger(tmp_path) if row[0] == "trade"] == []
    metadata = [Storage(str(tmp_path)).read_parquet_metadata(path) for path in table_or_none(tmp_path, "trades")]
    assert [each["trade_source"] for each in metadata] == ["trade", "aggTrade", "aggTrade", "aggTrade", "trade"]


def test_a_trade_lost_before_the_aggregate_ones_is_found(tmp_path: Path) -> None:
    market = begun(tmp_path)
    last_trade = market.now_ms
    market.depth(HOUR_MS)
    market.event("disconnect", streams=["trade"], reason="silent")
    market.trade(send=False)
    fall_back(market)
    market.agg_trade()
    first = market.now_ms
    market.depth(HOUR_MS)
    market.agg_id += 1  # an aggregate trade is lost
    lost_after = market.now_ms
    market.depth(1000)
    market.agg_trade()
    market.close()
    assert ledger(tmp_path) == [
        ("trade", "network", last_trade, first, True),
        ("trade", "venue", first, lost_after + 1000, True),
    ]


def test_the_hour_of_the_fallback_keeps_the_source_that_holds_more(tmp_path: Path) -> None:
    market = begun(tmp_path)
    for _ in range(5):
        market.depth(1000)
        market.agg_trade()
    first_agg = START_MS + 50 + 2000
    fall_back(market)
    market.close()
    assert ledger(tmp_path) == []
    trades = table(tmp_path, "trades")
    assert (ms(trades["ts"])[0], trades["count"].to_list()) == (first_agg, [2] * 5)


def test_raw_without_a_head_is_noted(tmp_path: Path) -> None:
    market = begun(tmp_path)
    market.depth(1000)
    market.close()
    (path,) = tmp_path.rglob("*.jsonl.zst")
    with path.open("rb") as stream:
        lines = b"".join(read_blocks(stream, path.name)).splitlines(keepends=True)
    path.unlink()
    file = JournalFile(tmp_path, "binance-futures", "btcusdt", (START_MS + 10) * 10**6)
    frames = [line for line in lines if b'"kind":"ws"' in line]
    file.write(b"".join(frames), (START_MS + 10) * 10**6)
    file.close()
    run(tmp_path)
    storage = Storage(str(tmp_path))
    noted = {path[-7:]: storage.read_bytes(path) for path in storage.list_files("clean/manifest", ".json")}
    assert [name for name, body in noted.items() if b"raw without a head line" in body] == ["00.json"]


def _restart(market: Market, kill: bool) -> None:
    """A collector that is away for a while, and its first snapshot."""
    market.restart(0, kill=kill)
    for _ in range(market.random.randint(0, 3)):
        market.depth(market.random.choice([300, 20_000, HOUR_MS]), send=False)
        market.trade(send=False)
    market.depth(market.random.randint(1, 2000))


def _lose(market: Market, cause: GapCause | None) -> None:
    for _ in range(market.random.randint(1, 3)):
        market.depth(market.random.randint(1, 3000), send=False)
    if cause is not None:
        market.recorder.missed(market.recv_ns, None, "depth", cause)
    market.depth(market.random.randint(1, 3000))


def _lose_trades(market: Market, cause: GapCause | None) -> None:
    market.trade(send=False)
    market.depth(market.random.randint(1, 3000))
    if cause is not None:
        market.recorder.missed(market.recv_ns, None, "trade", cause)
    market.trade()


STEPS: dict[str, Callable[[Market], None]] = {
    "quiet": lambda market: market.run(5, most_ms=2000),
    "minutes": lambda market: market.run(5, most_ms=400_000),
    "hour": lambda market: market.depth(HOUR_MS),
    "snapshot": lambda market: market.snapshot(),
    "stale": lambda market: market.snapshot(used=False),
    "overlap": lambda market: market.depth(700, overlap=True),
    "twice": lambda market: market.depth(700, twice=True),
    "lose": lambda market: _lose(market, None),
    "lose, both": lambda market: _lose(market, "both-missed"),
    "lose trade": lambda market: _lose_trades(market, None),
    "lose trade, overrun": lambda market: _lose_trades(market, "overrun"),
    "one of two": lambda market: market.event("disconnect", streams=[], carried=["depth", "trade"], reason="cut"),
    "cut": lambda market: market.event("disconnect", streams=["depth", "trade"], reason="cut"),
    "restart": lambda market: _restart(market, kill=False),
    "kill": lambda market: _restart(market, kill=True),
}


def check_accounted(market: Market, root: Path) -> None:
    """Every grid step from the first live row on is live and right or in a depth gap, every print there or in a gap."""
    gaps = table(root, "gaps") if table_or_none(root, "gaps") else pl.DataFrame(schema={"stream": pl.String})
    depth = gaps.filter(pl.col("stream") == "depth")
    starts, ends = (np.array(ms(depth[name]) if len(depth) else [], np.int64) for name in ("start", "end"))
    order = np.argsort(starts)
    assert (starts[order][1:] >= ends[order][:-1]).all(), "depth gaps overlap"
    book = table(root, "book")
    live = np.array(ms(book.filter(pl.col("state") == "live")["ts"]), np.int64)
    check_against_truth(market, book)
    inside = ((starts < live[:, None]) & (live[:, None] <= ends)).any(axis=1) if len(starts) else np.zeros(0, np.bool_)
    assert not inside.any(), "a live row inside a gap"
    if len(live):
        rest = np.setdiff1d(np.arange(live[0], int(book["ts"].dt.epoch("ms").max()) + 1, STEP_MS), live)  # type: ignore[arg-type]
        known = ((starts < rest[:, None]) & (rest[:, None] <= ends)).any(axis=1)
        assert known.all(), f"steps without a row and without a gap: {rest[~known][:5]}"
    found = set(table(root, "trades")["trade_id"]) if table_or_none(root, "trades") else set()
    assert found == {number for _, number, *_ in market.prints}
    lost = gaps.filter(pl.col("stream") == "trade")
    named: set[int] = set()
    for row in lost.iter_rows(named=True):
        named |= set(range(row["expected_id"], market.trade_id + 1 if row["found_id"] is None else row["found_id"]))
    assert not named & found, "a print that a gap calls lost"


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**20), steps=st.lists(st.sampled_from(sorted(STEPS)), min_size=2, max_size=14))
def test_nothing_is_lost_without_a_row(seed: int, steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        market = begun(root, seed=seed)
        for step in steps:
            STEPS[step](market)
        market.depth(1500)
        market.close()
        rows = ledger(root)
        check_accounted(market, root)
        sent = {number for _, number, *_ in market.prints}
        if not any(row[0] == "trade" for row in rows):
            no_prints = set(range(101, max(sent) + 1)) - sent
            metadata = [Storage(folder).read_parquet_metadata(path) for path in table_or_none(root, "trades")]
            named = {int(each) for one in metadata for each in one["no_print_ids"].strip("[]").split(",") if each}
            assert no_prints <= named, "ids are missing and no row of the ledger says so"


def test_a_broken_stream_is_remembered_over_the_head_of_a_file(tmp_path: Path) -> None:
    """Cut in one hour, seen in the next, recovered in the third, whose task begins with the second's file."""
    market = begun(tmp_path)
    market.depth(HOUR_MS - 10_000)
    last_applied = market.now_ms
    market.event("disconnect", streams=["depth"], reason="cut")
    market.now_ms += 12_000
    market.trade()
    market.depth(1000, send=False)
    market.depth(1000)
    market.depth(HOUR_MS + 60_000)
    market.snapshot()
    recovered = market.now_ms
    market.depth(1000)
    market.close()
    assert ledger(tmp_path) == [("depth", "network", last_applied, recovered, True)]


def test_a_cause_is_that_of_its_own_jump(tmp_path: Path) -> None:
    market = begun(tmp_path)
    market.depth(10_000)
    market.trade(send=False)
    market.recorder.missed(market.recv_ns, None, "trade", "overrun")
    market.trade()
    market.depth(10_000)
    market.trade(send=False)
    market.trade()
    market.close()
    assert [row[1] for row in ledger(tmp_path)] == ["overrun", "venue"]


def test_an_hour_is_done_again_when_data_follow_after_a_silence() -> None:
    """They decide on what was lost at its end; files that follow without a silence change nothing of it."""
    first, later = RawFile("a", 10 * HOUR_NS, 100), RawFile("b", 15 * HOUR_NS, 50)
    grown = RawFile("b", 15 * HOUR_NS, 70)
    keys = [hour_keys(files, BookSettings())[10] for files in ([first], [first, later], [first, grown])]
    assert len(set(keys)) == 3
    steady = [RawFile(str(hour), hour * HOUR_NS, 100) for hour in range(10, 16)]
    assert hour_keys(steady[:-1], BookSettings())[10] == hour_keys(steady, BookSettings())[10]
