import importlib.util
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from midas_ray.importers.hft_read import BUY, CLEAR, DEPTH, EVENT, EXCHANGE, LOCAL, SELL, SNAPSHOT, TRADE, Events
from tests.importers.archives import START_US, Change, clean, live_tops, market, table, written_tops
from tests.importers.captures import journal, payloads, run, written

Capsys = pytest.CaptureFixture[str]
BOTH = EXCHANGE | LOCAL


def event(ev: int, exch_us: int, recv_us: int, px: float, qty: float) -> tuple[float, ...]:
    return (ev, exch_us * 1000, recv_us * 1000, px, qty, 0, 0, 0.0)


def events(changes: Iterable[Change], flags: int = BOTH) -> list[tuple[float, ...]]:
    """As hftbacktest's converter writes them."""
    found = []
    for change in changes:
        times = change.exch_us, change.recv_us
        for side, flag in (("bid", BUY), ("ask", SELL)):
            rows = [(float(px), float(size)) for each, px, size in change.rows if each == side]
            if change.is_whole and rows:
                found.append(event(CLEAR | flag | flags, *times, rows[-1][0], 0))
            kind = SNAPSHOT if change.is_whole else DEPTH
            found += [event(kind | flag | flags, *times, px, size) for px, size in rows]
    return found


def trades(count: int = 20) -> list[tuple[float, ...]]:
    return [
        event(
            TRADE | (BUY if at % 2 else SELL) | BOTH,
            START_US + at * 100_000 - 4000,
            START_US + at * 100_000,
            100 + at,
            0.5,
        )
        for at in range(count)
    ]


def npz(path: Path, rows: list[tuple[float, ...]] | Events) -> str:
    np.savez_compressed(path, data=np.array(rows, EVENT))
    return str(path)


def hft(root: Path, *arguments: str) -> int:
    return run(root, "hftbacktest", *arguments, "--symbol", "btcusdt")


def refused(root: Path, capsys: Capsys, path: Path, code: int = 1) -> str:
    """The import fails in one line, and nothing is written; gives the line."""
    capsys.readouterr()
    assert hft(root, str(path)) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1, told.err
    data = root / "data"
    assert not data.exists() or not list(data.rglob("*"))
    return told.err


@pytest.mark.parametrize("chunk_rows", [500_000, 7])
def test_book_equals_a_dict_book(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, chunk_rows: int
) -> None:
    monkeypatch.setattr("midas_ray.importers.hft_read.read_events.__defaults__", (chunk_rows,))
    changes = market(wholes=(3, 90))
    assert hft(tmp_path, npz(tmp_path / "btc.npz", events(changes))) == 0
    told = capsys.readouterr().out
    assert told.startswith("btcusdt: 200 messages (depth 200), whole books 2; ")
    assert "book gaps 1; source files 1" in told
    assert (
        "absent, so null in the features: trades, mark price and funding rate, liquidations, update and trade" in told
    )
    clean(tmp_path)
    truth = live_tops(changes)
    assert written_tops(tmp_path) == truth
    assert len(truth) > 50


def test_trades_and_their_ids(tmp_path: Path) -> None:
    assert hft(tmp_path, npz(tmp_path / "btc.npz", trades())) == 0
    clean(tmp_path)
    found = table(tmp_path, "trades")
    assert found.select("px", "qty", "side").rows() == [
        (100.0 + at, 0.5, "buy" if at % 2 else "sell") for at in range(20)
    ]
    assert found["ts"].dt.epoch("us").to_list() == [START_US + at * 100_000 - 4000 for at in range(20)]
    assert np.diff(found["trade_id"]).tolist() == [1] * 19
    assert not len(table(tmp_path, "gaps"))


def test_numbers_become_the_shortest_text_that_gives_them_again(tmp_path: Path) -> None:
    px, qty = [61659.7, 1e-5, 0.1, 123456.75], [0.001, 3.0, 12.5, 1e14]
    rows = [event(DEPTH | BUY | BOTH, START_US, START_US, *pair) for pair in zip(px, qty, strict=True)]
    hft(tmp_path, npz(tmp_path / "btc.npz", rows))
    (change,) = payloads(journal(tmp_path))
    assert change["data"]["b"] == [
        ["61659.7", "0.001"], ["0.00001", "3.0"], ["0.1", "12.5"], ["123456.75", "100000000000000.0"],
    ]  # fmt: skip


def test_whole_book_that_arrives_late_stands_where_the_exchange_had_it(tmp_path: Path) -> None:
    """Changes that arrive before the REST answer, but follow it at the exchange, are applied to it."""
    whole = Change(START_US + 300_000, START_US + 100_000, [("bid", "99.0", "1"), ("ask", "101.0", "1")], is_whole=True)
    early, same, later, last = (
        Change(START_US + ms * 1000 + 5000, START_US + ms * 1000, rows)
        for ms, rows in (
            (50, [("bid", "98.0", "9")]),
            (100, [("bid", "99.5", "2")]),
            (200, [("bid", "99.0", "0")]),
            (400, [("ask", "100.5", "3")]),
        )
    )
    one = events([early], BOTH) + events([same], BOTH) + events([whole], EXCHANGE) + events([later], BOTH)
    hft(tmp_path, npz(tmp_path / "btc.npz", one + events([whole], LOCAL) + events([last])))
    clean(tmp_path)
    assert written_tops(tmp_path) == live_tops([whole, same, later, last])


def test_changes_are_taken_as_received(tmp_path: Path) -> None:
    """Where the exchange's times go back from one message to the next, the chain is the order of arrival."""
    changes = market(changes=60)
    changes[30] = changes[30]._replace(exch_us=changes[28].exch_us - 1000)
    rows = events(changes[:28]) + events([changes[30]], EXCHANGE) + events(changes[28:30])
    hft(tmp_path, npz(tmp_path / "btc.npz", rows + events([changes[30]], LOCAL) + events(changes[31:])))
    clean(tmp_path)
    assert written_tops(tmp_path) == live_tops(changes)


def test_files_join_where_they_are_close(tmp_path: Path, capsys: Capsys) -> None:
    changes = market(wholes=(0,))
    prints = [trades(30), trades(80)[50:]]
    parts = (changes[:90], changes[90:])
    both = [sorted(events(part) + prints[at], key=lambda row: row[2]) for at, part in enumerate(parts)]
    paths = [npz(tmp_path / f"{at}.npz", rows) for at, rows in enumerate(both)]
    assert hft(tmp_path, *reversed(paths)) == 0
    clean(tmp_path)
    assert written_tops(tmp_path) == live_tops(changes)
    assert len(table(tmp_path, "trades")) == 60
    assert not len(table(tmp_path, "gaps"))
    names = written(tmp_path)
    capsys.readouterr()
    assert hft(tmp_path, *paths) == 0
    assert capsys.readouterr().out == "btcusdt: already imported from the same files; nothing to do\n"
    assert written(tmp_path) == names


def test_file_that_comes_later_does_not_go_on(tmp_path: Path) -> None:
    changes = market(wholes=(0,))
    later = [
        change._replace(recv_us=change.recv_us + 15 * 10**6, exch_us=change.exch_us + 15 * 10**6)
        for change in changes[90:]
    ]
    prints = [trades(3), trades(203)[200:]]
    both = [events(part) + prints[at] for at, part in enumerate((changes[:90], later))]
    both = [sorted(rows, key=lambda row: row[2]) for rows in both]
    paths = [npz(tmp_path / f"{at}.npz", rows) for at, rows in enumerate(both)]
    hft(tmp_path, *paths)
    clean(tmp_path)
    assert written_tops(tmp_path) == live_tops(changes[:90])
    gaps = table(tmp_path, "gaps").sort("stream")
    assert gaps.select("stream", "cause", "recovered").rows() == [
        ("depth", "network", False),
        ("trade", "venue", True),
    ]


def test_files_of_one_moment_are_refused(tmp_path: Path, capsys: Capsys) -> None:
    paths = [npz(tmp_path / f"{count}.npz", trades(count)) for count in (20, 30)]
    assert hft(tmp_path, *paths) == 1
    assert "expected the changes of each moment in one file" in capsys.readouterr().err


def test_other_kinds_are_left_out_and_named(tmp_path: Path, capsys: Capsys) -> None:
    rows = [event(103 | BOTH, START_US, START_US, 5.0, 1.0), *trades(3)]
    assert hft(tmp_path, npz(tmp_path / "btc.npz", rows)) == 0
    assert "1 events of other kinds left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("px", np.nan, "event 5: expected a price above 0"),
        ("px", 0.0, "expected a price above 0"),
        ("px", -1.0, "expected a price above 0"),
        ("px", 0.1 + 0.2, "expected px of at most 18 digits and 10 decimals, found"),
        ("qty", -1.0, "expected a quantity from 0"),
        ("qty", np.inf, "expected a quantity from 0"),
        ("qty", 0.0, "expected a quantity above 0 in a trade"),
        ("exch_ts", 17, "expected a time from 2009 to 2100 in ns in exch_ts"),
        ("local_ts", 17, "expected a time from 2009 to 2100 in ns in local_ts"),
        ("ev", TRADE | BUY, "expected EXCH_EVENT or LOCAL_EVENT in ev"),
        ("ev", TRADE | BOTH, "expected either BUY_EVENT or SELL_EVENT in ev"),
    ],
)
def test_bad_rows_are_refused_in_one_line(tmp_path: Path, capsys: Capsys, name: str, value: float, said: str) -> None:
    rows = np.array(trades(), EVENT)
    rows[name][5] = value
    npz(tmp_path / "btc.npz", rows)
    assert said in refused(tmp_path, capsys, tmp_path / "btc.npz")


def test_files_of_other_shapes(tmp_path: Path, capsys: Capsys) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, data=np.zeros((5, 6)))
    assert "convert it with hftbacktest's data.utils.migration2" in refused(tmp_path, capsys, path)
    np.savez(path, other=np.array(trades(), EVENT))
    assert "found other.npy" in refused(tmp_path, capsys, path)
    npz(path, [event(103 | BOTH, START_US, START_US, 5.0, 1.0)])
    assert "found no change of a book and no trade" in refused(tmp_path, capsys, path)
    whole = [event(SNAPSHOT | BUY | BOTH, 0, 0, 99.0, 1.0)]
    npz(path, whole)
    assert "a whole book without its time, as create_last_snapshot writes it" in refused(tmp_path, capsys, path)
    path.write_bytes(b"hello")
    assert "found a damaged file" in refused(tmp_path, capsys, path)
    data = Path(npz(path, trades())).read_bytes()
    for broken in (data[: len(data) // 2], data[:60] + b"\xff" + data[61:], data[:-30]):
        path.write_bytes(broken)
        refused(tmp_path, capsys, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.npy", b"no array")
    assert "found no array that numpy reads" in refused(tmp_path, capsys, path)
    late = np.array(trades(), EVENT)
    late["local_ts"] += 8 * 3600 * 10**9
    npz(path, late)
    assert "+8.0 h from the exchange's own" in refused(tmp_path, capsys, path)


def test_symbol_must_be_said(tmp_path: Path, capsys: Capsys) -> None:
    path = npz(tmp_path / "x.npz", trades())
    assert run(tmp_path, "hftbacktest", path) == 2
    assert "expected the one symbol that the files are of, found none" in capsys.readouterr().err
    assert run(tmp_path, "hftbacktest", path, "--symbols", "btcusdt,ethusdt") == 2


@pytest.mark.real
@pytest.mark.skipif(importlib.util.find_spec("hftbacktest") is None, reason="hftbacktest is absent (the extra `bench`)")
def test_real_capture_by_the_librarys_own_converter_gives_the_same_rows(
    tmp_path: Path, btc_capture: Path, btc_lines: Path
) -> None:
    # In a process of its own: the library compiles calls of `print`, which Ray has replaced where one was started.
    convert = (
        "import sys; from hftbacktest.data.utils import binancefutures; "
        "binancefutures.convert(sys.argv[1], sys.argv[2], buffer_size=2_000_000)"
    )
    subprocess.run([sys.executable, "-c", convert, str(btc_capture), str(tmp_path / "btc.npz")], check=True)
    assert hft(tmp_path, str(tmp_path / "btc.npz")) == 0
    clean(tmp_path)
    ours, theirs = (table(root, "book").drop("last_update_id") for root in (btc_lines, tmp_path))
    assert len(ours.filter(pl.col("state") == "live")) == 3445
    assert ours.equals(theirs)
    ours, theirs = (table(root, "trades").select("ts", "px", "qty", "side") for root in (btc_lines, tmp_path))
    assert len(ours) == 21_313
    assert ours.equals(theirs)
