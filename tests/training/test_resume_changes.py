"""Which differences between two configs a training can take up on its way, and which it cannot."""

import copy

import pytest

from podium.config.member import MemberSettings
from podium.config.settings import decisive_keys
from podium.training.resume import judge
from podium.training.training_progress import Progress

STAGE = {"unfreeze": "all", "epochs": 5, "batch_size": 8, "image_size": 32, "learning_rate": 0.1}
WAS = {
    "member": {
        "backbone": {"name": "Xception", "alpha": None},
        "augmentation": ["HorizontalFlip"],
        "save_every": 10.0,
        "stages": [
            {**STAGE, "name": "head", "schedule": {"kind": "constant"}},
            {**STAGE, "name": "end", "schedule": {"kind": "plateau", "patience": 2}},
            {**STAGE, "name": "all", "schedule": {"kind": "constant"}},
        ],
    },
    "competition": {"metric": "accuracy", "title": "Cars"},
    "made_of": {"rows": "aa", "folds": "bb", "weights": None, "labels": ["0", "1"]},
    "limit": None,
    "dry_run": False,
}
DECISIVE = decisive_keys(MemberSettings)
IN_THE_SECOND = Progress(seed=1, stage=1, stage_name="end", epoch=2, step=7)


def changed(path, value):
    """WAS with another value at this path, such as `member.stages.1.epochs`."""
    content = copy.deepcopy(WAS)
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    place = content
    for part in parents:
        place = place[part]
    place[last] = value
    return content


def judged(asked, progress=IN_THE_SECOND):
    found = judge(WAS, asked, DECISIVE, progress)
    return [(change.position, change.key, change.before, change.after) for change in found.changes], found.refused


def test_the_same_config_has_no_differences():
    assert judged(copy.deepcopy(WAS)) == ([], [])


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        ("learning_rate", 0.1, 0.01),
        ("epochs", 5, 9),
        ("epochs", 5, 1),
        ("batch_size", 8, 16),
        ("early_stopping", None, 3),
    ],
)
def test_a_stage_under_way_takes_up_how_fast_and_how_long_it_learns_from_here_on(key, before, after):
    assert judged(changed(f"member.stages.1.{key}", after)) == ([((1, 2, 7), key, before, after)], [])


def test_another_schedule_is_one_change_of_all_its_keys():
    before, after = WAS["member"]["stages"][1]["schedule"], {"kind": "cosine", "final": 0.1}
    assert judged(changed("member.stages.1.schedule", after)) == ([((1, 2, 7), "schedule", before, after)], [])


def test_before_a_learning_rate_stands_the_one_that_was_set_last():
    from podium.changes import Change

    progress = Progress(seed=1, stage=1, stage_name="end", epoch=2, step=7)
    progress.changes = [Change(1, 1, 0, "learning_rate", 0.1, 0.05, "set", "then")]
    assert judged(changed("member.stages.1.learning_rate", 0.01), progress)[0][0][2:] == (0.05, 0.01)


@pytest.mark.parametrize("key", ["unfreeze", "image_size", "name", "optimizer"])
def test_a_stage_under_way_keeps_the_rest(key):
    changes, refused = judged(changed(f"member.stages.1.{key}", "other"))
    assert not changes
    assert refused == [refused[0]]
    assert refused[0].startswith(f"stages.1.{key} ")
    assert refused[0].endswith("-> other (stage end has begun)")


@pytest.mark.parametrize("key", ["learning_rate", "epochs", "image_size"])
def test_a_stage_to_come_may_change_altogether(key):
    assert judged(changed(f"member.stages.2.{key}", 64)) == ([((2, 0, 0), key, STAGE[key], 64)], [])


@pytest.mark.parametrize("key", ["learning_rate", "epochs"])
def test_a_stage_that_is_over_does_not_change(key):
    assert judged(changed(f"member.stages.0.{key}", 3)) == (
        [],
        [f"stages.0.{key} {STAGE[key]} -> 3 (stage head is over)"],
    )


def test_the_last_stage_begun_may_be_lengthened_after_its_end_until_the_next_begins():
    progress = Progress(seed=1, stage=1, stage_name="end", epoch=5)
    assert judged(changed("member.stages.1.epochs", 7), progress) == ([((1, 5, 0), "epochs", 5, 7)], [])
    assert judged(changed("member.stages.1.learning_rate", 0.2), progress)[1] == [
        "stages.1.learning_rate 0.1 -> 0.2 (stage end is over)"
    ]


def test_a_trained_run_takes_further_stages_and_nothing_else():
    progress = Progress(seed=1, stage=2, stage_name="all", epoch=5, is_complete=True)
    more = {**STAGE, "name": "more"}
    asked = changed("member.stages", [*WAS["member"]["stages"], more])
    assert judged(asked, progress) == ([((3, 0, 0), "stage", None, "more")], [])
    assert judged(changed("member.stages.2.epochs", 9), progress)[1] == ["stages.2.epochs 5 -> 9 (stage all is over)"]


def test_a_stage_to_come_may_be_left_out_but_not_one_that_has_begun():
    stages = WAS["member"]["stages"]
    assert judged(changed("member.stages", stages[:2])) == ([((2, 0, 0), "stage", "all", None)], [])
    assert judged(changed("member.stages", stages[:1]))[1] == ["stage end, which has begun, is gone"]


@pytest.mark.parametrize(
    ("path", "value", "difference"),
    [
        ("member.backbone.name", "ResNet50", "backbone.name Xception -> ResNet50"),
        ("member.backbone.alpha", 0.5, "backbone.alpha null -> 0.5"),
        ("member.augmentation", [], 'augmentation ["HorizontalFlip"] -> []'),
        ("competition.metric", "log_loss", "metric accuracy -> log_loss"),
        ("made_of.rows", "cc", "rows and images aa -> cc"),
        ("made_of.folds", "cc", "folds bb -> cc"),
        ("made_of.weights", "cc", "weights file null -> cc"),
        ("made_of.labels", ["0"], 'classes ["0", "1"] -> ["0"]'),
        ("limit", 10, "limit null -> 10"),
        ("dry_run", True, "dry run false -> true"),
    ],
)
def test_what_holds_from_the_first_step_to_the_last_is_refused(path, value, difference):
    assert judged(changed(path, value)) == ([], [difference])


@pytest.mark.parametrize(("path", "value"), [("member.save_every", 1.0), ("competition.title", "Autos")])
def test_what_decides_no_weights_is_no_difference(path, value):
    assert judged(changed(path, value)) == ([], [])


def test_a_long_difference_is_shortened():
    assert judged(changed("member.augmentation", ["Rotate"] * 40))[1][0].endswith("…")


def of_frozen_stages(**changes):
    """Judged with frozen stages in place of those of WAS; the second, under way, with these values then."""
    was = copy.deepcopy(WAS)
    was["member"]["stages"] = [{**stage, "unfreeze": "none"} for stage in was["member"]["stages"]]
    asked = copy.deepcopy(was)
    asked["member"]["stages"][1] |= changes
    found = judge(was, asked, DECISIVE, IN_THE_SECOND)
    return [(change.position, change.key, change.before, change.after) for change in found.changes], found.refused


def test_a_frozen_stage_under_way_may_go_on_with_other_views():
    """The resolved config has no `views` where each epoch has its own."""
    assert of_frozen_stages(views=2) == ([((1, 2, 7), "views", None, 2)], [])


def test_views_of_a_frozen_stage_that_is_over_stay():
    was, asked = copy.deepcopy(WAS), copy.deepcopy(WAS)
    for content in (was, asked):
        content["member"]["stages"][0]["unfreeze"] = "none"
    asked["member"]["stages"][0]["views"] = 1
    assert judge(was, asked, DECISIVE, IN_THE_SECOND).refused == ["stages.0.views null -> 1 (stage head is over)"]
