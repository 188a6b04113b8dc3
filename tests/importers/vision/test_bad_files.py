"""Files that are none of the archive's: one line, exit code not 0, nothing written. And whatever bytes: no crash."""

import io
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from midas_ray.errors import MidasError
from midas_ray.importers.vision.names import ArchiveName, parse_name, wanted_days
from midas_ray.importers.vision.run import import_files
from midas_ray.settings import Import
from midas_ray.storage import Storage
from tests.importers.vision.made_up import agg_trades, klines, midnight_ms, quotes, run, single_trades, zip_file

Capsys = pytest.CaptureFixture[str]


def refused(root: Path, capsys: Capsys, *arguments: str) -> str:
    """The one line of a run that fails and writes nothing."""
    assert run(root, *arguments) != 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    left = [path for path in (root / "data").rglob("*") if path.is_file()]
    assert left == []
    return said.err


def test_names() -> None:
    day = ArchiveName("btcusdt", "aggTrades", date(2024, 10, 18), date(2024, 10, 18))
    assert parse_name("BTCUSDT-aggTrades-2024-10-18.zip") == day
    assert day.url_path("binance-futures") == (
        "data/futures/um/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-10-18.zip"
    )
    month = parse_name("BTCUSDT_250328-1m-2024-02.zip")
    assert (month.symbol, month.kind, month.last) == ("btcusdt_250328", "klines", date(2024, 2, 29))
    assert month.url_path("binance-spot") == (
        "data/spot/monthly/klines/BTCUSDT_250328/1m/BTCUSDT_250328-1m-2024-02.zip"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("trades.zip", "by its own name, such as BTCUSDT-aggTrades-2024-10-18.zip"),
        ("BTCUSDT-aggTrades-2024-10-18.csv", "by its own name"),
        ("BTCUSDT-5m-2024-10-18.zip", "expected 1m klines, found 5m"),
        ("BTCUSDT-bookDepth-2024-10-18.zip", "expected trades, aggTrades, bookTicker or 1m (klines), found bookDepth"),
        ("BTCUSDT-klines-2024-10-18.zip", "found klines"),
        ("BTCUSDT-trades-2024-13-18.zip", "expected a date in the name, found 2024-13-18"),
    ],
)
def test_other_names_are_refused(tmp_path: Path, capsys: Capsys, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    assert said in refused(tmp_path, capsys, str(tmp_path / name))


def written(root: Path, content: bytes, name: str = "BTCUSDT-aggTrades-2024-10-18.zip") -> str:
    (root / name).write_bytes(content)
    return str(root / name)


def zipped(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "."), text)
    return buffer.getvalue()


def test_what_is_no_zip_of_one_csv(tmp_path: Path, capsys: Capsys) -> None:
    whole = Path(zip_file(tmp_path, "aggTrades", agg_trades(500), checksum=False)).read_bytes()
    for content, said in (
        (b"", "found an empty file"),
        (b"1,2,3\n", "truncated, damaged or no zip"),
        (whole[: len(whole) // 2], "truncated, damaged or no zip"),
        (zipped(), "expected a zip with one CSV inside, found 0 files (none)"),
        (zipped(a__csv="1", b__csv="2"), "expected a zip with one CSV inside, found 2 files (a.csv, b.csv)"),
        (zipped(a__txt="1"), "expected a zip with one CSV inside, found 1 files (a.txt)"),
        (zipped(a__csv=""), "found an empty first line"),
    ):
        assert said in refused(tmp_path, capsys, written(tmp_path, content))
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0x55
    assert "damaged" in refused(tmp_path, capsys, written(tmp_path, bytes(flipped)))


def test_a_zip_under_another_files_name(tmp_path: Path, capsys: Capsys) -> None:
    path = Path(zip_file(tmp_path, "aggTrades", agg_trades(3), symbol="ETHUSDT", checksum=False))
    renamed = path.rename(tmp_path / "BTCUSDT-aggTrades-2024-10-18.zip")
    assert "found ETHUSDT-aggTrades-2024-10-18.csv" in refused(tmp_path, capsys, str(renamed))


def test_a_checksum_that_does_not_agree_names_both_digests(tmp_path: Path, capsys: Capsys) -> None:
    path = zip_file(tmp_path, "aggTrades", agg_trades(3), checksum="ab" * 32)
    said = refused(tmp_path, capsys, path)
    assert f"expected SHA-256 {'ab' * 32} by BTCUSDT-aggTrades-2024-10-18.zip.CHECKSUM, found " in said
    Path(f"{path}.CHECKSUM").write_text("who knows")
    assert "expected '<sha256>  BTCUSDT-aggTrades-2024-10-18.zip', found 'who knows'" in refused(tmp_path, capsys, path)


def test_an_absent_checksum_is_said(tmp_path: Path, capsys: Capsys) -> None:
    assert run(tmp_path, zip_file(tmp_path, "aggTrades", agg_trades(3), checksum=False)) == 0
    assert "0 of 1 files agree with their .CHECKSUM; without one beside them" in capsys.readouterr().out


def changed(row: int, column: int, value: Any) -> Callable[[list[list[Any]]], None]:
    def change(rows: list[list[Any]]) -> None:
        rows[row][column] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed(2, 1, "nan"), "not a valid decimal128 number"),
        (changed(2, 1, "-5.0"), "expected px > 0, found -5.0000000000 in row 3"),
        (changed(2, 1, "0"), "expected px > 0"),
        (changed(2, 2, "0.000"), "expected qty > 0"),
        (changed(2, 1, ""), "after row 0"),
        (changed(2, 1, "0.12345678901"), "Rescaling"),
        (changed(2, 1, "1" * 25), "expected numbers of at most 18 digits in px"),
        (changed(2, 0, 1001), "expected ids that rise from row to row, found 1001 in row 3"),
        (changed(2, 0, 900), "found 900 in row 3"),
        (changed(2, 4, 1), "expected first_trade_id <= last_trade_id"),
        (changed(2, 3, -9), "expected ids of at least 0"),
        (changed(2, 5, midnight_ms() - 1), "expected times of 2024-10-18 (UTC) in ms, found 1729209599999 in row 3"),
        (changed(2, 5, midnight_ms() + 86_400_000), "expected times of 2024-10-18"),
        (changed(2, 5, (midnight_ms() + 9) * 1000), "expected times of 2024-10-18"),
        (changed(0, 5, 17), "expected times in ms or us, found 17 in row 1"),
        (changed(0, 5, midnight_ms() + 4_000_000), "expected times that go back by 60 s at most"),
        (changed(2, 6, "maybe"), "to bool"),
        (lambda rows: rows[2].append(1), "Expected 7 columns, got 8"),
        (lambda rows: rows.clear(), "found no row"),
    ],
)
def test_rows_that_are_none(
    tmp_path: Path, capsys: Capsys, change: Callable[[list[list[Any]]], None], said: str
) -> None:
    rows = agg_trades(5)
    change(rows)
    assert said in refused(tmp_path, capsys, zip_file(tmp_path, "aggTrades", rows))


def test_columns_of_another_kind(tmp_path: Path, capsys: Capsys) -> None:
    rows = single_trades(agg_trades(3))
    path = zip_file(tmp_path, "aggTrades", rows, header=False)
    assert "expected 7 columns of aggTrades" in refused(tmp_path, capsys, path)
    path = zip_file(tmp_path, "aggTrades", [["agg_trade_id", "quantity", "price", 1, 2, 3, 4]], header=False)
    assert "expected the column px of aggTrades, found 'quantity'" in refused(tmp_path, capsys, path)


def test_one_bad_file_among_good_ones_writes_nothing(tmp_path: Path, capsys: Capsys) -> None:
    good = [
        zip_file(tmp_path, "aggTrades", agg_trades(500)),
        zip_file(tmp_path, "1m", klines(5)),
        zip_file(tmp_path, "bookTicker", quotes(50)),
    ]
    bad = agg_trades(500, first_id=9000)
    bad[400][1] = "0"
    refused(tmp_path, capsys, *good, zip_file(tmp_path, "aggTrades", bad, symbol="ETHUSDT"))


def test_symbols_of_the_flag_and_of_the_files(tmp_path: Path, capsys: Capsys) -> None:
    path = zip_file(tmp_path, "aggTrades", agg_trades(3))
    said = refused(tmp_path, capsys, path, "--symbol", "ethusdt")
    assert "expected files of ethusdt (--symbols), found one of btcusdt by its name" in said
    assert "--symbols ethusdt: expected symbols" in refused(tmp_path, capsys, path, "--symbols", "btcusdt,ethusdt")


def test_two_files_of_one_name_that_differ(tmp_path: Path, capsys: Capsys) -> None:
    paths = [zip_file(tmp_path / each, "aggTrades", agg_trades(3, seed=at)) for at, each in enumerate("ab")]
    assert "import one of them" in refused(tmp_path, capsys, *paths)
    assert run(tmp_path, paths[0], paths[0]) == 0


def test_neither_files_nor_a_download_or_both(tmp_path: Path, capsys: Capsys) -> None:
    assert "expected PATH... or --download FROM TO, found neither" in refused(tmp_path, capsys)
    both = ("x.zip", "--download", "2024-10-01", "2024-10-02", "--symbols", "btcusdt")
    assert "expected no PATH beside it" in refused(tmp_path, capsys, *both)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("2024-10-02", "2024-10-01"), "expected FROM <= TO, found 2024-10-02 after 2024-10-01"),
        (("2024-10-01", "2026-11-28"), "expected days before 2026-11-28"),
        (("2024-10-01", "yesterday"), "expected dates such as 2024-10-01, found 2024-10-01 yesterday"),
        (("2024-10-01",), "expected FROM TO"),
    ],
)
def test_days_that_cannot_be_downloaded(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(MidasError, match=said.replace("(", r"\(")):
        wanted_days(words, date(2026, 11, 28))
    assert len(wanted_days(("2024-10-18", "2024-10-18"), date(2026, 11, 28))) == 1


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["aggTrades", "trades", "bookTicker", "1m"]))
    rows = {
        "aggTrades": agg_trades(20),
        "trades": single_trades(agg_trades(20)),
        "bookTicker": quotes(20),
        "1m": klines(20),
    }
    path = Path(zip_file(tmp_path, kind, rows[kind], checksum=False))
    with zipfile.ZipFile(path) as archive:
        name, text = archive.namelist()[0], bytearray(archive.read(archive.namelist()[0]))
    inside = data.draw(st.booleans())
    target = text if inside else bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(target) - 1))
        if data.draw(st.booleans()):
            target[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        else:
            target[at] = data.draw(st.sampled_from(b'0123456789.,-eE"\n\r +'))
        if not target:
            break
    if inside:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, bytes(target))
    else:
        path.write_bytes(target)
    storage = Storage(str(tmp_path / kind / "data"))
    said = ""
    try:
        import_files(Import(format="binance-vision", data_dir=storage.data_dir), storage, [path])
    except MidasError as error:
        said = str(error)
    assert "\n" not in said
    assert not [each for each in (tmp_path / kind / "data").rglob(".tmp-*") if each.is_file()]
