"""What the journal kernel needs beside the market's log: compiled templates, number formats, an empty writer."""

import re
from collections.abc import Mapping

import numpy as np

from midas_ray.simulate import journal_kernel as lines
from midas_ray.simulate import market_kernel as kernel
from midas_ray.simulate.market import EventLog
from midas_ray.simulate.wire import FIELDS, Format, Wire

PUBLIC_CONNECTION, MARKET_CONNECTION = "a-1", "a-2"
JOURNAL_FIELDS = dict.fromkeys(("recv_ns", "mono_ns", "n"), Format.INT)
STREAMS = {
    "depth": "depth@100ms",
    "trade": "trade",
    "trade_na": "trade",
    "trade_insurance": "trade",
    "markPrice": "markPrice@1s",
    "forceOrder": "forceOrder",
    "kline": "kline_1m",
}
"""Stream that carries each message of a journal."""

_WORDS = {
    Format.BOOL: lines.DIGITS_BOOL,
    Format.SIDE: lines.DIGITS_SIDE,
    Format.BIDS: lines.DIGITS_BIDS,
    Format.ASKS: lines.DIGITS_ASKS,
}


def _line_templates(wire: Wire, symbol: str) -> Mapping[str, str]:
    public = PUBLIC_CONNECTION
    market = PUBLIC_CONNECTION if wire.spot else MARKET_CONNECTION
    ws = '"n":<n>,"kind":"ws","payload":'
    templates = {
        "head": '{"recv_ns":<recv_ns>,"mono_ns":<mono_ns>,"conn":"',
        "public": f'{public}",{ws}',
        "market": f'{market}",{ws}',
        "end": "}\n",
    }
    for kind, stream in STREAMS.items():
        if kind in wire.templates:
            templates[kind] = f'{{"stream":"{symbol}@{stream}","data":{wire.templates[kind]}}}'
    return templates


def _compiled(text: str) -> bytes:
    def placeholder(found: re.Match[str]) -> str:
        return chr(lines.PLACEHOLDER) + chr(lines.FIELD_ORDER.index(found[1]))

    return re.sub(r"<(\w+)>", placeholder, text).encode("latin-1")


def make_tables(wire: Wire, symbol: str) -> lines.Tables:
    """Templates and number formats of a symbol; a message the venue does not have is empty."""
    templates = _line_templates(wire, symbol)
    compiled = [_compiled(templates.get(name, "")) for name in lines.TEMPLATE_ORDER]
    formats = [(FIELDS | JOURNAL_FIELDS)[name] for name in lines.FIELD_ORDER]
    return lines.Tables(
        templates=np.frombuffer(b"".join(compiled), np.uint8),
        offsets=np.cumsum([0, *map(len, compiled)]).astype(np.int64),
        multipliers=wire.multipliers[formats],
        digits=np.array([_WORDS.get(kind, int(wire.digits[kind])) for kind in formats], np.int64),
    )


def make_writer(wire: Wire, buffer_bytes: int) -> lines.Writer:
    """A writer with an empty book and nothing pending."""
    ints = np.zeros(lines.INTS, np.int64)
    ints[lines.SPOT] = wire.spot
    return lines.Writer(
        out=np.zeros(buffer_bytes + lines.LINE_ROOM, np.uint8),
        ints=ints,
        values=np.zeros(len(lines.FIELD_ORDER), np.int64),
        book=np.zeros((2, kernel.WIDTH), np.int64),
        pending_key=np.zeros(lines.PENDING_ROOM, np.int64),
        pending_lots=np.zeros(lines.PENDING_ROOM, np.int64),
        pending_window=np.zeros(2 * kernel.WIDTH, np.int64),
        pending_at=np.zeros(2 * kernel.WIDTH, np.int64),
    )


def make_segment(log: EventLog) -> lines.Segment:
    """The log's columns in the order the journal's kernel has them; copies."""

    def columns(rows: kernel.Ints, names: tuple[str, ...]) -> kernel.Ints:
        return np.ascontiguousarray(rows[:, [getattr(kernel, name) for name in names]])

    return lines.Segment(
        changes=columns(log.changes, lines.CHANGE_COLUMNS),
        trades=columns(log.trades, lines.TRADE_COLUMNS),
        forced=columns(log.forced, lines.FORCED_COLUMNS),
        steps=columns(log.steps, lines.STEP_COLUMNS),
    )
