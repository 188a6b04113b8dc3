"""What a trained network looks at: variable importance and attention, averaged over windows.

Source: Lim et al. 2021, "Temporal fusion transformers", section 7; computed by pytorch-forecasting. A weight says how
much an input was let through on average, not that the forecast would be worse without it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

INTERPRETATION_FILE = "interpretation.json"


@dataclass(frozen=True, slots=True)
class Interpretation:
    """Weights that sum to 1 in each group, averaged over `windows` windows. L input buckets."""

    windows: int
    encoder: dict[str, float]
    """By input of the past, largest first."""
    decoder: dict[str, float]
    """By input known for the future, largest first."""
    static: dict[str, float]
    """By static input, largest first."""
    attention: tuple[float, ...]
    """(L,) attention of the forecasts to each past bucket, oldest first, averaged over heads and horizons."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        return cls(**{**stored, "attention": tuple(stored["attention"])})

    def save(self, folder: Path) -> None:
        """Write interpretation.json into an existing folder."""
        (folder / INTERPRETATION_FILE).write_text(json.dumps(self.to_dict(), indent=1) + "\n")
