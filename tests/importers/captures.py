"""Small captures in other people's formats, written for tests."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from midas_ray.capture.journal import read_blocks
from midas_ray.cli import main
from midas_ray.importers.units import UNITS

START_MS = 1_767_225_605_000  # 2026-01-01 00:00:05 UTC
LATENCY_MS = 12

Frames = list[tuple[int, Any]]
"""(receive time in ms after the start, message)."""


def depth(ms: int, pu: int, last_id: int, symbol: str = "btcusdt", *, spot: bool = False) -> tuple[int, Any]:
    body = {"e": "depthUpdate", "E": START_MS + ms, "s": symbol.upper(), "U": pu + 1, "u": last_id}
    body |= {"b": [["100.0", str(ms % 9 + 1)]], "a": []} | ({} if spot else {"T": START_MS + ms, "pu": pu})
    return ms, {"stream": f"{symbol}@depth@100ms", "data": body}


def trade(ms: int, trade_id: int, symbol: str = "btcusdt") -> tuple[int, Any]:
    body = {
        "e": "trade",
        "E": START_MS + ms,
        "T": START_MS + ms,
        "s": symbol.upper(),
        "t": trade_id,
        "p": "100",
        "q": "1",
    }
    return ms, {"stream": f"{symbol}@trade", "data": body | {"X": "MARKET", "m": False}}


def snapshot(ms: int, last_id: int) -> tuple[int, Any]:
    return ms, {"lastUpdateId": last_id, "E": START_MS + ms, "bids": [["99.5", "4"]], "asks": [["101.0", "6"]]}


def session(symbol: str = "btcusdt", *, spot: bool = False) -> Frames:
    """Half a minute: a depth event a second, its snapshot, a trade every three seconds."""
    frames = [depth(at * 1000, at * 10, at * 10 + 10, symbol, spot=spot) for at in range(30)]
    frames += [snapshot(2500, 25)] + [trade(at * 1000 + 500, at, symbol) for at in range(0, 30, 3)]
    return sorted(frames, key=lambda frame: frame[0])


def stamp(ms: int, unit: str) -> str:
    """A receive time: decimal seconds, else an integer."""
    recv_ms = START_MS + LATENCY_MS + ms
    if unit == "s":
        return f"{recv_ms // 1000}.{recv_ms % 1000:03d}"
    return str(recv_ms * (10**6 // next(each.ns for each in UNITS if each.name == unit)))


def lines_text(frames: Iterable[tuple[int, Any]], unit: str = "ns") -> bytes:
    return b"".join(f"{stamp(ms, unit)} {json.dumps(body, separators=(',', ':'))}\n".encode() for ms, body in frames)


def lines_file(path: Path, frames: Iterable[tuple[int, Any]], unit: str = "ns") -> str:
    """A `lines` file, in gzip where its name says so."""
    text = lines_text(frames, unit)
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return str(path)


def run(root: Path, *arguments: str) -> int:
    """`midas import` with DATA_DIR root/data."""
    return main(["import", *arguments, "--data-dir", str(root / "data")])


def written(root: Path) -> list[str]:
    """Every file under DATA_DIR."""
    return sorted(str(path.relative_to(root / "data")) for path in (root / "data").rglob("*") if path.is_file())


def journal(root: Path, symbol: str = "btcusdt", venue: str = "binance-futures") -> list[dict[str, Any]]:
    """All lines of a symbol's raw journals in order."""
    lines: list[dict[str, Any]] = []
    for path in sorted((root / "data").glob(f"raw/venue={venue}/symbol={symbol}/date=*/*.jsonl.zst")):
        with path.open("rb") as stream:
            lines += [json.loads(line) for line in b"".join(read_blocks(stream, path.name)).splitlines()]
    return lines


def payloads(lines: list[dict[str, Any]]) -> list[Any]:
    return [line["payload"] for line in lines if line["kind"] in ("ws", "rest")]
