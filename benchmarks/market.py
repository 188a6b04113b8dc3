"""The simulated market against the real captures: the stylised facts of both, side by side.

    python -m benchmarks.market [--seed 1] [--hours 2]

Both go through the project's own import or history, and its reconstruct. Each simulated market is as long as its real
capture, but at most `--hours`. Facts are of clean/book rows each 100 ms, clean/trades and the raw depth messages.
"""

import math
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import msgspec
import numpy as np
import polars as pl

from benchmarks.clean import CAPTURES, Capture, absent, clean_tables, import_capture
from benchmarks.ofi import STEPS_PER_S, Floats, windows
from benchmarks.rows import Row, finish, parser_of
from midas_ray.capture.journal import decode_line, read_blocks
from midas_ray.reconstruct.plan import raw_files
from midas_ray.simulate.history import write_history
from midas_ray.storage import Storage
from midas_ray.venues.base import frame_message
from midas_ray.venues.messages import DepthUpdate

START_NS = 1_767_614_400_000_000_000  # 2026-01-05 12:00 UTC: the busy half of the day
LEVELS = 10
HEADLINE = (
    "spread of one tick, share",
    "mid changes in 100 ms, share",
    "volatility, bps a minute",
    "OFI-return R^2 at 1 s",
    "OFI-return R^2 at 10 s",
    "trades a second",
)
"""Facts shown in the table of all benchmarks; alone, this one prints every fact."""


def levels_per_message(data_dir: str, venue: str, symbol: str) -> tuple[float, float]:
    """(depth messages a second, mean level changes of one)."""
    storage, decode = Storage(data_dir), msgspec.json.Decoder(DepthUpdate).decode
    events: list[tuple[int, int]] = []
    for file in raw_files(storage, venue, symbol):
        with storage.open_input(file.path) as stream:
            for block in read_blocks(stream, file.path):
                for line in block.splitlines():
                    if b"@depth" in line[:200]:
                        message = decode(frame_message(bytes(decode_line(line).payload)))
                        events.append((message.E, len(message.b) + len(message.a)))
    times_ms, levels = zip(*events, strict=True)
    return 1000 * len(events) / (times_ms[-1] - times_ms[0]), float(np.mean(levels))


def autocorrelation(values: Floats, lag: int) -> float:
    """Sample autocorrelation; NaN where fewer than 30 pairs are there."""
    if len(values) < lag + 30 or values.std() == 0.0:
        return math.nan
    centred = values - values.mean()
    return float((centred[lag:] * centred[:-lag]).sum() / (centred * centred).sum())


def hill(values: Floats, share: float = 0.05) -> float:
    """Tail exponent of the largest `share` (Hill 1975): the smaller, the heavier; Gaussian: beyond any bound."""
    ordered = np.sort(values)[::-1]
    count = max(int(share * len(ordered)), 10)
    if len(ordered) <= count:
        return math.nan
    return float(1.0 / np.log(ordered[:count] / ordered[count]).mean())


def ofi_r2(book: pl.DataFrame, seconds: int, tick: float) -> float:
    """R^2 of mid change on order flow imbalance of the same window (Cont, Kukanov and Stoikov 2014, equation 7)."""
    moves, flows = windows(book, seconds, tick)
    if len(moves) < 25 or moves.std() == 0.0 or flows.std() == 0.0:
        return math.nan
    return float(np.corrcoef(moves, flows[:, 0])[0, 1] ** 2)


def book_facts(book: pl.DataFrame, tick: float) -> dict[str, float]:
    """Spread, sizes, depth, returns and their relation to order flow."""
    spread = np.rint((book["ask_px_01"] - book["bid_px_01"]).to_numpy() / tick)
    facts = {
        "spread of one tick, share": float((spread == 1).mean()),
        "spread, mean ticks": float(spread.mean()),
        "spread, 99 % ticks": float(np.quantile(spread, 0.99)),
    }
    best = np.concatenate([book["bid_sz_01"].to_numpy(), book["ask_sz_01"].to_numpy()])
    facts["best size, mean"] = float(best.mean())
    facts["best size, median / mean"] = float(np.median(best) / best.mean())
    facts["best size, 99 % / mean"] = float(np.quantile(best, 0.99) / best.mean())
    for level in (2, 3, 5, 10):
        size = np.concatenate([book[f"{side}_sz_{level:02d}"].drop_nulls().to_numpy() for side in ("bid", "ask")])
        facts[f"size at level {level} / best"] = float(size.mean() / best.mean())
    for level in (2, 10):
        gap = (book["bid_px_01"] - book[f"bid_px_{level:02d}"]).drop_nulls().to_numpy() / tick
        facts[f"level {level}, ticks from the best"] = float(gap.mean())
    mid = 0.5 * (book["bid_px_01"] + book["ask_px_01"]).to_numpy()
    facts["mid changes in 100 ms, share"] = float((np.diff(mid) != 0).mean())
    second, _ = windows(book, 1, tick)
    facts["volatility, bps a minute"] = float(second.std() * tick / mid.mean() * 1e4 * math.sqrt(60))
    facts["variance ratio 10 s / 1 s"] = float(windows(book, 10, tick)[0].var() / (10 * second.var()))
    kurtosis = float(((second - second.mean()) ** 4).mean() / second.var() ** 2)
    facts["kurtosis of 1 s returns"] = kurtosis
    for seconds, lags in ((1, (1, 10, 60)), (10, (1, 6)), (60, (1, 10))):
        moves = np.abs(windows(book, seconds, tick)[0])
        for lag in lags:
            facts[f"|return| over {seconds} s, autocorrelation {lag}"] = autocorrelation(moves, lag)
    for seconds in (1, 10, 60):
        facts[f"OFI-return R^2 at {seconds} s"] = ofi_r2(book, seconds, tick)
    return facts


def trade_facts(trades: pl.DataFrame, mean_best: float) -> dict[str, float]:
    """Sizes, arrival and signs of taker orders: prints of one side in one millisecond count as one."""
    quantity = trades["qty"].to_numpy()
    orders = trades.group_by("ts", "side", maintain_order=True).agg(pl.col("qty").sum()).sort("ts", maintain_order=True)
    sizes, times_us = orders["qty"].to_numpy(), orders["ts"].dt.epoch("us").to_numpy()
    signs = np.where(orders["side"].to_numpy() == "buy", 1.0, -1.0)
    waits = np.diff(times_us)
    seconds = times_us // 1_000_000
    counts = np.bincount(seconds - seconds[0]).astype(np.float64)
    facts = {
        "trades a second": len(trades) / (len(counts)),
        "prints a taker order": len(trades) / len(orders),
        "print, median / mean": float(np.median(quantity) / quantity.mean()),
        "print, 99 % / mean": float(np.quantile(quantity, 0.99) / quantity.mean()),
        "order, mean / best size": float(sizes.mean() / mean_best),
        "order, median / mean": float(np.median(sizes) / sizes.mean()),
        "order, 99 % / mean": float(np.quantile(sizes, 0.99) / sizes.mean()),
        "order, tail exponent": hill(sizes),
        "waits, deviation / mean": float(waits.std() / waits.mean()),
        "orders in 1 s, variance / mean": float(counts.var() / counts.mean()),
    }
    for lag in (1, 10, 60):
        facts[f"orders in 1 s, autocorrelation {lag}"] = autocorrelation(counts, lag)
    for lag in (1, 10, 50):
        facts[f"sign of orders, autocorrelation {lag}"] = autocorrelation(signs, lag)
    return facts


def facts_of(data_dir: str, venue: str, symbol: str, tick: float) -> dict[str, float]:
    """All facts of a symbol whose raw journals lie in the folder, which is given its clean tables."""
    book, trades = clean_tables(data_dir, venue, symbol)
    facts = book_facts(book, tick)
    facts |= trade_facts(trades, facts["best size, mean"])
    messages, levels = levels_per_message(data_dir, venue, symbol)
    return facts | {
        "seconds": len(book) / STEPS_PER_S,
        "depth messages a second": messages,
        "level changes a message": levels,
        "level changes in 100 ms": messages * levels / 10,
    }


def simulated(
    folder: Path, capture: Capture, seed: int, seconds: float, level_changes: float, start_ns: int = START_NS
) -> dict[str, float]:
    """Facts of a simulated history."""
    write_history(str(folder), capture.venue, (capture.symbol,), seed, start_ns, seconds, level_changes=level_changes)
    return facts_of(str(folder), capture.venue, capture.symbol, capture.tick)


def real(folder: Path, capture: Capture) -> dict[str, float] | None:
    """Facts of a real capture; None where it is not there."""
    if not import_capture(folder, capture):
        return None
    return facts_of(str(folder), capture.venue, capture.symbol, capture.tick)


def headline(capture: Capture, truth: dict[str, float], model: dict[str, float]) -> list[Row]:
    """What of the facts goes into the table of all benchmarks: the model's figure, as a ratio to the real one."""
    name = f"market: simulated {capture.symbol}, {capture.venue}"
    return [
        Row(
            benchmark=name,
            what=fact,
            value=model[fact],
            unit="",
            against="real" if truth[fact] else None,
            ratio=model[fact] / truth[fact] if truth[fact] else None,
        )
        for fact in HEADLINE
    ]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hours", type=float, default=2.0, help="most that is simulated of a symbol (default 2)")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for capture in CAPTURES:
        with tempfile.TemporaryDirectory() as folder:
            truth = real(Path(folder) / "real", capture)
            if truth is None:
                print(f"{capture.venue} {capture.symbol}: {absent(capture)}", file=sys.stderr)
                continue
            seconds = min(truth["seconds"], arguments.hours * 3600)
            model = simulated(
                Path(folder) / "model", capture, arguments.seed, seconds, truth["level changes in 100 ms"]
            )
        rows += headline(capture, truth, model)
        if arguments.json is None:
            print(f"\n{capture.venue} {capture.symbol}{'':24}{'real':>12}{'simulated':>12}")
            for name, value in truth.items():
                print(f"{name:44}{value:12.4g}{model[name]:12.4g}")
    if arguments.json is not None:
        finish(rows, arguments.json)


if __name__ == "__main__":
    main()
