"""History's journal lines, compiled: the market's log in, lines as a live collector would have kept them out.

Lines leave in the order of their exchange times, each with a receive time a few milliseconds later. The kernel stops at
any line (receive time limit, full buffer, end of the log) and goes on from there. Beside the lines it keeps the book
that a collector has: what the snapshots told it and every difference since.

Nothing compiled here reads a constant of another file: numba's disk cache would not notice its change.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

compiled = njit(cache=True, nogil=True, _nrt=False)
"""Without reference counts and the interpreter's lock, as in `market_kernel`."""

END_OF_LOG, AT_LIMIT, BUFFER_FULL = 0, 1, 2
"""Why `write_lines` returned."""

PLACEHOLDER = 255
"""Byte of a template that says: the next byte is a field's index in FIELD_ORDER."""
DIGITS_BOOL, DIGITS_SIDE, DIGITS_BIDS, DIGITS_ASKS = -1, -2, -3, -4
"""In Tables.digits: fields that are no decimal numbers."""

TEMPLATE_ORDER = (
    "head", "public", "market", "end",
    "depth", "trade", "trade_na", "trade_insurance", "markPrice", "forceOrder", "kline",
)  # fmt: skip
L_HEAD, L_PUBLIC, L_MARKET, L_END, M_DEPTH, M_TRADE, M_NA, M_INSURANCE, M_MARK, M_FORCE, M_KLINE = range(11)

FIELD_ORDER = (
    "E", "T", "U", "u", "pu", "bids", "asks", "id", "px", "qty", "sells", "mark", "index", "rate", "next_funding",
    "side", "limit", "closed", "recv_ns", "mono_ns", "n",
    "start", "end", "open", "high", "low", "close", "first", "last", "count", "volume", "quote",
    "buy_volume", "buy_quote",
)  # fmt: skip
(
    V_E, V_T, V_FIRST_ID, V_LAST_ID, V_PREVIOUS_ID, V_BIDS, V_ASKS, V_ID, V_PX, V_QTY, V_SELLS, V_MARK, V_INDEX,
    V_RATE, V_NEXT_FUNDING, V_SIDE, V_LIMIT, V_CLOSED, V_RECV_NS, V_MONO_NS, V_N,
    B_START, B_END, B_OPEN, B_HIGH, B_LOW, B_CLOSE, B_FIRST, B_LAST, B_COUNT, B_VOLUME, B_QUOTE,
    B_BUY_VOLUME, B_BUY_QUOTE,
) = range(34)  # fmt: skip

# Slots of Writer.ints.
POSITION, LINES, N, LAST_RECV_NS, NEXT_RECV_NS, SEED, SPOT, MONO_OFFSET_NS = range(8)
TRADE, FORCED, STEP, CHANGE, NEXT_KLINE_MS, NEXT_MARK_MS, BAR_SENT, LEVELS = range(8, 16)
PENDING, FIRST_ID, LAST_ID, LAST_CHANGE_US, WINDOW, PREVIOUS_ID, BOOK_MS, LAST_TRADE_ID, LAST_TRADE_MS = range(16, 25)
INTS = 25

MINUTE_MS = 60_000
KLINE_MS = 250
FUNDING_MS = 8 * 3_600_000
LINE_ROOM = 1 << 18
"""Bytes that must be free before a line is begun; PENDING_ROOM levels fit in."""
PENDING_ROOM = 4096
NEVER_US = np.iinfo(np.int64).max


class Segment(NamedTuple):
    """Columns of the market's log for a span, and the time before which it is complete."""

    change_id: Ints
    change_us: Ints
    change_side: Ints
    change_tick: Ints
    change_lots: Ints
    trade_id: Ints
    trade_us: Ints
    trade_tick: Ints
    trade_lots: Ints
    trade_sells: Ints
    trade_kind: Ints
    forced_us: Ints
    forced_sells: Ints
    forced_limit: Ints
    forced_lots: Ints
    forced_value: Ints
    step_us: Ints
    step_changes: Ints
    step_trades: Ints
    step_forced: Ints
    step_mark: Ints
    step_index: Ints
    step_funding: Ints


class Tables(NamedTuple):
    """How to write: template bytes and offsets, per field its multiplier and digits."""

    templates: Bytes
    offsets: Ints
    multipliers: Ints
    digits: Ints


class Writer(NamedTuple):
    """Where the writing stands.

    out: the buffer of lines. values: fields of the message and of the growing bar. book: (2, width) lots by tick modulo
    width, the collector's. pending_key, pending_lots: changes of the open depth message, pending_window and
    pending_at: per level when and where it is in there.
    """

    out: Bytes
    ints: Ints
    values: Ints
    book: Ints
    pending_key: Ints
    pending_lots: Ints
    pending_window: Ints
    pending_at: Ints


@compiled
def _put_number(out: Bytes, at: int, number: int, digits: int) -> int:
    """Write `number` / 10^digits with all its digits; gives the position after it."""
    if number < 0:
        out[at] = 45
        at += 1
        number = -number
    length, rest = 1, number // 10
    while rest > 0:
        length += 1
        rest //= 10
    length = max(length, digits + 1) + (1 if digits > 0 else 0)
    point = length - 1 - digits if digits > 0 else -1
    for i in range(length - 1, -1, -1):
        if i == point:
            out[at + i] = 46
        else:
            tenth = number // 10
            out[at + i] = 48 + (number - 10 * tenth)
            number = tenth
    return at + length


@compiled
def _put_levels(writer: Writer, tables: Tables, at: int, side: int) -> int:
    """Write the pending changes of a side, which are sorted by side and price."""
    out, keys = writer.out, writer.pending_key
    px_multiplier, px_digits = tables.multipliers[V_PX], tables.digits[V_PX]
    sz_multiplier, sz_digits = tables.multipliers[V_QTY], tables.digits[V_QTY]
    count = writer.ints[PENDING]
    bids = 0
    while bids < count and keys[bids] < (1 << 48):
        bids += 1
    first, stop, step = (0, bids, 1) if side == 0 else (bids, count, 1)
    if side == 0 and writer.ints[SPOT] == 1:
        first, stop, step = bids - 1, -1, -1
    for i in range(first, stop, step):
        if i != first:
            out[at] = 44
            at += 1
        out[at], out[at + 1] = 91, 34
        at = _put_number(out, at + 2, (keys[i] & ((1 << 48) - 1)) * px_multiplier, px_digits)
        out[at], out[at + 1], out[at + 2] = 34, 44, 34
        at = _put_number(out, at + 3, writer.pending_lots[i] * sz_multiplier, sz_digits)
        out[at], out[at + 1] = 34, 93
        at += 2
    return at


@compiled
def _put_word(out: Bytes, at: int, code: int, value: int) -> int:
    """true, false, BUY or SELL."""
    word = (b"true" if value else b"false") if code == DIGITS_BOOL else (b"SELL" if value else b"BUY")
    for i in range(len(word)):
        out[at + i] = word[i]
    return at + len(word)


@compiled
def _put_template(writer: Writer, tables: Tables, template: int) -> None:
    """Write a template with the current values."""
    out, data = writer.out, tables.templates
    at = writer.ints[POSITION]
    i, stop = tables.offsets[template], tables.offsets[template + 1]
    while i < stop:
        byte = data[i]
        i += 1
        if byte != PLACEHOLDER:
            out[at] = byte
            at += 1
            continue
        field = data[i]
        i += 1
        digits = tables.digits[field]
        if digits >= 0:
            at = _put_number(out, at, writer.values[field] * tables.multipliers[field], digits)
        elif digits == DIGITS_BIDS:
            at = _put_levels(writer, tables, at, 0)
        elif digits == DIGITS_ASKS:
            at = _put_levels(writer, tables, at, 1)
        else:
            at = _put_word(out, at, digits, writer.values[field])
    writer.ints[POSITION] = at


@compiled
def _hash(word: np.uint64) -> np.uint64:
    """Output function of splitmix64."""
    z = word * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def _write_line(writer: Writer, tables: Tables, exchange_us: int, route: int, message: int, limit_recv_ns: int) -> bool:
    """Write one line; false, with NEXT_RECV_NS set, where its receive time is not below the limit.

    The delay is 1.5 ms plus an exponential of mean 2.5 ms, a pure function of the seed and the line's number.
    """
    ints, values = writer.ints, writer.values
    n = ints[N] + 1
    word = _hash(np.uint64(ints[SEED]) + np.uint64(n))
    uniform = (float(word >> np.uint64(11)) + 0.5) * 2.0**-53
    delay_ns = 1_500_000 + int(-math.log(uniform) * 2_500_000.0)
    recv_ns = max(exchange_us * 1000 + delay_ns, ints[LAST_RECV_NS] + 1000)
    ints[NEXT_RECV_NS] = recv_ns
    if recv_ns >= limit_recv_ns:
        return False
    ints[N], ints[LAST_RECV_NS] = n, recv_ns
    ints[LINES] += 1
    values[V_N], values[V_RECV_NS], values[V_MONO_NS] = n, recv_ns, recv_ns - ints[MONO_OFFSET_NS]
    _put_template(writer, tables, L_HEAD)
    _put_template(writer, tables, route)
    _put_template(writer, tables, message)
    _put_template(writer, tables, L_END)
    return True


@compiled
def _gather(writer: Writer, segment: Segment, stop: int) -> None:
    """Take the changes up to `stop` into the open depth message: the last size of each level counts."""
    ints, keys, lots = writer.ints, writer.pending_key, writer.pending_lots
    width = writer.book.shape[1]
    for row in range(ints[CHANGE], stop):
        side, tick = segment.change_side[row], segment.change_tick[row]
        slot = side * width + (tick & (width - 1))
        if ints[PENDING] == 0:
            ints[FIRST_ID] = segment.change_id[row]
            ints[WINDOW] += 1
        if writer.pending_window[slot] == ints[WINDOW]:
            lots[writer.pending_at[slot]] = segment.change_lots[row]
        else:
            writer.pending_window[slot] = ints[WINDOW]
            writer.pending_at[slot] = ints[PENDING]
            keys[ints[PENDING]] = (side << 48) | tick
            lots[ints[PENDING]] = segment.change_lots[row]
            ints[PENDING] += 1
        ints[LAST_ID], ints[LAST_CHANGE_US] = segment.change_id[row], segment.change_us[row]
    ints[CHANGE] = max(ints[CHANGE], stop)


@compiled
def _sort_pending(writer: Writer) -> None:
    keys, lots = writer.pending_key, writer.pending_lots
    for i in range(1, writer.ints[PENDING]):
        key, size = keys[i], lots[i]
        j = i - 1
        while j >= 0 and keys[j] > key:
            keys[j + 1], lots[j + 1] = keys[j], lots[j]
            j -= 1
        keys[j + 1], lots[j + 1] = key, size


@compiled
def _write_depth(writer: Writer, tables: Tables, step_us: int, limit_recv_ns: int) -> bool:
    """Send the open depth message, if anything changed, and let the collector's book follow it."""
    ints, values = writer.ints, writer.values
    if ints[PENDING] == 0:
        return True
    _sort_pending(writer)
    ints[WINDOW] += 1  # what was noted about places in the message is void now
    values[V_E], values[V_T] = step_us // 1000, ints[LAST_CHANGE_US] // 1000
    values[V_FIRST_ID], values[V_LAST_ID], values[V_PREVIOUS_ID] = ints[FIRST_ID], ints[LAST_ID], ints[PREVIOUS_ID]
    if not _write_line(writer, tables, step_us, L_PUBLIC, M_DEPTH, limit_recv_ns):
        return False
    width = writer.book.shape[1]
    for i in range(ints[PENDING]):
        key = writer.pending_key[i]
        writer.book[key >> 48, (key & ((1 << 48) - 1)) & (width - 1)] = writer.pending_lots[i]
    ints[LEVELS] += ints[PENDING]
    ints[PREVIOUS_ID] = ints[LAST_ID]
    ints[BOOK_MS] = values[V_E] if ints[SPOT] == 1 else values[V_T]
    ints[PENDING] = 0
    return True


@compiled
def _add_to_bar(values: Ints, trade_id: int, tick: int, lots: int, sells: int) -> None:
    if values[B_COUNT] == 0:
        values[B_FIRST], values[B_OPEN], values[B_HIGH], values[B_LOW] = trade_id, tick, tick, tick
    values[B_HIGH], values[B_LOW] = max(values[B_HIGH], tick), min(values[B_LOW], tick)
    values[B_CLOSE], values[B_LAST] = tick, trade_id
    values[B_COUNT] += 1
    values[B_VOLUME] += lots
    values[B_QUOTE] += tick * lots
    if sells == 0:
        values[B_BUY_VOLUME] += lots
        values[B_BUY_QUOTE] += tick * lots


@compiled
def _write_kline(writer: Writer, tables: Tables, limit_recv_ns: int) -> bool:
    """The kline message due now, if the bar has grown or ends."""
    ints, values = writer.ints, writer.values
    due_ms = ints[NEXT_KLINE_MS]
    closed = due_ms >= values[B_START] + MINUTE_MS
    if closed or values[B_COUNT] != ints[BAR_SENT]:
        values[V_E], values[V_CLOSED], values[B_END] = due_ms, closed, values[B_START] + MINUTE_MS - 1
        if not _write_line(writer, tables, due_ms * 1000, L_MARKET, M_KLINE, limit_recv_ns):
            return False
    ints[BAR_SENT] = values[B_COUNT]
    ints[NEXT_KLINE_MS] = due_ms + KLINE_MS
    if closed:
        ints[BAR_SENT] = 0
        values[B_START] += MINUTE_MS
        values[B_OPEN], values[B_HIGH], values[B_LOW] = values[B_CLOSE], values[B_CLOSE], values[B_CLOSE]
        values[B_FIRST], values[B_LAST] = -1, -1
        for field in (B_COUNT, B_VOLUME, B_QUOTE, B_BUY_VOLUME, B_BUY_QUOTE):
            values[field] = 0
    return True


@compiled
def _write_trade(writer: Writer, tables: Tables, segment: Segment, limit_recv_ns: int) -> bool:
    ints, values = writer.ints, writer.values
    row = ints[TRADE]
    ms = segment.trade_us[row] // 1000
    values[V_E], values[V_T], values[V_ID] = ms, ms, segment.trade_id[row]
    values[V_PX], values[V_QTY] = segment.trade_tick[row], segment.trade_lots[row]
    values[V_SELLS] = segment.trade_sells[row]
    kind = segment.trade_kind[row]
    if not _write_line(writer, tables, segment.trade_us[row], L_PUBLIC, M_TRADE + kind, limit_recv_ns):
        return False
    ints[LAST_TRADE_ID], ints[LAST_TRADE_MS] = values[V_ID], ms
    if kind == 0:
        _add_to_bar(values, values[V_ID], values[V_PX], values[V_QTY], values[V_SELLS])
    ints[TRADE] = row + 1
    return True


@compiled
def _write_forced(writer: Writer, tables: Tables, segment: Segment, limit_recv_ns: int) -> bool:
    ints, values = writer.ints, writer.values
    row = ints[FORCED]
    ms, lots = segment.forced_us[row] // 1000, segment.forced_lots[row]
    values[V_E], values[V_T], values[V_SIDE] = ms, ms, segment.forced_sells[row]
    values[V_LIMIT], values[V_QTY] = segment.forced_limit[row], lots
    values[V_PX] = (segment.forced_value[row] + lots // 2) // lots
    if not _write_line(writer, tables, segment.forced_us[row], L_MARKET, M_FORCE, limit_recv_ns):
        return False
    ints[FORCED] = row + 1
    return True


@compiled
def _write_mark(writer: Writer, tables: Tables, segment: Segment, limit_recv_ns: int) -> bool:
    ints, values = writer.ints, writer.values
    row, event_ms = ints[STEP], ints[NEXT_MARK_MS]
    values[V_E] = event_ms
    values[V_MARK], values[V_INDEX] = segment.step_mark[row], segment.step_index[row]
    values[V_RATE] = segment.step_funding[row]
    values[V_NEXT_FUNDING] = (event_ms // FUNDING_MS + 1) * FUNDING_MS
    if not _write_line(writer, tables, segment.step_us[row], L_MARKET, M_MARK, limit_recv_ns):
        return False
    ints[NEXT_MARK_MS] += 1000
    return True


@compiled
def _write_next(writer: Writer, tables: Tables, segment: Segment, limit_recv_ns: int) -> int:
    """Write whatever comes next by exchange time; -1 = there was something, else why not."""
    ints = writer.ints
    step = ints[STEP]
    has_step = step < len(segment.step_us)
    trades = segment.step_trades[step] if has_step else len(segment.trade_us)
    forced = segment.step_forced[step] if has_step else len(segment.forced_us)
    trade_us = segment.trade_us[ints[TRADE]] if ints[TRADE] < trades else NEVER_US
    forced_us = segment.forced_us[ints[FORCED]] if ints[FORCED] < forced else NEVER_US
    step_us = segment.step_us[step] if has_step else NEVER_US
    next_us = min(trade_us, forced_us, step_us)
    if next_us == NEVER_US:
        return END_OF_LOG
    if ints[NEXT_KLINE_MS] <= next_us // 1000:
        written = _write_kline(writer, tables, limit_recv_ns)
    elif next_us == trade_us:
        written = _write_trade(writer, tables, segment, limit_recv_ns)
    elif next_us == forced_us:
        written = _write_forced(writer, tables, segment, limit_recv_ns)
    elif ints[SPOT] == 0 and ints[NEXT_MARK_MS] * 1000 <= step_us:
        written = _write_mark(writer, tables, segment, limit_recv_ns)
    else:
        _gather(writer, segment, segment.step_changes[step])
        written = _write_depth(writer, tables, step_us, limit_recv_ns)
        if written:
            ints[STEP] = step + 1
    return -1 if written else AT_LIMIT


@compiled
def write_lines(writer: Writer, tables: Tables, segment: Segment, limit_recv_ns: int) -> int:
    """Lines of `segment` received before the limit, into `out` from POSITION on; gives why it stopped.

    After END_OF_LOG the next call takes the next segment.
    """
    ints = writer.ints
    while True:
        if ints[POSITION] + LINE_ROOM > len(writer.out):
            return BUFFER_FULL
        why = _write_next(writer, tables, segment, limit_recv_ns)
        if why == END_OF_LOG:
            _gather(writer, segment, len(segment.change_us))
            for cursor in (TRADE, FORCED, STEP, CHANGE):
                ints[cursor] = 0
        if why >= 0:
            return why
