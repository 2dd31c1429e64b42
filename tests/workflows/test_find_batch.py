"""The search for a batch on imaginary machines; tests/cli/test_find_batch_command.py uses the real one."""

import os

import pytest
from fake_step_timing import command, read_log

from podium.config.loading import load_member
from podium.config.stage import Stage
from podium.data.targets import SingleLabelTarget
from podium.errors import ConfigError, MachineError
from podium.training.step_timing import StepTimer
from podium.workflows.find_batch import BatchFinder, choose_precision, find_stages, scaled_learning_rate

PLENTY = 10**15
STAGE = {"name": "all", "unfreeze": "all", "epochs": 2, "batch_size": 8, "image_size": 32, "learning_rate": 0.1}


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def find(tiny_competition, log):
    """`find(stages=[…], number=0, largest=64, limit=PLENTY, **machine)`: the batches of a stage."""

    def found(stages=(STAGE,), number=0, largest=64, limit=PLENTY, **machine):
        member = load_member(tiny_competition.member(stages=list(stages)))
        fake = command(log=log, **machine)
        return BatchFinder(member, "float32", largest, memory_limit=limit, command=fake).find(number)

    return found


def sizes(found):
    return [timing.batch_size for timing in found.timings]


def tried(log):
    """Each batch size once: the fastest and the stage's own are timed again at the end."""
    return list(dict.fromkeys(size for size, _ in read_log(log) if size != "start"))


def test_batch_is_doubled_up_to_the_largest_with_the_own_size_in_between(find, log):
    found = find([STAGE | {"batch_size": 20}], largest=50)
    assert sizes(found) == tried(log) == [8, 16, 20, 32, 50]
    assert [line[0] for line in read_log(log)].count("start") == 1
    assert found.own.batch_size == 20
    assert (found.largest.batch_size, found.too_large, found.ended_early) == (50, [], False)


def test_fastest_and_own_batch_are_timed_again(find, log):
    assert find(largest=32).fastest.batch_size == 32
    assert [size for size, _ in read_log(log)[1:]] == [8, 16, 32, 8, 32]


def test_nothing_is_timed_again_if_the_own_batch_is_the_fastest(find, log):
    assert find(largest=32, seconds=0).fastest.batch_size == 8
    assert [size for size, _ in read_log(log)[1:]] == [8, 16, 32]


def test_median_step_counts(find):
    found = find(largest=8)
    assert found.timings[0].seconds == pytest.approx(0.18)
    assert found.timings[0].images_per_second == pytest.approx(8 / 0.18)


@pytest.mark.parametrize("how", ["killed_above", "too_large_above"])
def test_batches_between_the_last_that_fits_and_the_first_that_does_not_are_bisected(how, find, log):
    """Also if the child is killed: another one is started."""
    found = find(largest=512, **{how: 107})
    assert tried(log) == [8, 16, 32, 64, 128, 96, 112, 104]
    assert found.largest.batch_size == 104
    assert [batch.batch_size for batch in found.too_large] == [112, 128]
    assert {one.estimated_memory for one in found.too_large} == {None}


def test_batch_estimated_not_to_fit_is_not_tried(find, log):
    found = find(largest=512, limit=8 * 10**9)  # 1 GB and 0.1 GB an image: 70 images
    assert tried(log) == [8, 16, 32, 64]
    assert found.largest.batch_size == 64
    estimates = {one.batch_size: one.estimated_memory for one in found.too_large}
    assert estimates == {72: 82 * 10**8, 80: 90 * 10**8, 96: 106 * 10**8, 128: 138 * 10**8}


def test_memory_is_estimated_from_one_batch_and_the_memory_before_it(find, log):
    found = find(limit=2 * 10**9)
    assert tried(log) == [8]
    assert found.too_large[0].estimated_memory == 26 * 10**8


def test_no_memory_is_estimated_on_gpus(find, log):
    found = find(limit=1, gpus=2, too_large_above=16)
    assert sizes(found) == [8, 16]
    assert tried(log) == [8, 16, 32, 24]
    assert (found.gpus, found.memory_limit) == (2, None)


def test_smaller_batches_are_tried_if_8_does_not_fit(find, log):
    found = find(killed_above=5)
    assert tried(log) == [8, 4, 6, 5]
    assert sizes(found) == [4, 5]
    assert found.own is None
    assert found.speedup(found.largest) is None


def test_no_batch_fits(find):
    with pytest.raises(MachineError, match="not even a batch of one image fits"):
        find(killed_above=0)


def test_search_ends_early_if_long_steps_gain_nothing(find, log):
    found = find(largest=512, limit=11 * 10**9, seconds=0, seconds_per_image=1.0)
    assert tried(log) == [8, 16, 32]
    assert found.ended_early
    assert found.estimated_largest == 96  # of 100
    assert found.fastest.batch_size == 8


def test_search_continues_if_long_steps_gain(find):
    assert sizes(find(largest=128, seconds=100, seconds_per_image=1.0)) == [8, 16, 32, 64, 128]


def test_fastest_is_the_smallest_within_2_percent_of_the_best(find):
    found = find(
        largest=512, seconds=0.01, seconds_per_image=0.01
    )  # 8: 88.9 per second, 16: 94.1, 32: 97.0, 64: 98.5, 128: 99.2
    assert found.fastest.batch_size == 64
    assert found.speedup(found.fastest) == pytest.approx(98.46 / 88.89, rel=1e-3)


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [("SGD", 0.4), ({"name": "SGD", "momentum": 0.9}, 0.4), ("Adam", 0.2), ("AdamW", 0.2), ("RMSprop", 0.2)],
)
def test_learning_rate_is_scaled_linearly_for_sgd_and_by_the_square_root_for_others(optimizer, rate):
    stage = Stage.model_validate(STAGE | {"optimizer": optimizer})
    assert scaled_learning_rate(stage, 32) == pytest.approx(rate)
    assert scaled_learning_rate(stage, 8) == 0.1


def test_stages_with_equal_steps_are_timed_once(tiny_competition, log):
    other = {"name": "again", "batch_size": 12, "learning_rate": 0.01, "epochs": 5}
    smaller = {"name": "smaller", "image_size": 48}
    member = load_member(tiny_competition.member(stages=[STAGE, STAGE | other, STAGE | smaller]))
    finder = BatchFinder(member, "float32", 16, memory_limit=PLENTY, command=command(log=log))
    first, second = finder.find(0), finder.find(1)
    assert tried(log) == [8, 12, 16]
    assert finder.is_found(1)
    assert not finder.is_found(2)
    assert first.timings == second.timings
    assert (first.own.batch_size, second.own.batch_size) == (8, 12)
    assert sizes(finder.find(2)) == [8, 16]


def test_unknown_stage(tiny_competition):
    member = load_member(tiny_competition.member(stages=[STAGE, STAGE | {"name": "more"}]))
    assert find_stages(member, None) == [0, 1]
    assert find_stages(member, "more") == [1]
    with pytest.raises(ConfigError, match="tiny has no stage 'moer'; expected one of all, more"):
        find_stages(member, "moer")


def test_config_error_in_the_child_is_reported(find):
    with pytest.raises(ConfigError, match="Adam does not take that"):
        find(error="Adam does not take that")


def test_exit_of_the_child_is_reported_with_its_last_line(find):
    with pytest.raises(MachineError, match="failed with exit code 3: last line of its output"):
        find(exit=3)


def test_child_is_stopped_on_an_exception(tiny_competition, log):
    settings = load_member(tiny_competition.member()).settings
    timer = StepTimer(settings, SingleLabelTarget(list("0123")), settings.stages[0], command(log=log))

    def interrupted():
        with timer:
            timer.start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    ((_, process),) = read_log(log)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_precision_is_that_of_the_member_or_of_the_gpus(tiny_competition):
    def found(**changes):
        member = load_member(tiny_competition.member(**changes))
        return choose_precision(member, None, command(gpus=1, auto_precision="mixed_float16"))

    assert found() == "mixed_float16"
    assert found(precision="mixed_bfloat16") == "mixed_bfloat16"
