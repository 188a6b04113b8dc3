"""The command: reports, exit codes, one line for bad input, one file in memory at a time."""

import re
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from midas_ray import cli
from midas_ray.quality.findings import CHECK, Findings
from midas_ray.quality.source import DataFile, Rows, Source
from midas_ray.storage import Storage
from tests.quality.conftest import Validated
from tests.quality.made_up import DAY, SYMBOL, VENUE, made_up

FEATURES = f"features/venue={VENUE}/symbol={SYMBOL}/date={DAY}/features.parquet"


def _refusal(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error of a command that refuses."""
    code = cli.main(["validate", *argv])
    error = capsys.readouterr().err
    assert code != 0
    assert error.count("\n") == 1, error
    return error


def test_no_data_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = _refusal(["--data-dir", str(tmp_path / "none")], capsys)
    assert line == f"no clean data under {tmp_path}/none; run midas reconstruct first\n"
    assert list(tmp_path.iterdir()) == []


def test_data_of_another_venue_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up().write(tmp_path)
    line = _refusal(["--data-dir", str(tmp_path), "--venue", "binance-spot"], capsys)
    assert "found binance-futures: choose with --venue" in line


def test_features_without_clean_data_are_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = made_up()
    data.frames = {"features": data.frames["features"]}
    data.write(tmp_path)
    assert "no clean data under" in _refusal(["--data-dir", str(tmp_path)], capsys)


def test_an_unknown_symbol_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up().write(tmp_path)
    line = _refusal(["--data-dir", str(tmp_path), "--symbols", "dogeusdt"], capsys)
    assert line.startswith("--symbols dogeusdt: expected symbols with clean data of binance-futures, found btcusdt")


@pytest.mark.parametrize("cut", [100, 20_000])
def test_a_truncated_file_is_one_line_and_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cut: int
) -> None:
    made_up().write(tmp_path)
    path = tmp_path / f"clean/book/venue={VENUE}/symbol={SYMBOL}/date={DAY}/00.parquet"
    path.write_bytes(path.read_bytes()[:cut])
    line = _refusal(["--data-dir", str(tmp_path)], capsys)
    assert str(path) in line
    assert not list((tmp_path / "reports").glob("*"))


def test_damaged_pages_of_a_file_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up().write(tmp_path)
    path = tmp_path / FEATURES
    data = bytearray(path.read_bytes())
    data[100:400] = bytes(300)
    path.write_bytes(bytes(data))
    assert str(path) in _refusal(["--data-dir", str(tmp_path)], capsys)


@pytest.mark.parametrize("table", ["features", "book"])
def test_another_schema_version_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str) -> None:
    data = made_up()
    data.metadata[table]["schema_version"] = "2"
    data.write(tmp_path)
    line = _refusal(["--data-dir", str(tmp_path)], capsys)
    assert "expected schema version 1, found 2; rerun midas" in line
    assert not (tmp_path / "reports" / "data_quality.json").exists()


def test_mixed_bucket_lengths_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = made_up()
    data.write(tmp_path)
    table = pl.read_parquet(tmp_path / FEATURES).to_arrow()
    other = FEATURES.replace(DAY, "2026-01-06")
    metadata = {"schema_version": "1", "time_bucket_ms": "1000", "price_source": "midprice"}
    Storage(str(tmp_path)).write_parquet(other, table, metadata)
    assert "expected buckets of 60000 ms" in _refusal(["--data-dir", str(tmp_path)], capsys)


def test_an_unwritable_report_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up().write(tmp_path / "data")
    (tmp_path / "file").write_text("")
    line = _refusal(["--data-dir", str(tmp_path / "data"), "--report-dir", str(tmp_path / "file" / "reports")], capsys)
    assert str(tmp_path / "file" / "reports") in line


def test_the_report_folder_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_up().write(tmp_path / "data")
    assert cli.main(["validate", "--data-dir", str(tmp_path / "data"), "--report-dir", str(tmp_path / "r")]) == 0
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["data_quality.html", "data_quality.json"]
    assert not (tmp_path / "data" / "reports").exists()
    out = capsys.readouterr().out
    assert f"{tmp_path}/r/data_quality.html" in out
    assert all(name in out for name in CHECK)


def test_clean_tables_alone_are_checked_and_it_is_said(
    validated: Validated, capsys: pytest.CaptureFixture[str]
) -> None:
    data = made_up()
    del data.frames["features"]
    outcome = validated(data)
    assert outcome.code == 0
    assert outcome.named("SKIP") == {"null_kinds", "null_shares"}
    assert "no features yet" in capsys.readouterr().out
    assert "no features yet" in outcome.html


def test_bars_alone_are_checked(validated: Validated) -> None:
    data = made_up()
    data.frames = {"bars": data.frames["bars"]}
    outcome = validated(data)
    assert outcome.code == 0
    assert outcome.check("ohlc_order")["looked_at"] == 30
    assert outcome.report["symbols"]["btcusdt"]["coverage"] is None
    assert "There is no book in these data." in outcome.html


def test_empty_files_are_no_defect(validated: Validated) -> None:
    data = made_up()
    data.frames = {name: frame.head(0) for name, frame in data.frames.items()}
    assert validated(data).code == 0


def test_several_symbols_are_reported_each_and_together(validated: Validated, tmp_path: Path) -> None:
    data = made_up()
    data.write(tmp_path / "data", "ethusdt")
    data.set("book", 9, bid_px_01=9000.0)
    outcome = validated(data)
    symbols = outcome.report["symbols"]
    assert list(symbols) == ["btcusdt", "ethusdt"]
    assert symbols["btcusdt"]["checks"]["crossed_book"] == {"status": "FAIL", "count": 1}
    assert symbols["ethusdt"]["checks"]["crossed_book"] == {"status": "PASS", "count": 0}
    assert outcome.report["overall"]["rows"]["book"] == 3600
    assert outcome.code == 1
    assert validated(symbols="ethusdt").code == 0


KEYED_BY_DATA = ("symbols", "nulls", "columns", "tables", "by_cause", "by_fault", "by_stream", "lost_s")
"""Objects whose keys are names from the data."""

JSON_KEYS = """
report_version midas_version created venue data_dir strict passed
checks[].name checks[].severity checks[].status checks[].asserts checks[].looked_at checks[].unit checks[].count
checks[].examples[].symbol checks[].examples[].path checks[].examples[].ts checks[].examples[].found
checks[].examples[].expected
overall.symbols overall.span.first overall.span.last overall.coverage overall.gaps
overall.rows.gaps overall.rows.book overall.rows.trades overall.rows.mark overall.rows.bars overall.rows.features
overall.latency_ms.n overall.latency_ms.negative overall.latency_ms.min overall.latency_ms.p50 overall.latency_ms.p90
overall.latency_ms.p99 overall.latency_ms.max overall.latency_ms.histogram.left_ms[]
overall.latency_ms.histogram.width_ms overall.latency_ms.histogram.count[]
overall.nulls.*.value overall.nulls.*.gap overall.nulls.*.warm_up overall.nulls.*.undefined
overall.nulls.*.out_of_bounds
symbols.*.span.first symbols.*.span.last symbols.*.tick
symbols.*.tables.*.files symbols.*.tables.*.rows symbols.*.tables.*.first symbols.*.tables.*.last
symbols.*.coverage.rows symbols.*.coverage.live_rows symbols.*.coverage.live_share_of_rows
symbols.*.coverage.live_share_of_span symbols.*.coverage.interval_ms symbols.*.coverage.hours[].hour
symbols.*.coverage.hours[].rows symbols.*.coverage.hours[].live_rows
symbols.*.gaps.count symbols.*.gaps.by_cause.* symbols.*.gaps.by_fault.* symbols.*.gaps.by_stream.*
symbols.*.gaps.longest_s
symbols.*.gaps.lost_s.* symbols.*.gaps.listed symbols.*.gaps.list[].stream
symbols.*.gaps.list[].cause symbols.*.gaps.list[].fault
symbols.*.gaps.list[].start symbols.*.gaps.list[].end symbols.*.gaps.list[].seconds
symbols.*.gaps.list[].expected_id symbols.*.gaps.list[].found_id symbols.*.gaps.list[].recovered
symbols.*.latency_ms.n symbols.*.latency_ms.negative symbols.*.latency_ms.min symbols.*.latency_ms.p50
symbols.*.latency_ms.p90 symbols.*.latency_ms.p99 symbols.*.latency_ms.max symbols.*.latency_ms.histogram.left_ms[]
symbols.*.latency_ms.histogram.width_ms symbols.*.latency_ms.histogram.count[]
symbols.*.klines[].origin symbols.*.klines[].klines symbols.*.klines[].compared symbols.*.klines[].differences
symbols.*.klines[].list[].ts symbols.*.klines[].list[].column symbols.*.klines[].list[].ours
symbols.*.klines[].list[].kline
symbols.*.features.rows symbols.*.features.bucket_ms symbols.*.features.price_source symbols.*.features.mean_coverage
symbols.*.features.mean_trades_coverage symbols.*.features.not_collected symbols.*.features.columns.*.value
symbols.*.features.columns.*.gap symbols.*.features.columns.*.warm_up symbols.*.features.columns.*.undefined
symbols.*.features.columns.*.out_of_bounds symbols.*.features.columns.*.min symbols.*.features.columns.*.max
"""


def _paths(value: Any, prefix: str = "") -> Iterator[str]:
    """Paths of all values in nested data; `*` stands for names from the data, `[]` for an item of a list."""
    if isinstance(value, dict):
        for key, inner in value.items():
            name = "*" if prefix.rsplit(".", 1)[-1] in KEYED_BY_DATA else key
            yield from _paths(inner, f"{prefix}.{name}".lstrip("."))
    elif isinstance(value, list) and value:
        for inner in value:
            yield from _paths(inner, f"{prefix}[]")
    else:
        yield prefix


def test_the_json_keeps_its_keys(validated: Validated) -> None:
    """A reader of reports/data_quality.json of report_version 1 finds every key, and no other."""
    data = made_up()
    data.set("bars", 3, high=9e5)
    report = validated(data).report
    assert report["report_version"] == 1
    found = {
        path for path in _paths(report) if not path.startswith("symbols.*.checks.") and path != "checks[].examples"
    }
    assert found == set(JSON_KEYS.split())
    statuses = report["symbols"]["btcusdt"]["checks"]
    assert {name: set(each) for name, each in statuses.items()} == {name: {"status", "count"} for name in CHECK}


def test_the_reports_agree_and_the_page_needs_no_network(validated: Validated) -> None:
    outcome = validated(made_up())
    html = outcome.html
    assert "default-src 'none'" in html
    body = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//", body)
    assert not re.search(r"<script[^>]+src", html)
    assert not re.search(r"<(link|iframe|img|object|embed)\b", body)
    assert html.count('<script type="text/plain" id="plotly">') == 1
    for name in CHECK:
        assert f">{name}</td>" in html
    figures = re.findall(r'id="figure-\d+"', html)
    assert len(figures) == len(set(figures)) == 5  # coverage, gaps, price, latency, nulls


def test_one_file_is_in_memory_at_a_time(validated: Validated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a file is opened, the rows of every file before it are gone."""
    loaded: list[tuple[str, weakref.ref[pl.DataFrame]]] = []
    held: list[str] = []
    load = Source.load

    def watched(self: Source, file: DataFile, findings: Findings) -> Rows | None:
        held.extend(path for path, ref in loaded if ref() is not None)
        rows = load(self, file, findings)
        assert rows is not None
        loaded.append((file.path, weakref.ref(rows.frame)))
        return rows

    monkeypatch.setattr(Source, "load", watched)
    made_up().write(tmp_path / "data", "ethusdt")
    assert validated(made_up()).code == 0
    assert len(loaded) == 2 * len(made_up().frames)
    assert held == []
