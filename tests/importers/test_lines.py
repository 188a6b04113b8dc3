import gzip
import subprocess
from pathlib import Path

import pytest

from tests.importers.captures import (
    LATENCY_MS,
    START_MS,
    depth,
    journal,
    lines_file,
    lines_text,
    payloads,
    run,
    session,
    snapshot,
    trade,
    written,
)

Capsys = pytest.CaptureFixture[str]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("name", ["btc.gz", "btc.txt"])
def test_every_unit_plain_or_gzip_gives_the_same_journal(tmp_path: Path, capsys: Capsys, unit: str, name: str) -> None:
    frames = session()
    assert run(tmp_path, "lines", lines_file(tmp_path / name, frames, unit)) == 0
    lines = journal(tmp_path)
    assert payloads(lines) == [body for _, body in frames]
    kept = [line for line in lines if line["kind"] in ("ws", "rest")]
    assert [line["recv_ns"] for line in kept] == [(START_MS + LATENCY_MS + ms) * 10**6 for ms, _ in frames]
    assert {(line["mono_ns"], line["conn"]) for line in kept} == {(None, "import")}
    assert [line["n"] for line in kept] == list(range(1, len(frames) + 1))
    (told,) = capsys.readouterr().out.splitlines()
    assert told.startswith("btcusdt: 40 frames (depth 30, trade 10), depth snapshots 1; 2026-01-01 00:00:05 to ")
    assert f"timestamps in {unit}, local clock +0.012 s against the exchange's" in told
    assert "book gaps 0; source files 1, journals 1" in told


def test_journal_begins_with_open_and_ends_with_shutdown(tmp_path: Path) -> None:
    run(tmp_path, "lines", lines_file(tmp_path / "btc.gz", session()))
    lines = journal(tmp_path)
    assert [line.get("event") for line in (lines[0], lines[1], lines[-1])] == ["unsynced", "open", "shutdown"]
    assert lines[0]["streams"] == ["depth", "trade"]
    assert lines[1]["files"] == ["btc.gz"]
    (rest,) = (line for line in lines if line["kind"] == "rest")
    assert (rest["path"], rest["status"]) == ("/fapi/v1/depth?symbol=BTCUSDT", 200)


def test_hours_are_rotated_and_headed_by_the_book(tmp_path: Path) -> None:
    frames = session() + [depth(at * 1000, at * 10, at * 10 + 10) for at in range(30, 3700)]
    run(tmp_path, "lines", lines_file(tmp_path / "btc.gz", frames))
    heads = [line for line in journal(tmp_path) if line["kind"] == "book"]
    assert len(heads) == 1
    assert heads[0]["asks"] == [["101.0", "6"]]


def test_files_join_in_any_order(tmp_path: Path) -> None:
    frames = session()
    parts = [frames[:9], frames[9:25], frames[25:]]
    paths = [lines_file(tmp_path / f"part{at}.gz", part) for at, part in enumerate(parts)]
    assert run(tmp_path, "lines", paths[2], paths[0], paths[1]) == 0
    lines = journal(tmp_path)
    assert payloads(lines) == [body for _, body in frames]
    assert [line["event"] for line in lines if line["kind"] == "event"] == ["unsynced", "open", "shutdown"]


def test_files_that_overlap_are_merged_by_time(tmp_path: Path) -> None:
    frames = session()
    paths = [lines_file(tmp_path / f"{at}.gz", frames[at::2], unit) for at, unit in ((0, "ns"), (1, "ms"))]
    assert run(tmp_path, "lines", *paths) == 0
    assert payloads(journal(tmp_path)) == [body for _, body in frames]


def test_file_that_does_not_go_on_from_the_last_starts_a_run_of_its_own(tmp_path: Path, capsys: Capsys) -> None:
    second = [depth(60_000 + at * 1000, 5000 + at * 10, 5010 + at * 10) for at in range(5)] + [snapshot(65_000, 5015)]
    paths = [lines_file(tmp_path / "a.gz", session()), lines_file(tmp_path / "b.gz", second)]
    assert run(tmp_path, "lines", *paths) == 0
    events = [line["event"] for line in journal(tmp_path) if line["kind"] == "event"]
    assert events == ["unsynced", "open", "shutdown", "unsynced", "open", "shutdown"]
    assert "2 runs, between which nobody captured" in capsys.readouterr().out


def test_break_inside_a_file_is_a_gap(tmp_path: Path, capsys: Capsys) -> None:
    frames = [frame for frame in session() if frame[0] != 20_000] + [snapshot(29_500, 295)]
    assert run(tmp_path, "lines", lines_file(tmp_path / "btc.gz", frames)) == 0
    assert "book gaps 1" in capsys.readouterr().out
    events = [line for line in journal(tmp_path) if line["kind"] == "event"]
    assert [line["event"] for line in events] == ["unsynced", "open", "gap", "resync", "shutdown"]
    assert (events[2]["expected_id"], events[3]["cause"]) == (200, "venue")


def test_lines_out_of_order_are_said(tmp_path: Path, capsys: Capsys) -> None:
    frames = session()
    shuffled = [*frames[:9], *frames[20:], *frames[9:20]]
    assert run(tmp_path, "lines", lines_file(tmp_path / "btc.gz", shuffled)) == 0
    assert (
        "receive times run back by over a second once: lines of the files are out of order" in capsys.readouterr().out
    )


def test_same_files_again_change_nothing(tmp_path: Path, capsys: Capsys) -> None:
    path = lines_file(tmp_path / "btc.gz", session())
    run(tmp_path, "lines", path)
    before = {name: (tmp_path / "data" / name).stat().st_mtime_ns for name in written(tmp_path)}
    capsys.readouterr()
    (tmp_path / "renamed.gz").write_bytes(Path(path).read_bytes())
    assert run(tmp_path, "lines", str(tmp_path / "renamed.gz")) == 0
    assert capsys.readouterr().out == "btcusdt: already imported from the same files; nothing to do\n"
    assert {name: (tmp_path / "data" / name).stat().st_mtime_ns for name in written(tmp_path)} == before


def test_more_files_replace_what_was_made_of_fewer(tmp_path: Path) -> None:
    frames = session()
    first, second = lines_file(tmp_path / "a.gz", frames[:20]), lines_file(tmp_path / "b.gz", frames[20:])
    assert run(tmp_path, "lines", first) == 0
    assert run(tmp_path, "lines", first, second) == 0
    assert payloads(journal(tmp_path)) == [body for _, body in frames]
    assert run(tmp_path, "lines", second) == 0  # contained, though alone it has no snapshot
    assert payloads(journal(tmp_path)) == [body for _, body in frames]


def test_lost_journals_are_made_again(tmp_path: Path) -> None:
    path = lines_file(tmp_path / "btc.gz", session())
    run(tmp_path, "lines", path)
    names = written(tmp_path)
    for name in names:
        if name.endswith(".zst"):
            (tmp_path / "data" / name).unlink()
    assert run(tmp_path, "lines", path) == 0
    assert written(tmp_path) == names


def test_overlap_with_other_raw_data_is_refused(tmp_path: Path, capsys: Capsys) -> None:
    frames = session()
    run(tmp_path, "lines", lines_file(tmp_path / "a.gz", frames))
    before = written(tmp_path)
    capsys.readouterr()
    later = [(ms + 10_000, body) for ms, body in session()]
    assert run(tmp_path, "lines", lines_file(tmp_path / "b.gz", later)) == 1
    assert_one_line(capsys, "expected no raw data from 2026-01-01 00:00:15", "use another --data-dir")
    assert written(tmp_path) == before
    after = [(ms + 60_000, body) for ms, body in session()]
    assert run(tmp_path, "lines", lines_file(tmp_path / "c.gz", after)) == 0  # the same hour, later: no overlap


def test_same_content_twice_is_taken_once(tmp_path: Path, capsys: Capsys) -> None:
    frames = session()
    paths = [lines_file(tmp_path / name, frames) for name in ("a.txt", "b.txt")]
    assert run(tmp_path, "lines", *paths) == 0
    assert "the same content as" in capsys.readouterr().err
    assert payloads(journal(tmp_path)) == [body for _, body in frames]


def test_symbols_in_one_file_and_the_choice_among_them(tmp_path: Path, capsys: Capsys) -> None:
    frames = [trade(at, at, symbol) for at in range(9) for symbol in ("btcusdt", "ethusdt")]
    path = lines_file(tmp_path / "both.gz", frames)
    assert run(tmp_path, "lines", path, "--symbols", "ethusdt") == 0
    assert not journal(tmp_path)
    assert len(payloads(journal(tmp_path, "ethusdt"))) == 9
    assert run(tmp_path, "lines", path) == 0
    assert len(payloads(journal(tmp_path))) == 9
    out = capsys.readouterr().out
    assert "ethusdt: already imported" in out


def test_trades_alone_are_imported_and_the_book_said_to_stay_syncing(tmp_path: Path, capsys: Capsys) -> None:
    assert run(tmp_path, "lines", lines_file(tmp_path / "btc.gz", [trade(at, at) for at in range(5)])) == 0
    assert "no depth events with a snapshot: the book stays `syncing`" in capsys.readouterr().out
    assert len(payloads(journal(tmp_path))) == 5


def test_acks_and_frames_that_are_no_json_are_kept(tmp_path: Path, capsys: Capsys) -> None:
    text = lines_text(session()) + f"{START_MS + 40_000} pong\n".encode()
    text = text.replace(b"\n", b'\n1767225605100000000 {"result":null,"id":1}\n', 1)
    (tmp_path / "btc.txt").write_bytes(text.replace(f"{START_MS + 40_000} ".encode(), b"1767225645000000000 "))
    assert run(tmp_path, "lines", str(tmp_path / "btc.txt")) == 0
    lines = journal(tmp_path)
    assert {"result": None, "id": 1} in [line.get("payload") for line in lines]
    assert "pong" in [line.get("text") for line in lines]
    assert "1 frames that no decoder understands, kept raw" in capsys.readouterr().out


def test_symbols_that_name_no_folder_are_left_out_and_said(tmp_path: Path, capsys: Capsys) -> None:
    frames = [trade(at, at, symbol) for at in range(5) for symbol in ("btcusdt", "../../evil", "币安人生usdt")]
    assert run(tmp_path, "lines", lines_file(tmp_path / "x.gz", frames)) == 0
    told = capsys.readouterr()
    assert told.err.count("left out: expected a symbol") == 2
    assert told.out.startswith("btcusdt: 5 frames")
    assert all("symbol=btcusdt" in name for name in written(tmp_path))


def test_frames_with_damaged_text_are_kept(tmp_path: Path) -> None:
    text = lines_text(session())
    damaged = b'1767225611000000000 {"stream":"btcusdt@trade","data":{"e":"tr\xffde"}}\n'
    (tmp_path / "x.txt").write_bytes(text + damaged)
    assert run(tmp_path, "lines", str(tmp_path / "x.txt")) == 0
    assert [line for line in journal(tmp_path) if "b64" in line]


def test_partial_depth_streams_are_left_out_and_said(tmp_path: Path, capsys: Capsys) -> None:
    frames = session()
    partial = [
        (ms, body | {"stream": "btcusdt@depth20@100ms"}) for ms, body in frames if "@depth" in body.get("stream", "")
    ]
    path = lines_file(tmp_path / "btc.gz", sorted(frames + partial, key=lambda frame: frame[0]))
    assert run(tmp_path, "lines", path) == 0
    assert "30 frames of partial-depth streams left out" in capsys.readouterr().out
    assert payloads(journal(tmp_path)) == [body for _, body in frames]


def assert_one_line(capsys: Capsys, *parts: str) -> None:
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    for part in parts:
        assert part in told.err, told.err


def refused(root: Path, *arguments: str, code: int = 1) -> None:
    """The import fails with `code` and nothing is written."""
    assert run(root, *arguments) == code
    data = root / "data"
    assert not data.exists() or not list(data.rglob("*"))


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        (10, "expected a time from 2009 to 2100 in s, ms, us or ns"),  # tenths of a ms: no plausible unit
        (1.05, "UTC, but the exchange's own times in its frames (E) at 2026-01-01 00:00:05 UTC"),
    ],
)
def test_wrong_time_unit(tmp_path: Path, capsys: Capsys, scale: float, said: str) -> None:
    text = b""
    for line in lines_text(session(), "ms").splitlines():
        recv, _, payload = line.partition(b" ")
        text += str(int(int(recv) * scale)).encode() + b" " + payload + b"\n"
    (tmp_path / "btc.txt").write_bytes(text)
    refused(tmp_path, "lines", str(tmp_path / "btc.txt"))
    assert_one_line(capsys, "btc.txt", said)


def test_local_time_instead_of_utc(tmp_path: Path, capsys: Capsys) -> None:
    (tmp_path / "btc.txt").write_bytes(lines_text([(ms + 8 * 3_600_000, body) for ms, body in session()]))
    refused(tmp_path, "lines", str(tmp_path / "btc.txt"))
    assert_one_line(capsys, "8.0 h apart", "expected receive times in UTC")


def test_unit_that_changes_in_the_middle(tmp_path: Path, capsys: Capsys) -> None:
    frames = session()
    (tmp_path / "btc.txt").write_bytes(lines_text(frames[:10], "ns") + lines_text(frames[10:], "us"))
    refused(tmp_path, "lines", str(tmp_path / "btc.txt"))
    assert_one_line(capsys, "line 11: expected a time from 2009 to 2100 in ns as on the first line")


def test_exchange_times_in_microseconds(tmp_path: Path, capsys: Capsys) -> None:
    frames = session()
    for _, body in frames:
        body.get("data", body)["E"] *= 1000
    (tmp_path / "btc.txt").write_bytes(lines_text(frames))
    refused(tmp_path, "lines", str(tmp_path / "btc.txt"))
    assert_one_line(capsys, "expected exchange times (E) in ms", "timeUnit=MICROSECOND")


def test_missing_snapshot(tmp_path: Path, capsys: Capsys) -> None:
    frames = [frame for frame in session() if "lastUpdateId" not in frame[1]]
    refused(tmp_path, "lines", lines_file(tmp_path / "btc.gz", frames))
    assert_one_line(capsys, "btcusdt: expected a REST depth snapshot", "beside 30 depth events, found none")


def test_snapshot_that_never_joins(tmp_path: Path, capsys: Capsys) -> None:
    frames = [frame for frame in session() if "lastUpdateId" not in frame[1]] + [snapshot(100, -5)]
    frames = [(ms, body | {"lastUpdateId": 1} if "bids" in body else body) for ms, body in frames if ms > 50]
    refused(tmp_path, "lines", lines_file(tmp_path / "btc.gz", sorted(frames, key=lambda frame: frame[0])))
    assert_one_line(capsys, "btcusdt: expected a depth snapshot that joins the depth events, found 1 that do not")


def test_truncated_gzip(tmp_path: Path, capsys: Capsys) -> None:
    data = gzip.compress(lines_text(session()))
    for cut in (len(data) // 2, len(data) - 1, len(data) - 9, 5):
        (tmp_path / "btc.gz").write_bytes(data[:cut])
        refused(tmp_path, "lines", str(tmp_path / "btc.gz"))
        assert_one_line(capsys, "btc.gz: truncated: its gzip data end before their end mark")


def test_damaged_gzip(tmp_path: Path, capsys: Capsys) -> None:
    data = bytearray(gzip.compress(lines_text(session())))
    data[len(data) // 2] ^= 0x55
    (tmp_path / "btc.gz").write_bytes(data)
    refused(tmp_path, "lines", str(tmp_path / "btc.gz"))
    assert_one_line(capsys, "btc.gz", "gzip data")


@pytest.mark.parametrize("cut", [1, 20, 300])
def test_plain_file_cut_off_in_its_last_line(tmp_path: Path, capsys: Capsys, cut: int) -> None:
    text = lines_text(session())
    last = text[: text.rfind(b"\n", 0, -1) + 1]
    (tmp_path / "btc.txt").write_bytes(text[: max(len(last) + 5, len(text) - 1 - cut)])
    refused(tmp_path, "lines", str(tmp_path / "btc.txt"))
    assert_one_line(capsys, "line 41: truncated in the middle of its last line")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "found an empty file"),
        (b"\n\n", "expected lines of '<timestamp> <json>', found none"),
        (b"date,open,high\n2024,1,2\n", "line 1: expected lines of '<timestamp> <json>', found 'date,open,high'"),
        (b"wss://fstream.binance.com/stream <-> 1626992740.17\n", "line 1: expected lines of '<timestamp> <json>'"),
        (b"ARROW1\0\0", "found binary data"),
        (b'{"e":"trade"}\n', "no timestamp before the message"),
        (b'1767225605012 {"hello":1}\n', "expected market data of the venue"),
    ],
)
def test_files_of_another_format(tmp_path: Path, capsys: Capsys, content: bytes, said: str) -> None:
    (tmp_path / "x.dat").write_bytes(content)
    refused(tmp_path, "lines", str(tmp_path / "x.dat"))
    assert_one_line(capsys, said)


def test_line_of_another_format_in_the_middle(tmp_path: Path, capsys: Capsys) -> None:
    text = lines_text(session()).replace(b"\n", b"\nhello world\n", 3)
    (tmp_path / "x.dat").write_bytes(text)
    refused(tmp_path, "lines", str(tmp_path / "x.dat"))
    assert_one_line(capsys, "x.dat, line 2: expected lines of '<timestamp> <json>', found 'hello world'")


def test_frames_of_the_other_venue(tmp_path: Path, capsys: Capsys) -> None:
    spot, futures = lines_file(tmp_path / "s.gz", session(spot=True)), lines_file(tmp_path / "f.gz", session())
    refused(tmp_path, "lines", spot)
    assert_one_line(capsys, "found no pu in them", "import with --venue binance-spot")
    refused(tmp_path, "lines", futures, "--venue", "binance-spot")
    assert_one_line(capsys, "found pu in them", "import with --venue binance-futures")
    assert run(tmp_path, "lines", spot, "--venue", "binance-spot") == 0


def test_unknown_symbol_and_absent_files(tmp_path: Path, capsys: Capsys) -> None:
    path = lines_file(tmp_path / "btc.gz", session())
    refused(tmp_path, "lines", path, "--symbols", "btcusdt,dogeusdt", code=2)
    assert_one_line(capsys, "--symbols dogeusdt: expected symbols in the files, found btcusdt")
    refused(tmp_path, "lines", str(tmp_path / "none.gz"), code=2)
    assert_one_line(capsys, "none.gz: expected a file, found none")
    refused(tmp_path, "lines", str(tmp_path), code=2)
    assert_one_line(capsys, "expected a file, found a folder")


def test_snapshots_that_could_be_of_several_symbols(tmp_path: Path, capsys: Capsys) -> None:
    frames = sorted([*session(), *(trade(at, at, "ethusdt") for at in range(9))], key=lambda frame: frame[0])
    refused(tmp_path, "lines", lines_file(tmp_path / "both.gz", frames))
    assert_one_line(capsys, "expected depth snapshots of one symbol, found 2 symbols beside 1 snapshots")


def test_snapshot_in_a_file_of_its_own(tmp_path: Path) -> None:
    frames = session()
    streams = [frame for frame in frames if "stream" in frame[1]]
    paths = [lines_file(tmp_path / "streams.gz", streams), lines_file(tmp_path / "rest.gz", [snapshot(2500, 25)])]
    assert run(tmp_path, "lines", *paths) == 0
    assert payloads(journal(tmp_path)) == [body for _, body in frames]


def test_what_a_killed_import_left_goes_with_the_next_one(tmp_path: Path) -> None:
    killed = subprocess.Popen(["true"])
    killed.wait()
    left = tmp_path / "data" / f".tmp-import-{killed.pid}" / "btcusdt"
    left.mkdir(parents=True)
    assert run(tmp_path, "lines", lines_file(tmp_path / "btc.gz", session())) == 0
    assert not list((tmp_path / "data").glob(".tmp-import-*"))


def test_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("midas_ray.importers.journals.JournalImport._close", interrupted)
    assert run(tmp_path, "lines", lines_file(tmp_path / "btc.gz", session())) == 130
    assert not list((tmp_path / "data").rglob("*"))


def test_unwritable_folder(tmp_path: Path, capsys: Capsys) -> None:
    path = lines_file(tmp_path / "btc.gz", session())
    (tmp_path / "data").write_text("a file")
    assert run(tmp_path, "lines", path) == 1
    assert_one_line(capsys, "expected a writable folder")
