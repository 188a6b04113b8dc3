"""One symbol's streams: what the market did, as the messages a venue would send, in its order. No I/O."""

from collections.abc import Set
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from midas_ray.simulate import market_kernel as kernel
from midas_ray.simulate.bars import MINUTE_MS, Bar
from midas_ray.simulate.market import EventLog, Market
from midas_ray.simulate.wire import Wire

FUNDING_INTERVAL_MS = 8 * 3_600_000
KLINE_INTERVAL_MS = 250

TRADE_TEMPLATES = ("trade", "trade_na", "trade_insurance")
"""Template of each kind of trade row, by the kernel's MARKET, NA, INSURANCE_FUND."""

PUBLIC, MARKET = "public", "market"
FUTURES_DEPTH_MS = {"depth": 250, "depth@0ms": 50, "depth@100ms": 100, "depth@250ms": 250, "depth@500ms": 500}
"""Interval of each depth stream; the undocumented depth@0ms came about every 50 ms in the capture of 2024-08-08."""
SPOT_DEPTH_MS = {"depth": 1000, "depth@100ms": 100}
FUTURES_ROUTES = dict.fromkeys((*FUTURES_DEPTH_MS, "bookTicker", "trade"), PUBLIC) | dict.fromkeys(
    ("aggTrade", "markPrice@1s", "forceOrder", "kline_1m"), MARKET
)
SPOT_ROUTES = dict.fromkeys((*SPOT_DEPTH_MS, "bookTicker", "trade", "aggTrade", "kline_1m"), "")
ALL_FORCED, CONTRACTS = "!forceOrder@arr", "!contractInfo"
"""All-market streams of futures, on the market route."""
OWN = "#"
"""Between a depth stream's name and the tag of a connection that has its own windows."""


class Frame(NamedTuple):
    """A message: when the exchange sends it, the stream without its symbol (`depth@100ms`), and its JSON."""

    sent_us: int
    stream: str
    payload: str


@dataclass(slots=True)
class _DepthFlow:
    """A depth stream of one speed: changes gathered until the next flush, and the last id sent."""

    name: str
    interval_us: int
    next_flush_us: int
    last_sent_id: int
    pending: dict[tuple[int, int], int] = field(default_factory=dict)
    first_id: int = 0
    last_id: int = 0
    last_change_us: int = 0


class SymbolFeed:
    """Turns a Market into frames. `advance` may be called at any times: the frames are the same.

    clock_offset_ms: how far the exchange's reported E is off, of depth and trades.
    """

    def __init__(self, market: Market, start_us: int, *, spot: bool) -> None:
        self.market = market
        self.wire = Wire(market.spec, spot)
        book = market.snapshot(1)
        self._best = (*book.bids[0].tolist(), *book.asks[0].tolist())
        phase_us = market.next_step_us % kernel.STEP_US
        self._depth = [
            _DepthFlow(name, ms * 1000, _first_after(start_us, ms * 1000, phase_us), book.last_update_id)
            for name, ms in (SPOT_DEPTH_MS if spot else FUTURES_DEPTH_MS).items()
        ]
        self._bar = Bar.flat(start_us // 1000 // MINUTE_MS * MINUTE_MS, market.spec.start_ticks)
        self._bar_sent = 0
        self._next_kline_ms = (start_us // 1000 // KLINE_INTERVAL_MS + 1) * KLINE_INTERVAL_MS
        self._next_mark_ms = (start_us // 1_000_000 + 1) * 1000
        self._agg_id = market.next_trade_id // 2
        self.clock_offset_ms = 0

    def own_windows(self, stream: str, tag: str, share: float) -> str:
        """Begin a depth stream that goes on from where `stream` is, its windows ending a share of a window later.

        Gives its name, for `wanted` of `advance` and for `end_windows`.
        """
        flow = next(flow for flow in self._depth if flow.name == stream)
        own = replace(flow, name=f"{stream}{OWN}{tag}", pending=dict(flow.pending))
        own.next_flush_us += int(share * flow.interval_us)
        self._depth.append(own)
        return own.name

    def end_windows(self, name: str) -> None:
        """End a stream of `own_windows`."""
        self._depth = [flow for flow in self._depth if flow.name != name]

    def advance(self, until_us: int, wanted: Set[str]) -> tuple[list[Frame], list[EventLog]]:
        """Frames of the streams in `wanted` sent before `until_us`, and copies of the log rows behind them."""
        frames: list[Frame] = []
        logs: list[EventLog] = []
        done = False
        while not done:
            view, done = self.market.advance(until_us)
            log = EventLog(view.changes.copy(), view.trades.copy(), view.forced.copy(), view.steps.copy())
            logs.append(log)
            self._gather_depth(log, frames, wanted)
            if "bookTicker" in wanted:
                self._book_tickers(log, frames)
            self._trades(log, frames, wanted)
            self._forced(log, frames, wanted)
            self._marks(log, frames, wanted)
        for flow in self._depth:
            while flow.next_flush_us < until_us:
                self._flush(flow, frames, wanted)
        self._klines_until(until_us // 1000, frames, wanted)
        frames.sort(key=lambda frame: frame.sent_us)
        return frames, logs

    def _gather_depth(self, log: EventLog, frames: list[Frame], wanted: Set[str]) -> None:
        columns = (kernel.C_ID, kernel.C_US, kernel.C_SIDE, kernel.C_TICK, kernel.C_LOTS)
        rows = log.changes[:, columns].tolist()
        for flow in self._depth:
            for update_id, t_us, side, tick, lots in rows:
                while t_us >= flow.next_flush_us:
                    self._flush(flow, frames, wanted)
                if not flow.pending:
                    flow.first_id = update_id
                flow.pending[side, tick] = lots
                flow.last_id, flow.last_change_us = update_id, t_us

    def _flush(self, flow: _DepthFlow, frames: list[Frame], wanted: Set[str]) -> None:
        sent_us = flow.next_flush_us
        flow.next_flush_us += flow.interval_us
        if not flow.pending:
            return
        if flow.name in wanted:
            bids = [(tick, lots) for (side, tick), lots in flow.pending.items() if side == kernel.BID]
            asks = [(tick, lots) for (side, tick), lots in flow.pending.items() if side == kernel.ASK]
            payload = self.wire.depth(
                bids,
                asks,
                E=sent_us // 1000 + self.clock_offset_ms,
                T=flow.last_change_us // 1000,
                U=flow.first_id,
                u=flow.last_id,
                pu=flow.last_sent_id,
            )
            frames.append(Frame(sent_us, flow.name, payload))
        flow.last_sent_id = flow.last_id
        flow.pending.clear()

    def _book_tickers(self, log: EventLog, frames: list[Frame]) -> None:
        for row in log.changes.tolist():
            best = tuple(row[kernel.C_BID :])
            if best == self._best:
                continue
            self._best = best
            ms = row[kernel.C_US] // 1000
            payload = self.wire.render(
                "bookTicker",
                E=ms,
                T=ms,
                u=row[kernel.C_ID],
                bid=best[0],
                bid_qty=best[1],
                ask=best[2],
                ask_qty=best[3],
            )
            frames.append(Frame(row[kernel.C_US], "bookTicker", payload))

    def _trades(self, log: EventLog, frames: list[Frame], wanted: Set[str]) -> None:
        group: list[list[int]] = []
        for row in log.trades.tolist():
            trade_id, t_us, tick, lots, sells, kind, order = row
            if "trade" in wanted:
                ms = t_us // 1000
                template = TRADE_TEMPLATES[kind]
                payload = self.wire.render(
                    template, E=ms + self.clock_offset_ms, T=ms, id=trade_id, px=tick, qty=lots, sells=sells
                )
                frames.append(Frame(t_us, "trade", payload))
            if kind != kernel.MARKET:
                continue
            self._klines_until(t_us // 1000, frames, wanted)
            self._bar.add(trade_id, tick, lots, sells)
            if group and (group[-1][kernel.T_ORDER] != order or group[-1][kernel.T_TICK] != tick):
                self._agg_trade(group, frames, wanted)
                group = []
            group.append(row)
        if group:
            self._agg_trade(group, frames, wanted)

    def _agg_trade(self, group: list[list[int]], frames: list[Frame], wanted: Set[str]) -> None:
        self._agg_id += 1
        if "aggTrade" not in wanted:
            return
        first, last = group[0], group[-1]
        lots = sum(row[kernel.T_LOTS] for row in group)
        trade_ms = first[kernel.T_US] // 1000
        payload = self.wire.render(
            "aggTrade",
            E=trade_ms,
            T=trade_ms,
            id=self._agg_id,
            px=first[kernel.T_TICK],
            qty=lots,
            first=first[kernel.T_ID],
            last=last[kernel.T_ID],
            sells=first[kernel.T_SIDE],
        )
        frames.append(Frame(first[kernel.T_US], "aggTrade", payload))

    def _klines_until(self, ms: int, frames: list[Frame], wanted: Set[str]) -> None:
        """Kline messages due up to `ms`: each 250 ms where something traded, and at the end of each minute."""
        while self._next_kline_ms <= ms:
            due_ms = self._next_kline_ms
            self._next_kline_ms += KLINE_INTERVAL_MS
            bar = self._bar
            closed = due_ms >= bar.start + MINUTE_MS
            if "kline_1m" in wanted and (closed or bar.count != self._bar_sent):
                payload = self.wire.render("kline", E=due_ms, closed=closed, **bar.fields())
                frames.append(Frame(due_ms * 1000, "kline_1m", payload))
            self._bar_sent = bar.count
            if closed:
                self._bar = Bar.flat(bar.start + MINUTE_MS, bar.close)
                self._bar_sent = 0

    def _forced(self, log: EventLog, frames: list[Frame], wanted: Set[str]) -> None:
        if "forceOrder" not in wanted:
            return
        for t_us, sells, limit, lots, value in log.forced.tolist():
            ms, average = t_us // 1000, (value + lots // 2) // lots
            payload = self.wire.render("forceOrder", E=ms, T=ms, side=sells, limit=limit, qty=lots, px=average)
            frames.append(Frame(t_us, "forceOrder", payload))

    def _marks(self, log: EventLog, frames: list[Frame], wanted: Set[str]) -> None:
        for row in log.steps.tolist():
            if row[kernel.S_US] < self._next_mark_ms * 1000:
                continue
            event_ms = self._next_mark_ms
            self._next_mark_ms += 1000
            if "markPrice@1s" in wanted:
                next_funding_ms = (event_ms // FUNDING_INTERVAL_MS + 1) * FUNDING_INTERVAL_MS
                payload = self.wire.render(
                    "markPrice",
                    E=event_ms,
                    mark=row[kernel.S_MARK],
                    index=row[kernel.S_INDEX],
                    rate=row[kernel.S_FUNDING],
                    next_funding=next_funding_ms,
                )
                frames.append(Frame(row[kernel.S_US], "markPrice@1s", payload))


def _first_after(start_us: int, interval_us: int, phase_us: int) -> int:
    """The first time after `start_us` that is `phase_us` past a multiple of `interval_us`."""
    return start_us + 1 + (phase_us - start_us - 1) % interval_us
