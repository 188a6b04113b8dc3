"""A book as two dictionaries, fed with raw messages: the slow, obvious reader that judges the simulated exchange."""

from decimal import Decimal
from typing import Any

Side = dict[Decimal, Decimal]


class DictBook:
    """Applies depth messages by the one sync rule of DESIGN 3.3 and insists on an unbroken chain."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.bids: Side = {Decimal(px): Decimal(qty) for px, qty in snapshot["bids"]}
        self.asks: Side = {Decimal(px): Decimal(qty) for px, qty in snapshot["asks"]}
        self.last_id: int = snapshot["lastUpdateId"]
        self.applied = 0

    def apply(self, message: dict[str, Any]) -> bool:
        """Apply one depth message; False where it is older than the book."""
        previous = message.get("pu", message["U"] - 1)
        if message["u"] <= self.last_id:
            return False
        assert previous <= self.last_id, f"gap: {previous} after {self.last_id}"
        for side, levels in ((self.bids, message["b"]), (self.asks, message["a"])):
            for px, qty in levels:
                if Decimal(qty):
                    side[Decimal(px)] = Decimal(qty)
                else:
                    side.pop(Decimal(px), None)
        self.last_id = message["u"]
        self.applied += 1
        return True

    def top(self, depth: int) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
        """The best levels of both sides, best first."""
        return sorted(self.bids.items(), reverse=True)[:depth], sorted(self.asks.items())[:depth]
