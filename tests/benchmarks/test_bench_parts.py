"""The parts of the benchmark that do not measure anything."""

import json
import sys

import albumentations
import pytest
import yaml

from benchmarks import __main__ as command
from benchmarks import images
from benchmarks.figures import Outcome, compared, ratios
from benchmarks.images import Counts, drawn, link_many
from benchmarks.measures import start_up
from benchmarks.plan import Bench
from benchmarks.recipe import IMAGE_SIZE, MEMBER, transforms
from benchmarks.rounds import MeasuringFailedError
from podium.data.augmentation import build_transform


def test_peers_use_the_augmentation_of_the_member_file():
    expected = [albumentations.to_dict(transform) for transform in transforms()]
    read = yaml.safe_load(MEMBER.read_text())["augmentation"]
    assert [albumentations.to_dict(build_transform(item, IMAGE_SIZE)) for item in read] == expected


def test_a_ratio_is_the_median_of_the_ratios_of_each_round():
    assert ratios([10, 40, 90], [10, 10, 10]).median == 4
    assert ratios([10, 20, 90], [10, 10, 10]).most == 9


@pytest.mark.parametrize(("podium", "is_met"), [([0.5, 0.9, 0.9], True), ([0.5, 0.7, 0.9], False)])
def test_a_target_is_compared_with_the_median(podium, is_met):
    row = compared("rate", "drawn", "80 %", podium, [1.0, 1.0, 1.0], "bound", at_least=0.8)
    assert row.is_met is is_met
    assert (row.verdict == "yes") is is_met


def test_training_and_validation_are_disjoint_and_have_every_class(tmp_path):
    taken = drawn(tmp_path, 40, 10, size=(64, 48)).take(Counts(24, 16, 5), tmp_path)
    training, validation = ({path.name for path in part.rglob("*.jpg")} for part in (taken.training, taken.validation))
    assert (len(training), len(validation), training & validation) == (24, 16, set())
    assert len(list(taken.training.iterdir())) == len(list(taken.validation.iterdir())) == 8
    assert {path.name for path in (taken.folder / "train").rglob("*.jpg")} == training | validation
    assert len(list((taken.folder / "test_upload").iterdir())) == 5


def test_many_rows_are_links_to_few_files(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "FEW", 20)
    folder = link_many(tmp_path, 40)
    assert len(list((folder / "train").rglob("*.jpg"))) == 40
    assert len({path.stat().st_ino for path in (folder / "train").rglob("*.jpg")}) == 20
    assert len((folder / "train.csv").read_text().splitlines()) == 41


def test_an_interrupted_run_keeps_the_last_results(tmp_path, monkeypatch, capsys):
    (tmp_path / "results.md").write_text("last results\n")
    monkeypatch.setattr(command, "run_measures", stopped)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--out", str(tmp_path)])
    assert command.main() == 130
    assert [path.name for path in tmp_path.iterdir()] == ["results.md"]
    assert (tmp_path / "results.md").read_text() == "last results\n"
    assert "were kept" in capsys.readouterr().err


def stopped(*_):
    raise KeyboardInterrupt


@pytest.fixture
def no_images(tmp_path, monkeypatch):
    monkeypatch.setattr(command.Bench, "prepare", lambda plan, *_: Bench(plan, tmp_path, [], None, False))


@pytest.mark.slow
def test_a_measure_runs_its_candidates_in_processes_and_writes_its_row(tmp_path, monkeypatch, no_images):
    monkeypatch.setattr(start_up, "COMMANDS", (["podium", "--help"], ["python", "--version"]))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--short", "--only", "start", "--out", str(tmp_path)])
    assert command.main() == 0
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert row["ratio"] > 0
    page = (tmp_path / "results.md").read_text()
    assert f"| {row['what']} |" in page
    assert "- tensorflow: " in page


def test_a_failing_measure_is_reported_and_the_others_run(tmp_path, monkeypatch, capsys, no_images):
    def failing(*_):
        raise MeasuringFailedError("a:b failed with exit code 1:\nValueError: no such thing")

    monkeypatch.setattr(command, "MEASURES", {"one": failing, "two": lambda *_: Outcome([], ["### Two"], {})})
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--short", "--out", str(tmp_path)])
    assert command.main() == 1
    page = (tmp_path / "results.md").read_text()
    assert "| one | – | – | not measured | failed: ValueError: no such thing | – | – |" in page
    assert "### Two" in page
    assert "no such thing" in capsys.readouterr().err


def test_missing_data_is_an_error_before_anything_starts(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--data", "no/such/folder"])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert "--data: no/such/folder does not exist" in capsys.readouterr().err
