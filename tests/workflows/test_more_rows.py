"""Extra rows of a member: where they are in a training, and what of them decides the name of its run."""

import cv2
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from podium.config.loading import load_member
from podium.errors import ConfigError
from podium.options import RunOptions
from podium.workflows.fold_runs import fold_images, fold_runs
from podium.workflows.prepare import prepare


@pytest.fixture
def runs_of(tiny_competition, tmp_path):
    """`runs_of(extra, **options)`: both folds of a member with these extra rows; images are in data/more."""
    for number in range(6):
        draw(tiny_competition.folder / "more" / f"{number}.png", number)

    def make(extra=(), **options):
        member = load_member(tiny_competition.member(extra=list(extra)))
        options = RunOptions(data=tiny_competition.folder, runs=tmp_path / "runs", **options)
        prepared = prepare(member.competition, options, Console(quiet=True), [member])
        return fold_runs(member, prepared, options)

    make.folder = tiny_competition.folder
    return make


def draw(path, seed):
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 255, (40, 40, 3), dtype=np.uint8))


FOLDER = {"images": "more/*.png", "label": 3}


def test_extra_rows_come_after_a_folds_own_and_are_never_validated_on(runs_of):
    for plain, run in zip(runs_of(), runs_of([FOLDER, {**FOLDER, "images": "more/0.png", "weight": 2}]), strict=True):
        (own, validation), (training, same_validation) = fold_images(plain), fold_images(run)
        assert list(training.paths)[: len(own.paths)] == list(own.paths)
        assert [path.name for path in list(training.paths)[len(own.paths) :]] == [
            *(f"{number}.png" for number in range(6)),
            "0.png",
        ]
        assert training.truth.tolist() == [*own.truth, *[3] * 7]
        assert training.weights.tolist() == [*[1] * (len(own.paths) + 6), 2]
        assert list(validation.paths) == list(same_validation.paths)


def test_name_of_a_run_depends_on_every_image_label_and_weight_of_its_extra_rows(runs_of):
    def write(label):
        table = runs_of.folder / "more.csv"
        pd.DataFrame({"Id": ["1.png", "2.png"], "Category": ["0", label]}).to_csv(table, index=False)

    write("1")
    source = {"table": "more.csv", "images": "more/{id}"}

    def name(**changes):
        return runs_of([source | changes])[0].path.parent.name

    names = [runs_of()[0].path.parent.name, name(), name(weight=0.5)]
    assert name() == names[1]
    write("2")
    names.append(name())
    draw(runs_of.folder / "more" / "2.png", 99)
    names.append(name())
    assert len(set(names)) == len(names)


def test_a_class_that_a_fold_or_all_rows_lack_is_named(runs_of, tiny_competition):
    tiny_competition.change(classes=["0", "1", "2", "3", "yellow"])
    with pytest.raises(
        ConfigError, match=r"class yellow; if no row has it, remove it from the classes .*, else fix .*\.csv"
    ):
        fold_images(runs_of()[0])
    fold_images(runs_of([{**FOLDER, "label": "yellow"}])[0])
    tiny_competition.change(classes=["0", "1", "2", "3"])
    run = runs_of()[0]
    run.prepared.folds.of_row[run.prepared.rows.train["label"] == "2"] = "0"
    with pytest.raises(ConfigError, match=r"fold 0 has no training image of the class 2; .*, else fix .*\.csv"):
        fold_images(run)


def test_limits_include_extra_rows(runs_of):
    training, _ = fold_images(runs_of([FOLDER], limit=8)[0])
    assert len(training.paths) == 8
    training, _ = fold_images(runs_of([FOLDER], dry_run=True)[0])
    assert len(training.paths) == 12
    assert set(training.truth) == {0, 1, 2, 3}


def test_unreadable_extra_image_is_an_error_or_left_out(runs_of, tiny_competition, podium_in, tmp_path):
    (tiny_competition.folder / "more" / "4.png").write_bytes(b"not an image")
    member = tiny_competition.member(extra=[FOLDER])
    ended = podium_in(tmp_path, "train", member, "--data", tiny_competition.folder, "--fold", 0)
    assert ended.code == 1
    assert "1 images cannot be read" in ended.err
    tiny_competition.change(on_bad_image="skip")
    assert len(fold_images(runs_of([FOLDER])[0])[0].paths) == len(fold_images(runs_of()[0])[0].paths) + 5


def test_config_check_reads_extra_rows(runs_of, tiny_competition, podium_in, tmp_path):
    member = tiny_competition.member(
        extra=[{"table": "absent.csv", "images": "more/{id}"}, {"label": "0", "table": "x"}]
    )
    ended = podium_in(tmp_path, "config", "check", member, "--data", tiny_competition.folder)
    assert ended.code == 1
    assert "extra.1: expected one of the keys pseudo, table and label" in ended.err

    def check(file):
        return podium_in(tmp_path, "config", "check", file, "--data", tiny_competition.folder)

    absent = {"table": "absent.csv", "images": "more/{id}"}
    ended = check(tiny_competition.member(extra=[absent, {"label": "0", "table": "x"}]))
    assert ended.code == 1
    assert "extra.1: expected one of the keys pseudo, table and label" in ended.err
    ended = check(tiny_competition.ensemble([tiny_competition.member(extra=[absent])]))
    assert ended.code == 1
    assert f"extra: the table {tiny_competition.folder / 'absent.csv'} does not exist" in ended.err
