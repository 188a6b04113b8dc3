"""What is searched over, and what a drawn configuration means. Knows Ray only for its ways to draw."""

from collections.abc import Mapping
from typing import Any

from ray import tune

from midas_ray.errors import UsageError
from midas_ray.settings import NetworkSettings, OptimisationSettings, Tune

FAMILY = "family:"
"""Prefix of what says whether a feature family is used."""
SEARCHED = ("learning_rate", "hidden_dim", "n_heads", "dropout", "input_length")
_USED = [True, True, True, False]


def search_space(values: Tune, families: tuple[str, ...]) -> dict[str, Any]:
    """How each setting is drawn. `families`: the optional ones that the data have.

    Raises UsageError where a drawn network could not be built.
    """
    low, high = values.learning_rates
    if not low:
        raise UsageError("--learning-rates: expected the least above 0, found 0")
    if max(values.heads) > min(values.hidden_dims):
        raise UsageError(
            f"--heads {max(values.heads)}: expected at most the least of --hidden-dims, found {min(values.hidden_dims)}"
        )
    if min(values.hidden_dims) < 4 or min(values.input_lengths) < 2:
        raise UsageError("--hidden-dims, --input-lengths: expected at least 4 and 2, found fewer")
    return {
        "learning_rate": tune.loguniform(low, high) if low < high else low,
        "hidden_dim": tune.choice(list(values.hidden_dims)),
        "n_heads": tune.choice(list(values.heads)),
        "dropout": tune.uniform(*values.dropouts) if values.dropouts[0] < values.dropouts[1] else values.dropouts[0],
        "input_length": tune.choice(list(values.input_lengths)),
        **{f"{FAMILY}{family}": tune.choice(_USED) for family in families},
    }


def chosen(drawn: Mapping[str, Any]) -> dict[str, Any]:
    """A drawn configuration as settings of `midas train`."""
    left_out = [name.removeprefix(FAMILY) for name, used in drawn.items() if name.startswith(FAMILY) and not used]
    return {name: drawn[name] for name in SEARCHED} | {"without_families": sorted(left_out)}


def network_of(drawn: Mapping[str, Any], fixed: OptimisationSettings) -> NetworkSettings:
    """The settings of one trial's training."""
    settings = chosen(drawn)
    settings["without_families"] = tuple(settings["without_families"])
    given = {name: getattr(fixed, name) for name in OptimisationSettings.model_fields}
    return NetworkSettings.model_construct(**given, **settings)


def sentence(drawn: Mapping[str, Any]) -> str:
    """A configuration for people."""
    said = (
        f"learning rate {drawn['learning_rate']:.2g}, hidden {drawn['hidden_dim']}, heads {drawn['n_heads']}, dropout "
        f"{drawn['dropout']:.2f}, input {drawn['input_length']}"
    )
    left_out = chosen(drawn)["without_families"]
    return f"{said}, without {', '.join(left_out)}" if left_out else said
