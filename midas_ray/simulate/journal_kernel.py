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


CHANGE_COLUMNS = ("C_ID", "C_US", "C_SIDE", "C_TICK", "C_LOTS")
TRADE_COLUMNS = ("T_ID", "T_US", "T_TICK", "T_LOTS", "T_SIDE", "T_KIND")
FORCED_COLUMNS = ("F_US", "F_SIDE", "F_LIMIT", "F_LOTS", "F_VALUE")
STEP_COLUMNS = ("S_US", "S_CHANGES", "S_TRADES", "S_FORCED", "S_MARK", "S_INDEX", "S_FUNDING")
"""Columns of a Segment, by the names that the market's kernel has for them."""
C_ID, C_US, C_SIDE, C_TICK, C_LOTS = range(5)
T_ID, T_US, T_TICK, T_LOTS, T_SELLS, T_KIND = range(6)
F_US, F_SELLS, F_LIMIT, F_LOTS, F_VALUE = range(5)
S_US, S_CHANGES, S_TRADES, S_FORCED, S_MARK, S_INDEX, S_FUNDING = range(7)


class Segment(NamedTuple):
    """The market's log of a span."""

    changes: Ints
    trades: Ints
    forced: Ints
    steps: Ints


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
        change = segment.changes[row]
        side, tick = change[C_SIDE], change[C_TICK]
        slot = side * width + (tick & (width - 1))
        if ints[PENDING] == 0:
            ints[FIRST_ID] = change[C_ID]
            ints[WINDOW] += 1
        if writer.pending_window[slot] == ints[WINDOW]:
            lots[writer.pending_at[slot]] = change[C_LOTS]
        else:
            writer.pending_window[slot] = ints[WINDOW]
            writer.pending_at[slot] = ints[PENDING]
            keys[ints[PENDING]] = (side << 48) | tick
            lots[ints[PENDING]] = change[C_LOTS]
            ints[PENDING] += 1
        ints[LAST_ID], ints[LAST_CHANGE_US] = change[C_ID], change[C_US]
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
def _add_to_bar(values: Ints) -> None:
    """Add the print in `values` to the growing bar."""
    trade_id, tick, lots = values[V_ID], values[V_PX], values[V_QTY]
    if values[B_COUNT] == 0:
        values[B_FIRST], values[B_OPEN], values[B_HIGH], values[B_LOW] = trade_id, tick, tick, tick
    values[B_HIGH], values[B_LOW] = max(values[B_HIGH], tick), min(values[B_LOW], tick)
    values[B_CLOSE], values[B_LAST] = tick, trade_id
    values[B_COUNT] += 1
    values[B_VOLUME] += lots
    values[B_QUOTE] += tick * lots
    if values[V_SELLS] == 0:
        values[B_BUY_VOLUME] += lots
        values[B_BUY_QUOTE] += tick * lots


@compiled
def _next_bar(values: Ints) -> None:
    """Begin the bar that follows: flat at the last price until something trades."""
    values[B_START] += MINUTE_MS
    values[B_OPEN], values[B_HIGH], values[B_LOW] = values[B_CLOSE], values[B_CLOSE], values[B_CLOSE]
    values[B_FIRST], values[B_LAST] = -1, -1
    for field in (B_COUNT, B_VOLUME, B_QUOTE, B_BUY_VOLUME, B_BUY_QUOTE):
        values[field] = 0


@compiled
def _next_message(ints: Ints, segment: Segment) -> tuple[int, int]:
    """(message, its exchange time in us) that comes next; -1 where the segment is used up."""
    step = ints[STEP]
    has_step = step < len(segment.steps)
    trades = segment.steps[step, S_TRADES] if has_step else len(segment.trades)
    forced = segment.steps[step, S_FORCED] if has_step else len(segment.forced)
    trade_us = segment.trades[ints[TRADE], T_US] if ints[TRADE] < trades else NEVER_US
    forced_us = segment.forced[ints[FORCED], F_US] if ints[FORCED] < forced else NEVER_US
    step_us = segment.steps[step, S_US] if has_step else NEVER_US
    next_us = min(trade_us, forced_us, step_us)
    if next_us == NEVER_US:
        return -1, 0
    if ints[NEXT_KLINE_MS] <= next_us // 1000:
        return M_KLINE, ints[NEXT_KLINE_MS] * 1000
    if next_us == trade_us:
        return M_TRADE + segment.trades[ints[TRADE], T_KIND], next_us
    if next_us == forced_us:
        return M_FORCE, next_us
    if ints[SPOT] == 0 and ints[NEXT_MARK_MS] * 1000 <= next_us:
        return M_MARK, next_us
    return M_DEPTH, next_us


@compiled
def _fill_values(writer: Writer, segment: Segment, message: int, exchange_us: int) -> bool:
    """Put the message's fields in place; false where it is not sent because nothing has changed."""
    ints, values = writer.ints, writer.values
    ms = exchange_us // 1000
    values[V_E], values[V_T] = ms, ms
    if message == M_DEPTH:
        _gather(writer, segment, segment.steps[ints[STEP], S_CHANGES])
        _sort_pending(writer)
        ints[WINDOW] += 1  # what was noted about places in the message is void now
        values[V_T] = ints[LAST_CHANGE_US] // 1000
        values[V_FIRST_ID], values[V_LAST_ID] = ints[FIRST_ID], ints[LAST_ID]
        values[V_PREVIOUS_ID] = ints[PREVIOUS_ID]
        return ints[PENDING] > 0
    if message == M_KLINE:
        values[V_CLOSED] = 1 if ms >= values[B_START] + MINUTE_MS else 0
        values[B_END] = values[B_START] + MINUTE_MS - 1
        return values[V_CLOSED] == 1 or values[B_COUNT] != ints[BAR_SENT]
    if message == M_MARK:
        step = segment.steps[ints[STEP]]
        values[V_E] = ints[NEXT_MARK_MS]
        values[V_MARK], values[V_INDEX], values[V_RATE] = step[S_MARK], step[S_INDEX], step[S_FUNDING]
        values[V_NEXT_FUNDING] = (values[V_E] // FUNDING_MS + 1) * FUNDING_MS
    elif message == M_FORCE:
        forced = segment.forced[ints[FORCED]]
        values[V_SIDE], values[V_LIMIT], values[V_QTY] = forced[F_SELLS], forced[F_LIMIT], forced[F_LOTS]
        values[V_PX] = (forced[F_VALUE] + forced[F_LOTS] // 2) // forced[F_LOTS]
    else:
        trade = segment.trades[ints[TRADE]]
        values[V_ID], values[V_PX], values[V_QTY] = trade[T_ID], trade[T_TICK], trade[T_LOTS]
        values[V_SELLS] = trade[T_SELLS]
    return True


@compiled
def _follow_depth(writer: Writer) -> None:
    """Let the collector's book follow the depth message that was sent."""
    ints, width = writer.ints, writer.book.shape[1]
    for i in range(ints[PENDING]):
        key = writer.pending_key[i]
        writer.book[key >> 48, (key & ((1 << 48) - 1)) & (width - 1)] = writer.pending_lots[i]
    ints[LEVELS] += ints[PENDING]
    ints[PREVIOUS_ID] = ints[LAST_ID]
    ints[BOOK_MS] = writer.values[V_E] if ints[SPOT] == 1 else writer.values[V_T]
    ints[PENDING] = 0


@compiled
def _go_on(writer: Writer, message: int, sent: bool) -> None:
    """Leave the message behind."""
    ints, values = writer.ints, writer.values
    if message == M_DEPTH:
        if sent:
            _follow_depth(writer)
        ints[STEP] += 1
    elif message == M_KLINE:
        ints[BAR_SENT] = values[B_COUNT]
        ints[NEXT_KLINE_MS] += KLINE_MS
        if values[V_CLOSED] == 1:
            ints[BAR_SENT] = 0
            _next_bar(values)
    elif message == M_MARK:
        ints[NEXT_MARK_MS] += 1000
    elif message == M_FORCE:
        ints[FORCED] += 1
    else:
        ints[LAST_TRADE_ID], ints[LAST_TRADE_MS] = values[V_ID], values[V_T]
        if message == M_TRADE:
            _add_to_bar(values)
        ints[TRADE] += 1


@compiled
def write_lines(writer: Writer, tables: Tables, segment: Segment, limit_recv_ns: int) -> int:
    """Lines of `segment` received before the limit, into `out` from POSITION on; gives why it stopped.

    After END_OF_LOG the next call takes the next segment.
    """
    ints = writer.ints
    while ints[POSITION] + LINE_ROOM <= len(writer.out):
        message, exchange_us = _next_message(ints, segment)
        if message < 0:
            _gather(writer, segment, len(segment.changes))
            for cursor in (TRADE, FORCED, STEP, CHANGE):
                ints[cursor] = 0
            return END_OF_LOG
        sent = _fill_values(writer, segment, message, exchange_us)
        route = L_MARKET if message in (M_KLINE, M_MARK, M_FORCE) else L_PUBLIC
        if sent and not _write_line(writer, tables, exchange_us, route, message, limit_recv_ns):
            return AT_LIMIT
        _go_on(writer, message, sent)
    return BUFFER_FULL
