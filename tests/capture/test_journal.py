import base64
import json
import os
import subprocess
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_ray.capture import journal
from midas_ray.capture.claim import seal_leftovers
from midas_ray.capture.journal import decode_line, event_line, read_blocks, rest_line, ws_line
from midas_ray.capture.journal_file import FRAME_MAX_NS, JournalFile
from midas_ray.errors import CorruptFileError, StorageError

START_NS = 1_767_225_600 * 10**9
FRAMES = [b'{"e":"trade","p":"0.10"}', b'{"a": [1, 2.50, null], "b":"\\u00e9"}', '{"c":"é"}'.encode(), b"[]", b"1e5"]
NO_JSON = [b"", b"pong", b'{"cut', b'{"two":\n1}', b"\xff\xfe", b"\x00", b'{"a":"\xff"}', b"\x0b1", '"é'.encode()]


def write(root: Path, count: int = 200, *, flush_each: int = 0, close: bool = True) -> Path:
    """A journal of `count` frames; gives its path."""
    file = JournalFile(root, "binance-futures", "btcusdt", START_NS)
    for at in range(count):
        file.write(ws_line(START_NS + at, at, "a-1", at, FRAMES[at % len(FRAMES)]), START_NS + at)
        if flush_each and at % flush_each == 0:
            file.flush()
    return file.close() if close else growing(root)


def growing(root: Path) -> Path:
    (path,) = root.rglob("*.open")
    return path


def read(path: Path) -> list[bytes]:
    with path.open("rb") as stream:
        return b"".join(read_blocks(stream, path.name)).splitlines()


def readable(path: Path) -> tuple[list[bytes], str]:
    """The lines of a file that is not whole, and what is said of it."""
    seen: list[bytes] = []
    try:
        with path.open("rb") as stream:
            for block in read_blocks(stream, "x.jsonl.zst", 100):
                seen += block.splitlines()
    except CorruptFileError as error:
        return seen, str(error)
    raise AssertionError("read as if it were whole")


def test_what_was_written_is_read_back_in_order(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert (
        path
        == tmp_path / f"raw/venue=binance-futures/symbol=btcusdt/date=2026-01-01/{START_NS}-{os.getpid()}.jsonl.zst"
    )
    lines = [decode_line(line) for line in read(path)]
    assert [(line.recv_ns, line.mono_ns, line.n) for line in lines] == [(START_NS + at, at, at) for at in range(200)]
    assert [bytes(line.payload) for line in lines] == [FRAMES[at % len(FRAMES)] for at in range(200)]
    assert not list(tmp_path.rglob("*.open*"))


@pytest.mark.parametrize("block_bytes", [1, 50, 1000, 10**6])
def test_blocks_are_whole_lines_whatever_their_size(tmp_path: Path, block_bytes: int) -> None:
    path = write(tmp_path)
    with path.open("rb") as stream:
        blocks = list(read_blocks(stream, "j", block_bytes))
    assert all(block.endswith(b"\n") for block in blocks)
    assert b"".join(blocks).splitlines() == read(path)


@given(st.binary(max_size=60) | st.sampled_from(FRAMES + NO_JSON))
def test_each_line_is_json_and_gives_the_payload_back(payload: bytes) -> None:
    line = ws_line(START_NS, None, "a-1", 7, payload)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert b"\r" not in line
    told = decode_line(line)
    json.loads(line)
    if told.text is not None:
        assert told.text.encode() == payload
    elif told.b64 is not None:
        assert base64.b64decode(told.b64) == payload
    else:
        assert bytes(told.payload) == payload.strip()
        json.loads(payload)


@pytest.mark.parametrize("payload", FRAMES)
def test_json_is_kept_verbatim(payload: bytes) -> None:
    assert b'"payload":' + payload + b"}\n" in ws_line(START_NS, 5, "a-1", 7, payload)


@pytest.mark.parametrize("payload", NO_JSON)
def test_what_is_not_one_line_of_json_goes_into_text_or_base64(payload: bytes) -> None:
    told = json.loads(ws_line(START_NS, None, "a-1", 7, payload))
    assert "payload" not in told
    assert (told["text"].encode() if "text" in told else base64.b64decode(told["b64"])) == payload


def test_heads_of_rest_and_event_lines() -> None:
    told = json.loads(
        rest_line(START_NS, None, "rest", 3, b'{"lastUpdateId":1}', status=200, sent_ns=5, path='/depth?x="1"')
    )
    assert told == {
        "recv_ns": START_NS, "mono_ns": None, "conn": "rest", "n": 3, "kind": "rest", "status": 200, "sent_ns": 5,
        "path": '/depth?x="1"', "payload": {"lastUpdateId": 1},
    }  # fmt: skip
    told = json.loads(event_line(START_NS, 1, "a-1", 3, "gap", expected_id=118))
    assert (told["kind"], told["event"], told["expected_id"]) == ("event", "gap", 118)


def test_zstdcat_and_jq_read_every_line(tmp_path: Path) -> None:
    """Several Zstandard frames and payloads of all kinds; without zstdcat the library stands for it, json for jq."""
    file = JournalFile(tmp_path, "binance-futures", "btcusdt", START_NS)
    payloads = FRAMES + [payload for payload in NO_JSON if payload != b"\x00"]
    for at, payload in enumerate(payloads):
        recv_ns = START_NS + at * FRAME_MAX_NS
        file.write(ws_line(recv_ns, None, "a-1", at, payload), recv_ns)
    path = file.close()
    data = path.read_bytes()
    assert data.count(b"\x28\xb5\x2f\xfd") >= len(payloads) - 1  # a new frame every 10 minutes
    text = b"".join(_frames(data))
    assert [json.loads(line)["n"] for line in text.splitlines()] == list(range(len(payloads)))
    if subprocess.run(["which", "zstdcat"], capture_output=True, check=False).returncode == 0:
        assert subprocess.run(["zstdcat", path], capture_output=True, check=True).stdout == text


def _frames(data: bytes) -> list[bytes]:
    found = []
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        found.append(frame.decompress(data))
        assert frame.eof
        data = frame.unused_data
    return found


@pytest.mark.parametrize("lost", [1, 3, 4, 10, 40, 100])
def test_cut_off_file_gives_what_is_readable_then_one_line(tmp_path: Path, lost: int) -> None:
    path = write(tmp_path, flush_each=10)
    whole = read(path)
    path.write_bytes(path.read_bytes()[:-lost])
    seen, message = readable(path)
    assert seen == whole[: len(seen)]
    assert message.startswith("x.jsonl.zst: truncated")
    assert "\n" not in message
    assert "then rerun" in message


def test_damaged_file_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path)
    data = bytearray(path.read_bytes())
    data[0] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(CorruptFileError, match="x: damaged Zstandard data") as caught, path.open("rb") as stream:
        list(read_blocks(stream, "x"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("flush_each", [1, 7])
def test_flushed_lines_are_readable_while_the_file_grows(tmp_path: Path, flush_each: int) -> None:
    path = write(tmp_path, 50, flush_each=flush_each, close=False)
    flushed = ((50 - 1) // flush_each) * flush_each + 1
    assert len(readable(path)[0]) == flushed


@given(st.integers(0, 60), st.integers(0, 3000))
@settings(deadline=None, max_examples=60)
def test_seal_keeps_every_flushed_line_wherever_the_file_was_cut(
    tmp_path_factory: pytest.TempPathFactory, count: int, cut: int
) -> None:
    root = tmp_path_factory.mktemp("seal")
    file = JournalFile(root, "binance-futures", "btcusdt", START_NS)
    sizes = [0]
    for at in range(count):
        file.write(ws_line(START_NS, None, "a-1", at, FRAMES[at % len(FRAMES)]), START_NS)
        file.flush()
        sizes.append(file.bytes_written)
    path = growing(root)
    path.write_bytes(path.read_bytes()[:cut])
    kept = max(at for at, size in enumerate(sizes) if size <= cut)
    final = journal.seal(path)
    assert not path.exists()
    if kept == 0 and final is None:
        return
    assert final is not None
    lines = [decode_line(line).n for line in read(final)]
    assert lines == list(range(len(lines)))
    assert len(lines) >= kept


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_seal_keeps_whole_lines_where_a_flush_was_cut_off(tmp_path: Path, share: float) -> None:
    """A large flush is several Zstandard blocks, whose boundaries are in the middle of lines."""
    file = JournalFile(tmp_path, "binance-futures", "btcusdt", START_NS)
    lines = [event_line(START_NS, None, "a", n, "x", noise=os.urandom(64).hex()) for n in range(4000)]
    file.write(b"".join(lines), START_NS)
    file.abandon()
    path = growing(tmp_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    final = journal.seal(path)
    assert final is not None
    kept = read(final)
    assert 0 < len(kept) < 4000
    assert kept == [line.rstrip(b"\n") for line in lines[: len(kept)]]


def test_file_that_cannot_be_created_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot create") as caught:
        JournalFile(tmp_path, "binance-futures", "btcusdt", START_NS)
    assert "\n" not in str(caught.value)


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    """A restart within the same instant, or the same process id in another container: another name is taken."""
    path = write(tmp_path)
    before = path.read_bytes()
    growing = write(tmp_path, 3, flush_each=1, close=False)
    left = growing.read_bytes()
    third = write(tmp_path, 5)
    assert len({path, growing, third}) == 3
    assert path.read_bytes() == before
    assert growing.read_bytes() == left
    assert len(read(third)) == 5


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_a_leftover_that_cannot_be_read_to_its_end_is_kept_beside(tmp_path: Path, share: float) -> None:
    """A damaged disk is no reason to delete what somebody may still repair."""
    file = JournalFile(tmp_path, "binance-futures", "btcusdt", START_NS)
    for n in range(300):
        file.write(ws_line(START_NS, None, "a-1", n, FRAMES[n % len(FRAMES)]), START_NS)
        file.flush()
    path = growing(tmp_path)
    file.abandon()
    data = bytearray(path.read_bytes())
    at, kept = int(share * len(data)), share > 0
    data[at : at + 16] = b"\xff" * 16
    path.write_bytes(data)
    folder = path.parents[1]
    found = seal_leftovers(folder)
    damaged = journal.damaged_of(path)
    assert [each.name for each in found] == ([path.name.removesuffix(".open")] if kept else []) + [damaged.name]
    assert damaged.read_bytes() == bytes(data)
    assert not path.exists()
    if kept:
        lines = [decode_line(line).n for line in read(found[0])]
        assert 0 < len(lines) < 300
        assert lines == list(range(len(lines)))
    assert seal_leftovers(folder) == []
