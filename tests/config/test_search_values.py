"""The key `search` of a member file: every end of a range is checked like the file."""

import pytest
import yaml

from podium.config.loading import load_member
from podium.errors import ConfigError


@pytest.fixture
def load(tiny_competition):
    def loaded(search, **changes):
        return load_member(tiny_competition.member(search=search, **changes))

    return loaded


def test_ranges_and_choices_do_not_change_the_member(load):
    values = {
        "stages.0.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "stages.0.epochs": {"low": 2, "high": 5},
        "head.dropout": [0.0, 0.5],
        "label_smoothing": {"low": 0, "high": 0.2},
    }
    member = load(values)
    assert [value.ends for value in member.settings.search.values()] == [[1e-4, 1e-2], [2, 5], [0.0, 0.5], [0, 0.2]]
    assert member.settings.model_copy(update={"search": {}}) == load({}).settings


def test_all_problems_are_in_one_message_with_their_lines(load, tiny_competition):
    search = {
        "stages.0.learning_rate": {"low": -1.0, "high": 0.1},
        "stages.1.epochs": [1, 2],
        "head.droput": [0.1, 0.2],
        "stages.0.optimizer": ["Adam", "Adm"],
        "tta": ["none", "auto"],
        "loss": ["mse", "categorical_crossentropy"],
        "head.dropout": {"low": 0.5, "high": 0.1},
        "head.l2": {"low": 0.0, "high": 0.1, "log": True},
        "seed": 3,
        "stages.0.schedule.warmup_epochs": [0, 5],
    }
    with pytest.raises(ConfigError) as caught:
        load(search, monitor="los")
    text = str(caught.value)
    for problem in (
        "search.stages.0.learning_rate: expected a number above 0, got -1.0",
        "search.stages.1.epochs: stages has 1 items, numbered from 0, got '1'",
        "search.head.droput: unknown key; did you mean 'dropout'?",
        "search.stages.0.optimizer: stages.0.optimizer.name: 'Adm' is not a Keras optimizer; did you mean 'Adam'?",
        "search.tta: expected a key that affects the weights, as for --set, such as stages.0.learning_rate",
        "search.head.dropout: expected low and high, the lower number first, got 0.5 and 0.1",
        "search.head.l2: a logarithmic range needs a low above 0, got 0.0",
        "search.seed: expected {low: 1e-4, high: 1e-2, log: true} or a list of choices, got 3",
        "monitor: expected one of metric, loss; got 'los'",
    ):
        assert problem in text, text
    assert text.count("monitor:") == 1
    lines = (tiny_competition.config.parent / "tiny.yaml").read_text().splitlines()
    number = next(number for number, line in enumerate(lines, 1) if "head.droput" in line)
    assert f"tiny.yaml:{number}  search.head.droput" in text
    with pytest.raises(ConfigError, match=r"search\.loss: loss: mse does not fit|search\.loss: mse does not fit"):
        load({"loss": ["mse", "categorical_crossentropy"]})


def test_an_ensemble_and_set_accept_it(tiny_competition):
    path = tiny_competition.member(search={"seed": [1, 2]})
    assert load_member(path, ["search={}"]).settings.search == {}
    assert yaml.safe_load(path.read_text())["search"] == {"seed": [1, 2]}
