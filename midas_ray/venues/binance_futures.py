"""Binance USD-M futures. URLs are routed since 2026-04-23: a stream on the wrong route is acked and stays silent."""

from midas_ray.venues.base import Venue

BINANCE_FUTURES = Venue(
    name="binance-futures",
    ws_root="wss://fstream.binance.com",
    rest_root="https://fapi.binance.com",
    routes={
        "depth": "public",
        "bookTicker": "public",
        "trade": "public",
        "aggTrade": "market",
        "markPrice": "market",
        "kline": "market",
        "forceOrder": "market",
    },
    depth_path="/fapi/v1/depth",
    exchange_info_path="/fapi/v1/exchangeInfo",
    time_path="/fapi/v1/time",
    tickers_path="/fapi/v1/ticker/24hr",
    open_interest_path="/fapi/v1/openInterest",
    exchange_info_weight=1,
    exchange_info_by_symbol=False,
    tickers_weight=40,
    snapshot_weights=((50, 2), (100, 5), (500, 10), (1000, 20)),
    weight_per_minute=2400,
    connections_per_5_min=300,
    streams_per_connection=1024,
    depth_clock="T",
    has_previous_id=True,
    routed_urls=True,
    kinds=frozenset({"depth", "trade", "aggTrade", "bookTicker", "markPrice", "forceOrder", "kline"}),
)
