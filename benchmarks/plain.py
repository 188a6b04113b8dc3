"""A plain single-process reconstruction in Python: `json`, a dictionary a side, the ten best each 100 ms.

What one writes first, and what the original did: no check of ids, no gaps, floats. It stands in the tables as a
yardstick; nothing else is made with it.
"""

import heapq
import io
import json
from pathlib import Path

import zstandard

STEP_MS = 100
LEVELS = 10

Level = tuple[float, float]
BookRow = tuple[int, list[Level], list[Level]]
"""(end of the step in ms, bids, asks), each side from the best on."""


def _change(side: dict[float, float], levels: list[list[str]]) -> None:
    for px, sz in levels:
        size = float(sz)
        if size:
            side[float(px)] = size
        else:
            side.pop(float(px), None)


def reconstruct_plain(journals: list[Path]) -> list[BookRow]:
    """The rows of one symbol's raw journals; depth and snapshots only."""
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    rows: list[BookRow] = []
    step_end_ms = 0
    for path in journals:
        with path.open("rb") as file:
            stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            for line in io.TextIOWrapper(stream, encoding="utf-8"):
                entry = json.loads(line)
                payload = entry.get("payload") or {}
                if entry["kind"] == "rest" and "lastUpdateId" in payload:
                    bids.clear()
                    asks.clear()
                    _change(bids, payload["bids"])
                    _change(asks, payload["asks"])
                    continue
                data = payload.get("data", {})
                if data.get("e") != "depthUpdate":
                    continue
                step_end_ms = step_end_ms or (data["T"] // STEP_MS + 1) * STEP_MS
                while data["T"] >= step_end_ms:
                    best_bids = [(px, bids[px]) for px in heapq.nlargest(LEVELS, bids)]
                    rows.append((step_end_ms, best_bids, [(px, asks[px]) for px in heapq.nsmallest(LEVELS, asks)]))
                    step_end_ms += STEP_MS
                _change(bids, data["b"])
                _change(asks, data["a"])
    return rows
