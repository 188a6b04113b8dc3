"""One thing that was looked at."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: `ok` None is for information only. `advice`: what to do where it is not ok."""

    name: str
    found: str
    ok: bool | None
    advice: str = ""

    @property
    def line(self) -> str:
        """As it is printed."""
        mark = {True: "ok", False: "MISSING", None: "note"}[self.ok]
        advice = f"; {self.advice}" if self.advice and self.ok is not True else ""
        return f"{mark:<8}{self.name}: {self.found}{advice}"
