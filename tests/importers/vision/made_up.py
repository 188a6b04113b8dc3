"""Small files of the public archive, written for tests."""

import hashlib
import random
import zipfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from midas_ray.cli import main
from midas_ray.reconstruct.plan import hour_keys, plan_tasks, raw_files
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.settings import BookSettings
from midas_ray.storage import Storage

Row = Sequence[Any]

HEADERS = {
    "trades": "id,price,qty,quote_qty,time,is_buyer_maker",
    "aggTrades": "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
    "bookTicker": "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time",
    "1m": "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,"
    "ignore",
}
DAY = date(2024, 10, 18)
NEXT_DAY = DAY + timedelta(days=1)


def midnight_ms(day: date = DAY) -> int:
    return int(datetime.combine(day, datetime.min.time(), UTC).timestamp()) * 1000


def zip_file(
    folder: Path,
    kind: str,
    rows: Sequence[Row],
    *,
    day: date | str = DAY,
    symbol: str = "BTCUSDT",
    header: bool = True,
    checksum: bool | str = True,
) -> str:
    """A zip as the archive publishes it; gives its path. checksum: beside it, or the text of another digest."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{symbol}-{kind}-{day}"
    lines = ([HEADERS[kind]] if header else []) + [",".join(map(str, row)) for row in rows]
    path = folder / f"{stem}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        member = zipfile.ZipInfo(f"{stem}.csv")  # of no time of its own: the same rows are the same bytes
        archive.writestr(member, "\n".join(lines) + "\n", zipfile.ZIP_DEFLATED)
    if checksum:
        digest = checksum if isinstance(checksum, str) else hashlib.sha256(path.read_bytes()).hexdigest()
        (folder / f"{path.name}.CHECKSUM").write_text(f"{digest}  {path.name}\n")
    return str(path)


def agg_trades(
    count: int, *, day: date = DAY, first_id: int = 1000, first_ms: int = 5_000, step_ms: int = 60_000, seed: int = 1
) -> list[list[Any]]:
    """count rows, one each step_ms from first_ms after midnight; every row stands for one to three single trades."""
    rng = random.Random(seed)
    rows: list[list[Any]] = []
    single = 10 * first_id
    for at in range(count):
        trades = rng.randint(1, 3)
        price = f"{rng.randint(60_000, 60_100)}.{rng.randint(0, 9)}"
        quantity = f"{rng.randint(1, 3000) / 1000:.3f}"
        ms = midnight_ms(day) + first_ms + at * step_ms
        maker = rng.choice(["true", "false"])
        rows.append([first_id + at, price, quantity, single, single + trades - 1, ms, maker])
        single += trades
    return rows


def single_trades(rows: Sequence[Row]) -> list[list[Any]]:
    """Rows of `trades` with the ids, prices and times of aggregate ones."""
    return [[row[0], row[1], row[2], "1.0", row[5], row[6]] for row in rows]


def quotes(
    count: int, *, day: date = DAY, first_id: int = 500, first_ms: int = 130, step_ms: int = 70, seed: int = 1
) -> list[list[Any]]:
    """count rows of bookTicker: a best bid and ask that wander by ticks of 0.1."""
    rng = random.Random(seed)
    bid, spread = 600_000, 1
    rows: list[list[Any]] = []
    for at in range(count):
        bid += rng.choice([-1, 0, 0, 0, 1])
        spread = max(1, spread + rng.choice([-1, 0, 0, 1]))
        ms = midnight_ms(day) + first_ms + at * step_ms
        ask = bid + spread
        sizes = [f"{rng.randint(1, 5000) / 1000:.3f}" for _ in range(2)]
        bid_px, ask_px = f"{bid // 10}.{bid % 10}0", f"{ask // 10}.{ask % 10}0"
        rows.append([first_id + 7 * at, bid_px, sizes[0], ask_px, sizes[1], ms, ms + 1])
    return rows


def klines(count: int, *, day: date = DAY) -> list[list[Any]]:
    rows = []
    for at in range(count):
        open_ms, px = midnight_ms(day) + at * 60_000, 100.5 + at % 7
        rows.append(
            [open_ms, px, px + 2, px - 1, px + 0.5, 7.25, open_ms + 59_999, 730.0, 42, 3.5 - 0.25 * (at % 4), 350.0, 0]
        )
    return rows


def run(root: Path, *arguments: str) -> int:
    """`midas import binance-vision` with DATA_DIR root/data."""
    return main(["import", "binance-vision", *arguments, "--data-dir", str(root / "data")])


def reconstruct_all(data_dir: Path, symbol: str = "btcusdt") -> None:
    """`midas reconstruct` of a symbol in this process."""
    storage, settings = Storage(str(data_dir)), BookSettings()
    files = raw_files(storage, "binance-futures", symbol)
    for task in plan_tasks("binance-futures", symbol, files, hour_keys(files, settings), {}):
        reconstruct_hours(str(data_dir), task, settings)


def table(root: Path, name: str, symbol: str = "btcusdt", venue: str = "binance-futures") -> pl.DataFrame:
    """All rows of a clean table of a symbol."""
    paths = sorted((root / "data").glob(f"clean/{name}/venue={venue}/symbol={symbol}/date=*/*.parquet"))
    return pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in paths])


def hours(root: Path, name: str) -> list[str]:
    """`2024-10-18/07` of each file of a clean table."""
    paths = sorted((root / "data").glob(f"clean/{name}/venue=*/symbol=*/date=*/*.parquet"))
    return [f"{path.parent.name.removeprefix('date=')}/{path.stem}" for path in paths]


def tree(root: Path) -> dict[str, bytes]:
    """Every file under DATA_DIR/clean with its content: Parquet files written of the same rows are equal bytes."""
    folder = root / "data" / "clean"
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
