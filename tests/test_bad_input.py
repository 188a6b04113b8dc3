"""What should not lie in a data folder, through the command line: all else is used, and it is named."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from midas_ray.cli import main
from midas_ray.storage import Storage
from tests.features.raw_market import SYMBOL, RawMarket
from tests.features.serial import read_features

Capture = pytest.CaptureFixture[str]
PARTITION = "venue=binance-futures/symbol=btcusdt/date=2026-01-01"
FOREIGN = pl.DataFrame({"a": [1, 2]})


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, ray_local: None) -> Path:
    """raw, clean and features of 40 minutes over midnight, in several raw files."""
    root = tmp_path_factory.mktemp("good")
    market = RawMarket(root, 5, max_bytes=60_000)
    market.now_ms += 100 * 60_000
    market.next_mark_ms = market.now_ms
    market.open()
    market.minutes(0.3)
    market.snapshot()
    market.minutes(40)
    market.close()
    assert midas(root, "reconstruct") == midas(root, "features") == 0
    return root


@pytest.fixture
def data(good: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(good, tmp_path / "data"))


def midas(root: Path, command: str) -> int:
    grid = ["--snapshot-interval-ms", "1000"] if command == "reconstruct" else []
    return main([command, "--data-dir", str(root), *grid])


def refusal(root: Path, command: str, capsys: Capture) -> str:
    """The one line with which a command fails."""
    capsys.readouterr()
    assert midas(root, command) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def prints(root: Path) -> list[int]:
    storage = Storage(str(root))
    frames = [pl.DataFrame(storage.read_parquet(path)) for path in storage.list_files("clean/trades", ".parquet")]
    return [number for frame in frames for number in frame["trade_id"].to_list()]


def sealed(root: Path) -> list[Path]:
    return sorted((root / "raw").rglob("*.jsonl.zst"))


def test_a_raw_file_without_a_time_in_its_name_is_named(data: Path, capsys: Capture) -> None:
    whole = prints(data)
    copy = sealed(data)[0].with_name("part1.jsonl.zst")
    copy.write_bytes(sealed(data)[0].read_bytes())
    for name in ("notes.txt", "x.parquet"):  # nothing that a reader could take for data that are left out
        copy.with_name(name).write_text("x")
    shutil.rmtree(data / "clean")
    line = refusal(data, "reconstruct", capsys)
    assert "part1.jsonl.zst: expected a name that begins with the recv_ns" in line
    assert prints(data) == whole


def test_an_empty_and_a_foreign_raw_file_are_named_and_the_rest_is_used(data: Path, capsys: Capture) -> None:
    whole = prints(data)
    files = sealed(data)
    empty, foreign = (files[0].with_name(f"{int(files[0].name.split('-')[0]) + n}-7.jsonl.zst") for n in (5, 6))
    empty.write_bytes(b"")
    foreign.write_bytes(b"PAR1 this is no journal")
    line = refusal(data, "reconstruct", capsys)
    assert f"{empty.name}: empty" in line
    assert f"{foreign.name}: damaged" in line
    assert prints(data) == whole


def test_frames_of_two_symbols_in_one_file(data: Path, tmp_path: Path, capsys: Capture) -> None:
    other = RawMarket(tmp_path / "other", 6)
    other.symbol = "ethusdt"
    other.open()
    other.minutes(0.5)
    other.close()
    (path,) = sealed(tmp_path / "other")
    target = sealed(data)[0].with_name(path.name)
    target.write_bytes(path.read_bytes())
    whole = prints(data)
    line = refusal(data, "reconstruct", capsys)
    assert path.name in line
    assert "ethusdt" in line
    assert prints(data) == whole


@pytest.mark.parametrize("table", ["clean/book", "clean/trades", "clean/gaps", "clean/mark", "features"])
def test_foreign_parquet_is_left_out_and_named_by_validate(data: Path, table: str, capsys: Capture) -> None:
    before = read_features(Storage(str(data)), SYMBOL)
    folder = data / table / PARTITION
    folder.mkdir(parents=True, exist_ok=True)
    FOREIGN.write_parquet(folder / "mine.parquet")
    for command in ("stats", "features", "reconstruct"):
        assert midas(data, command) == 0
    capsys.readouterr()
    assert midas(data, "validate") == 0
    assert f"WARN foreign_files: {table}/{PARTITION}/mine.parquet" in capsys.readouterr().out
    (folder / "mine.parquet").unlink()
    assert read_features(Storage(str(data)), SYMBOL).equals(before)


@pytest.mark.parametrize("table", ["book", "trades", "gaps"])
def test_foreign_parquet_under_a_name_of_ours_is_one_line(data: Path, table: str, capsys: Capture) -> None:
    folder = data / "clean" / table / PARTITION
    folder.mkdir(parents=True, exist_ok=True)
    FOREIGN.write_parquet(folder / "13.parquet")
    assert "13.parquet" in refusal(data, "stats", capsys)
    assert "13.parquet: expected a file of midas reconstruct" in refusal(data, "features", capsys)
    capsys.readouterr()
    assert midas(data, "validate") == 1
    assert f"FAIL schema: clean/{table}/{PARTITION}/13.parquet: no column" in capsys.readouterr().out


class FinerMarket(RawMarket):
    """A market whose tick becomes half as large: from then on all prices lie between the old ones."""

    finer = False

    def _level(self, px: int, size: int) -> list[str]:  # type: ignore[override]
        return [self.text(px), f"{size / 1000:.3f}"]

    def text(self, px: float) -> str:
        return f"{px / 10 + 0.05:.2f}" if self.finer else f"{px / 10:.1f}"

    def frame(self, stream: str, data: dict[str, object]) -> None:
        if self.finer and stream == "trade" and float(str(data["p"])) > 0:
            data = data | {"p": f"{float(str(data['p'])) + 0.05:.2f}"}
        super().frame(stream, data)


def test_a_finer_tick_inside_a_day(tmp_path: Path, ray_local: None, capsys: Capture) -> None:
    """Half-way through a day; every price is exact, each file says its own decimals, and validate is content."""
    market = FinerMarket(tmp_path, 5)
    market.open()
    market.minutes(0.3)
    market.snapshot()
    market.minutes(42)
    market.finer = True
    market.lose_depth(2)
    market.minutes(60)
    market.close()
    for command in ("reconstruct", "features"):
        assert midas(tmp_path, command) == 0
    storage = Storage(str(tmp_path))
    decimals = [
        storage.read_parquet_metadata(path)["px_decimals"] for path in storage.list_files("clean/book", ".parquet")
    ]
    assert decimals == ["2", "2"]
    frames = [pl.DataFrame(storage.read_parquet(path)) for path in storage.list_files("clean/trades", ".parquet")]
    px = pl.concat(frames)["px"]
    assert px.to_list() == [float(f"{each:.2f}") for each in px]
    assert set((px * 100).round().cast(pl.Int64) % 10) == {0, 5}
    capsys.readouterr()
    assert midas(tmp_path, "validate") == 0
    assert "PASS    price_tick" in capsys.readouterr().out


def test_a_price_off_the_tick_is_kept_as_it_is(tmp_path: Path, ray_local: None) -> None:
    """Exactly, in prints as in the book; whether it is one, `midas validate` judges by the day's other prices."""
    market = RawMarket(tmp_path, 5)
    market.open()
    market.minutes(0.3)
    market.snapshot()
    market.minutes(5)
    market.trade_id += 1
    data = {"e": "trade", "E": market.now_ms, "T": market.now_ms, "s": "BTCUSDT", "t": market.trade_id}
    market.frame("trade", data | {"p": "499.937", "q": "0.001", "X": "MARKET", "m": True})
    previous, market.last_id = market.last_id, market.last_id + 1
    data = {"e": "depthUpdate", "E": market.now_ms, "T": market.now_ms, "s": "BTCUSDT", "U": market.last_id}
    best = f"{max(market.bids) / 10 + 0.0123456789:.10f}"
    market.frame("depth@100ms", data | {"u": market.last_id, "pu": previous, "b": [[best, "0.001"]], "a": [], "st": 1})
    market.minutes(1)
    market.close()
    assert midas(tmp_path, "reconstruct") == 0
    storage = Storage(str(tmp_path))
    trades, book = (
        pl.concat(
            [pl.DataFrame(storage.read_parquet(path)) for path in storage.list_files(f"clean/{name}", ".parquet")]
        )
        for name in ("trades", "book")
    )
    assert (trades["px"] == 499.937).sum() == 1
    assert (book["bid_px_01"] == float(best)).any()
