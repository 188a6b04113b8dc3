"""What a venue says of its contracts: tick, lot, status, traded value. Pure: answers in, contracts out."""

from collections.abc import Iterable
from dataclasses import dataclass

from midas_ray.venues.messages import ExchangeInfo, SymbolInfo, Ticker

TRADING = "TRADING"
UNLISTED = "UNLISTED"
"""Status of a contract that was listed and is no more; the venue itself has no word for it."""
QUOTE = "USDT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """A symbol's terms. tick_size, step_size: decimal text, as the venue writes it.

    status: the venue's word, or `UNLISTED`. contract_type, delivery_ms, contract_size: None where the venue has none.
    """

    status: str
    tick_size: str | None
    step_size: str | None
    contract_type: str | None = None
    delivery_ms: int | None = None
    contract_size: float | None = None

    @property
    def trading(self) -> bool:
        """Its streams flow."""
        return self.status == TRADING


def contract_of(info: SymbolInfo) -> Contract:
    """The terms of a symbol; filters are found by their type, never by position."""
    filters = {entry.filterType: entry for entry in info.filters}
    price, lot = filters.get("PRICE_FILTER"), filters.get("LOT_SIZE")
    return Contract(
        status=info.status,
        tick_size=None if price is None else price.tickSize,
        step_size=None if lot is None else lot.stepSize,
        contract_type=info.contractType,
        delivery_ms=info.deliveryDate,
        contract_size=info.contractSize,
    )


def contracts_of(info: ExchangeInfo, symbols: Iterable[str]) -> dict[str, Contract]:
    """Terms of those of `symbols` (lower case) that are listed."""
    listed = {entry.symbol: entry for entry in info.symbols}
    return {symbol: contract_of(listed[symbol.upper()]) for symbol in symbols if symbol.upper() in listed}


def most_traded(info: ExchangeInfo, tickers: Iterable[Ticker], n: int) -> tuple[str, ...]:
    """The n symbols (lower case) with the highest 24 h value traded, highest first: in USDT, trading, perpetual."""
    eligible = {
        entry.symbol
        for entry in info.symbols
        if entry.status == TRADING and entry.quoteAsset == QUOTE and entry.contractType in (None, "PERPETUAL")
    }
    ranked = sorted(
        (ticker for ticker in tickers if ticker.symbol in eligible),
        key=lambda ticker: (-float(ticker.quoteVolume), ticker.symbol),
    )
    return tuple(ticker.symbol.lower() for ticker in ranked[:n])
