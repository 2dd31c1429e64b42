"""What `precision: auto` means on processors: measured once, and the same from then on."""

import json
from io import StringIO

import h5py
import pytest
from pretended_trials import asked_in, command
from rich.console import Console

from podium.config.loading import load_member
from podium.options import RunOptions
from podium.training import precision
from podium.training.precision import precision_by_trial
from podium.training.run_training import train_run
from podium.workflows.members import fold_runs, prepare

MANY = 10**9
STAGES = [
    {"name": "head", "unfreeze": "none", "epochs": 50, "batch_size": 64, "image_size": 64, "learning_rate": 0.1},
    {
        "name": "half",
        "unfreeze": {"layers": 0.5},
        "epochs": 2,
        "batch_size": 16,
        "image_size": 32,
        "learning_rate": 0.1,
    },
    {"name": "all", "unfreeze": "all", "epochs": 3, "batch_size": 8, "image_size": 32, "learning_rate": 0.1},
]


@pytest.fixture
def choose(tiny_competition, tmp_path):
    """`choose(rows=MANY, able=True, changes={}, **machine)`: the precision, and what was printed."""

    def chosen(rows=MANY, able=True, changes=None, **machine):
        settings = load_member(tiny_competition.member(**{"stages": STAGES, **(changes or {})})).settings
        told = StringIO()
        on = command(asked=tmp_path / "asked", **machine)
        found = precision_by_trial(settings, 4, rows, Console(file=told, width=200), able=able, command=on)
        return found, told.getvalue()

    return chosen


def times_asked(tmp_path):
    path = tmp_path / "asked"
    return [one for one in asked_in(path) if one[0] != "begin"] if path.exists() else []


@pytest.mark.parametrize(("slower", "chosen"), [(0.5, "mixed_bfloat16"), (0.9, "float32"), (2.0, "float32")])
def test_bfloat16_is_chosen_only_where_it_is_clearly_faster(slower, chosen, choose):
    assert choose(slower={"mixed_bfloat16": slower})[0] == chosen


def test_the_figures_are_told_in_one_line(choose):
    told = choose(slower={"mixed_bfloat16": 0.5})[1]
    assert told == "  precision: mixed_bfloat16 (90 ms a step, float32 180 ms)\n"
    assert choose(slower={"mixed_bfloat16": 2.0}, changes={"head": {"dropout": 0.5}})[1] == (
        "  precision: float32 (180 ms a step, mixed_bfloat16 360 ms)\n"
    )


def test_the_stage_that_learns_on_most_is_measured_and_a_close_call_in_more_turns(choose, tmp_path):
    choose(slower={"mixed_bfloat16": 0.8})
    assert times_asked(tmp_path) == [(8, "float32"), (8, "mixed_bfloat16")] * 3


def test_the_choice_is_remembered_for_as_long_as_it_is_about_the_same(choose, tmp_path):
    choose(slower={"mixed_bfloat16": 0.5})
    assert len(times_asked(tmp_path)) == 2
    again = choose(slower={"mixed_bfloat16": 2.0})
    assert again == (
        "mixed_bfloat16", "  precision: mixed_bfloat16 (90 ms a step, float32 180 ms when measured here before)\n"
    )  # fmt: skip
    assert len(times_asked(tmp_path)) == 2
    other = choose(slower={"mixed_bfloat16": 2.0}, changes={"head": {"dropout": 0.5}})
    assert other[0] == "float32"
    assert len(times_asked(tmp_path)) == 4


def test_the_seed_and_the_weights_do_not_matter(choose, tmp_path):
    choose(slower={"mixed_bfloat16": 0.5})
    choose(changes={"seed": 7, "label_smoothing": 0.1})
    assert len(times_asked(tmp_path)) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"precision": "half", "seconds": {}}', '{"precision": "float32"}'])
def test_what_is_remembered_but_damaged_is_measured_again(text, choose, cache):
    choose(slower={"mixed_bfloat16": 0.5})
    (place,) = (cache / "precision").iterdir()
    place.write_text(text)
    assert choose(slower={"mixed_bfloat16": 2.0})[0] == "float32"
    assert json.loads(place.read_text())["precision"] == "float32"


@pytest.mark.parametrize("machine", [{"exit": 3}, {"dies_above": 0}, {"refuses_above": 0}, {"error": "no"}])
def test_where_it_cannot_be_measured_it_is_float32_and_nothing_is_remembered(machine, choose, cache):
    assert choose(**machine) == ("float32", "")
    assert not (cache / "precision").exists()


def test_a_short_training_is_not_worth_a_trial(choose, tmp_path):
    assert choose(rows=24) == ("float32", "")
    assert times_asked(tmp_path) == []
    assert choose(rows=None, slower={"mixed_bfloat16": 0.5})[0] == "mixed_bfloat16"


def test_nothing_is_measured_where_processors_cannot_or_no_backbone_learns(choose, tmp_path):
    assert choose(able=False) == ("float32", "")
    assert choose(changes={"stages": STAGES[:1]}) == ("float32", "")
    assert times_asked(tmp_path) == []


def arrays_of(run):
    found = {}
    with h5py.File(run.best_weights) as file:
        file.visititems(lambda name, part: found.update({name: part[()]}) if isinstance(part, h5py.Dataset) else None)
    return {name: array.tobytes() for name, array in found.items()}


def test_a_choice_measured_or_remembered_leaves_the_bits_of_one_that_was_said(tiny_competition, tmp_path, monkeypatch):
    """By the real trial, of a model so small that the choice has to be made for it."""

    def trained(name, **changes):
        member, told = load_member(tiny_competition.member(**changes)), StringIO()
        options = RunOptions(data=tiny_competition.folder, runs=tmp_path / name, folds=(0,))
        (one,) = fold_runs(member, prepare(member.competition, options, Console(quiet=True)), options)
        train_run(one, Console(file=told, width=200))
        return one.run, told.getvalue()

    monkeypatch.setattr(precision, "PAYS_FROM", 0)
    monkeypatch.setattr(precision, "CLEARLY", 0.0)
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    said, log = trained("said", precision="mixed_bfloat16")
    assert "precision: " not in log
    measured, log = trained("measured")
    assert "precision: mixed_bfloat16 (" in log
    remembered, log = trained("remembered")
    assert "when measured here before)" in log
    assert measured.state["best"]["precision"] == "mixed_bfloat16"
    for run in (measured, remembered):
        assert arrays_of(run) == arrays_of(said)
        assert run.history.read_text() == said.history.read_text()
