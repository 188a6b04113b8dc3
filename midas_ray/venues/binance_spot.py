"""Binance spot: no routes, no `pu`, no `T` on depth; ids are dense, so that `pu` is U - 1."""

from midas_ray.venues.base import Venue

BINANCE_SPOT = Venue(
    name="binance-spot",
    ws_root="wss://stream.binance.com:9443",
    rest_root="https://api.binance.com",
    routes={"depth": "", "bookTicker": "", "trade": "", "aggTrade": "", "kline": ""},
    depth_path="/api/v3/depth",
    exchange_info_path="/api/v3/exchangeInfo",
    time_path="/api/v3/time",
    tickers_path="/api/v3/ticker/24hr",
    open_interest_path=None,
    exchange_info_weight=20,
    exchange_info_by_symbol=True,
    tickers_weight=80,
    snapshot_weights=((100, 5), (500, 25), (1000, 50), (5000, 250)),
    weight_per_minute=6000,
    connections_per_5_min=300,
    streams_per_connection=1024,
    depth_clock="E",
    has_previous_id=False,
    routed_urls=False,
    kinds=frozenset({"depth", "trade", "aggTrade", "bookTicker", "kline"}),
)
