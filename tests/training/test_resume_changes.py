"""Which differences between two configs a stopped training can be resumed with."""

import copy

import pytest

from podium.config.member import MemberSettings
from podium.config.settings import decisive_keys
from podium.training.checkpoints import Progress
from podium.training.resume import compare_configs

STAGE = {"unfreeze": "all", "epochs": 5, "batch_size": 8, "image_size": 32, "learning_rate": 0.1}
BEFORE = {
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
    "competition": {"metric": "accuracy", "target": {"kind": "single_label"}, "title": "Cars"},
    "inputs": {"rows": "aa", "folds": "bb", "weights": None, "labels": ["0", "1"]},
    "limit": None,
    "dry_run": False,
}
DECISIVE = decisive_keys(MemberSettings)
IN_THE_SECOND = Progress(seed=1, stage=1, stage_name="end", epoch=2, step=7)


def changed(path, value):
    """BEFORE with another value at this path, such as `member.stages.1.epochs`."""
    content = copy.deepcopy(BEFORE)
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    place = content
    for part in parents:
        place = place[part]
    place[last] = value
    return content


def compare(after, progress=IN_THE_SECOND, before=BEFORE):
    changes, refused = compare_configs(before, after, DECISIVE, progress)
    return [(change.position, change.key, change.before, change.after) for change in changes], refused


def test_the_same_config_has_no_differences():
    assert compare(copy.deepcopy(BEFORE)) == ([], [])


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
def test_learning_rate_epochs_and_batch_size_of_the_current_stage_can_change(key, before, after):
    assert compare(changed(f"member.stages.1.{key}", after)) == ([((1, 2, 7), key, before, after)], [])


def test_another_schedule_is_one_change():
    before, after = BEFORE["member"]["stages"][1]["schedule"], {"kind": "cosine", "final": 0.1}
    assert compare(changed("member.stages.1.schedule", after)) == ([((1, 2, 7), "schedule", before, after)], [])


def test_change_of_the_learning_rate_starts_from_the_last_requested_one():
    from podium.changes import Change

    progress = Progress(seed=1, stage=1, stage_name="end", epoch=2, step=7)
    progress.changes = [Change(1, 1, 0, "learning_rate", 0.1, 0.05, "set", "then")]
    assert compare(changed("member.stages.1.learning_rate", 0.01), progress)[0][0][2:] == (0.05, 0.01)


@pytest.mark.parametrize("key", ["unfreeze", "image_size", "name", "optimizer"])
def test_other_keys_of_the_current_stage_cannot_change(key):
    changes, refused = compare(changed(f"member.stages.1.{key}", "other"))
    assert not changes
    assert refused == [refused[0]]
    assert refused[0].startswith(f"stages.1.{key} ")
    assert refused[0].endswith("-> other (stage end has started)")


@pytest.mark.parametrize("key", ["learning_rate", "epochs", "image_size"])
def test_every_key_of_a_later_stage_can_change(key):
    assert compare(changed(f"member.stages.2.{key}", 64)) == ([((2, 0, 0), key, STAGE[key], 64)], [])


@pytest.mark.parametrize("key", ["learning_rate", "epochs"])
def test_finished_stage_cannot_change(key):
    assert compare(changed(f"member.stages.0.{key}", 3)) == (
        [],
        [f"stages.0.{key} {STAGE[key]} -> 3 (stage head is finished)"],
    )


def test_stage_can_get_more_epochs_until_the_next_one_begins():
    progress = Progress(seed=1, stage=1, stage_name="end", epoch=5)
    assert compare(changed("member.stages.1.epochs", 7), progress) == ([((1, 5, 0), "epochs", 5, 7)], [])
    assert compare(changed("member.stages.1.learning_rate", 0.2), progress)[1] == [
        "stages.1.learning_rate 0.1 -> 0.2 (stage end is finished)"
    ]


def test_trained_run_can_only_get_more_stages():
    progress = Progress(seed=1, stage=2, stage_name="all", epoch=5, is_complete=True)
    more = {**STAGE, "name": "more"}
    after = changed("member.stages", [*BEFORE["member"]["stages"], more])
    assert compare(after, progress) == ([((3, 0, 0), "stage", None, "more")], [])
    assert compare(changed("member.stages.2.epochs", 9), progress)[1] == [
        "stages.2.epochs 5 -> 9 (stage all is finished)"
    ]


def test_later_stage_can_be_removed_but_not_one_that_has_begun():
    stages = BEFORE["member"]["stages"]
    assert compare(changed("member.stages", stages[:2])) == ([((2, 0, 0), "stage", "all", None)], [])
    assert compare(changed("member.stages", stages[:1]))[1] == ["stage end, which has started, is missing"]


@pytest.mark.parametrize(
    ("path", "value", "difference"),
    [
        ("member.backbone.name", "ResNet50", "backbone.name Xception -> ResNet50"),
        ("member.backbone.alpha", 0.5, "backbone.alpha null -> 0.5"),
        ("member.augmentation", [], 'augmentation ["HorizontalFlip"] -> []'),
        ("competition.metric", "log_loss", "metric accuracy -> log_loss"),
        ("competition.target.kind", "ordinal", 'target {"kind": "single_label"} -> {"kind": "ordinal"}'),
        ("inputs.rows", "cc", "rows and images aa -> cc"),
        ("inputs.folds", "cc", "folds bb -> cc"),
        ("inputs.weights", "cc", "weights file null -> cc"),
        ("inputs.labels", ["0"], 'classes ["0", "1"] -> ["0"]'),
        ("limit", 10, "limit null -> 10"),
        ("dry_run", True, "dry run false -> true"),
    ],
)
def test_what_decides_the_weights_cannot_change(path, value, difference):
    assert compare(changed(path, value)) == ([], [difference])


@pytest.mark.parametrize(("path", "value"), [("member.save_every", 1.0), ("competition.title", "Autos")])
def test_what_does_not_decide_the_weights_is_no_difference(path, value):
    assert compare(changed(path, value)) == ([], [])


def test_long_difference_is_shortened():
    assert compare(changed("member.augmentation", ["Rotate"] * 40))[1][0].endswith("…")


def of_frozen_stages(**changes):
    """Compare with frozen backbones in all stages, and these changes in the second, current one."""
    before = copy.deepcopy(BEFORE)
    before["member"]["stages"] = [{**stage, "unfreeze": "none"} for stage in before["member"]["stages"]]
    after = copy.deepcopy(before)
    after["member"]["stages"][1] |= changes
    return compare(after, before=before)


def test_views_of_the_current_frozen_stage_can_change():
    """The resolved config has no `views` where each epoch has its own."""
    assert of_frozen_stages(views=2) == ([((1, 2, 7), "views", None, 2)], [])


def test_views_of_a_finished_frozen_stage_cannot_change():
    before, after = copy.deepcopy(BEFORE), copy.deepcopy(BEFORE)
    for content in (before, after):
        content["member"]["stages"][0]["unfreeze"] = "none"
    after["member"]["stages"][0]["views"] = 1
    assert compare(after, before=before)[1] == ["stages.0.views null -> 1 (stage head is finished)"]
