"""`podium plan` on an imaginary machine."""

import json

import pytest
from fake_step_timing import command
from rich.console import Console

from podium.errors import ConfigError, MachineError
from podium.options import RunOptions
from podium.workflows import plan

HEAD = {"name": "head", "unfreeze": "none", "epochs": 3, "batch_size": 10, "image_size": 32, "learning_rate": 0.1}
ALL = HEAD | {"name": "all", "unfreeze": "all", "batch_size": 20, "image_size": 64}
FORWARD, STEP = (0.1 + 20 * 0.01) / 20, (0.1 + 20 * 0.01) / 20
"""Seconds for each image on the imaginary machine, whose steps last as long with a frozen backbone."""


@pytest.fixture(scope="module")
def competition(make_tiny_competition, tmp_path_factory):
    return make_tiny_competition(tmp_path_factory.mktemp("five"), train=40, folds={"kind": "stratified", "count": 5})


@pytest.fixture
def planned(competition, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "_seconds_to_augment", lambda *_: 0.002)
    monkeypatch.setattr(plan, "_seconds_to_read", lambda _, scalings: 0.01 * len(scalings))
    monkeypatch.setattr(plan, "worker_count", lambda: 2)

    def make(file, **machine):
        options = RunOptions(data=competition.folder, runs=tmp_path / "runs")
        return plan.make_plan(file, options, Console(quiet=True), command=command(**machine))

    return make


@pytest.fixture
def settings():
    return {
        "stages": [HEAD, ALL],
        "precision": "float32",
        "tta": {"views": ["horizontal_flip"], "image_sizes": [64, 96]},
    }


def test_minutes_are_images_times_the_seconds_of_one(planned, competition, settings):
    found = planned(competition.member(**settings))
    train, test, validation = 40, 8, 8
    assert (found.train, found.test) == (train, test)
    head, every, predictions = found.parts
    assert head.images == train  # one pass over training and validation images for all epochs
    assert head.seconds == pytest.approx(train * FORWARD / 4)
    assert every.seconds == pytest.approx(3 * ((train - validation) * (STEP + 0.001) + validation * FORWARD))
    scale = (96 / 64) ** 2
    assert predictions.images == validation * 2 + test
    assert predictions.seconds == pytest.approx(FORWARD * (validation * (1 + scale) + test * scale))
    assert found.reading == pytest.approx(0.01 * (3 * train + 2 * test) / 2)  # of 32, 64 and 96 px, and of 64 and 96
    assert found.cache == 3 * (32**2 * train + (64**2 + 96**2) * (train + test))
    assert [part.folds for part in found.parts] == [5] * 3
    seconds = 5 * sum(part.seconds for part in found.parts)
    assert found.hours == pytest.approx((found.reading + seconds) / 3600)
    assert found.memory == 3 * 10**9 + plan.BYTES_PER_ROW * (train + test)


def test_an_ensemble_has_all_members_and_its_folds(planned, competition, settings):
    members = [competition.member(name, **settings) for name in ("a", "b")]
    found = planned(competition.ensemble(members, folds=[0, 2, 3]))
    assert [part.member for part in found.parts] == ["a"] * 3 + ["b"] * 3
    assert [part.folds for part in found.parts] == [3] * 6
    with pytest.raises(ConfigError, match="only soups"):
        planned(competition.ensemble([competition.member("c", soup=["a-1", "b-2"], **settings)]))


def test_layers_with_rates_of_their_own_and_augmentation_of_a_stage_are_planned(planned, competition, settings):
    stages = [HEAD, ALL | {"layer_decay": 0.8, "augmentation": ["HorizontalFlip"]}]
    assert planned(competition.member(**settings | {"stages": stages})).hours > 0


def test_a_gpu_computes_while_images_are_prepared(planned, competition, settings, monkeypatch):
    member = competition.member(**settings)
    fast, slow = planned(member, gpus=1).parts[1], planned(member).parts[1]
    assert fast.seconds < slow.seconds
    monkeypatch.setattr(plan, "_seconds_to_augment", lambda *_: 1.0)
    assert planned(member, gpus=1).parts[1].seconds == pytest.approx(3 * (32 * 0.5 + 8 * FORWARD))


def test_a_batch_that_does_not_fit_is_named(planned, competition, settings):
    with pytest.raises(MachineError, match=r"stage all: a batch of 20 does not fit .* podium find-batch"):
        planned(competition.member(**settings), too_large_above=15)


@pytest.mark.slow
def test_the_command_measures_this_machine(tiny_competition, tmp_path, podium_in):
    member = tiny_competition.member(precision="float32")
    result = podium_in(tmp_path, "plan", member, "--data", tiny_competition.folder)
    assert result.code == 0, result.err
    assert "hours for all folds" in result.out
    found = json.loads(podium_in(tmp_path, "plan", member, "--data", tiny_competition.folder, "--json").out)
    assert [part["name"] for part in found["parts"]] == ["all", "predictions"]
    assert 0 < found["hours"] < 1
    assert list((tmp_path / "runs").iterdir()) == [tmp_path / "runs" / "folds"]
