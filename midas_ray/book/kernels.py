"""All compiled kernels of the book: the JSON scan, the ladder and the replay to a grid.

They stand in one file because numba's disk cache is keyed by the file a kernel is in: a change in a callee elsewhere
would go unnoticed.

Units: prices and sizes are integers at the file's decimal scale (px_int = price x 10^px_decimals), times milliseconds.
A side of the book is kept as `keys` in rising order with the best at the end: key = px_int for bids, -px_int for asks, so
that one code serves both. Most changes happen near the best, so that inserting moves few elements; nothing is trimmed.

A long replay works on a *window* instead: the best part of a side, one slot per key from `base` on, with a bit for each
slot that holds a level; what lies below stays sorted. Setting a level there is a store instead of a search and a shift.
The window is made from the sorted arrays when a call begins and emptied into them when it ends.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

LOWEST_KEY = np.iinfo(np.int64).min
"""Key below every price: the bound of a side whose whole depth is known."""

OFI_LEVELS = 10

WINDOW_SLOTS = 16_384
"""Keys that a side's window spans (a power of two, at least 256)."""

MAX_DECIMALS = 10
"""Most decimals of a price or a size: more are taken for damage, which must not shrink the room before the point."""

MAX_MS = 4_102_444_800_000
"""Times from 2100 on are taken for damage: one of them would end the book's clock."""

# What to do with a depth event.
DROP, CONFIRM, APPLY, GAP = 0, 1, 2, 3

# Indices of the integer state vector.
LAST_ID, CLOCK_MS, STATE, NEXT_ROW_MS, N_UPDATES, OFI_VALID, STATE_SIZE = 0, 1, 2, 3, 4, 5, 6

# Values of state[STATE].
LIVE, SYNCING, IN_GAP, NO_ROWS = 0, 1, 2, 3

# Why `replay` returned.
END_OF_EVENTS, GAP_FOUND, ROWS_FULL, PAST_THE_END = 0, 1, 2, 3

# Codes of lines that the scan leaves to the plain decoder.
LINE_CONTROL, LINE_MARK, LINE_FORCE, LINE_KLINE, LINE_FALLBACK = 0, 1, 2, 3, 4

# Columns of the scan's tables.
DEPTH_RECV_NS, DEPTH_MS, DEPTH_FIRST_ID, DEPTH_LAST_ID, DEPTH_PREV_ID, DEPTH_LEVELS_END, DEPTH_COLUMNS = range(7)
(
    TRADE_RECV_NS,
    TRADE_MS,
    TRADE_ID,
    TRADE_PX,
    TRADE_QTY,
    TRADE_SELL,
    TRADE_COUNT,
    TRADE_PRINT,
    TRADE_AGG,
    TRADE_LAST_ID,
    TRADE_COLUMNS,
) = range(11)
OTHER_START, OTHER_END, OTHER_DEPTH_ROW, OTHER_CODE, OTHER_COLUMNS = range(5)

# Why `scan` returned.
SCAN_DONE, SCAN_FULL, SCAN_SCALE = 0, 1, 2

_QUOTE, _COMMA, _COLON, _OPEN, _CLOSE, _LIST, _LIST_END = 34, 44, 58, 123, 125, 91, 93
_BACKSLASH, _DOT, _ZERO, _MINUS, _NEWLINE = 92, 46, 48, 45, 10

_LINE_HEAD = np.frombuffer(b'{"recv_ns":', np.uint8)
_MONO = np.frombuffer(b',"mono_ns":', np.uint8)
_NULL = np.frombuffer(b"null", np.uint8)
_TRUE = np.frombuffer(b"true", np.uint8)
_FALSE = np.frombuffer(b"false", np.uint8)
_CONN = np.frombuffer(b',"conn":"', np.uint8)
_N = np.frombuffer(b'","n":', np.uint8)
_KIND = np.frombuffer(b',"kind":"', np.uint8)
_WS = np.frombuffer(b'ws","payload":{', np.uint8)
_STREAM = np.frombuffer(b'"stream":"', np.uint8)
_LINE_END = np.frombuffer(b"}}\n", np.uint8)
_DATA = np.frombuffer(b'","data":{', np.uint8)
_BOOK_TICKER = np.frombuffer(b"@bookTicker", np.uint8)
_EVENT = np.frombuffer(b'"e":"', np.uint8)
_DEPTH_UPDATE = np.frombuffer(b'depthUpdate"', np.uint8)
_TRADE = np.frombuffer(b'trade"', np.uint8)
_AGG_TRADE = np.frombuffer(b'aggTrade"', np.uint8)
_MARK = np.frombuffer(b'markPriceUpdate"', np.uint8)
_FORCE = np.frombuffer(b'forceOrder"', np.uint8)
_KLINE = np.frombuffer(b'kline"', np.uint8)
_TICKER_HEAD = np.frombuffer(b'"e":"bookTicker","u":', np.uint8)
_TICKER_SYMBOL = np.frombuffer(b',"s":"', np.uint8)
_TICKER_BID = np.frombuffer(b'","b":"', np.uint8)
_TICKER_BID_SIZE = np.frombuffer(b'","B":"', np.uint8)
_TICKER_ASK = np.frombuffer(b'","a":"', np.uint8)
_TICKER_ASK_SIZE = np.frombuffer(b'","A":"', np.uint8)
_TICKER_T = np.frombuffer(b'","T":', np.uint8)
_TICKER_E = np.frombuffer(b',"E":', np.uint8)
_TICKER_EVENT = np.frombuffer(b'"e":"bookTicker"', np.uint8)
_ST = np.frombuffer(b'st":', np.uint8)
_MARKET = np.frombuffer(b'MARKET"', np.uint8)

_OK, _REFUSED, _WRONG_SCALE, _NO_ROOM = 0, 1, 2, 3

_POWERS = 10 ** np.arange(MAX_DECIMALS + 1, dtype=np.int64)

# Eight digits in one word.
_ZEROS = np.uint64(0x3030303030303030)
_ONES = np.uint64(0x0101010101010101)
_SPACES = np.uint64(0x2020202020202020)
_QUOTES = np.uint64(0x2222222222222222)
_BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_POINTS = np.uint64(0x1E1E1E1E1E1E1E1E)  # "." less "0", as `values` have it
_ABOVE_NINE = np.uint64(0x7676767676767676)
_HIGH_BITS = np.uint64(0x8080808080808080)
_PAIRS = np.uint64(0x000000FF000000FF)
_PAIRS_LOW = np.uint64(100 + (1_000_000 << 32))
_PAIRS_HIGH = np.uint64(1 + (10_000 << 32))


@intrinsic
def _leading_zeros(_context, _value):
    """Zero bits above the highest one of a uint64 that is not 0."""

    def generate(context, builder, _signature, args):
        return builder.ctlz(args[0], context.get_constant(types.boolean, False))

    return types.uint64(types.uint64), generate


@intrinsic
def _trailing_zeros(_context, _value):
    """Zero bits below the lowest one of a uint64 that is not 0."""

    def generate(context, builder, _signature, args):
        return builder.cttz(args[0], context.get_constant(types.boolean, False))

    return types.uint64(types.uint64), generate


def _unaligned_load(context, builder, signature, args, kind):
    array = context.make_array(signature.args[0])(context, builder, args[0])
    start = builder.gep(array.data, [args[1]])
    loaded = builder.load(builder.bitcast(start, kind.as_pointer()))
    loaded.align = 1
    return loaded


@intrinsic
def _eight_bytes(_context, buf, at):
    """The bytes at `at` to `at + 7` of a contiguous uint8 array as a uint64, the first one lowest; no bounds check."""

    def generate(context, builder, signature, args):
        return _unaligned_load(context, builder, signature, args, ir.IntType(64))

    return types.uint64(buf, at), generate


def _where_in_64(context, builder, signature, args, char):
    vector = ir.VectorType(ir.IntType(8), 64)
    loaded = _unaligned_load(context, builder, signature, args, vector)
    found = builder.icmp_unsigned("==", loaded, ir.Constant(vector, [char] * 64))
    return builder.bitcast(found, ir.IntType(64))


@intrinsic
def _quotes_in_64(_context, buf, at):
    """Which of the bytes at `at` to `at + 63` are quotes: bit i for byte `at + i`; no bounds check."""

    def generate(context, builder, signature, args):
        return _where_in_64(context, builder, signature, args, _QUOTE)

    return types.uint64(buf, at), generate


@intrinsic
def _newlines_in_64(_context, buf, at):
    """The same of newlines."""

    def generate(context, builder, signature, args):
        return _where_in_64(context, builder, signature, args, _NEWLINE)

    return types.uint64(buf, at), generate


@njit(cache=True, forceinline=True)
def _match(buf, at, text):
    """True where `text` stands at `at`."""
    if at + len(text) > len(buf):
        return False
    k = 0
    while k + 8 <= len(text):
        if _eight_bytes(buf, at + k) != _eight_bytes(text, k):
            return False
        k += 8
    while k < len(text):
        if buf[at + k] != text[k]:
            return False
        k += 1
    return True


@njit(cache=True)
def _line_end(buf, at):
    """Position of the first newline from `at` on; the buffer's end where there is none."""
    n = len(buf)
    while at + 64 <= n:
        newlines = _newlines_in_64(buf, at)
        if newlines != 0:
            return at + np.int64(_trailing_zeros(newlines))
        at += 64
    while at < n and buf[at] != _NEWLINE:
        at += 1
    return at


@njit(cache=True, forceinline=True)
def _digits(values, n):
    """(the number, whether they are digits) of the first n (1 to 8) bytes of `values`, each a digit's value."""
    x = values << np.uint64(64 - 8 * n)
    are_digits = ((x + _ABOVE_NINE) | x) & _HIGH_BITS == 0
    x = x * np.uint64(10) + (x >> np.uint64(8))
    low, high = x & _PAIRS, (x >> np.uint64(16)) & _PAIRS
    return np.int64((low * _PAIRS_LOW + high * _PAIRS_HIGH) >> np.uint64(32)), are_digits


@njit(cache=True, forceinline=True)
def _integer(buf, at, end):
    """(value, position after it); position -1 where there is no non-negative integer that surely fits 64 bits."""
    value = 0
    start = at
    while at + 8 <= end:
        eight, are_digits = _digits(_eight_bytes(buf, at) ^ _ZEROS, 8)
        if not are_digits:
            break
        value = value * 100_000_000 + eight
        at += 8
    while at < end and 48 <= buf[at] <= 57:
        value = value * 10 + (buf[at] - 48)
        at += 1
    digits = at - start
    if digits == 0 or digits > 19 or (digits > 1 and buf[start] == _ZERO):
        return 0, -1
    if digits == 19 and buf[start] == 57:  # 9...: may exceed 2^63 - 1
        return 0, -1
    return value, at


@njit(cache=True)
def _decimal(buf, at, end, decimals):
    """(value x 10^decimals, position after the closing quote) of decimal text whose first character is at `at`.

    Zeros beyond `decimals` are passed over. Position -1: not plain decimal text, or too many digits for the plain decoder
    to judge here. Position -2: the number needs more decimals than the scale holds.
    """
    value = 0
    digits = 0
    fraction = -1
    wrong_scale = False
    while at < end and buf[at] != _QUOTE:
        c = buf[at]
        if 48 <= c <= 57:
            if fraction >= 0:
                fraction += 1
            if fraction <= decimals:
                value = value * 10 + (c - 48)
                digits += 1
            elif c != _ZERO:
                wrong_scale = True
        elif c == _DOT and fraction < 0 and digits > 0:
            fraction = 0
        else:
            return 0, -1
        at += 1
    if at >= end or digits == 0 or fraction == 0:
        return 0, -1
    if wrong_scale:
        return 0, -2 if fraction <= MAX_DECIMALS else -1
    missing = max(decimals - max(fraction, 0), 0)
    if digits + missing > 18:
        return 0, -1
    for _ in range(missing):
        value *= 10
    return value, at + 1


@njit(cache=True, forceinline=True)
def _short_decimal(buf, at, n, decimals):
    """value x 10^decimals of n > 0 characters; -1 where they are anything but up to 7 digits, a point, up to 8 digits,
    or have more decimals than that: for `_decimal` to judge. Reads up to 16 bytes."""
    values = _eight_bytes(buf, at) ^ _ZEROS
    points = values ^ _POINTS
    points = (points - _ONES) & ~points & _HIGH_BITS  # the lowest bit is exact
    whole_digits = np.int64(_trailing_zeros(points) >> np.uint64(3)) if points != 0 else 8
    if whole_digits >= n:
        whole, are_digits = _digits(values, min(n, 8))
        return whole * _POWERS[decimals] if are_digits and n <= 8 else -1
    fraction_digits = n - whole_digits - 1
    if whole_digits < 1 or whole_digits > 7 or fraction_digits < 1 or fraction_digits > 8:
        return -1
    whole, are_digits = _digits(values, whole_digits)
    values = _eight_bytes(buf, at + whole_digits + 1) ^ _ZEROS
    used = fraction_digits
    if fraction_digits > decimals:
        beyond = (values << np.uint64(64 - 8 * fraction_digits)) >> np.uint64(64 - 8 * (fraction_digits - decimals))
        if beyond != 0:
            return -1
        used = decimals
        if used == 0:
            return whole if are_digits else -1
    fraction, are_digits_too = _digits(values, used)
    if not (are_digits and are_digits_too):
        return -1
    return whole * _POWERS[decimals] + fraction * _POWERS[decimals - used]


@njit(cache=True)
def read_decimals(buf, decimals, out):
    """Decimal texts, each with a quote behind it, into `out` as value x 10^decimals. False where one is for the plain
    decoder, or there are more or fewer of them."""
    at = 0
    for i in range(len(out)):
        out[i], at = _decimal(buf, at, len(buf), decimals)
        if at < 0:
            return False
    return at == len(buf)


@njit(cache=True, forceinline=True)
def _has_zero(eight):
    """A high bit where a byte may be 0: always where one is, now and then above it."""
    return (eight - _ONES) & ~eight


@njit(cache=True, forceinline=True)
def _skip_string(buf, at, end):
    """Position after the closing quote of a string whose first character is at `at`; -1 unless it is printable ASCII."""
    while at + 8 <= end:
        eight = _eight_bytes(buf, at)
        special = (eight - _SPACES) | _has_zero(eight ^ _QUOTES) | _has_zero(eight ^ _BACKSLASHES)
        if ((special | (eight + _ONES) | eight) & _HIGH_BITS) != 0:
            break
        at += 8
    while at < end and buf[at] != _QUOTE:
        if buf[at] == _BACKSLASH or buf[at] < 32 or buf[at] > 126:
            return -1
        at += 1
    return at + 1 if at < end else -1


@njit(cache=True)
def _skip_digits(buf, at, end):
    """Position after one digit or more; -1 where there is none."""
    start = at
    while at < end and 48 <= buf[at] <= 57:
        at += 1
    return at if at > start else -1


@njit(cache=True)
def _skip_scalar(buf, at, end):
    """Position after a string, a number or a literal, as JSON writes them; -1 for anything else."""
    if at >= end:
        return -1
    if buf[at] == _QUOTE:
        return _skip_string(buf, at + 1, end)
    if _match(buf, at, _TRUE) or _match(buf, at, _NULL):
        return at + 4
    if _match(buf, at, _FALSE):
        return at + 5
    if buf[at] == _MINUS:
        at += 1
    start = at
    at = _skip_digits(buf, at, end)
    if at < 0 or (at - start > 1 and buf[start] == _ZERO):
        return -1
    if at < end and buf[at] == _DOT:
        at = _skip_digits(buf, at + 1, end)
    if 0 <= at < end and (buf[at] == 101 or buf[at] == 69):  # e, E
        at += 1
        if at < end and (buf[at] == 43 or buf[at] == _MINUS):
            at += 1
        at = _skip_digits(buf, at, end)
    return at


@njit(cache=True, forceinline=True)
def _next_quote(buf, origin, quotes, end):
    """(position of the next quote, origin and quotes of the 64 bytes that it is in without it); `end` where there is no
    such quote in whole 64 bytes."""
    while quotes == 0:
        origin += 64
        if origin + 64 > end:
            return end, origin, np.uint64(0)
        quotes = _quotes_in_64(buf, origin)
    return origin + np.int64(_trailing_zeros(quotes)), origin, quotes & (quotes - np.uint64(1))


@njit(cache=True)
def _usual_levels(buf, at, end, px_decimals, sz_decimals, sign, keys, sizes, count):
    """As many levels of a list as are written as usual, from the `[` of one at `at`.

    The quotes are found 64 bytes at a time, so that no number waits for the one before it to be read. Gives (whether the
    list has ended, position after its `]` or of the `[` of the first level that was left, count).
    """
    origin = at
    quotes = _quotes_in_64(buf, at) if at + 64 <= end else np.uint64(0)
    while True:
        first, origin, quotes = _next_quote(buf, origin, quotes, end)
        px_end, origin, quotes = _next_quote(buf, origin, quotes, end)
        third, origin, quotes = _next_quote(buf, origin, quotes, end)
        last, origin, quotes = _next_quote(buf, origin, quotes, end)
        px_at, sz_at = first + 1, third + 1
        px_length, sz_length = px_end - px_at, last - sz_at
        if (
            last + 16 > end
            or px_at != at + 2
            or sz_at != px_end + 3
            or px_length < 1
            or sz_length < 1
            or buf[at] != _LIST
            or buf[px_end + 1] != _COMMA
            or buf[last + 1] != _LIST_END
            or count >= len(keys)
        ):
            return False, at, count
        px = _short_decimal(buf, px_at, px_length, px_decimals)
        size = _short_decimal(buf, sz_at, sz_length, sz_decimals)
        if px <= 0 or size < 0:
            return False, at, count
        if buf[last + 2] == _COMMA:
            keys[count], sizes[count] = sign * px, size
            count += 1
            at = last + 3
        elif buf[last + 2] == _LIST_END:
            keys[count], sizes[count] = sign * px, size
            return True, last + 3, count + 1
        else:
            return False, at, count


@njit(cache=True)
def _levels(buf, at, end, px_decimals, sz_decimals, sign, keys, sizes, count):
    """Read `[["p","q"],...]` from `[` at `at` into keys, sizes. Gives (status, position after `]`, count)."""
    if at >= end or buf[at] != _LIST:
        return _REFUSED, at, count
    at += 1
    if at < end and buf[at] == _LIST_END:
        return _OK, at + 1, count
    is_done, at, count = _usual_levels(buf, at, end, px_decimals, sz_decimals, sign, keys, sizes, count)
    if is_done:
        return _OK, at, count
    while True:
        if at + 2 >= end or buf[at] != _LIST or buf[at + 1] != _QUOTE:
            return _REFUSED, at, count
        px, at = _decimal(buf, at + 2, end, px_decimals)
        if at < 0:
            return (_WRONG_SCALE if at == -2 else _REFUSED), at, count
        if at + 1 >= end or buf[at] != _COMMA or buf[at + 1] != _QUOTE:
            return _REFUSED, at, count
        size, at = _decimal(buf, at + 2, end, sz_decimals)
        if at < 0:
            return (_WRONG_SCALE if at == -2 else _REFUSED), at, count
        if at >= end or buf[at] != _LIST_END or px == 0:
            return _REFUSED, at, count
        if count >= len(keys):
            return _NO_ROOM, at, count
        keys[count] = sign * px
        sizes[count] = size
        count += 1
        at += 1
        if at >= end:
            return _REFUSED, at, count
        if buf[at] == _LIST_END:
            return _OK, at + 1, count
        if buf[at] != _COMMA:
            return _REFUSED, at, count
        at += 1


@njit(cache=True)
def _symbol_matches(buf, at, end, symbol):
    """Position after the closing quote where the string at `at` is `symbol`; -1 otherwise."""
    if not _match(buf, at, symbol) or at + len(symbol) >= end or buf[at + len(symbol)] != _QUOTE:
        return -1
    return at + len(symbol) + 1


@njit(cache=True)
def _is_key(c):
    """Whether a member's name may begin with this: a letter, but not `e`, of which each event has one already."""
    return (97 <= c <= 122 and c != 101) or 65 <= c <= 90


@njit(cache=True)
def _is_unusual_st(buf, at):
    """Whether the member whose name starts at `at` is `st` with a value other than 1 (USD-M): the plain decoder judges."""
    if not _match(buf, at, _ST):
        return False
    at += len(_ST)
    return at + 1 >= len(buf) or buf[at] != 49 or (buf[at + 1] != _COMMA and buf[at + 1] != _CLOSE)


@njit(cache=True)
def _depth(buf, at, end, symbol, clock_key, has_pu, px_decimals, sz_decimals, keys, sides, sizes, n_levels, row):
    """Read the members of a depthUpdate after its `e`. Gives (status, position after `}`, levels)."""
    seen = 0
    found_pu = False
    while at < end and buf[at] == _COMMA:
        if at + 4 >= end or buf[at + 1] != _QUOTE or not _is_key(buf[at + 2]):
            return _REFUSED, at, n_levels
        key = buf[at + 2]
        if buf[at + 3] == _QUOTE and buf[at + 4] == _COLON:
            at += 5
            bit = 0
            if key == 115:  # s
                bit = 1
                at = _symbol_matches(buf, at + 1, end, symbol) if buf[at] == _QUOTE else -1
            elif key == 85:  # U
                bit = 2
                row[DEPTH_FIRST_ID], at = _integer(buf, at, end)
            elif key == 117:  # u
                bit = 4
                row[DEPTH_LAST_ID], at = _integer(buf, at, end)
            elif key == 69 or key == 84:  # E, T
                bit = 8 if key == 69 else 16
                value, at = _integer(buf, at, end)
                if key == clock_key:
                    row[DEPTH_MS] = value
            elif key == 98 or key == 97:  # b, a
                bit = 32 if key == 98 else 64
                before = n_levels
                sign = 1 if key == 98 else -1
                status, at, n_levels = _levels(buf, at, end, px_decimals, sz_decimals, sign, keys, sizes, n_levels)
                if status != _OK:
                    return status, at, n_levels
                for k in range(before, n_levels):
                    sides[k] = 0 if key == 98 else 1
            else:
                at = _skip_scalar(buf, at, end)
            if at < 0 or seen & bit:
                return _REFUSED, at, n_levels
            seen |= bit
        elif key == 112 and buf[at + 3] == 117 and buf[at + 4] == _QUOTE:  # pu
            if found_pu or at + 5 >= end or buf[at + 5] != _COLON:
                return _REFUSED, at, n_levels
            found_pu = True
            row[DEPTH_PREV_ID], at = _integer(buf, at + 6, end)
            if at < 0:
                return _REFUSED, at, n_levels
        else:
            name = at + 2
            at = _skip_string(buf, at + 2, end)
            if at < 0 or at >= end or buf[at] != _COLON or _is_unusual_st(buf, name):
                return _REFUSED, at, n_levels
            at = _skip_scalar(buf, at + 1, end)
            if at < 0:
                return _REFUSED, at, n_levels
    need = 1 | 2 | 4 | 8 | 32 | 64 | (16 if clock_key == 84 else 0)
    if (seen & need) != need or found_pu != has_pu or at >= end or buf[at] != _CLOSE:
        return _REFUSED, at, n_levels
    if not has_pu:
        row[DEPTH_PREV_ID] = row[DEPTH_FIRST_ID] - 1
    if row[DEPTH_LAST_ID] < row[DEPTH_FIRST_ID] or row[DEPTH_PREV_ID] >= row[DEPTH_FIRST_ID] or row[DEPTH_MS] >= MAX_MS:
        return _REFUSED, at, n_levels
    return _OK, at + 1, n_levels


@njit(cache=True)
def _trade(buf, at, end, symbol, is_agg, px_decimals, sz_decimals, row):
    """Read the members of a trade or aggTrade after its `e`. Gives (status, position after `}`)."""
    seen = 0
    first_id = 0
    last_id = 0
    row[TRADE_PRINT] = 1
    while at < end and buf[at] == _COMMA:
        if at + 4 >= end or buf[at + 1] != _QUOTE or not _is_key(buf[at + 2]):
            return _REFUSED, at
        key = buf[at + 2]
        if buf[at + 3] != _QUOTE or buf[at + 4] != _COLON:
            name = at + 2
            at = _skip_string(buf, at + 2, end)
            if at < 0 or at >= end or buf[at] != _COLON or _is_unusual_st(buf, name):
                return _REFUSED, at
            at = _skip_scalar(buf, at + 1, end)
            if at < 0:
                return _REFUSED, at
            continue
        at += 5
        if at >= end:
            return _REFUSED, at
        bit = 0
        if key == 115:  # s
            bit = 1
            at = _symbol_matches(buf, at + 1, end, symbol) if buf[at] == _QUOTE else -1
        elif key == 84:  # T
            bit = 2
            row[TRADE_MS], at = _integer(buf, at, end)
        elif key == 112 or key == 113:  # p, q
            bit = 4 if key == 112 else 8
            if buf[at] != _QUOTE:
                return _REFUSED, at
            value, at = _decimal(buf, at + 1, end, px_decimals if key == 112 else sz_decimals)
            if at == -2:
                return _WRONG_SCALE, at
            if key == 112:
                row[TRADE_PX] = value
            else:
                row[TRADE_QTY] = value
        elif key == 109:  # m
            bit = 16
            row[TRADE_SELL] = 1 if _match(buf, at, _TRUE) else 0
            at = at + 4 if row[TRADE_SELL] == 1 else at + 5 if _match(buf, at, _FALSE) else -1
        elif (key == 116 and not is_agg) or (key == 97 and is_agg):  # t of trade, a of aggTrade
            bit = 32
            row[TRADE_ID], at = _integer(buf, at, end)
        elif key == 102 and is_agg:  # f
            bit = 64
            first_id, at = _integer(buf, at, end)
        elif key == 108 and is_agg:  # l
            bit = 128
            last_id, at = _integer(buf, at, end)
        elif key == 69:  # E
            bit = 512
            _, at = _integer(buf, at, end)
        elif key == 88 and not is_agg:  # X
            bit = 256
            if buf[at] != _QUOTE:
                return _REFUSED, at
            row[TRADE_PRINT] = 1 if _match(buf, at + 1, _MARKET) else 0
            at = _skip_string(buf, at + 1, end)
        else:
            at = _skip_scalar(buf, at, end)
        if at < 0 or seen & bit:
            return _REFUSED, at
        seen |= bit
    need = 63 | 512 | ((64 | 128) if is_agg else 0)
    if (seen & need) != need or at >= end or buf[at] != _CLOSE or last_id < first_id or row[TRADE_MS] >= MAX_MS:
        return _REFUSED, at
    row[TRADE_COUNT] = last_id - first_id + 1
    row[TRADE_AGG] = 1 if is_agg else 0
    row[TRADE_LAST_ID] = last_id if is_agg else row[TRADE_ID]
    if row[TRADE_PX] == 0:
        row[TRADE_PRINT] = 0
    return _OK, at + 1


@njit(cache=True, forceinline=True)
def _usual_ticker(buf, at, end, symbol):
    """Position after the `}` of a futures bookTicker that is written as usual; -1 where it is not."""
    if not _match(buf, at, _TICKER_HEAD):
        return -1
    _, at = _integer(buf, at + len(_TICKER_HEAD), end)
    if at < 0 or not _match(buf, at, _TICKER_SYMBOL) or not _match(buf, at + len(_TICKER_SYMBOL), symbol):
        return -1
    at += len(_TICKER_SYMBOL) + len(symbol)
    for name in (_TICKER_BID, _TICKER_BID_SIZE, _TICKER_ASK, _TICKER_ASK_SIZE):
        if not _match(buf, at, name):
            return -1
        at = _skip_string(buf, at + len(name), end) - 1
        if at < 0:
            return -1
    for name in (_TICKER_T, _TICKER_E):
        if not _match(buf, at, name):
            return -1
        _, at = _integer(buf, at + len(name), end)
        if at < 0:
            return -1
    return at + 1 if at < end and buf[at] == _CLOSE else -1


@njit(cache=True)
def _ticker(buf, at, end, symbol):
    """Position after the `}` of a bookTicker whose first member is at `at`; -1 where the plain decoder has to judge."""
    usual = _usual_ticker(buf, at, end, symbol)
    if usual >= 0:
        return usual
    if _match(buf, at, _TICKER_EVENT):
        at += len(_TICKER_EVENT)
    else:  # spot has no `e`
        at -= 1
    seen = 0
    while at < end and (buf[at] == _COMMA or (seen == 0 and buf[at] == _OPEN)):
        if at + 5 >= end or buf[at + 1] != _QUOTE or not _is_key(buf[at + 2]):
            return -1
        key = buf[at + 2]
        bit = 0
        if buf[at + 3] != _QUOTE or buf[at + 4] != _COLON:
            name = at + 2
            at = _skip_string(buf, name, end)
            if at < 0 or at >= end or buf[at] != _COLON or _is_unusual_st(buf, name):
                return -1
            at = _skip_scalar(buf, at + 1, end)
        elif key == 115:  # s
            bit = 1
            at = _symbol_matches(buf, at + 6, end, symbol) if buf[at + 5] == _QUOTE else -1
        elif key == 117 or key == 69 or key == 84:  # u, E, T
            bit = 2 if key == 117 else 64 if key == 69 else 128
            _, at = _integer(buf, at + 5, end)
        elif key == 98 or key == 66 or key == 97 or key == 65:  # b, B, a, A
            bit = 4 if key == 98 else 8 if key == 66 else 16 if key == 97 else 32
            at = _skip_string(buf, at + 6, end) if buf[at + 5] == _QUOTE else -1
        else:
            at = _skip_scalar(buf, at + 5, end)
        if at < 0 or seen & bit:
            return -1
        seen |= bit
    return at + 1 if (seen & 63) == 63 and at < end and buf[at] == _CLOSE else -1


@njit(cache=True, forceinline=True)
def _payload_start(buf, at, end):
    """(recv_ns, position of the first member of a `ws` payload); position -1: not a ws line, -2: not understood."""
    if not _match(buf, at, _LINE_HEAD):
        return 0, -2
    recv_ns, at = _integer(buf, at + len(_LINE_HEAD), end)
    if at < 0 or not _match(buf, at, _MONO):
        return 0, -2
    at += len(_MONO)
    if _match(buf, at, _NULL):
        at += len(_NULL)
    else:
        _, at = _integer(buf, at, end)
    if at < 0 or not _match(buf, at, _CONN):
        return 0, -2
    at = _skip_string(buf, at + len(_CONN), end)
    if at < 0 or not _match(buf, at - 1, _N):
        return 0, -2
    _, at = _integer(buf, at - 1 + len(_N), end)
    if at < 0 or not _match(buf, at, _KIND):
        return 0, -2
    at += len(_KIND)
    if not _match(buf, at, _WS):
        return recv_ns, -1 if buf[at] != 119 else -2
    return recv_ns, at + len(_WS)


@njit(cache=True, nogil=True)
def scan(
    buf,
    at,
    symbol,
    clock_key,
    has_pu,
    px_decimals,
    sz_decimals,
    depth,
    level_keys,
    level_sides,
    level_sizes,
    trades,
    other,
):
    """Read whole journal lines from byte `at` of `buf` into tables; strict: what is not understood goes to `other`.

    Args:
        buf: (n,) uint8, whole lines.
        symbol: the symbol as the venue writes it (upper case), uint8.
        clock_key: ASCII of the depth event's clock, `T` or `E`. has_pu: depth events carry `pu`.
        depth: (rows, DEPTH_COLUMNS) int64 out. level_*: out, one entry per level change. trades: (rows, TRADE_COLUMNS)
            int64 out. other: (rows, OTHER_COLUMNS) int64 out: lines for the plain decoder and the depth row they precede.

    Returns:
        (why, position reached, depth rows, trade rows, other rows, book tickers skipped); why is SCAN_DONE, SCAN_FULL
        (a table is full: call again from the position) or SCAN_SCALE (a number has more decimals than the scale).
    """
    n = len(buf)
    n_depth = 0
    n_levels = 0
    n_trades = 0
    n_other = 0
    tickers = 0
    why = SCAN_DONE
    while at < n:
        if n_depth >= len(depth) or n_trades >= len(trades) or n_other >= len(other):
            why = SCAN_FULL
            break
        # No pass to find the line's end first: no reader below goes over a newline, which is no digit and no text.
        end = n
        recv_ns, p = _payload_start(buf, at, end)
        code = -1
        line_end = -1
        if p == -1:
            code = LINE_CONTROL
        elif p == -2:
            code = LINE_FALLBACK
        else:
            combined = _match(buf, p, _STREAM)
            is_ticker = False
            if combined:
                stop = _skip_string(buf, p + len(_STREAM), end)
                if stop < 0 or not _match(buf, stop - 1, _DATA):
                    p = -1
                else:
                    is_ticker = _match(buf, stop - 1 - len(_BOOK_TICKER), _BOOK_TICKER)
                    p = stop - 1 + len(_DATA)
            if is_ticker:
                p = _ticker(buf, p, end, symbol)
                if p >= 0 and _match(buf, p, _LINE_END):
                    tickers += 1
                    line_end = p + 2
                else:
                    code = LINE_FALLBACK
            elif p < 0 or not _match(buf, p, _EVENT):
                code = LINE_FALLBACK
            else:
                p += len(_EVENT)
                status = _REFUSED
                levels = n_levels
                is_depth = _match(buf, p, _DEPTH_UPDATE)
                is_trade = _match(buf, p, _TRADE)
                is_agg = _match(buf, p, _AGG_TRADE)
                if is_depth:
                    status, p, levels = _depth(
                        buf,
                        p + len(_DEPTH_UPDATE),
                        end,
                        symbol,
                        clock_key,
                        has_pu,
                        px_decimals,
                        sz_decimals,
                        level_keys,
                        level_sides,
                        level_sizes,
                        n_levels,
                        depth[n_depth],
                    )
                elif is_trade or is_agg:
                    skip = len(_TRADE) if is_trade else len(_AGG_TRADE)
                    status, p = _trade(buf, p + skip, end, symbol, is_agg, px_decimals, sz_decimals, trades[n_trades])
                elif _match(buf, p, _MARK):
                    code = LINE_MARK
                elif _match(buf, p, _FORCE):
                    code = LINE_FORCE
                elif _match(buf, p, _KLINE):
                    code = LINE_KLINE
                if status == _WRONG_SCALE or status == _NO_ROOM:
                    why = SCAN_SCALE if status == _WRONG_SCALE else SCAN_FULL
                    break
                closing = 2 if combined else 1
                if status == _OK:
                    for k in range(closing):
                        if p + k >= end or buf[p + k] != _CLOSE:
                            status = _REFUSED
                    if p + closing >= end or buf[p + closing] != _NEWLINE:
                        status = _REFUSED
                    else:
                        line_end = p + closing
                if status == _OK and is_depth:
                    depth[n_depth, DEPTH_RECV_NS] = recv_ns
                    depth[n_depth, DEPTH_LEVELS_END] = levels
                    n_levels = levels
                    n_depth += 1
                elif status == _OK:
                    trades[n_trades, TRADE_RECV_NS] = recv_ns
                    n_trades += 1
                elif code < 0:
                    code = LINE_FALLBACK
        if line_end < 0:
            line_end = _line_end(buf, max(at, p))
        if code >= 0:
            other[n_other, OTHER_START] = at
            other[n_other, OTHER_END] = line_end
            other[n_other, OTHER_DEPTH_ROW] = n_depth
            other[n_other, OTHER_CODE] = code
            n_other += 1
        at = line_end + 1
    return why, at, n_depth, n_trades, n_other, tickers


@njit(cache=True)
def classify(last_id, final_id, previous_id):
    """The one sync rule (DESIGN 3.3) for the first event, the chain and the merge of connections.

    last_id: the snapshot's id or the last applied one; final_id: the event's `u`; previous_id: its `pu`.
    """
    if final_id < last_id:
        return DROP
    if final_id == last_id:
        return CONFIRM
    if previous_id <= last_id:
        return APPLY
    return GAP


@njit(cache=True)
def set_level(keys, sizes, count, key, size):
    """Set the absolute size at `key` in a side of `count` levels (0 removes). Gives the new count."""
    lo = 0
    left = count
    while left > 1:  # no branch depends on the data: a mispredicted one costs more than the whole search
        half = left >> 1
        lo += half * (keys[lo + half - 1] < key)
        left -= half
    if left == 1 and keys[lo] < key:
        lo += 1
    one = np.uint64(1)  # unsigned indices need no check for negative ones: the shifts below become vector moves
    if lo < count and keys[lo] == key:
        if size > 0:
            sizes[lo] = size
            return count
        for at in range(np.uint64(lo), np.uint64(count - 1)):
            keys[at] = keys[at + one]
        for at in range(np.uint64(lo), np.uint64(count - 1)):
            sizes[at] = sizes[at + one]
        return count - 1
    if size == 0:
        return count
    end = np.uint64(count)
    moved = np.uint64(count - lo)
    for back in range(moved):
        keys[end - back] = keys[end - back - one]
    for back in range(moved):
        sizes[end - back] = sizes[end - back - one]
    keys[lo] = key
    sizes[lo] = size
    return count + 1


@njit(cache=True)
def top_levels(keys, sizes, count, known_key, out_keys, out_sizes):
    """Best levels of a side into out_* (LOWEST_KEY, 0 where there is none). Gives how many of them are known.

    A level beyond `known_key` is unknown, and so is every one behind it; where the whole side is known (LOWEST_KEY) all
    asked levels are, absent ones included.
    """
    depth = len(out_keys)
    for m in range(depth):
        at = count - 1 - m
        if at >= 0 and keys[at] >= known_key:
            out_keys[m] = keys[at]
            out_sizes[m] = sizes[at]
        else:
            for rest in range(m, depth):
                out_keys[rest] = LOWEST_KEY
                out_sizes[rest] = 0
            return depth if known_key == LOWEST_KEY else m
    return depth


@njit(cache=True)
def _flow(before_key, before_size, after_key, after_size):
    """One side's part of e_n (Cont, Kukanov and Stoikov 2014): added where the price is as good, removed where as bad."""
    flow = 0
    if after_key >= before_key:
        flow += after_size
    if after_key <= before_key:
        flow -= before_size
    return flow


@njit(cache=True)
def apply_levels(keys, sizes, counts, change_keys, change_sides, change_sizes, start, stop):
    """Set every level change in [start, stop) of the change arrays. keys, sizes: (2, capacity); counts: (2,)."""
    for k in range(start, stop):
        side = change_sides[k]
        counts[side] = set_level(keys[side], sizes[side], counts[side], change_keys[k], change_sizes[k])


@njit(cache=True)
def refresh_top(keys, sizes, counts, known, top_keys, top_sizes, top_known):
    """Recompute the best OFI_LEVELS levels of both sides."""
    for side in range(2):
        top_known[side] = top_levels(
            keys[side], sizes[side], counts[side], known[side], top_keys[side], top_sizes[side]
        )


@njit(cache=True)
def _open_window(side, best_key, keys, sizes, counts, slots, bits, base, top_word):
    """Move the side's levels from `base` on into its empty window, which lies around `best_key`."""
    n_slots = slots.shape[1]
    low = best_key - (n_slots - n_slots // 4)  # room for the best to rise by a quarter
    base[side] = low
    top_word[side] = 0
    count = counts[side]
    while count > 0 and keys[side, count - 1] >= low:
        slot = np.uint64(keys[side, count - 1] - low)
        slots[side, slot] = sizes[side, count - 1]
        bits[side, slot >> np.uint64(6)] |= np.uint64(1) << (slot & np.uint64(63))
        top_word[side] = max(top_word[side], np.int64(slot >> np.uint64(6)))
        count -= 1
    counts[side] = count


@njit(cache=True)
def _close_window(side, keys, sizes, counts, slots, bits, base, top_word):
    """Move the window's levels back behind the sorted ones; the window is empty then."""
    count = counts[side]
    for word in range(top_word[side] + 1):
        rest = bits[side, word]
        while rest != 0:
            lowest = rest & (~rest + np.uint64(1))
            slot = np.uint64(word * 64) + (np.uint64(63) - _leading_zeros(lowest))
            keys[side, count] = base[side] + np.int64(slot)
            sizes[side, count] = slots[side, slot]
            count += 1
            rest ^= lowest
        bits[side, word] = 0
    counts[side] = count


@njit(cache=True)
def _apply_to_windows(
    keys, sizes, counts, change_keys, change_sides, change_sizes, start, stop, slots, bits, base, top_word
):
    """`apply_levels` where both sides have windows. One that a new level lies above is opened anew around it."""
    n_slots = slots.shape[1]
    all_slots, all_bits = slots.reshape(-1), bits.reshape(-1)
    for change in range(np.uint64(start), np.uint64(stop)):
        side, key, size = np.int64(change_sides[change]), change_keys[change], change_sizes[change]
        at = key - base[side]
        if at >= n_slots:
            if size == 0:
                continue  # nothing lies there
            _close_window(side, keys, sizes, counts, slots, bits, base, top_word)
            _open_window(side, key, keys, sizes, counts, slots, bits, base, top_word)
            at = key - base[side]
        if at < 0:
            counts[side] = set_level(keys[side], sizes[side], counts[side], key, size)
            continue
        slot = np.uint64(side * n_slots + at)
        word = slot >> np.uint64(6)
        bit = np.uint64(1) << (slot & np.uint64(63))
        all_slots[slot] = size
        all_bits[word] = (all_bits[word] & ~bit) | (bit * np.uint64(size > 0))
        top_word[side] = max(top_word[side], at >> 6)


@njit(cache=True)
def _top_of_window(side, known_key, keys, sizes, counts, slots, bits, base, top_word, out_keys, out_sizes):
    """`top_levels` where the side has a window."""
    depth = len(out_keys)
    word = top_word[side]
    while word > 0 and bits[side, word] == 0:
        word -= 1
    top_word[side] = word
    m = 0
    while word >= 0 and m < depth:
        rest = bits[side, word]
        while rest != 0 and m < depth:
            place = np.uint64(63) - _leading_zeros(rest)
            slot = np.uint64(word * 64) + place
            key = base[side] + np.int64(slot)
            if key < known_key:
                break
            out_keys[m] = key
            out_sizes[m] = slots[side, slot]
            m += 1
            rest ^= np.uint64(1) << place
        if rest != 0:
            break
        word -= 1
    if m == depth:
        return depth
    if word < 0:  # the window has no more: go on below it
        return m + top_levels(keys[side], sizes[side], counts[side], known_key, out_keys[m:], out_sizes[m:])
    for rest_m in range(m, depth):
        out_keys[rest_m] = LOWEST_KEY
        out_sizes[rest_m] = 0
    return depth if known_key == LOWEST_KEY else m


@njit(cache=True)
def _follow_best(side, best_key, keys, sizes, counts, slots, bits, base, top_word):
    """Open the window anew once the best has fallen to its lowest eighth and there are levels below."""
    if best_key != LOWEST_KEY and counts[side] > 0 and best_key - base[side] < slots.shape[1] // 8:
        _close_window(side, keys, sizes, counts, slots, bits, base, top_word)
        _open_window(side, best_key, keys, sizes, counts, slots, bits, base, top_word)


@njit(cache=True)
def emit_rows(
    until_ms,
    step_ms,
    first_ms,
    last_ms,
    state,
    best_keys,
    best_sizes,
    best_known,
    ofi,
    ofi_known,
    row_ints,
    row_keys,
    row_sizes,
    row_known,
    row_ofi,
    n_rows,
):
    """Write the grid rows with ts <= until_ms, within (first_ms, last_ms]. Gives (n_rows, finished without filling up).

    best_*: the best levels of both sides, as many as a row has or more, and how many of them are known; not read where
    the book is not live.
    """
    depth = row_keys.shape[2]
    while state[NEXT_ROW_MS] <= until_ms:
        ts = state[NEXT_ROW_MS]
        if ts > last_ms:
            return n_rows, True
        if ts > first_ms and state[STATE] != NO_ROWS:
            if n_rows >= len(row_ints):
                return n_rows, False
            live = state[STATE] == LIVE
            row_ints[n_rows, 0] = ts
            row_ints[n_rows, 1] = state[LAST_ID]
            row_ints[n_rows, 2] = state[N_UPDATES]
            row_ints[n_rows, 3] = state[STATE]
            for side in range(2):
                if live:
                    for m in range(depth):
                        row_keys[n_rows, side, m] = best_keys[side, m]
                        row_sizes[n_rows, side, m] = best_sizes[side, m]
                    row_known[n_rows, side] = min(best_known[side], depth)
                else:
                    row_known[n_rows, side] = 0
            for m in range(OFI_LEVELS):
                row_ofi[n_rows, m] = ofi[m]
            row_known[n_rows, 2] = ofi_known[0] if live and state[OFI_VALID] == 1 else 0
            n_rows += 1
            state[NEXT_ROW_MS] = ts + step_ms
        elif ts <= first_ms:
            # Rows that another task owns: jump, the interval's sums start afresh below.
            state[NEXT_ROW_MS] = min((until_ms // step_ms + 1) * step_ms, (first_ms // step_ms + 1) * step_ms)
        else:
            state[NEXT_ROW_MS] = (until_ms // step_ms + 1) * step_ms
        state[N_UPDATES] = 0
        state[OFI_VALID] = 1
        ofi_known[0] = OFI_LEVELS
        for m in range(OFI_LEVELS):
            ofi[m] = 0
    return n_rows, True


@njit(cache=True, nogil=True)
def replay(
    depth,
    first,
    stop,
    change_keys,
    change_sides,
    change_sizes,
    state,
    keys,
    sizes,
    counts,
    known,
    top_keys,
    top_sizes,
    top_known,
    slots,
    bits,
    ofi,
    ofi_known,
    step_ms,
    first_ms,
    last_ms,
    row_ints,
    row_keys,
    row_sizes,
    row_known,
    row_ofi,
    n_rows,
):
    """Run depth events [first, stop) through the sync rule and the ladder, writing grid rows on the way.

    Args:
        depth, change_*: the scan's tables. keys, sizes: (2, capacity) with room for every change. counts, known: (2,).
        top_*: best levels after the last event. ofi: (OFI_LEVELS,) sums of the running interval. ofi_known: (1,).
        slots, bits: (2, WINDOW_SLOTS) int64 and (2, WINDOW_SLOTS / 64) uint64, empty windows, left empty; without any
        columns where a window is not worth its making.
        step_ms: the grid; 0 writes no rows (live use). Rows are written for ts in (first_ms, last_ms].

    Returns:
        (why, next event, n_rows): END_OF_EVENTS; GAP_FOUND at the event that does not continue; ROWS_FULL before the
        event: call again; PAST_THE_END: the clock has passed last_ms.
    """
    windowed = slots.shape[1] > 0
    base = np.zeros(2, np.int64)
    top_word = np.zeros(2, np.int64)
    if windowed:
        for side in range(2):
            best_key = keys[side, counts[side] - 1] if counts[side] > 0 else 0
            _open_window(side, best_key, keys, sizes, counts, slots, bits, base, top_word)
    row_depth = row_keys.shape[2]
    deep = row_depth > OFI_LEVELS
    row_top_keys = np.empty((2, row_depth), np.int64) if deep else top_keys
    row_top_sizes = np.empty((2, row_depth), np.int64) if deep else top_sizes
    row_top_known = np.empty(2, np.int64) if deep else top_known
    before_keys = np.empty((2, OFI_LEVELS), np.int64)
    before_sizes = np.empty((2, OFI_LEVELS), np.int64)
    why, reached = END_OF_EVENTS, stop
    for i in range(first, stop):
        action = classify(state[LAST_ID], depth[i, DEPTH_LAST_ID], depth[i, DEPTH_PREV_ID])
        if action == DROP:
            continue
        if action == GAP:
            why, reached = GAP_FOUND, i
            break
        clock_ms = max(state[CLOCK_MS], depth[i, DEPTH_MS])
        if step_ms > 0 and state[NEXT_ROW_MS] <= clock_ms:
            if deep:
                for side in range(2):
                    out_keys, out_sizes = row_top_keys[side], row_top_sizes[side]
                    if windowed:
                        row_top_known[side] = _top_of_window(
                            side, known[side], keys, sizes, counts, slots, bits, base, top_word, out_keys, out_sizes
                        )
                    else:
                        row_top_known[side] = top_levels(
                            keys[side], sizes[side], counts[side], known[side], out_keys, out_sizes
                        )
            n_rows, finished = emit_rows(
                clock_ms,
                step_ms,
                first_ms,
                last_ms,
                state,
                row_top_keys,
                row_top_sizes,
                row_top_known,
                ofi,
                ofi_known,
                row_ints,
                row_keys,
                row_sizes,
                row_known,
                row_ofi,
                n_rows,
            )
            if not finished:
                why, reached = ROWS_FULL, i
                break
        if step_ms > 0 and clock_ms >= last_ms:
            why, reached = PAST_THE_END, i
            break
        if state[STATE] != LIVE:
            # The book is known from here on; what flowed before is not, so this interval's OFI stays null.
            state[STATE] = LIVE
            state[OFI_VALID] = 0
            state[N_UPDATES] = 0
            if step_ms > 0:
                state[NEXT_ROW_MS] = (clock_ms // step_ms + 1) * step_ms
        state[CLOCK_MS] = clock_ms
        if action == CONFIRM:
            continue
        state[N_UPDATES] += 1
        start = 0 if i == 0 else depth[i - 1, DEPTH_LEVELS_END]
        end = depth[i, DEPTH_LEVELS_END]
        before_keys[:] = top_keys
        before_sizes[:] = top_sizes
        known_before = min(top_known[0], top_known[1])
        if windowed:
            _apply_to_windows(
                keys, sizes, counts, change_keys, change_sides, change_sizes, start, end, slots, bits, base, top_word
            )
            for side in range(2):
                out_keys, out_sizes = top_keys[side], top_sizes[side]
                top_known[side] = _top_of_window(
                    side, known[side], keys, sizes, counts, slots, bits, base, top_word, out_keys, out_sizes
                )
                _follow_best(side, top_keys[side, 0], keys, sizes, counts, slots, bits, base, top_word)
        else:
            apply_levels(keys, sizes, counts, change_keys, change_sides, change_sizes, start, end)
            refresh_top(keys, sizes, counts, known, top_keys, top_sizes, top_known)
        ofi_known[0] = min(ofi_known[0], known_before, top_known[0], top_known[1])
        for m in range(OFI_LEVELS):
            ofi[m] += _flow(before_keys[0, m], before_sizes[0, m], top_keys[0, m], top_sizes[0, m])
            ofi[m] -= _flow(before_keys[1, m], before_sizes[1, m], top_keys[1, m], top_sizes[1, m])
        state[LAST_ID] = depth[i, DEPTH_LAST_ID]
    if windowed:
        for side in range(2):
            _close_window(side, keys, sizes, counts, slots, bits, base, top_word)
    return why, reached, n_rows
