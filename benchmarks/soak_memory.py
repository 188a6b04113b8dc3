"""python -m benchmarks.soak_memory: an hour of a busy collector in minutes; its memory must not grow.

A load of 20 symbols (10 depth messages of 100 levels a second each, 2,000 trades a second in all) over two connections,
files rotated every few MB. The first minutes are left out: a collector remembers the frames of the last two minutes, to
know the other connection's again. Prints memory each half minute and its growth; exit code 1 where it grows by more
than GROWTH_MB a million frames.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.soak_run import MIDAS, SAMPLE_S, Life, ended, listening_url, now_ms, process, rss_mb

REMEMBERED_S = 130.0
GROWTH_MB = 20.0


async def sample(folder: Path, seconds: float, symbols: int, depth_hz: float, trades: int) -> Life:
    """Memory of a collector under load."""
    load = [sys.executable, "-m", "midas_ray.simulate.load", "--symbols", str(symbols), "--depth-hz", str(depth_hz)]
    load += ["--levels", "100", "--trades", str(trades), "--listen", "127.0.0.1:0"]
    names = ",".join(f"load{at:02d}usdt" for at in range(symbols))
    async with process(folder / "load.log", *load, pipe=True) as server:
        url = await listening_url(server)
        flags = ["--data-dir", str(folder / "data"), "--exchange-url", url, "--symbols", names, "--no-enable-klines"]
        flags += ["--no-enable-mark-price", "--no-enable-liquidations", "--no-enable-open-interest"]
        async with process(folder / "collector.log", MIDAS, "collect", *flags, "--journal-max-mb", "2") as collector:
            life, started_s = Life(now_ms()), time.monotonic()
            while (now_s := time.monotonic()) - started_s < seconds and collector.returncode is None:
                memory_mb = rss_mb(collector.pid)
                if memory_mb is not None:
                    life.rss.append((now_s - started_s, memory_mb))
                await asyncio.sleep(SAMPLE_S)
            life.exit_code = await ended(collector, signal.SIGTERM)
        await ended(server, signal.SIGTERM)
    return life


def main() -> int:
    """Run from the command line; gives the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.soak_memory", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300.0, help="length; the first 130 s are not judged")
    parser.add_argument("--symbols", type=int, default=20)
    parser.add_argument("--depth-hz", type=float, default=10.0, help="depth messages of a symbol a second")
    parser.add_argument("--trades", type=int, default=2000, help="trades a second of all symbols")
    values = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="midas-memory-") as folder:
        life = asyncio.run(sample(Path(folder), values.seconds, values.symbols, values.depth_hz, values.trades))
        files = len(list(Path(folder).rglob("*.jsonl.zst")))
    rows = life.rss
    for at_s, mb in rows[:: int(30 / SAMPLE_S)]:
        print(f"{at_s:5.0f} s  {mb:6.0f} MB")
    growth = life.growth(REMEMBERED_S)
    frames_per_minute = 60 * (values.symbols * values.depth_hz + values.trades)
    if growth is None or life.exit_code != 0:
        print(f"WRONG: too short to judge, or the collector ended with {life.exit_code}")
        return 1
    per_million, millions = growth[0] / frames_per_minute * 1e6, frames_per_minute * rows[-1][0] / 60e6
    print(
        f"{millions:.2f} million frames, {files} files: {growth[1]:.0f} MB at the end, "
        f"{growth[0]:+.2f} MB a minute, {per_million:+.1f} MB a million frames"
    )
    return 0 if per_million < GROWTH_MB else 1


if __name__ == "__main__":
    sys.exit(main())
