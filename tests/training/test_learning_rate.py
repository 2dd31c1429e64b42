import pytest

from podium.config.stage import Stage, Unfreeze
from podium.training.learning_rate import scheduled_rate


def stage(schedule, epochs=4):
    settings = {"name": "one", "epochs": epochs, "batch_size": 1, "image_size": 32, "learning_rate": 1.0}
    return Stage.model_validate(settings | {"unfreeze": Unfreeze(layers=0.0), "schedule": schedule})


@pytest.mark.parametrize("kind", ["constant", "plateau"])
def test_constant_and_plateau_stay_at_the_learning_rate(kind):
    assert [scheduled_rate(stage(kind), 1.0, moment) for moment in (0, 2.5, 4)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("moment", "expected"), [(0, 1.0), (0.99, 1.0), (1, 0.5), (2.5, 0.25), (4, 0.0625)])
def test_exponential_falls_after_every_epoch(moment, expected):
    assert scheduled_rate(stage({"kind": "exponential", "decay": 0.5}), 1.0, moment) == expected


@pytest.mark.parametrize(("moment", "expected"), [(0, 1.0), (1.99, 1.0), (2, 0.1), (3.5, 0.1), (4, 0.01)])
def test_step_falls_after_every_so_many_epochs(moment, expected):
    assert scheduled_rate(stage({"kind": "step", "every": 2, "factor": 0.1}), 1.0, moment) == pytest.approx(expected)


@pytest.mark.parametrize(("moment", "expected"), [(0, 1.0), (2, 0.5), (4, 0.0)])
def test_cosine_falls_from_the_first_step_to_nothing(moment, expected):
    assert scheduled_rate(stage("cosine"), 1.0, moment) == pytest.approx(expected)


@pytest.mark.parametrize(("moment", "expected"), [(0, 0.01), (0.5, 0.5), (1, 1.0), (3, (1 + 0.1) / 2), (5, 0.1)])
def test_cosine_with_warm_up_rises_from_near_nothing_and_falls_to_its_final_share(moment, expected):
    schedule = {"kind": "cosine", "warmup_epochs": 1.0, "final": 0.1}
    assert scheduled_rate(stage(schedule, epochs=5), 1.0, moment) == pytest.approx(expected)


def test_warm_up_of_most_of_the_stage_is_as_long_as_the_config_says():
    assert scheduled_rate(stage({"kind": "cosine", "warmup_epochs": 3.0}), 1.0, 3) == 1.0


@pytest.mark.parametrize(("moment", "expected"), [(0, 0.01), (1, 0.5), (2, 1.0), (3, 0.5), (4, 0.0)])
def test_warm_up_longer_than_a_stage_cut_short_by_a_dry_run_takes_half_of_it(moment, expected):
    cut = stage({"kind": "cosine", "warmup_epochs": 6.0}, epochs=20).model_copy(update={"epochs": 4})
    assert scheduled_rate(cut, 1.0, moment) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("moment", "expected"), [(0, 1 / 25), (1.5, (1 + 1 / 25) / 2), (3, 1.0), (6.5, (1 + 1e-4) / 2), (10, 1e-4)]
)
def test_one_cycle_rises_over_its_warm_up_and_falls_to_almost_nothing(moment, expected):
    schedule = {"kind": "one_cycle", "warmup": 0.3, "start": 25.0, "end": 1e4}
    assert scheduled_rate(stage(schedule, epochs=10), 1.0, moment) == pytest.approx(expected)
