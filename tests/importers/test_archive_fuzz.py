"""Random and mutated archives: an import succeeds or says in one line why not; it never writes a wrong book."""

import gzip
import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from midas_ray.cli import main
from midas_ray.importers.hft_read import EVENT, EXCHANGE, LOCAL, Events
from tests.importers.archives import (
    START_US,
    Change,
    clean,
    live_tops,
    market,
    tardis_book,
    tardis_changes,
    tardis_trades,
    written_tops,
)
from tests.importers.test_hftbacktest import events, npz, trades
from tests.importers.test_midas_v2 import put, session

Capsys = pytest.CaptureFixture[str]
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

Mutation = tuple[str, float, int]


def mutations(names: tuple[str, ...]) -> st.SearchStrategy[list[Mutation]]:
    """Up to three changes of a file: what, where (a share of its length), and a number to do it with."""
    one = st.tuples(st.sampled_from(names), st.floats(0, 1, exclude_max=True), st.integers(0, 255))
    return st.lists(one, min_size=1, max_size=3)


def damaged(data: bytes, changes: list[Mutation]) -> bytes:
    for what, where, value in changes:
        at = int(where * len(data))
        if what == "byte":
            data = data[:at] + bytes([value]) + data[at + 1 :]
        elif what == "cut":
            data = data[:at]
        elif what == "insert":
            data = data[:at] + bytes([value]) * (value % 7) + data[at:]
        elif what == "twice":
            data = data[:at] + data[max(at - value, 0) : at] + data[at:]
    return data


def damaged_lines(text: str, changes: list[Mutation]) -> str:
    lines = text.splitlines()
    for what, where, value in changes:
        at = 1 + int(where * (len(lines) - 1))
        if at >= len(lines):
            continue
        cells = lines[at].split(",")
        if what == "drop":
            del lines[at]
        elif what == "swap":
            lines[at], lines[at - 1 or 1] = lines[at - 1 or 1], lines[at]
        elif what == "again":
            lines.insert(at, lines[at])
        elif what == "whole":
            lines[at] = ",".join([*cells[:4], "true" if cells[4] == "false" else "false", *cells[5:]])
        elif what == "price":
            lines[at] = ",".join([*cells[:6], str(90 + value % 20), *cells[7:]])
        elif what == "time":
            lines[at] = ",".join([*cells[:2], str(int(cells[2]) + (value - 128) * 7000), *cells[3:]])
    return "\n".join(lines) + "\n"


def outcome(root: Path, capsys: Capsys, fmt: str, path: Path) -> bool:
    """Import; gives whether it succeeded. A failure is one line and leaves nothing."""
    capsys.readouterr()
    code = main(["import", fmt, str(path), "--symbol", "btcusdt", "--data-dir", str(root / "data")])
    told = capsys.readouterr()
    if code == 0:
        return True
    assert code in (1, 2)
    assert (told.out, told.err.count("\n")) == ("", 1), told.err
    assert not [path for path in (root / "data").rglob("*") if path.is_file()]
    return False


def check(
    write: Callable[[Path], Path], fmt: str, capsys: Capsys, truth: Callable[[Path], list[Change]] | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        path = write(root)
        if outcome(root, capsys, fmt, path):
            clean(root)
            if truth is not None:
                assert written_tops(root) == live_tops(truth(path))


TEXT = tardis_book(market(seed=3, changes=60, wholes=(0, 30)))
NPZ_CHANGES = market(seed=4, changes=60, wholes=(0, 30))


@quick
@given(data=st.binary(max_size=300), magic=st.sampled_from([b"", b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd"]))
@pytest.mark.parametrize("fmt", ["tardis", "hftbacktest", "midas-v2"])
def test_random_bytes(capsys: Capsys, fmt: str, data: bytes, magic: bytes) -> None:
    def write(root: Path) -> Path:
        (root / "file").write_bytes(magic + data)
        return root / "file"

    check(write, fmt, capsys, None)


@quick
@given(changes=mutations(("drop", "swap", "again", "whole", "price", "time")))
def test_rows_of_tardis_mutated(capsys: Capsys, changes: list[Mutation]) -> None:
    def write(root: Path) -> Path:
        (root / "book.csv").write_text(damaged_lines(TEXT, changes))
        return root / "book.csv"

    check(write, "tardis", capsys, lambda path: list(tardis_changes(path.read_text())))


@quick
@given(changes=mutations(("byte", "cut", "insert", "twice")), trade=st.booleans())
def test_bytes_of_tardis_mutated(capsys: Capsys, changes: list[Mutation], trade: bool) -> None:
    text = tardis_trades() if trade else TEXT

    def write(root: Path) -> Path:
        (root / "book.csv").write_bytes(damaged(text.encode(), changes))
        return root / "book.csv"

    # A changed digit is another market: the file says so, and the dict book reads the same file.
    check(write, "tardis", capsys, None if trade else lambda path: _only_btc(path.read_text()))


def _only_btc(text: str) -> list[Change]:
    """The changes of the one symbol, whatever rows of others stand between."""
    head, *lines = text.splitlines()
    kept = [line for line in lines if line.split(",")[1].lower() == "btcusdt"]
    return list(tardis_changes("\n".join([head, *kept]) + "\n"))


@quick
@given(changes=mutations(("byte", "cut", "insert", "twice")))
def test_gzip_of_tardis_mutated(capsys: Capsys, changes: list[Mutation]) -> None:
    def write(root: Path) -> Path:
        (root / "book.csv.gz").write_bytes(damaged(gzip.compress(TEXT.encode()), changes))
        return root / "book.csv.gz"

    check(write, "tardis", capsys, None)


@quick
@given(changes=mutations(("byte", "cut", "insert", "twice")), packed=st.booleans())
def test_bytes_of_npz_mutated(capsys: Capsys, changes: list[Mutation], packed: bool) -> None:
    def write(root: Path) -> Path:
        if packed:
            data = Path(npz(root / "a.npz", events(NPZ_CHANGES) + trades())).read_bytes()
            (root / "a.npz").write_bytes(damaged(data, changes))
        else:  # behind the checksum of the zip
            member = io.BytesIO()
            np.save(member, np.array(events(NPZ_CHANGES) + trades(), EVENT))
            with zipfile.ZipFile(root / "a.npz", "w") as archive:
                archive.writestr("data.npy", damaged(member.getvalue(), changes))
        return root / "a.npz"

    check(write, "hftbacktest", capsys, None)


def hft_changes(rows: Events) -> list[Change]:
    """The changes that events hold, row by row: as received, whole books before those of their moment."""
    found: list[Change] = []
    key: object = None
    for ev, exch_ns, recv_ns, px, size, *_ in rows.tolist():
        kind = ev & 0xFF
        is_whole = kind in (3, 4)
        mine = (is_whole, kind == 2, exch_ns, recv_ns)
        side = "bid" if ev >> 29 & 1 else "ask"
        level = [(side, repr(px), repr(size))] if kind != 3 else []
        if kind == 2:
            pass
        elif mine == key:
            found[-1].rows.extend(level)
        else:
            found.append(Change(recv_ns // 1000, exch_ns // 1000, level, is_whole))
        key = mine
    ordered: list[Change] = []
    for change in found:
        at = len(ordered)
        while change.is_whole and at and ordered[at - 1].exch_us // 1000 == change.exch_us // 1000:
            at -= 1
        ordered.insert(at, change)
    return ordered


@quick
@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(["drop", "swap", "again", "kind", "side", "exch_ts", "px", "qty"]),
            st.floats(0, 1, exclude_max=True),
            st.integers(0, 255),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_rows_of_npz_mutated(capsys: Capsys, changes: list[Mutation]) -> None:
    rows = np.array(events(NPZ_CHANGES), EVENT)
    for what, where, value in changes:
        at = int(where * len(rows))
        if what == "drop":
            rows = np.delete(rows, at)
        elif what == "swap":
            rows[[at, at - 1]] = rows[[at - 1, at]]
        elif what == "again":
            rows = np.insert(rows, at, rows[at])
        elif what == "kind":
            rows["ev"][at] = (int(rows["ev"][at]) & ~0xFF) | (1 + value % 4)
        elif what == "side":
            rows["ev"][at] ^= np.uint64(3 << 28)
        elif what == "exch_ts":
            rows["exch_ts"][at] += (value - 128) * 7_000_000
        elif what == "px":
            rows["px"][at] = 90 + value % 20
        else:
            rows["qty"][at] = value % 3

    check(lambda root: Path(npz(root / "a.npz", rows)), "hftbacktest", capsys, lambda _: hft_changes(rows))
    assert (rows["ev"] & np.uint64(EXCHANGE | LOCAL)).all()
    assert rows["local_ts"].min() >= START_US * 1000


@quick
@given(changes=mutations(("byte", "cut", "insert", "twice")), packed=st.booleans())
def test_bytes_of_midas_v2_mutated(capsys: Capsys, changes: list[Mutation], packed: bool) -> None:
    def write(root: Path) -> Path:
        path = root / "a.jsonl.zst"
        data = Path(put(path, session())).read_bytes()
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        compressed = zstandard.ZstdCompressor().compress(damaged(plain, changes))
        path.write_bytes(damaged(data, changes) if packed else compressed)
        return path

    check(write, "midas-v2", capsys, lambda _: [])
