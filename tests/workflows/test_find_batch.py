"""The search for a batch, on machines that are made up; tests/cli/test_find_batch_command.py has this one."""

import os

import pytest
from pretended_trials import asked_in, command

from podium.config.loading import load_member
from podium.config.stage import Stage
from podium.errors import ConfigError, MachineError
from podium.training.trials import Trials
from podium.workflows.find_batch import Finder, precision_for, scaled_learning_rate, stages_asked_for

PLENTY = 10**15
STAGE = {"name": "all", "unfreeze": "all", "epochs": 2, "batch_size": 8, "image_size": 32, "learning_rate": 0.1}


@pytest.fixture
def asked(tmp_path):
    return tmp_path / "asked"


@pytest.fixture
def find(tiny_competition, asked):
    """`find(stages=[…], number=0, largest=64, limit=PLENTY, **machine)`: what is found of a stage."""

    def finding(stages=(STAGE,), number=0, largest=64, limit=PLENTY, **machine):
        member = load_member(tiny_competition.member(stages=list(stages)))
        on = command(asked=asked, **machine)
        return Finder(member, "float32", largest, lambda one: None, limit, on).find(number)

    return finding


def sizes(finding):
    return [one.batch_size for one in finding.timed]


def tried(asked):
    """Each batch once: the fastest and the stage's own are timed again in the end."""
    return list(dict.fromkeys(size for size, _ in asked_in(asked) if size != "begin"))


def test_batches_are_doubled_up_to_the_largest_asked_for_and_the_stages_own_is_among_them(find, asked):
    finding = find([STAGE | {"batch_size": 20}], largest=50)
    assert sizes(finding) == tried(asked) == [8, 16, 20, 32, 50]
    assert [one[0] for one in asked_in(asked)].count("begin") == 1
    assert finding.own.batch_size == 20
    assert (finding.largest.batch_size, finding.refused, finding.ended_early) == (50, [], False)


def test_what_a_gain_is_told_of_is_timed_again_one_right_after_the_other(find, asked):
    assert find(largest=32).fastest.batch_size == 32
    assert [size for size, _ in asked_in(asked)[1:]] == [8, 16, 32, 8, 32]


def test_where_the_stages_own_is_the_fastest_nothing_is_timed_again(find, asked):
    assert find(largest=32, fixed=0).fastest.batch_size == 8
    assert [size for size, _ in asked_in(asked)[1:]] == [8, 16, 32]


def test_a_median_of_the_steps_counts(find):
    finding = find(largest=8)
    assert finding.timed[0].seconds == pytest.approx(0.18)
    assert finding.timed[0].rate == pytest.approx(8 / 0.18)


@pytest.mark.parametrize("how", ["dies_above", "refuses_above"])
def test_where_a_batch_does_not_fit_the_gap_is_halved_by_multiples_of_8(how, find, asked):
    """Also where the process died of it: another takes its place."""
    finding = find(largest=512, **{how: 107})
    assert tried(asked) == [8, 16, 32, 64, 128, 96, 112, 104]
    assert finding.largest.batch_size == 104
    assert [one.batch_size for one in finding.refused] == [112, 128]
    assert {one.foreseen for one in finding.refused} == {None}


def test_what_is_foreseen_not_to_fit_is_never_tried(find, asked):
    finding = find(largest=512, limit=8 * 10**9)  # 1 GB and 0.1 GB an image: 70 images
    assert tried(asked) == [8, 16, 32, 64]
    assert finding.largest.batch_size == 64
    foreseen = {one.batch_size: one.foreseen for one in finding.refused}
    assert foreseen == {72: 82 * 10**8, 80: 90 * 10**8, 96: 106 * 10**8, 128: 138 * 10**8}


def test_from_one_batch_it_is_foreseen_by_what_the_process_had_taken_before(find, asked):
    finding = find(limit=2 * 10**9)
    assert tried(asked) == [8]
    assert finding.refused[0].foreseen == 26 * 10**8


def test_gpus_say_themselves_what_does_not_fit(find, asked):
    finding = find(limit=1, gpus=2, refuses_above=16)
    assert sizes(finding) == [8, 16]
    assert tried(asked) == [8, 16, 32, 24]
    assert (finding.gpus, finding.limit) == (2, None)


def test_a_machine_for_less_than_8_is_tried_with_less(find, asked):
    finding = find(dies_above=5)
    assert tried(asked) == [8, 4, 6, 5]
    assert sizes(finding) == [4, 5]
    assert finding.own is None
    assert finding.gain(finding.largest) is None


def test_not_even_one_image_is_an_error(find):
    with pytest.raises(MachineError, match="not even a batch of one image fits"):
        find(dies_above=0)


def test_long_steps_that_gain_nothing_end_the_search_and_memory_tells_what_would_fit(find, asked):
    finding = find(largest=512, limit=11 * 10**9, fixed=0, a_image=1.0)
    assert tried(asked) == [8, 16, 32]
    assert finding.ended_early
    assert finding.foreseen_largest == 96  # of 100
    assert finding.fastest.batch_size == 8


def test_long_steps_that_gain_go_on(find):
    assert sizes(find(largest=128, fixed=100, a_image=1.0)) == [8, 16, 32, 64, 128]


def test_the_fastest_is_the_smallest_within_2_percent_of_the_best(find):
    finding = find(largest=512, fixed=0.01, a_image=0.01)  # 8: 88.9 a second, 16: 94.1, 32: 97.0, 64: 98.5, 128: 99.2
    assert finding.fastest.batch_size == 64
    assert finding.gain(finding.fastest) == pytest.approx(98.46 / 88.89, rel=1e-3)


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [("SGD", 0.4), ({"name": "SGD", "momentum": 0.9}, 0.4), ("Adam", 0.2), ("AdamW", 0.2), ("RMSprop", 0.2)],
)
def test_the_learning_rate_grows_with_the_batch_for_sgd_and_with_its_root_for_the_others(optimizer, rate):
    stage = Stage.model_validate(STAGE | {"optimizer": optimizer})
    assert scaled_learning_rate(stage, 32) == pytest.approx(rate)
    assert scaled_learning_rate(stage, 8) == 0.1


def test_stages_of_one_kind_share_what_was_measured(tiny_competition, asked):
    other = {"name": "again", "batch_size": 12, "learning_rate": 0.01, "epochs": 5}
    smaller = {"name": "smaller", "image_size": 48}
    member = load_member(tiny_competition.member(stages=[STAGE, STAGE | other, STAGE | smaller]))
    finder = Finder(member, "float32", 16, lambda one: None, PLENTY, command(asked=asked))
    first, second = finder.find(0), finder.find(1)
    assert tried(asked) == [8, 12, 16]
    assert finder.is_known(1)
    assert not finder.is_known(2)
    assert first.timed == second.timed
    assert (first.own.batch_size, second.own.batch_size) == (8, 12)
    assert sizes(finder.find(2)) == [8, 16]


def test_a_stage_that_is_not_there_is_told_with_those_that_are(tiny_competition):
    member = load_member(tiny_competition.member(stages=[STAGE, STAGE | {"name": "more"}]))
    assert stages_asked_for(member, None) == [0, 1]
    assert stages_asked_for(member, "more") == [1]
    with pytest.raises(ConfigError, match="tiny has no stage 'moer'; it has all, more"):
        stages_asked_for(member, "moer")


def test_what_the_process_finds_wrong_with_the_config_is_told_as_such(find):
    with pytest.raises(ConfigError, match="Adam does not take that"):
        find(error="Adam does not take that")


def test_any_other_end_of_the_process_is_told_with_its_last_words(find):
    with pytest.raises(MachineError, match="failed with exit code 3: what it said last"):
        find(exit=3)


def test_its_process_ends_with_the_block_however_that_is_left(tiny_competition, asked):
    settings = load_member(tiny_competition.member()).settings
    trials = Trials(settings, 4, settings.stages[0], command(asked=asked))

    def interrupted():
        with trials:
            trials.start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    ((_, process),) = asked_in(asked)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_precision_is_the_members_or_that_of_the_gpus(tiny_competition):
    def found(**changes):
        member = load_member(tiny_competition.member(**changes))
        return precision_for(member, None, command(gpus=1, auto="mixed_float16"))

    assert found() == "mixed_float16"
    assert found(precision="mixed_bfloat16") == "mixed_bfloat16"
