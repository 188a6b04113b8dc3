"""spend.jsonl: what was rented, when, at which price, until when. Appended to only, by any process of the cluster."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from midas_ray.cloud.messages import Offer

DAY_S = 86400


class Ledger:
    """The ledger in a cluster's state folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "spend.jsonl"

    def rented(self, instance_id: int, offer: Offer, price: float, label: str, now: float) -> None:
        """An instance costs `price` dollars an hour from now on."""
        self._append(
            {"what": "rented", "id": instance_id, "at": now, "price": price, "label": label,
             "machine": offer.machine_id, "gpu": f"{offer.num_gpus} x {offer.gpu_name}"}
        )  # fmt: skip

    def ended(self, instance_id: int, now: float, why: str) -> None:
        """It costs nothing more."""
        self._append({"what": "ended", "id": instance_id, "at": now, "why": why})

    def spent_on_day(self, now: float) -> float:
        """Dollars from 00:00 UTC of this day until now."""
        begin = now - now % DAY_S
        spent, open_ = 0.0, {}
        for line in self._lines():
            if line["what"] == "rented":
                open_[line["id"]] = line
            elif (began := open_.pop(line["id"], None)) is not None:
                spent += began["price"] * max(0.0, line["at"] - max(begin, began["at"])) / 3600
        return spent + sum(one["price"] * max(0.0, now - max(begin, one["at"])) / 3600 for one in open_.values())

    def _lines(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        return [json.loads(line) for line in self._path.read_text().splitlines() if line.endswith("}")]

    def _append(self, record: dict[str, Any]) -> None:
        with self._path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
