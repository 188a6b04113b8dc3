"""Archives in the exchange's own message shape: what their columns say, rebuilt as the JSON that the streams send.

Such payloads are rebuilt, not verbatim: the journal's `open` event says so. What an archive does not hold is left out
where the shape allows it; the event time `E` is then the transaction time.
"""

from midas_ray.venues.base import Venue


def depth(venue: Venue, symbol: str, exchange_ms: int, ids: tuple[int, int, int], bids: str, asks: str) -> bytes:
    """A depth event. ids: (U, u, pu); bids, asks: JSON of the levels, without the outer brackets."""
    first_id, last_id, previous_id = ids
    clock = f'"T":{exchange_ms},' if venue.depth_clock == "T" else ""
    before = f'"pu":{previous_id},' if venue.has_previous_id else ""
    return (
        f'{{"stream":"{symbol}@depth","data":{{"e":"depthUpdate","E":{exchange_ms},{clock}'
        f'"s":"{symbol.upper()}","U":{first_id},"u":{last_id},{before}"b":[{bids}],"a":[{asks}]}}}}'
    ).encode()


def snapshot(last_id: int, exchange_ms: int, bids: str, asks: str) -> bytes:
    """A REST depth answer; bids, asks: JSON of the levels, without the outer brackets."""
    return f'{{"lastUpdateId":{last_id},"E":{exchange_ms},"T":{exchange_ms},"bids":[{bids}],"asks":[{asks}]}}'.encode()


def trade(symbol: str, exchange_ms: int, trade_id: int, px: str, qty: str, *, sell: bool, kind: str | None) -> bytes:
    """A print; sell: the taker sold. kind: `X`, None where the archive does not say."""
    ending = "" if kind is None else f'"X":"{kind}",'
    return (
        f'{{"stream":"{symbol}@trade","data":{{"e":"trade","E":{exchange_ms},"T":{exchange_ms},"s":"{symbol.upper()}",'
        f'"t":{trade_id},"p":"{px}","q":"{qty}",{ending}"m":{"true" if sell else "false"}}}}}'
    ).encode()


def mark_price(symbol: str, event_ms: int, mark_px: str, index_px: str, rate: str, next_funding_ms: int) -> bytes:
    """A mark price."""
    return (
        f'{{"stream":"{symbol}@markPrice@1s","data":{{"e":"markPriceUpdate","E":{event_ms},"s":"{symbol.upper()}",'
        f'"p":"{mark_px}","i":"{index_px}","r":"{rate}","T":{next_funding_ms}}}}}'
    ).encode()


def force_order(symbol: str, exchange_ms: int, side: str, px: str, average_px: str, filled: str) -> bytes:
    """A forced order; side: BUY or SELL, the order's."""
    return (
        f'{{"stream":"{symbol}@forceOrder","data":{{"e":"forceOrder","E":{exchange_ms},"o":{{"s":"{symbol.upper()}",'
        f'"S":"{side}","p":"{px}","ap":"{average_px}","X":"FILLED","z":"{filled}","T":{exchange_ms}}}}}}}'
    ).encode()
