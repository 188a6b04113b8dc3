"""The raw journal: JSON lines in Zstandard, one line per received frame, kept verbatim (DESIGN 3.2).

A file is a series of Zstandard frames with checksums, a new one each MiB of compressed data or 10 minutes; a block is
flushed each second. What came since then lies in a tail beside the growing file (`journal_tail`), so that a killed
process loses nothing. `journal_file` writes one; here is what its lines are, how they are read, and how a file that a
dead collector left is sealed.
"""

import base64
import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import zstandard

from midas_ray.capture.journal_frames import Damage, proven_pieces
from midas_ray.capture.journal_tail import TAIL_SUFFIX, read_tail, tail_of
from midas_ray.errors import CorruptFileError, StorageError, TruncatedFileError

SUFFIX = ".jsonl.zst"
SEAL_READ_BYTES = 512
"""A piece that holds damage gives nothing: small ones lose little of what is before it."""
DAMAGED_SUFFIX = ".jsonl.zst.damaged"
OPEN_SUFFIX = SUFFIX + ".open"


class JournalLine(msgspec.Struct, frozen=True):
    """One line. `payload` is the exchange's JSON, undecoded, empty where absent.

    `text` or `b64` hold what was not one line of JSON.

    kind: `ws`, `rest` (with status, sent_ns, path), `book` (with last_update_id, after_n, ... see `book_line`),
    `event` (with event and its fields). `mono_ns` is None for imports. `n` counts the frames of a collector across
    connections.

    used: False for a REST answer that was kept but never given to the book. connections: how many carried each stream
    (head lines; None where the file does not say). Of events: streams, the kinds that no connection carries any more
    (disconnect) or the kinds collected (head lines); carried, the kinds of the lost connection; stream and cause
    (missed); reason; offset_ms (clock: the exchange's minus this machine's); since_ns (degraded); held_bytes and
    dropped (recovered).
    """

    recv_ns: int
    conn: str
    n: int
    kind: str
    mono_ns: int | None = None
    payload: msgspec.Raw = msgspec.Raw()
    text: str | None = None
    b64: str | None = None
    status: int | None = None
    sent_ns: int | None = None
    path: str | None = None
    event: str | None = None
    streams: list[str] | None = None
    used: bool = True
    connections: int | None = None
    carried: list[str] | None = None
    stream: str | None = None
    cause: str | None = None
    reason: str | None = None
    offset_ms: float | None = None
    since_ns: int | None = None
    held_bytes: int | None = None
    dropped: int | None = None


decode_line = msgspec.json.Decoder(JournalLine).decode


def _head(recv_ns: int, mono_ns: int | None, conn: str, n: int, kind: str) -> bytes:
    mono = "null" if mono_ns is None else str(mono_ns)
    return f'{{"recv_ns":{recv_ns},"mono_ns":{mono},"conn":"{conn}","n":{n},"kind":"{kind}",'.encode()


def _payload(payload: bytes) -> bytes:
    """The payload's key and value: verbatim where it is one line of valid JSON, else as text or base64."""
    body = payload.strip(b" \t\r\n")
    if b"\n" not in body and b"\r" not in body:
        try:
            msgspec.json.decode(body, type=msgspec.Raw)
            if not body.isascii():
                body.decode("utf-8")  # the decoder passes over damaged text
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        else:
            return b'"payload":' + body
    try:
        return b'"text":' + msgspec.json.encode(payload.decode("utf-8"))
    except UnicodeDecodeError:
        return b'"b64":"' + base64.b64encode(payload) + b'"'


def ws_line(recv_ns: int, mono_ns: int | None, conn: str, n: int, payload: bytes) -> bytes:
    """Line of a WebSocket frame, with its newline."""
    return _head(recv_ns, mono_ns, conn, n, "ws") + _payload(payload) + b"}\n"


def verbatim_line(recv_ns: int, mono_ns: int | None, conn: str, n: int, payload: bytes) -> bytes:
    """`ws_line` of a payload that is known to be one line of valid JSON, without space around it."""
    return _head(recv_ns, mono_ns, conn, n, "ws") + b'"payload":' + payload + b"}\n"


def rest_line(
    recv_ns: int,
    mono_ns: int | None,
    conn: str,
    n: int,
    payload: bytes,
    *,
    status: int,
    sent_ns: int,
    path: str,
    used: bool = True,
) -> bytes:
    """Line of a REST answer: `path` with its query, HTTP `status`, `sent_ns` when the request left; `used` False where
    it is kept but was not given to the book."""
    extra = f'"status":{status},"sent_ns":{sent_ns},"path":'.encode() + msgspec.json.encode(path) + b","
    if not used:
        extra += b'"used":false,'
    return _head(recv_ns, mono_ns, conn, n, "rest") + extra + _payload(payload) + b"}\n"


def event_line(recv_ns: int, mono_ns: int | None, conn: str, n: int, event: str, **fields: Any) -> bytes:
    """Line of what happened to the collector: open, unsynced, connect, disconnect, missed, gap, resync, silent, clock,
    contract, fallback, degraded, recovered, rotate, shutdown."""
    body = msgspec.json.encode({"event": event, **fields})
    return _head(recv_ns, mono_ns, conn, n, "event") + body[1:] + b"\n"


def book_line(recv_ns: int, mono_ns: int | None, n: int, fields: dict[str, Any]) -> bytes:
    """Line of the full live book; `fields` as `BookState.to_line` gives them."""
    return _head(recv_ns, mono_ns, "book", n, "book") + msgspec.json.encode(fields)[1:] + b"\n"


def journal_folder(venue: str, symbol: str, recv_ns: int) -> str:
    """Partition of a file that starts at `recv_ns`, relative to DATA_DIR."""
    day = datetime.fromtimestamp(recv_ns // 10**9, UTC).date().isoformat()
    return f"raw/venue={venue}/symbol={symbol}/date={day}"


def read_blocks(stream: BinaryIO, name: str, block_bytes: int = 16 * 2**20) -> Iterator[bytes]:
    """Blocks of whole lines of a journal, of about `block_bytes`, each once its Zstandard checksum is proven.

    Raises CorruptFileError where the file is damaged, TruncatedFileError where it is cut off, after the blocks before.
    """
    for found in blocks_and_damage(stream, name, block_bytes):
        if isinstance(found, CorruptFileError):
            raise found
        yield found


def blocks_and_damage(stream: BinaryIO, name: str, block_bytes: int) -> Iterator[bytes | CorruptFileError]:
    """`read_blocks` that tells of damage where it lies, and goes on at the next whole frame."""
    held: list[bytes] = []
    size = 0
    for piece in proven_pieces(stream, max(block_bytes // 32, 4096)):
        if isinstance(piece, bytes):
            held.append(piece)
            size += len(piece)
            if size < block_bytes:
                continue
        block, rest = _whole_lines(held)
        if block:
            yield block
        if isinstance(piece, Damage):
            yield _error_of(piece, name)
            rest = b""  # the line that the damage cut
        held, size = [rest], len(rest)
    block, rest = _whole_lines(held)
    if block:
        yield block
    if rest:
        yield _error_of(Damage("truncated in the middle of a line", cut_off=True), name)


def _whole_lines(pieces: list[bytes]) -> tuple[bytes, bytes]:
    """(whole lines, what is left behind the last newline)."""
    data = b"".join(pieces)
    cut = data.rfind(b"\n") + 1
    return data[:cut], data[cut:]


def _error_of(damage: Damage, name: str) -> CorruptFileError:
    kind = TruncatedFileError if damage.cut_off else CorruptFileError
    return kind(f"{name}: {damage.reason}; move the file away or repair it, then rerun")


def seal(growing: Path) -> Path | None:
    """Seal a file that a dead collector left open, keeping every readable line and those of its tail; gives its final
    name.

    The lines are written to a new file, which then replaces the old one. A file that ends without a whole line is
    removed; gives None. One that cannot be read to its end, and a tail that does not fit, are kept beside it under
    DAMAGED_SUFFIX. The tail goes last: a tail alone counts nothing. Raises StorageError, the old file as it was.
    """
    final = growing.with_name(growing.name.removesuffix(".open"))
    temporary = final.with_name(f".tmp-{final.name}")
    try:
        copied, is_whole = _copy_readable_lines(growing, temporary)
        if copied:
            temporary.rename(final)
        else:
            temporary.unlink()
        if is_whole:
            growing.unlink()
            tail_of(growing).unlink(missing_ok=True)
        else:
            damaged = damaged_of(growing)
            growing.rename(damaged)
            if tail_of(growing).exists():
                tail_of(growing).rename(damaged.with_name(damaged.name + TAIL_SUFFIX))
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()  # it must not take the space that is missing
        raise StorageError(f"cannot seal {growing}: {error.strerror}; free space or fix permissions") from None
    return final if final.exists() else None


def damaged_of(growing: Path) -> Path:
    """Where a growing file is kept that could not be read to its end."""
    return growing.with_name(growing.name.removesuffix(OPEN_SUFFIX) + DAMAGED_SUFFIX)


def _copy_readable_lines(growing: Path, target: Path) -> tuple[int, bool]:
    """Write the whole lines of a file that ends anywhere, and what its tail adds, to `target`; gives (their bytes,
    whether nothing else was there).

    The tail may begin before the readable end (killed after a flush, or in the middle of one): it adds what lies behind
    that. One that begins after it does not fit (the machine's end, a damaged file) and adds nothing.
    """
    decompressor = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)
    tail_start, tail = read_tail(growing)
    rest, copied, is_whole = b"", 0, True
    with growing.open("rb") as source, target.open("wb") as output:
        with zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(output, closefd=False) as writer:
            while chunk := source.read(SEAL_READ_BYTES):
                try:
                    rest += decompressor.decompress(chunk)
                except zstandard.ZstdError:
                    is_whole = False  # what follows a damaged block cannot be read
                    break
                cut = rest.rfind(b"\n") + 1
                writer.write(rest[:cut])
                rest, copied = rest[cut:], copied + cut
            if copied + len(rest) >= tail_start:
                rest += tail[copied + len(rest) - tail_start :]
                cut = rest.rfind(b"\n") + 1
                writer.write(rest[:cut])
                copied += cut
            else:
                is_whole = is_whole and not tail
        os.fsync(output.fileno())
    return copied, is_whole
