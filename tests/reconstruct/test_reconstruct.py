"""Raw journals to clean tables: against a dict book, in any sharding, with gaps, defects and reruns."""

import bisect
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from midas_ray.cli import main
from midas_ray.reconstruct.plan import HOUR_MS, HourTask, hour_keys, plan_tasks, raw_files
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.settings import BookSettings
from midas_ray.storage import Storage
from tests.reconstruct.market import START_MS, Market

STEP_MS = 1000
VENUE, SYMBOL = "binance-futures", "btcusdt"


def settings() -> BookSettings:
    return BookSettings(snapshot_interval_ms=STEP_MS)


def run(root: Path, pack_bytes: int = 2**40) -> None:
    """Reconstruct everything without Ray, in packs of the given size."""
    storage = Storage(str(root))
    files = raw_files(storage, VENUE, SYMBOL)
    for task in plan_tasks(VENUE, SYMBOL, files, hour_keys(files, settings()), {}, pack_bytes):
        reconstruct_hours(str(root), task, settings())


def table(root: Path, name: str) -> pl.DataFrame:
    storage = Storage(str(root))
    paths = storage.list_files(f"clean/{name}/venue={VENUE}/symbol={SYMBOL}", ".parquet")
    assert paths, f"nothing in clean/{name}"
    return pl.concat([pl.from_arrow(storage.read_parquet(path)) for path in paths])


def ms(column: pl.Series) -> list[int]:
    return (column.dt.epoch("ms")).to_list()


def check_against_truth(market: Market, book: pl.DataFrame, depth: int = 10) -> int:
    """Every live row equals the dict book after all events with time < ts. Gives how many were compared."""
    times = [at for at, _, _ in market.truth]
    live = book.filter(pl.col("state") == "live")
    for row in live.iter_rows(named=True):
        ts = int(row["ts"].timestamp() * 1000)
        _, bids, asks = market.truth[bisect.bisect_left(times, ts) - 1]
        for level, px in enumerate(sorted(bids, reverse=True)[:depth], 1):
            assert (row[f"bid_px_{level:02d}"], row[f"bid_sz_{level:02d}"]) == (px / 10, bids[px] / 1000)
        for level, px in enumerate(sorted(asks)[:depth], 1):
            assert (row[f"ask_px_{level:02d}"], row[f"ask_sz_{level:02d}"]) == (px / 10, asks[px] / 1000)
    return len(live)


def three_hours(root: Path, seed: int = 1, latency_ms: int = 5) -> Market:
    market = Market(root, seed=seed, latency_ms=latency_ms)
    market.open()
    market.depth(50)
    market.snapshot()
    market.run(700)
    market.close()
    return market


def test_rows_equal_a_dict_book_and_prints_appear_once(tmp_path: Path) -> None:
    market = three_hours(tmp_path)
    run(tmp_path)
    book = table(tmp_path, "book")
    assert check_against_truth(market, book) > 9_000
    assert book["ts"].is_sorted()
    assert book["ts"].n_unique() == len(book)
    grid = set(ms(book["ts"].diff().drop_nulls().cast(pl.Int64).cast(pl.Datetime("us"))))
    assert grid == {STEP_MS}, "rows stand on the grid without a hole"
    trades = table(tmp_path, "trades")
    found = list(zip(ms(trades["ts"]), trades["trade_id"], trades["px"], trades["qty"], trades["side"], strict=True))
    wanted = [
        (at, number, px / 10, qty / 1000, "sell" if sold else "buy") for at, number, px, qty, sold in market.prints
    ]
    assert found == wanted


@pytest.mark.parametrize("latency_ms", [5, -1300, 900])
def test_any_packing_of_hours_gives_the_same_rows(tmp_path: Path, latency_ms: int) -> None:
    """Also with a local clock ahead of or behind the exchange's."""
    three_hours(tmp_path, seed=2, latency_ms=latency_ms)
    run(tmp_path)
    names = ["book", "trades"]
    whole = {name: table(tmp_path, name) for name in names}
    run(tmp_path, pack_bytes=1)
    for name in names:
        assert table(tmp_path, name).equals(whole[name]), name


def test_rows_lie_in_the_file_of_the_hour_that_starts_their_interval(tmp_path: Path) -> None:
    three_hours(tmp_path)
    run(tmp_path)
    storage = Storage(str(tmp_path))
    for path in storage.list_files("clean/book", ".parquet"):
        frame = pl.from_arrow(storage.read_parquet(path))
        assert {(at - 1) // HOUR_MS % 24 for at in ms(frame["ts"])} == {int(path[-10:-8])}


def test_lost_event_makes_a_gap_and_no_number(tmp_path: Path) -> None:
    market = Market(tmp_path, seed=3)
    market.open()
    market.snapshot()
    market.run(5, most_ms=4000)
    last_applied = market.now_ms
    market.depth(10_000, send=False)
    market.depth(3_000)
    market.run(3, most_ms=4000)
    recovered = market.now_ms  # the last event before the snapshot confirms it
    market.snapshot()
    market.depth(5_000)
    market.run(5, most_ms=4000)
    market.close()
    run(tmp_path)
    book = table(tmp_path, "book")
    gaps = table(tmp_path, "gaps").filter(pl.col("stream") == "depth")
    assert (ms(gaps["start"]), ms(gaps["end"])) == ([last_applied], [recovered])
    assert gaps["cause"].to_list() == ["venue"]
    inside = book.filter(pl.col("ts").dt.epoch("ms").is_between(last_applied, recovered, closed="right"))
    assert set(inside["state"]) == {"gap"}
    assert inside["bid_px_01"].null_count() == len(inside) > 10
    after = book.filter(pl.col("ts").dt.epoch("ms") > recovered)
    assert set(after["state"]) == {"live"}
    assert after["ofi_01"][0] is None
    assert after["ofi_01"][1:].null_count() == 0
    check_against_truth(market, book)


def test_no_rows_while_no_collector_ran(tmp_path: Path) -> None:
    market = Market(tmp_path, seed=4)
    market.open()
    market.snapshot()
    market.run(20, most_ms=3000)
    market.close()
    stopped = market.now_ms
    for _ in range(400):
        market.depth(30_000, send=False)
    market.trade(send=False)
    market.open()
    market.depth(100)
    first_seen = market.now_ms
    market.snapshot()
    market.run(20, most_ms=3000)
    market.trade()
    market.close()
    run(tmp_path)
    whole = table(tmp_path, "book")
    quiet = whole.filter(pl.col("ts").dt.epoch("ms").is_between(stopped, first_seen, closed="right"))
    assert len(quiet) <= 1
    gaps = table(tmp_path, "gaps")
    assert set(gaps["cause"]) == {"down"}
    assert set(gaps["stream"]) == {"depth", "trade"}
    assert ms(gaps.filter(pl.col("stream") == "depth")["start"]) == [stopped]
    check_against_truth(market, whole)
    run(tmp_path, pack_bytes=1)
    assert table(tmp_path, "book").equals(whole)
    assert table(tmp_path, "gaps").equals(gaps)


def test_levels_beyond_the_snapshot_are_null_until_a_wider_one(tmp_path: Path) -> None:
    market = Market(tmp_path, seed=5, snapshot_limit=5)
    market.open()
    market.snapshot()
    market.depth(1500)
    market.depth(1500)
    market.snapshot_limit = 1000
    market.snapshot()
    market.depth(1500)
    market.depth(1500)
    market.close()
    run(tmp_path)
    book = table(tmp_path, "book").filter(pl.col("state") == "live")
    assert book["bid_px_10"][0] is None
    assert book["bid_px_10"][-1] is not None
    assert len(table_or_none(tmp_path, "gaps")) == 0


def table_or_none(root: Path, name: str) -> list[str]:
    return Storage(str(root)).list_files(f"clean/{name}", ".parquet")


def test_rows_that_are_no_prints_are_named(tmp_path: Path) -> None:
    market = Market(tmp_path, seed=11)
    market.open()
    market.snapshot()
    market.depth(100)
    for kind in ("MARKET", "NA", "INSURANCE_FUND", "MARKET"):
        market.trade(kind=kind)
    market.depth(3000)
    market.close()
    run(tmp_path)
    assert table(tmp_path, "trades")["trade_id"].to_list() == [101, 104]
    assert (
        Storage(str(tmp_path)).read_parquet_metadata(table_or_none(tmp_path, "trades")[0])["no_print_ids"]
        == "[102,103]"
    )
    assert not table_or_none(tmp_path, "gaps")


def test_jump_of_trade_ids_is_in_the_ledger(tmp_path: Path) -> None:
    market = Market(tmp_path, seed=6)
    market.open()
    market.snapshot()
    market.depth(2000)
    market.trade()
    before = market.now_ms
    market.depth(2000)
    market.trade(send=False)
    market.depth(2000)
    market.trade()
    market.close()
    run(tmp_path)
    gap = table(tmp_path, "gaps").row(0, named=True)
    assert (gap["stream"], gap["expected_id"], gap["found_id"]) == ("trade", 102, 103)
    assert gap["start"] == datetime.fromtimestamp(before / 1000, UTC)
    assert gap["end"] - gap["start"] == timedelta(seconds=4)


def test_small_tables(tmp_path: Path) -> None:
    market = Market(tmp_path, seed=7)
    market.open()
    market.snapshot()
    market.depth(1000)
    mark = {
        "e": "markPriceUpdate",
        "E": START_MS + 1500,
        "s": "BTCUSDT",
        "p": "500.5",
        "i": "500.1",
        "P": "1",
        "r": "0.0001",
    }
    market.frame("markPrice@1s", mark | {"T": START_MS + 8 * HOUR_MS, "ap": "1", "st": 1})
    order = {"s": "BTCUSDT", "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "2", "p": "499", "ap": "499.5", "X": "FILLED"}
    forced = {"e": "forceOrder", "E": START_MS + 1600, "o": order | {"l": "1", "z": "1.5", "T": START_MS + 1600}}
    market.frame("forceOrder", forced)
    for closed in (False, True):
        bar = {
            "t": START_MS,
            "T": START_MS + 59_999,
            "s": "BTCUSDT",
            "i": "1m",
            "f": 1,
            "L": 2,
            "o": "1",
            "c": "2",
            "h": "3",
        }
        bar |= {"l": "0.5", "v": "10", "n": 4, "x": closed, "q": "15", "V": "6", "Q": "9", "B": "0"}
        market.depth(2000)
        market.frame("kline_1m", {"e": "kline", "E": START_MS + 60_000, "s": "BTCUSDT", "k": bar})
    market.close()
    run(tmp_path)
    assert table(tmp_path, "mark").select("mark_px", "index_px", "funding_rate").row(0) == (500.5, 500.1, 0.0001)
    assert table(tmp_path, "liquidations").select("side", "px", "qty").row(0) == ("sell", 499.5, 1.5)
    bars = table(tmp_path, "bars")
    assert len(bars) == 1
    assert ms(bars["ts"]) == [START_MS + 60_000]
    assert bars.select("open", "high", "low", "close", "number_of_trades").row(0) == (1.0, 3.0, 0.5, 2.0, 4)
    streams = Storage(str(tmp_path)).read_parquet_metadata(table_or_none(tmp_path, "book")[0])["streams"]
    assert set(streams.split(",")) == {"depth", "trade", "markPrice", "forceOrder", "kline"}


def test_more_decimals_in_the_middle_of_a_file(tmp_path: Path) -> None:
    market = Market(tmp_path, seed=8)
    market.open()
    market.snapshot()
    market.run(30, most_ms=2000)
    data = {"e": "depthUpdate", "E": market.now_ms, "T": market.now_ms + 10, "s": "BTCUSDT", "U": market.last_id + 1}
    data |= {"u": market.last_id + 1, "pu": market.last_id, "b": [["499.955", "0.12345"]], "a": []}
    market.last_id += 1
    market.now_ms += 10
    market.frame("depth@100ms", data)
    market.run(1, most_ms=5000)
    market.depth(5000)
    market.close()
    run(tmp_path)
    book = table(tmp_path, "book")
    bids = book.select([f"bid_px_{level:02d}" for level in range(1, 11)])
    assert 499.955 in bids.row(-1)
    metadata = Storage(str(tmp_path)).read_parquet_metadata(table_or_none(tmp_path, "book")[0])
    assert (metadata["px_decimals"], metadata["sz_decimals"]) == ("3", "5")


def test_decimals_are_those_of_the_rows_however_hours_are_packed(tmp_path: Path) -> None:
    """A print of the second hour has more decimals than all else: that is said of its file alone."""
    market = Market(tmp_path, seed=12)
    market.open()
    market.snapshot()
    market.run(250)
    data = {"e": "trade", "E": market.now_ms, "T": market.now_ms, "s": "BTCUSDT", "t": market.trade_id + 1}
    market.trade_id += 1
    market.frame("trade", data | {"p": "499.955", "q": "0.12345", "X": "MARKET", "m": True})
    finer_hour = market.now_ms // HOUR_MS % 24
    market.run(400)
    market.close()

    def decimals() -> dict[str, tuple[str, str]]:
        storage = Storage(str(tmp_path))
        paths = [path for name in ("book", "trades") for path in storage.list_files(f"clean/{name}", ".parquet")]
        found = {path: storage.read_parquet_metadata(path) for path in paths}
        return {path: (each["px_decimals"], each["sz_decimals"]) for path, each in found.items()}

    run(tmp_path)
    whole = decimals()
    run(tmp_path, pack_bytes=1)
    assert decimals() == whole
    finer = [path for path, each in whole.items() if each == ("3", "5")]
    assert [path[-10:] for path in finer] == [f"{finer_hour:02d}.parquet"]
    assert "/trades/" in finer[0]
    assert set(whole.values()) == {("1", "3"), ("3", "5")}
    assert len(whole) >= 6


def test_growing_file_is_read_up_to_what_is_flushed(tmp_path: Path) -> None:
    market = Market(tmp_path, seed=9)
    market.open()
    market.snapshot()
    market.run(50, most_ms=2000)
    market.recorder.flush()
    market.run(50, most_ms=2000)
    run(tmp_path)
    assert check_against_truth(market, table(tmp_path, "book")) > 30


def test_unreachable_ray_and_other_venue_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Market(tmp_path).open()
    arguments = ["reconstruct", "--data-dir", str(tmp_path)]
    assert main([*arguments, "--venue", "binance-spot"]) == 1
    assert "found data of binance-futures: choose with --venue" in capsys.readouterr().err
    assert main(["reconstruct", "--data-dir", ""]) == 2
    assert "--data-dir" in capsys.readouterr().err


def test_rerun_recomputes_only_what_its_inputs_touch(tmp_path: Path) -> None:
    three_hours(tmp_path)
    storage = Storage(str(tmp_path))
    files = raw_files(storage, VENUE, SYMBOL)
    keys = hour_keys(files, settings())
    assert plan_tasks(VENUE, SYMBOL, files, keys, dict(keys)) == []
    fewer = hour_keys(files[:-1], settings())
    tasks = plan_tasks(VENUE, SYMBOL, files, keys, fewer)
    assert [(task.first_hour, task.last_hour) for task in tasks] == [(files[-1].hour - 2, files[-1].hour + 1)]
    wider = hour_keys(files, BookSettings(snapshot_interval_ms=100))
    assert not set(wider.values()) & set(keys.values())


def test_stale_outputs_of_an_hour_go(tmp_path: Path) -> None:
    market = Market(tmp_path)
    market.open()
    market.snapshot()
    market.depth(500)
    market.trade()
    market.depth(5000)
    market.close()
    run(tmp_path)
    assert table_or_none(tmp_path, "trades")
    for path in (tmp_path / "raw").rglob("*.zst"):
        path.unlink()
    silent = Market(tmp_path)
    silent.open()
    silent.snapshot()
    silent.depth(500)
    silent.depth(5000)
    silent.close()
    run(tmp_path)
    assert not table_or_none(tmp_path, "trades")


def test_command_end_to_end_with_ray(tmp_path: Path, ray_local: None, capsys: pytest.CaptureFixture[str]) -> None:
    market = Market(tmp_path)
    market.open()
    market.snapshot()
    market.run(50, most_ms=2000)
    market.close()
    assert main(["reconstruct", "--data-dir", str(tmp_path), "--snapshot-interval-ms", "1000"]) == 0
    assert "live 100.00 %" in capsys.readouterr().out
    assert main(["reconstruct", "--data-dir", str(tmp_path), "--snapshot-interval-ms", "1000"]) == 0
    assert "3 up to date" in capsys.readouterr().out
    path = next(tmp_path.rglob("*.jsonl.zst"))
    path.write_bytes(path.read_bytes()[:-100])
    for _ in range(2):  # met by the first run, remembered by the second
        assert main(["reconstruct", "--data-dir", str(tmp_path), "--snapshot-interval-ms", "1000"]) == 1
        errors = capsys.readouterr().err.strip().splitlines()
        assert len(errors) == 1
        assert path.name in errors[0]
        assert "truncated" in errors[0]


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reconstruct", "--data-dir", str(tmp_path / "nowhere")]) == 1
    assert "no raw journals" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
    Market(tmp_path).open()
    assert main(["reconstruct", "--data-dir", str(tmp_path), "--symbols", "nope"]) == 1
    assert capsys.readouterr().err.strip().endswith("found btcusdt")


def test_task_survives_encoding() -> None:
    import msgspec

    task = HourTask(VENUE, SYMBOL, 1, 2, {1: "a", 2: "b"})
    assert msgspec.json.decode(msgspec.json.encode(task), type=HourTask) == task
