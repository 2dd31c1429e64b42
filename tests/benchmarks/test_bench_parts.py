"""The parts of the benchmark that no timing goes through."""

import sys

import albumentations
import pytest
import yaml

from benchmarks import __main__ as command
from benchmarks.figures import Outcome, compared, ratios
from benchmarks.images import FEW, Counts, drawn, linked_many
from benchmarks.recipe import IMAGE_SIZE, MEMBER, transforms
from benchmarks.rounds import MeasuringFailedError
from podium.data.augmentation import build_transform


def test_everyone_has_the_augmentation_that_podium_reads_from_its_member_file():
    written = [albumentations.to_dict(transform) for transform in transforms()]
    read = yaml.safe_load(MEMBER.read_text())["augmentation"]
    assert [albumentations.to_dict(build_transform(one, IMAGE_SIZE)) for one in read] == written


def test_a_ratio_is_the_median_of_each_turns_own():
    assert ratios([10, 40, 90], [10, 10, 10]).median == 4
    assert ratios([10, 20, 90], [10, 10, 10]).most == 9


@pytest.mark.parametrize(("podium", "is_met"), [([0.5, 0.9, 0.9], True), ([0.5, 0.7, 0.9], False)])
def test_a_bound_is_held_against_the_median(podium, is_met):
    row = compared("rate", "drawn", "80 %", podium, [1.0, 1.0, 1.0], "bound", at_least=0.8)
    assert row.is_met is is_met
    assert (row.verdict == "yes") is is_met


def test_training_and_validation_share_no_image_and_have_every_class(tmp_path):
    taken = drawn(tmp_path, 40, 10).take(Counts(24, 16, 5), tmp_path)
    training, validation = ({path.name for path in part.rglob("*.jpg")} for part in (taken.training, taken.validation))
    assert (len(training), len(validation), training & validation) == (24, 16, set())
    assert len(list(taken.training.iterdir())) == len(list(taken.validation.iterdir())) == 8
    assert {path.name for path in (taken.folder / "train").rglob("*.jpg")} == training | validation
    assert len(list((taken.folder / "test_upload").iterdir())) == 5


def test_many_rows_are_links_to_few_images(tmp_path):
    folder = linked_many(tmp_path, 400)
    assert len(list((folder / "train").rglob("*.jpg"))) == 400
    assert len({path.stat().st_ino for path in (folder / "train").rglob("*.jpg")}) == FEW == 200
    assert len((folder / "train.csv").read_text().splitlines()) == 401


def test_a_run_that_is_stopped_leaves_the_last_results_whole(tmp_path, monkeypatch, capsys):
    (tmp_path / "results.md").write_text("the last whole run's\n")
    monkeypatch.setattr(command, "measured", stopped)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--out", str(tmp_path)])
    assert command.main() == 130
    assert [path.name for path in tmp_path.iterdir()] == ["results.md"]
    assert (tmp_path / "results.md").read_text() == "the last whole run's\n"
    assert "left as they were" in capsys.readouterr().err


def stopped(*_):
    raise KeyboardInterrupt


def test_a_measure_that_fails_is_told_and_does_not_take_the_others_with_it(tmp_path, monkeypatch, capsys):
    def failing(*_):
        raise MeasuringFailedError("a:b failed with exit code 1:\nValueError: no such thing")

    monkeypatch.setattr(command, "MEASURES", {"one": failing, "two": lambda *_: Outcome([], ["### Two"], {})})
    monkeypatch.setattr(
        sys, "argv", ["benchmarks", "--short", "--keep", str(tmp_path / "keep"), "--out", str(tmp_path)]
    )
    assert command.main() == 1
    page = (tmp_path / "results.md").read_text()
    assert "| one | – | – | not measured | failed: ValueError: no such thing | – | – |" in page
    assert "### Two" in page
    assert "no such thing" in capsys.readouterr().err


def test_data_that_is_not_there_is_told_before_anything_starts(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--data", "no/such/folder"])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert "--data names no/such/folder, which is not there" in capsys.readouterr().err
