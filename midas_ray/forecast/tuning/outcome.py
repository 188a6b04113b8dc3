"""What a study leaves: trials.csv, tuning.json and the best configuration as a file for --config."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from midas_ray.forecast.tuning.space import SEARCHED, chosen
from midas_ray.forecast.tuning.trial import OBJECTIVE
from midas_ray.forecast.tuning.watch import kept
from midas_ray.settings import Tune

CARRIED = ("batch_size", "output_length", "quantiles")
"""Settings that were the same in all trials, without which the chosen ones mean little."""


@dataclass(frozen=True, slots=True)
class StudyOutcome:
    """Every trial of a study, the best first."""

    study: str
    trials: list[dict[str, Any]]

    @classmethod
    def of(cls, study: str, found: Sequence[tuple[str, dict[str, Any], dict[str, Any]]]) -> "StudyOutcome":
        rows = [{"trial": trial, **chosen(drawn), **kept(report)} for trial, drawn, report in found]
        return cls(study, sorted(rows, key=lambda row: (row.get(OBJECTIVE, math.inf), row["trial"])))

    @property
    def best(self) -> dict[str, Any]:
        return self.trials[0]

    def table(self) -> str:
        """trials.csv"""
        names = list(dict.fromkeys(name for row in self.trials for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows({**row, "without_families": " ".join(row["without_families"])} for row in self.trials)
        return text.getvalue()

    def document(self, values: Tune) -> str:
        """tuning.json"""
        trials = [
            {
                name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in row.items()
            }
            for row in self.trials
        ]
        content = {
            "study": self.study,
            "objective": "mean pinball loss on the validation part, bps of the price",
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "trials": len(trials),
            "best": trials[0],
            "settings": values.model_dump(mode="json", exclude={"data_dir", "spool_dir"}),
            "all": trials,
        }
        return json.dumps(content, indent=1, allow_nan=False) + "\n"

    def configuration(self, values: Tune) -> str:
        """The best settings for `midas train --config`, with the number of trials, which deflates a backtest."""
        settings = {name: self.best[name] for name in (*SEARCHED, "without_families")}
        settings |= values.model_dump(mode="json", include=set(CARRIED))
        settings |= {"trials": len(self.trials), "study": self.study}
        said = f"# the best of {len(self.trials)} trials: {self.best[OBJECTIVE]:.4f} bps on the validation part\n"
        return said + yaml.safe_dump(settings, sort_keys=False)
