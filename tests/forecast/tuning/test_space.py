import csv
import io
import json
import math

import pytest
import yaml

from midas_ray.errors import UsageError
from midas_ray.forecast.tuning.outcome import StudyOutcome
from midas_ray.forecast.tuning.space import chosen, network_of, search_space, sentence
from midas_ray.settings import NetworkSettings, Train, Tune, parse_settings

DRAWN = {
    "learning_rate": 0.002, "hidden_dim": 32, "n_heads": 2, "dropout": 0.25, "input_length": 30,
    "family:impact": False, "family:volatility": True,
}  # fmt: skip


def test_a_drawn_configuration_becomes_the_settings_of_a_training() -> None:
    network = network_of(DRAWN, Tune(epochs=7, batch_size=16, seed=3))
    assert isinstance(network, NetworkSettings)
    assert network.without_families == ("impact",)
    found = network.learning_rate, network.hidden_dim, network.n_heads, network.dropout, network.input_length
    assert found == (0.002, 32, 2, 0.25, 30)
    assert (network.epochs, network.batch_size, network.seed) == (7, 16, 3)
    assert sentence(DRAWN) == "learning rate 0.002, hidden 32, heads 2, dropout 0.25, input 30, without impact"


def test_what_is_drawn_lies_where_it_was_asked_for() -> None:
    values = Tune(
        learning_rates=(1e-3, 2e-3), dropouts=(0.1, 0.1), hidden_dims=(8, 16), heads=(1,), input_lengths=(20,)
    )
    space = search_space(values, ("impact",))
    for _ in range(50):
        assert 1e-3 <= space["learning_rate"].sample() <= 2e-3
        assert space["hidden_dim"].sample() in {8, 16}
        assert isinstance(space["family:impact"].sample(), bool)
    assert space["dropout"] == 0.1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"heads": (1, 32)}, "--heads 32: expected at most the least of --hidden-dims, found 16"),
        ({"learning_rates": (0.0, 0.1)}, "--learning-rates: expected the least above 0"),
        ({"input_lengths": (1,)}, "expected at least 4 and 2"),
    ],
)
def test_a_space_that_cannot_be_built_is_refused(flags: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        search_space(Tune(**flags), ())


def outcome() -> StudyOutcome:
    worse = {**DRAWN, "hidden_dim": 16, "family:impact": True}
    return StudyOutcome.of(
        "s",
        [
            ("a", worse, {"validation_bps": 2.5, "epoch": 4, "best_epoch": 3, "failure": "", "noise": 1}),
            ("b", DRAWN, {"validation_bps": 2.25, "epoch": 9, "best_epoch": 9, "failure": ""}),
            ("c", DRAWN, {"validation_bps": math.inf, "epoch": 0, "best_epoch": 0, "failure": "diverged"}),
            ("d", worse, {}),
        ],
    )


def test_every_trial_is_in_the_table_the_best_first() -> None:
    rows = list(csv.DictReader(io.StringIO(outcome().table())))
    assert [row["trial"] for row in rows] == ["b", "a", "c", "d"]
    assert [row["validation_bps"] for row in rows] == ["2.25", "2.5", "inf", ""]
    assert rows[0]["without_families"] == "impact"
    document = json.loads(outcome().document(Tune()))
    assert document["best"]["trial"] == "b"
    assert [trial.get("validation_bps") for trial in document["all"]] == [2.25, 2.5, None, None]


def test_the_best_configuration_is_read_by_train_below_flags_and_environment(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("best.yaml", "w") as file:  # noqa: PTH123
        file.write(outcome().configuration(Tune(batch_size=48)))
    assert yaml.safe_load(outcome().configuration(Tune()))["trials"] == 4
    values = parse_settings(Train, "train", ["--config", "best.yaml"])
    assert (values.hidden_dim, values.n_heads, values.batch_size, values.epochs) == (32, 2, 48, 30)
    assert (values.trials, values.study, values.without_families) == (4, "s", ("impact",))
    monkeypatch.setenv("HIDDEN_DIM", "24")
    monkeypatch.setenv("N_HEADS", "3")
    values = parse_settings(Train, "train", ["--config", "best.yaml", "--hidden-dim", "40"])
    assert (values.hidden_dim, values.n_heads, values.dropout) == (40, 3, 0.25)
    monkeypatch.setenv("CONFIG", "nothing.yaml")
    assert parse_settings(Train, "train", []).hidden_dim == 24
    assert chosen(DRAWN)["without_families"] == ["impact"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "--config best.yaml: expected a YAML file of settings, found: "),
        ("- 1\n", "--config best.yaml: expected lines such as `hidden_dim: 32`, found list"),
        ("hidden_dims: 3\n", "--config best.yaml: expected settings of this command, found hidden_dims"),
        ("hidden_dim: [\n", "--config best.yaml: expected a YAML file of settings, found: "),
        ("hidden_dim: wide\n", "midas train: --hidden-dim: input should be a valid integer"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_line(tmp_path: object, content: str | None, message: str) -> None:
    if content is not None:
        with open("best.yaml", "w") as file:  # noqa: PTH123
            file.write(content)
    with pytest.raises(UsageError) as caught:
        parse_settings(Train, "train", ["--config", "best.yaml"])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
