"""The model in use, and a newer one as soon as it is promoted or trained."""

from dataclasses import dataclass, field
from pathlib import Path

from midas_ray.errors import DataError, MidasError, UsageError
from midas_ray.forecast.forecaster import Forecaster, Predictor
from midas_ray.forecast.model_folder import in_use


@dataclass(slots=True)
class ModelInUse:
    """Loads the model and looks for another one. `named`: a folder that is used whatever is promoted."""

    model_dir: Path
    named: Path | None
    folder: Path = field(init=False)
    predictor: Predictor = field(init=False)
    _refused: Path | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Raises UsageError where there is no model, CorruptFileError, SchemaError for one that cannot be used."""
        folder = self._wanted()
        if folder is None:
            raise UsageError(
                f"--model-dir {self.model_dir}: expected a trained model, found none; run midas train first, or give "
                "--model"
            )
        self.predictor = Predictor(Forecaster.load(folder), "cpu")
        self.folder = folder

    def _wanted(self) -> Path | None:
        return self.named.resolve() if self.named is not None else in_use(self.model_dir)

    @property
    def run(self) -> str:
        return self.folder.name

    def renew(self) -> str | None:
        """Take up another model where one is wanted; a sentence where that, or a failure to do so, is news."""
        wanted = self._wanted()
        if wanted is None or wanted in (self.folder, self._refused):
            return None
        try:
            forecaster = Forecaster.load(wanted)
            self._check_like(forecaster)
        except MidasError as error:
            self._refused = wanted
            return f"{wanted.name} is not taken up, {self.run} goes on: {error}"
        before = self.run
        self.predictor, self.folder, self._refused = Predictor(forecaster, "cpu"), wanted, None
        return f"{self.run} has taken over from {before}"

    def _check_like(self, other: Forecaster) -> None:
        own = self.predictor.forecaster
        for name in ("bucket_ms", "price_source", "venue"):
            if getattr(own, name) != getattr(other, name):
                raise DataError(
                    f"expected {name} {getattr(own, name)}, found {getattr(other, name)}; restart midas forecast for it"
                )
