"""Raw files spoilt anywhere: no crash, and no row that is not the true one; what is not there is in the ledger."""

import random
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reconstruct.market import Market
from tests.reconstruct.test_damage import named, run, sealed
from tests.reconstruct.test_reconstruct import check_against_truth, ms, table, table_or_none, three_hours

GOOD: dict[str, bytes] = {}


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """A market of three hours, each a raw file; their bytes in GOOD."""
    root = tmp_path_factory.mktemp("whole")
    found = three_hours(root)
    GOOD.update({str(path.relative_to(root)): path.read_bytes() for path in sealed(root)})
    return found


def spoilt(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """The file with one thing done to it that disks, networks and people do."""
    at, stop = sorted(chance.choices(range(len(data)), k=2))
    match chance.randrange(9):
        case 0:
            flipped = bytearray(data)
            for _ in range(chance.randint(1, 5)):
                flipped[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            return bytes(flipped)
        case 1:
            return data[:at]
        case 2:
            return data[at:]
        case 3:
            return data[:at] + data[stop:]
        case 4:
            return data[:at] + bytes(stop - at) + data[stop:]
        case 5:
            return data + data
        case 6:
            return data + other[:at]
        case 7:
            return data[:at] + chance.randbytes(100) + data[at:]
        case _:
            return b""


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=15, derandomize=True)
def test_spoilt_files_never_give_a_wrong_row(market: Market, seed: int) -> None:
    chance = random.Random(seed)
    names = sorted(GOOD)
    victims = chance.sample(names, k=chance.choice([1, 1, 1, 2, 3]))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in names:
            data = GOOD[name]
            if name in victims:
                data = spoilt(data, GOOD[chance.choice(names)], chance)
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
        lines = named(run(root, chance.choice([1, 2**40])))
        check(market, root, lines)


def check(market: Market, root: Path, lines: list[str]) -> None:
    """All that is there is true; where something is missing a file is named and the ledger has a row."""
    live = check_against_truth(market, table(root, "book")) if table_or_none(root, "book") else 0
    found: list[tuple[object, ...]] = []
    if table_or_none(root, "trades"):
        trades = table(root, "trades")
        columns = (trades[name].to_list() for name in ("trade_id", "px", "qty", "side"))
        found = list(zip(ms(trades["ts"]), *columns, strict=True))
    true = [(at, number, px / 10, qty / 1000, "sell" if sold else "buy") for at, number, px, qty, sold in market.prints]
    assert len(set(found)) == len(found)
    assert set(found) <= set(true)
    if len(found) < len(true):
        assert lines, "prints are missing and no file is named"
        gaps = table(root, "gaps").filter(pl.col("stream") == "trade") if table_or_none(root, "gaps") else None
        known = [at for at, *_ in found]
        inner = [at for at, *_ in sorted(set(true) - set(found)) if known and min(known) < at < max(known)]
        spans = [] if gaps is None else list(zip(ms(gaps["start"]), ms(gaps["end"]), strict=True))
        assert all(any(start <= at <= end for start, end in spans) for at in inner), "a lost print is not in the ledger"
    assert live or lines
