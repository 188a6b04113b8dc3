"""What a collector says of one of its symbols: health, best levels."""

import time

from midas_ray.book import kernels as k
from midas_ray.capture.health import Health, TopOfBook
from midas_ray.capture.symbol import SymbolCapture
from midas_ray.venues.messages import Level


def top_of_book(capture: SymbolCapture, levels: int) -> TopOfBook:
    """The best `levels` of each side of the live book; empty where it is not live."""
    book, state = capture.recorder.book, capture.state
    is_live = book.live and capture.connected > 0 and capture.ended is None
    sides = [_side(capture, side, levels) if is_live else [] for side in (0, 1)]
    return TopOfBook(
        symbol=capture.symbol,
        state=state,
        last_update_id=book.last_id,
        exchange_ms=book.clock_ms,
        bids=sides[0],
        asks=sides[1],
    )


def _side(capture: SymbolCapture, side: int, levels: int) -> list[Level]:
    ladder = capture.recorder.book.ladder
    keys, _ = ladder.side(side)
    if ladder.known[side] != k.LOWEST_KEY:
        levels = min(levels, int((keys >= ladder.known[side]).sum()))
    return ladder.levels_text(side, capture.recorder.book.scale, levels) if levels else []


def health_of(capture: SymbolCapture, **of_the_group: object) -> Health:
    """State and counts; the caller adds what is the collector's."""
    recorder, top = capture.recorder, top_of_book(capture, 1)
    counters, now_ns, path = recorder.counters, time.time_ns(), recorder.path
    found = {kind: meter.quantiles_ms() for kind, meter in capture.latencies.items()}
    values: dict[str, object] = {
        "state": capture.state,
        "uptime_s": time.monotonic() - capture.started_s,
        "last_update_id": top.last_update_id,
        "exchange_ms": top.exchange_ms,
        "best_bid": top.bids[0] if top.bids else None,
        "best_ask": top.asks[0] if top.asks else None,
        "age_s": {kind: (now_ns - recv_ns) / 1e9 for kind, recv_ns in recorder.last_recv_ns.items()},
        "frames": sum(counters.frames.values()),
        "frames_by_kind": dict(counters.frames),
        "frames_per_s": capture.rate.per_second(time.monotonic()),
        "bytes": counters.bytes,
        "bytes_on_disk": capture.bytes_on_disk,
        "held_bytes": recorder.held_bytes if recorder.failure is not None else 0,
        "dropped": counters.dropped,
        "duplicates": capture.n_duplicates,
        "wins": dict(capture.wins),
        "connected": capture.connected,
        "undecodable": counters.undecodable,
        "gaps": counters.gaps,
        "divergences": counters.divergences,
        "resyncs": counters.resyncs,
        "silences": capture.silences,
        "last_silence": capture.last_silence,
        "snapshots": capture.snapshots.fetched,
        "latency_ms": {kind: quantiles for kind, quantiles in found.items() if quantiles is not None},
        "clock_offset_ms": capture.clock_offset_ms,
        "n_files": len(recorder.sealed) + (path is not None),
        "journal_path": None if path is None else str(path),
    }
    return Health(symbol=capture.symbol, **(values | of_the_group))  # type: ignore[arg-type]
