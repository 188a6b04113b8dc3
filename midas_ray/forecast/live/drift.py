"""Warns when live coverage is not what the quantiles promise, at a known rate of false alarms.

Each outcome of the next bucket (horizon 1: these do not overlap) is inside P10 to P90 or not. Bets that it is inside
less often, or more often, than promised are paid fairly if the promise holds; a CUSUM of such bets (Shin, Ramdas and
Rinaldo 2024, "E-detectors") then exceeds A on average not more often than once in A outcomes, whenever one looks.
"""

from dataclasses import dataclass, field

PROMISED = 0.8
OUTCOMES_A_FALSE_ALARM = 10_000
"""On average at least so many outcomes lie between false alarms: a week of minutes."""
_BETS = (-2.5, -1.0, -0.4, 0.3, 0.6, 1.1)
"""Stakes on `inside - PROMISED`; every factor stays above 0: 1 + bet (inside - PROMISED)."""


@dataclass(slots=True)
class CoverageWatch:
    """The evidence against the promise, of one symbol."""

    promised: float = PROMISED
    _wealth: list[float] = field(default_factory=lambda: [0.0] * len(_BETS))
    outcomes: int = 0
    inside: int = 0

    def add(self, is_inside: bool) -> bool:
        """Count an outcome. True where it raises the alarm; the watch then begins anew."""
        self.outcomes += 1
        self.inside += is_inside
        surprise = float(is_inside) - self.promised
        self._wealth = [
            max(wealth, 1.0) * (1 + bet * surprise) for wealth, bet in zip(self._wealth, _BETS, strict=True)
        ]
        return self.evidence >= OUTCOMES_A_FALSE_ALARM

    @property
    def evidence(self) -> float:
        """What the bets have made of a stake of 1."""
        return sum(self._wealth) / len(_BETS)

    @property
    def coverage(self) -> float:
        """Share inside since the watch began."""
        return self.inside / max(self.outcomes, 1)
