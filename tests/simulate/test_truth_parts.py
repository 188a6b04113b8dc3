"""The truth on disk: from it alone the book at any id and every print, as the referee in memory knows them."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from midas_ray.errors import StorageError
from midas_ray.simulate.exchange import SimulatedExchange

START_MS = 1_767_571_200_000


async def test_the_record_is_the_referees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midas_ray.simulate.exchange.FLUSH_S", 0.3)
    async with SimulatedExchange(
        ["btcusdt", "ethusdt"], seed=7, start_ms=START_MS, truth=tmp_path, level_changes=60.0
    ) as exchange:
        await asyncio.sleep(1.5)
    assert list(tmp_path.glob(".tmp*")) == []
    for symbol in ("btcusdt", "ethusdt"):
        folder = tmp_path / f"symbol={symbol}"
        first = pq.read_table(folder / "first.parquet")
        tick, lot = (Decimal(first.schema.metadata[key].decode()) for key in (b"tick", b"lot"))
        parts = sorted(folder.glob("changes-*.parquet"))
        assert len(parts) > 2
        changes = [row for part in parts for row in pq.read_table(part).to_pylist()]
        ids = [row["id"] for row in changes]
        assert ids == sorted(ids)
        assert len(set(ids)) == len(ids) > 200
        for at in (0, len(ids) // 2, len(ids) - 1):
            sides: list[dict[Decimal, Decimal]] = [{}, {}]
            for row in first.to_pylist() + changes[: at + 1]:
                sides[row["side"]][row["tick"] * tick] = row["lots"] * lot
            bids, asks = ({px: qty for px, qty in side.items() if qty} for side in sides)
            assert (bids, asks) == exchange.referee[symbol].book(ids[at])
        steps = [row for part in sorted(folder.glob("steps-*")) for row in pq.read_table(part).to_pylist()]
        last = steps[-1]
        bids, asks = exchange.referee[symbol].book(last["update_id"])
        shown = [(last[f"ask_tick_{n:02d}"] * tick, last[f"ask_lots_{n:02d}"] * lot) for n in range(1, 11)]
        assert shown == sorted(asks.items())[:10]
        shown = [(last[f"bid_tick_{n:02d}"] * tick, last[f"bid_lots_{n:02d}"] * lot) for n in range(1, 11)]
        assert shown == sorted(bids.items(), reverse=True)[:10]
        rows = [row for part in sorted(folder.glob("trades-*")) for row in pq.read_table(part).to_pylist()]
        prints = [
            (row["trade_id"], row["at_us"] // 1000, row["tick"] * tick, row["lots"] * lot, row["side"])
            for row in rows
            if row["kind"] == "MARKET"
        ]
        assert prints == [(p.trade_id, p.ts_ms, p.px, p.qty, p.side) for p in exchange.referee[symbol].prints()]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        SimulatedExchange(["btcusdt"], truth=tmp_path / "file" / "truth")
