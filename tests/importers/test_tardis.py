import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from midas_ray.cli import main
from tests.importers.archives import (
    BOOK_HEADER,
    START_US,
    Change,
    clean,
    live_tops,
    market,
    table,
    tardis_book,
    tardis_changes,
    tardis_trades,
    written_tops,
)
from tests.importers.captures import journal, run, written

Capsys = pytest.CaptureFixture[str]
DAY_US = 86_400 * 10**6


def put(path: Path, text: str) -> str:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


def refused(root: Path, capsys: Capsys, *arguments: str, code: int = 1) -> str:
    """The import fails in one line, and nothing is written; gives the line."""
    capsys.readouterr()
    assert run(root, "tardis", *arguments) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1, told.err
    data = root / "data"
    assert not data.exists() or not list(data.rglob("*"))
    return told.err


@pytest.mark.parametrize("name", ["book.csv", "book.csv.gz"])
def test_book_equals_a_dict_book(tmp_path: Path, capsys: Capsys, name: str) -> None:
    changes = market(wholes=(3, 90))
    assert run(tmp_path, "tardis", put(tmp_path / name, tardis_book(changes))) == 0
    told = capsys.readouterr().out
    assert told.startswith("btcusdt: 200 messages (depth 200), whole books 2; 2026-01-01 00:00:05 to ")
    assert "timestamps in us, local clock +0.0" in told
    assert "book gaps 1; source files 1, journals 1" in told
    assert "absent, so null in the features: trades, mark price and funding rate, liquidations, update ids" in told
    clean(tmp_path)
    truth = live_tops(changes)
    assert written_tops(tmp_path) == truth
    assert len(truth) > 50


def test_whole_book_in_the_middle_is_a_gap_of_the_network(tmp_path: Path) -> None:
    changes = market(wholes=(0, 90))
    run(tmp_path, "tardis", put(tmp_path / "book.csv", tardis_book(changes)))
    clean(tmp_path)
    (gap,) = table(tmp_path, "gaps").iter_rows(named=True)
    at = next(at for at, change in enumerate(changes) if change.is_whole and at)
    assert (gap["stream"], gap["cause"], gap["recovered"]) == ("depth", "network", True)
    assert gap["start"].timestamp() == pytest.approx(changes[at - 1].exch_us // 1000 / 1000, abs=1e-6)
    assert gap["end"].timestamp() == pytest.approx(changes[at + 1].exch_us // 1000 / 1000, abs=1e-6)


def test_prices_keep_their_text_and_ids_are_a_chain_of_ours(tmp_path: Path) -> None:
    changes = [
        Change(START_US, START_US - 1000, [("bid", "99.50", "1"), ("ask", "101", "2.000")], is_whole=True),
        Change(START_US + 7, START_US, [("bid", "99.60", "0.5"), ("ask", "1e-7", "0")]),
        Change(START_US + 7, START_US + 1000, [("ask", "101", "0")]),
    ]
    run(tmp_path, "tardis", put(tmp_path / "book.csv", tardis_book(changes)))
    lines = journal(tmp_path)
    opened = next(line for line in lines if line.get("event") == "open")
    assert (opened["imported_from"], opened["payloads"]) == ("tardis", "rebuilt")
    rest, first, second = (line["payload"] for line in lines if line["kind"] in ("rest", "ws"))
    assert (rest["lastUpdateId"], rest["bids"], rest["asks"]) == (START_US, [["99.50", "1"]], [["101", "2.000"]])
    assert first["data"] == {
        **{"e": "depthUpdate", "E": START_US // 1000, "T": START_US // 1000, "s": "BTCUSDT"},
        **{"U": START_US + 1, "u": START_US + 7, "pu": START_US},
        **{"b": [["99.60", "0.5"]], "a": [["0.0000001", "0"]]},
    }
    assert [second["data"][name] for name in ("U", "u", "pu")] == [START_US + 8, START_US + 8, START_US + 7]


def test_trades_ticker_and_liquidations(tmp_path: Path, capsys: Capsys) -> None:
    head = "binance-futures,BTCUSDT"
    us = START_US
    ticker = (
        "exchange,symbol,timestamp,local_timestamp,funding_timestamp,funding_rate,predicted_funding_rate,"
        f"open_interest,last_price,index_price,mark_price\n{head},{us},{us + 5},,,,,100.1,,\n"
        f"{head},{us + 2_000_000},{us + 2_000_005},{us + 28_800_000_000},-0.0001,,12,100.1,100.25,100.5\n"
    )
    forced = f"exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n{head},{us},{us + 9},,sell,99.5,0.25\n"
    paths = [
        put(tmp_path / "a.csv.gz", tardis_trades(30)),
        put(tmp_path / "b.csv", ticker),
        put(tmp_path / "c.csv", forced),
    ]
    assert run(tmp_path, "tardis", *paths) == 0
    told = capsys.readouterr().out
    assert "(trade 30, forceOrder 1, markPrice 1)" in told
    assert "1 derivative_ticker rows without mark price, index price or next funding time left out" in told
    clean(tmp_path)
    trades = table(tmp_path, "trades")
    assert trades["trade_id"].to_list() == list(range(1000, 1030))
    assert trades.select("px", "qty", "side").row(0) == (99.5, 0.001, "sell")
    assert trades["recv_ns"][1] == (us + 100_000) * 1000
    assert table(tmp_path, "mark").select("mark_px", "index_px", "funding_rate").rows() == [(100.5, 100.25, -0.0001)]
    assert table(tmp_path, "mark")["next_funding_ts"].dt.epoch("us").to_list() == [us + 28_800_000_000]
    assert table(tmp_path, "liquidations").select("side", "px", "qty").rows() == [("sell", 99.5, 0.25)]


def test_liquidations_are_told_from_trades_by_name_or_by_their_empty_id(tmp_path: Path) -> None:
    text = tardis_trades(3)
    run(tmp_path, "tardis", put(tmp_path / "binance-futures_liquidations_2026-01-01_BTCUSDT.csv", text))
    assert {line["payload"]["data"]["e"] for line in journal(tmp_path) if line["kind"] == "ws"} == {"forceOrder"}


def test_prints_without_price_or_amount_are_none_but_their_ids_count(tmp_path: Path, capsys: Capsys) -> None:
    lines = tardis_trades(5).splitlines()
    cells = lines[3].split(",")
    lines[3] = ",".join([*cells[:6], "0", "0"])
    assert run(tmp_path, "tardis", put(tmp_path / "t.csv", "\n".join(lines) + "\n")) == 0
    assert "1 trades without price or amount (no prints)" in capsys.readouterr().out
    clean(tmp_path)
    assert table(tmp_path, "trades")["trade_id"].to_list() == [1000, 1001, 1003, 1004]
    assert not len(table(tmp_path, "gaps"))


def test_spot_is_told_by_the_exchange_column(tmp_path: Path, capsys: Capsys) -> None:
    changes = market(changes=40)
    path = put(tmp_path / "book.csv", tardis_book(changes, exchange="binance"))
    assert "import with --venue binance-spot" in refused(tmp_path, capsys, path, "--venue", "binance-futures", code=2)
    assert run(tmp_path, "tardis", path) == 0
    clean(tmp_path, venue="binance-spot")
    assert written_tops(tmp_path, venue="binance-spot") == live_tops(changes)


def test_symbols_in_one_file_go_each_to_its_own(tmp_path: Path, capsys: Capsys) -> None:
    one, two = market(seed=1, changes=60), market(seed=2, changes=60)
    merged = sorted(
        [("BTCUSDT", change) for change in one] + [("ETHUSDT", change) for change in two],
        key=lambda item: item[1].recv_us,
    )
    text = BOOK_HEADER + "\n" + "".join(tardis_book([change], symbol).partition("\n")[2] for symbol, change in merged)
    path = put(tmp_path / "both.csv", text)
    assert run(tmp_path, "tardis", path, "--symbols", "ethusdt") == 0
    assert not journal(tmp_path)
    assert run(tmp_path, "tardis", path) == 0
    assert "ethusdt: already imported from the same files; nothing to do" in capsys.readouterr().out
    for symbol, changes in (("btcusdt", one), ("ethusdt", two)):
        clean(tmp_path, symbol)
        assert written_tops(tmp_path, symbol) == live_tops(changes)
    assert "--symbols dogeusdt: expected symbols in the files" in _fails(
        tmp_path, capsys, path, "--symbols", "dogeusdt"
    )


def _fails(root: Path, capsys: Capsys, *arguments: str) -> str:
    assert run(root, "tardis", *arguments) != 0
    return capsys.readouterr().err


def test_days_in_any_order_and_again(tmp_path: Path, capsys: Capsys) -> None:
    days = [market(seed=1, changes=60), [shifted(change, DAY_US) for change in market(seed=2, changes=60)]]
    paths = [put(tmp_path / f"{at}.csv", tardis_book(changes)) for at, changes in enumerate(days)]
    trades = put(tmp_path / "trades.csv", tardis_trades(20))
    assert run(tmp_path, "tardis", paths[1], trades, paths[0]) == 0
    names = written(tmp_path)
    capsys.readouterr()
    assert run(tmp_path, "tardis", *paths, trades, paths[0]) == 0
    told = capsys.readouterr()
    assert "the same content as" in told.err
    assert told.out == "btcusdt: already imported from the same files; nothing to do\n"
    assert written(tmp_path) == names
    clean(tmp_path)
    assert written_tops(tmp_path) == live_tops(days[0]) | live_tops(days[1])
    # Files tell of whole days: on the second one nobody listened to trades.
    heads = {line["recv_ns"] // (DAY_US * 1000): line["streams"] for line in journal(tmp_path) if "streams" in line}
    assert list(heads.values()) == [["depth", "trade"], ["depth"]]


def shifted(change: Change, us: int) -> Change:
    return change._replace(recv_us=change.recv_us + us, exch_us=change.exch_us + us)


def test_files_of_one_moment_are_refused(tmp_path: Path, capsys: Capsys) -> None:
    paths = [put(tmp_path / f"{seed}.csv", tardis_book(market(seed=seed))) for seed in (1, 2)]
    assert "expected the changes of each moment in one file" in refused(tmp_path, capsys, *paths)


def test_changes_before_the_first_whole_book_and_without_one(tmp_path: Path, capsys: Capsys) -> None:
    changes = market(wholes=())
    assert run(tmp_path, "tardis", put(tmp_path / "book.csv", tardis_book(changes))) == 0
    assert "no whole book to start from: the book stays `syncing`" in capsys.readouterr().out
    clean(tmp_path)
    assert table(tmp_path, "book")["state"].unique().to_list() == ["syncing"]


def test_whole_book_is_known_as_deep_as_a_rest_answer(tmp_path: Path, capsys: Capsys) -> None:
    rows = [("bid", f"{5000 - at}", "1") for at in range(1200)] + [("ask", f"{5001 + at}", "1") for at in range(40)]
    changes = [
        Change(START_US, START_US, rows, is_whole=True),
        Change(START_US + 10_000, START_US + 10_000, [("bid", "4000", "7")]),
        Change(START_US + 250_000, START_US + 250_000, [("bid", f"{5000 - at}", "0") for at in range(995)]),
        Change(START_US + 500_000, START_US + 500_000, [("bid", "4000", "8")]),
    ]
    run(tmp_path, "tardis", put(tmp_path / "book.csv", tardis_book(changes)))
    assert "book known 1,000 levels deep at most" in capsys.readouterr().out
    clean(tmp_path)
    last = table(tmp_path, "book").row(-1, named=True)
    assert [last[f"bid_px_{at:02d}"] for at in range(1, 8)] == [4005.0, 4004.0, 4003.0, 4002.0, 4001.0, None, None]
    assert last["ask_px_10"] == 5010.0


def test_crossed_book_is_given_up_until_the_next_whole_one(tmp_path: Path, capsys: Capsys) -> None:
    changes = market(changes=120, wholes=(0, 80))
    changes[40] = changes[40]._replace(rows=[("bid", "150.0", "1")])
    assert run(tmp_path, "tardis", put(tmp_path / "book.csv", tardis_book(changes))) == 0
    assert "1 crossed books: unknown from each to the next whole book" in capsys.readouterr().out
    clean(tmp_path)
    truth = live_tops(changes)
    assert written_tops(tmp_path) == truth
    assert len(table(tmp_path, "book").filter(pl.col("state") == "gap")) > 10


Edit = Callable[[list[str]], None]


def cell(line: int, column: int, value: str) -> Edit:
    def edit(lines: list[str]) -> None:
        cells = lines[line].split(",")
        cells[column] = value
        lines[line] = ",".join(cells)

    return edit


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (cell(0, 6, "prise"), "without price of incremental_book_L2"),
        (cell(5, 6, "NaN"), "book.csv, line 6: expected a row of incremental_book_L2, found price 'NaN'"),
        (cell(5, 6, "0"), "line 6: expected a row of incremental_book_L2, found price '0'"),
        (cell(5, 6, "0.00"), "found price '0.00'"),
        (cell(5, 7, "-1"), "found amount '-1'"),
        (cell(5, 7, "inf"), "found amount 'inf'"),
        (cell(5, 7, ""), "found amount None"),
        (cell(5, 7, "0.30000000000000004"), "found amount '0.30000000000000004'"),
        (cell(5, 5, "buy"), "found side 'buy'"),
        (cell(5, 4, "yes"), "found is_snapshot 'yes'"),
        (cell(5, 2, "1767225605"), "found timestamp '1767225605'"),
        (cell(5, 3, "x"), "found local_timestamp 'x'"),
        (cell(1, 0, "bitmex"), "expected data of binance-futures or binance, found 'bitmex'"),
        (cell(5, 0, "binance"), "expected rows of one exchange"),
        (lambda lines: lines.__setitem__(5, "a,b"), "line 6: expected data of binance-futures or binance"),
        (lambda lines: lines.__setitem__(5, lines[5] + ",1"), "expected lines of 8 columns"),
        (lambda lines: lines.__setitem__(5, ""), "line"),
        (lambda lines: lines.__delitem__(slice(1, None)), "found a header alone"),
        (lambda lines: lines.__delitem__(0), "found the columns"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, capsys: Capsys, edit: Edit, said: str) -> None:
    lines = tardis_book(market(changes=20)).splitlines()
    edit(lines)
    path = put(tmp_path / "book.csv", "\n".join(lines) + "\n")
    assert said in refused(tmp_path, capsys, path)


def test_damaged_cut_and_foreign_files(tmp_path: Path, capsys: Capsys) -> None:
    text = tardis_book(market())
    data = gzip.compress(text.encode())
    for cut in (len(data) // 2, len(data) - 1, 3):
        (tmp_path / "a.csv.gz").write_bytes(data[:cut])
        assert "truncated" in refused(tmp_path, capsys, str(tmp_path / "a.csv.gz"))
    broken = bytearray(data)
    broken[len(data) // 2] ^= 0x55
    (tmp_path / "b.csv.gz").write_bytes(broken)
    refused(tmp_path, capsys, str(tmp_path / "b.csv.gz"))
    (tmp_path / "c.csv").write_text(text[:-9])
    assert "truncated in the middle of its last line" in refused(tmp_path, capsys, str(tmp_path / "c.csv"))
    for content in (b"", b"\0\1\2", b"\n\n", b"date,open\n1,2\n", bytes(range(256)) * 20):
        (tmp_path / "d.csv").write_bytes(content)
        assert "expected Tardis.dev CSV" in refused(tmp_path, capsys, str(tmp_path / "d.csv"))


def test_hours_off_clock(tmp_path: Path, capsys: Capsys) -> None:
    changes = [change._replace(exch_us=change.exch_us - 8 * 3_600_000_000) for change in market()]
    assert "+8.0 h from the exchange's own" in refused(tmp_path, capsys, put(tmp_path / "b.csv", tardis_book(changes)))


def test_windows_line_ends(tmp_path: Path) -> None:
    text = tardis_book(market(changes=30))
    (tmp_path / "b.csv").write_bytes(text.replace("\n", "\r\n").encode())
    assert run(tmp_path, "tardis", str(tmp_path / "b.csv")) == 0


def test_messages_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = market(wholes=(0, 50))
    monkeypatch.setattr("midas_ray.importers.tardis_read.read_tables.__defaults__", (700,))
    assert list(tardis_changes(tardis_book(changes))) == changes
    assert run(tmp_path, "tardis", put(tmp_path / "b.csv", tardis_book(changes))) == 0
    clean(tmp_path)
    assert written_tops(tmp_path) == live_tops(changes)


def test_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("midas_ray.importers.archive_journals.ArchiveJournals._close", interrupted)
    assert run(tmp_path, "tardis", put(tmp_path / "b.csv", tardis_book(market()))) == 130
    assert not list((tmp_path / "data").rglob("*"))


def test_day_by_day_gives_the_rows_of_one_import(tmp_path: Path) -> None:
    days = [market(seed=1, changes=60), [shifted(change, DAY_US) for change in market(seed=2, changes=60)]]
    paths = [put(tmp_path / f"{at}.csv", tardis_book(changes)) for at, changes in enumerate(days)]
    for path in reversed(paths):
        assert run(tmp_path / "apart", "tardis", path) == 0
    assert run(tmp_path / "whole", "tardis", *paths) == 0
    for root in (tmp_path / "apart", tmp_path / "whole"):
        clean(root)
    apart, whole = (table(tmp_path / name, "book") for name in ("apart", "whole"))
    assert apart.filter(pl.col("state") == "live").equals(whole.filter(pl.col("state") == "live"))


def test_help_says_what_the_formats_are(capsys: Capsys) -> None:
    with pytest.raises(SystemExit):
        main(["import", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for word in ("Tardis.dev CSV", "original MIDAS collector", ".npz of normalised events"):
        assert word in told


def real_book_as_tardis(capture: Path) -> str:
    """incremental_book_L2 of a real capture as Tardis' own mapper makes it: the REST answer with the changes that wait
    for it, numbers without trailing zeros."""
    changes: list[Change] = []
    waiting: list[dict[str, Any]] = []
    last_id = None
    for line in gzip.decompress(capture.read_bytes()).splitlines():
        stamp, _, payload = line.partition(b" ")
        recv_us, message = int(stamp) // 1000, json.loads(payload)
        data = message.get("data")
        if data is None:
            last_id = message["lastUpdateId"]
            sides = {name: dict(message[name]) for name in ("bids", "asks")}
            for event in (event for event in waiting if event["u"] >= last_id):
                sides["bids"].update(event["b"])
                sides["asks"].update(event["a"])
            rows = [(side[:-1], px, size) for side, levels in sides.items() for px, size in levels.items()]
            changes.append(Change(recv_us, message["T"] * 1000, rows, is_whole=True))
        elif data["e"] == "depthUpdate" and last_id is None:
            waiting.append(data)
        elif data["e"] == "depthUpdate" and data["u"] >= last_id:
            rows = [("bid", px, size) for px, size in data["b"]] + [("ask", px, size) for px, size in data["a"]]
            changes.append(Change(recv_us, data["T"] * 1000, rows))
    return tardis_book(
        change._replace(rows=[(side, repr(float(px)), repr(float(size))) for side, px, size in change.rows])
        for change in changes
    )


@pytest.mark.real
def test_real_capture_as_tardis_gives_the_rows_of_the_capture(
    tmp_path: Path, btc_capture: Path, btc_lines: Path
) -> None:
    assert run(tmp_path, "tardis", put(tmp_path / "book.csv.gz", real_book_as_tardis(btc_capture))) == 0
    clean(tmp_path)
    truth, found = written_tops(btc_lines), written_tops(tmp_path)
    # It begins one row later: the changes that waited for the REST answer are inside its whole book.
    assert sorted(found) == sorted(truth)[1:]
    shorter = 0
    for ts, sides in found.items():
        for side, whole in zip(sides, truth[ts], strict=True):
            # Merged levels lie beyond the REST answer: the depth that is known for certain is a little less.
            assert side == whole[: len(side)]
            shorter += len(side) < len(whole)
    assert shorter <= 15
