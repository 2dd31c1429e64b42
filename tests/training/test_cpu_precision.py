"""`precision: auto` on a CPU: timed once, and the same from then on."""

import json
from io import StringIO

import h5py
import pytest
from fake_step_timing import command, read_log
from rich.console import Console

from podium.config.loading import load_member
from podium.data.targets import SingleLabelTarget, SoftLabelTarget
from podium.options import RunOptions
from podium.training import precision
from podium.training.precision import choose_cpu_precision
from podium.training.run_training import train_run
from podium.training.step_timing import StepTimer
from podium.workflows.fold_runs import fold_runs
from podium.workflows.prepare import prepare

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

TARGET = SingleLabelTarget(list("0123"))


@pytest.fixture
def choose(tiny_competition, tmp_path):
    """`choose(rows=MANY, supported=True, changes={}, **machine)`: the precision, and the output."""

    def chosen(rows=MANY, supported=True, changes=None, **machine):
        settings = load_member(tiny_competition.member(**{"stages": STAGES, **(changes or {})})).settings
        output, fake = StringIO(), command(log=tmp_path / "log", **machine)
        console = Console(file=output, width=200)
        return choose_cpu_precision(
            settings, TARGET, rows, console, supported=supported, command=fake
        ), output.getvalue()

    return chosen


def timed(tmp_path):
    path = tmp_path / "log"
    return [line for line in read_log(path) if line[0] != "start"] if path.exists() else []


@pytest.mark.parametrize(("slowdown", "chosen"), [(0.5, "mixed_bfloat16"), (0.9, "float32"), (2.0, "float32")])
def test_bfloat16_is_chosen_only_if_clearly_faster(slowdown, chosen, choose):
    assert choose(slowdown={"mixed_bfloat16": slowdown})[0] == chosen


def test_timings_are_printed(choose):
    output = choose(slowdown={"mixed_bfloat16": 0.5})[1]
    assert output == "  precision: mixed_bfloat16 (90 ms per step, float32 180 ms)\n"
    assert choose(slowdown={"mixed_bfloat16": 2.0}, changes={"head": {"dropout": 0.5}})[1] == (
        "  precision: float32 (180 ms per step, mixed_bfloat16 360 ms)\n"
    )


def test_longest_stage_is_timed_and_close_timings_are_repeated(choose, tmp_path):
    choose(slowdown={"mixed_bfloat16": 0.8})
    assert timed(tmp_path) == [(8, "float32"), (8, "mixed_bfloat16")] * 3


def test_timings_are_cached_by_model(choose, tmp_path):
    choose(slowdown={"mixed_bfloat16": 0.5})
    assert len(timed(tmp_path)) == 2
    again = choose(slowdown={"mixed_bfloat16": 2.0})
    assert again == (
        "mixed_bfloat16", "  precision: mixed_bfloat16 (90 ms per step, float32 180 ms when timed before)\n"
    )  # fmt: skip
    assert len(timed(tmp_path)) == 2
    other = choose(slowdown={"mixed_bfloat16": 2.0}, changes={"head": {"dropout": 0.5}})
    assert other[0] == "float32"
    assert len(timed(tmp_path)) == 4


def test_seed_and_label_smoothing_are_not_part_of_the_cache_key(choose, tmp_path):
    choose(slowdown={"mixed_bfloat16": 0.5})
    choose(changes={"seed": 7, "label_smoothing": 0.1})
    assert len(timed(tmp_path)) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"seconds": {}}', '{"seconds": {"float32": 1, "mixed_bfloat16": 0}}'])
def test_damaged_cache_is_timed_again(text, choose, cache):
    choose(slowdown={"mixed_bfloat16": 0.5})
    (path,) = (cache / "precision").iterdir()
    path.write_text(text)
    assert choose(slowdown={"mixed_bfloat16": 2.0})[0] == "float32"
    assert json.loads(path.read_text())["seconds"] == pytest.approx({"float32": 0.18, "mixed_bfloat16": 0.36})


@pytest.mark.parametrize("machine", [{"exit": 3}, {"killed_above": 0}, {"too_large_above": 0}, {"error": "no"}])
def test_float32_if_timing_fails(machine, choose, cache):
    assert choose(**machine) == ("float32", "")
    assert not (cache / "precision").exists()


def test_short_training_is_not_timed(choose, tmp_path):
    assert choose(rows=24) == ("float32", "")
    assert timed(tmp_path) == []
    assert choose(rows=None, slowdown={"mixed_bfloat16": 0.5})[0] == "mixed_bfloat16"


def test_nothing_is_timed_without_support_or_trainable_backbone(choose, tmp_path):
    assert choose(supported=False) == ("float32", "")
    assert choose(changes={"stages": STAGES[:1]}) == ("float32", "")
    assert timed(tmp_path) == []


def arrays_of(run):
    found = {}
    with h5py.File(run.best_weights) as file:
        file.visititems(lambda name, part: found.update({name: part[()]}) if isinstance(part, h5py.Dataset) else None)
    return {name: array.tobytes() for name, array in found.items()}


@pytest.mark.slow
def test_timed_and_cached_choice_trains_the_same_bits_as_an_explicit_one(tiny_competition, tmp_path, monkeypatch):
    """With real timing; the model is so small that the choice has to be forced."""

    def trained(name, **changes):
        member, output = load_member(tiny_competition.member(**changes)), StringIO()
        options = RunOptions(data=tiny_competition.folder, runs=tmp_path / name, folds=(0,))
        (one,) = fold_runs(member, prepare(member.competition, options, Console(quiet=True)), options)
        train_run(one, Console(file=output, width=200))
        return one.run, output.getvalue()

    monkeypatch.setattr(precision, "MIN_PIXELS", 0)
    monkeypatch.setattr(precision, "MIN_SPEEDUP", 0.0)
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    explicit, log = trained("explicit", precision="mixed_bfloat16")
    assert "precision: " not in log
    timed, log = trained("timed")
    assert "precision: mixed_bfloat16 (" in log
    cached, log = trained("cached")
    assert "when timed before)" in log
    assert timed.state["best"]["precision"] == "mixed_bfloat16"
    for run in (timed, cached):
        assert arrays_of(run) == arrays_of(explicit)
        assert run.history.read_text() == explicit.history.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("target", [SoftLabelTarget(list("0123")), TARGET])
def test_steps_are_timed_without_the_weights_of_classes(target, tiny_competition):
    settings = load_member(tiny_competition.member()).settings.model_copy(update={"class_weights": "balanced"})
    with StepTimer(settings, target, settings.stages[0]) as timer:
        assert timer.time(4, "float32").seconds > 0
