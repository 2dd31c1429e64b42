"""Fixtures for all tests: a private cache folder, a tiny competition, and a finished ensemble on it."""

import fcntl
import os
import shutil
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from command_line import Result, run_podium

from podium.config.competition import Competition
from podium.config.loading import load_competition

pytest_plugins = ["standin.fixture"]  # the stand-in for Kaggle's service


def pytest_xdist_auto_num_workers(config):
    """One more than cores for the fast tests, since some wait for other processes; the slow ones take much memory."""
    cores = os.cpu_count() or 1
    return cores + 1 if "not slow" in config.option.markexpr else cores


COLOURS = {"0": (200, 40, 40), "1": (40, 180, 60), "2": (50, 70, 210), "3": (220, 200, 50)}
"""RGB of each class's square."""
CLASSES = {"0": "Red", "1": "Green", "2": "Blue", "3": "Yellow"}


@pytest.fixture(scope="session", autouse=True)
def _nothing_of_this_machine(tmp_path_factory):
    """No test reads or writes the user's cache or data, not even a fixture that outlives one test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name in ("PODIUM_DATA", "PODIUM_KAGGLE_INPUT"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """podium's cache folder, new for every test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("PODIUM_CACHE", str(folder))
    return folder


@dataclass(frozen=True)
class TinyCompetition:
    """Coloured squares on noise: `folder` is the data, `config` its competition file, `answers` those of the test."""

    folder: Path
    config: Path
    competition: Competition
    answers: dict[str, str]

    def change(self, **changes):
        """The competition with other values for these keys of its file."""
        content = yaml.safe_load(self.config.read_text()) | changes
        self.config.write_text(yaml.safe_dump(content, sort_keys=False))
        return TinyCompetition(self.folder, self.config, load_competition(self.config), self.answers)

    def member(self, name="tiny", **changes):
        """The path of a member file beside the competition's: a narrow SmallResNet, two epochs at 32 pixels."""
        stage = {"name": "all", "unfreeze": "all", "epochs": 2, "batch_size": 8, "image_size": 32}
        content = {
            "competition": self.config.name,
            "backbone": {"name": "SmallResNet", "weights": "none", "alpha": 0.25, "freeze_batchnorm": False},
            "stages": [{**stage, "learning_rate": 0.005}],
        }
        return self._write(name, content | changes)

    def ensemble(self, members, name="tiny_ensemble", **changes):
        """The path of an ensemble file beside the members'."""
        return self._write(name, {"members": [path.name for path in members], "blend": "mean"} | changes)

    def _write(self, name, content):
        path = self.config.parent / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path


def _draw(random, colour, size):
    image = random.integers(60, 130, (size, size, 3), dtype=np.uint8)
    side = size // 2
    left, top = (int(place) for place in random.integers(0, size - side + 1, 2))
    cv2.rectangle(image, (left, top), (left + side - 1, top + side - 1), colour, thickness=-1)
    return image


def _write_image(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])


def _zip_away(folder, name):
    """The folder as a zip of the same stem as real competitions give it, and no longer as a folder."""
    files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
    with zipfile.ZipFile(folder / f"{name.split('_')[0]}.zip", "w") as archive:
        for path in files:
            archive.write(path, path.relative_to(folder))
            path.unlink()
    for path in sorted((folder / name).rglob("*"), reverse=True):
        path.rmdir()
    (folder / name).rmdir()


def _write_competition(root, train=24, test=8, size=40, zipped=False, seed=0, colours=COLOURS, **changes):
    folder, config = root / "data", root / "configs" / "competition.yaml"
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    config.parent.mkdir(parents=True)
    labels = [list(colours)[row % len(colours)] for row in range(train)]
    rows = [(f"{row:04}.jpg", label, f"day{row // 8}") for row, label in enumerate(labels)]
    for name, label, _ in rows:
        _write_image(folder / "train" / label / name, _draw(random, colours[label], size))
    pd.DataFrame(rows, columns=["Id", "Category", "Day"]).to_csv(folder / "train.csv", index=False)
    answers = {f"{train + row:04}.jpg": list(colours)[random.integers(len(colours))] for row in range(test)}
    for name, label in answers.items():
        _write_image(folder / "test_upload" / name, _draw(random, colours[label], size))
    sample = pd.DataFrame({"Id": list(answers), "Category": "0"})
    sample.to_csv(folder / "sample-submission.csv", index=False)
    if zipped:
        _zip_away(folder, "train")
        _zip_away(folder, "test_upload")
    content = {
        "slug": "tiny-squares",
        "train": {"table": "train.csv", "images": "train/{label}/{id}"},
        "test": {"images": "test_upload/{id}"},
        "zips": ["train.zip", "test.zip"],
        "classes": {label: CLASSES.get(label, label) for label in colours},
        "metric": "accuracy",
        "folds": {"kind": "stratified", "count": 2},
    }
    config.write_text(yaml.safe_dump(content | changes, sort_keys=False))
    return TinyCompetition(folder, config, load_competition(config), answers)


@pytest.fixture(scope="session")
def make_tiny_competition():
    """`make(root, train=24, test=8, size=40, zipped=False, seed=0, colours=COLOURS, **keys of the competition file)`.

    Writes root/data and root/configs/competition.yaml. The classes take turns, and every eight rows share a `Day`.
    """
    return _write_competition


@pytest.fixture
def tiny_competition(tmp_path):
    """24 training images of 4 classes and 8 test images, new for every test."""
    return _write_competition(tmp_path / "tiny")


@dataclass(frozen=True)
class FinishedEnsemble:
    """An ensemble of two members and two folds, run once for all tests. Do not change its files: work on a copy."""

    folder: Path
    """The folder podium ran in, with `runs` and `submissions`."""
    competition: TinyCompetition
    members: list[Path]
    """The config files first.yaml and second.yaml."""
    ensemble: Path
    out: str
    """Everything that `podium run` printed."""

    def copy_to(self, folder):
        """Copies `runs` and `submissions` to this folder."""
        for name in ("runs", "submissions"):
            shutil.copytree(self.folder / name, folder / name)


@pytest.fixture(scope="session")
def podium_in():
    """`podium_in(folder, "run", file, "--dry-run")`: a command as typed in this folder."""
    return run_podium


@contextmanager
def _made_once(tmp_path_factory, name):
    """A folder that all processes of a test session share, while no other process makes it."""
    root = tmp_path_factory.getbasetemp()
    root = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / name
    root.mkdir(exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield root


@pytest.fixture(scope="session")
def trained_detector(tmp_path_factory):
    """A folder with squares.yaml, its images in data, its dataset and its run, and the output of `detect train`.

    It is trained by one of the processes, and each has a copy.
    """
    from boxed_images import prepare_squares

    with _made_once(tmp_path_factory, "squares") as root:
        if not (root / "out.txt").is_file():
            result = run_podium(prepare_squares(root / "folder"), "detect", "train", "squares.yaml", "--data", "data")
            assert result.code == 0, result.err
            (root / "err.txt").write_text(result.err)
            (root / "out.txt").write_text(result.out)
        folder = tmp_path_factory.mktemp("squares") / "folder"
        shutil.copytree(root / "folder", folder)
    return folder, Result(0, (root / "out.txt").read_text(), (root / "err.txt").read_text())


@pytest.fixture(scope="session")
def finished_ensemble(tmp_path_factory):
    """A tiny ensemble, trained, predicted, blended and written as a CSV; one for all processes of a test session."""
    with _made_once(tmp_path_factory, "finished_ensemble") as root:
        if not (root / "out.txt").is_file():
            _run_ensemble(root)
    configs = root / "tiny" / "configs"
    config = configs / "competition.yaml"
    answers = pd.read_csv(root / "answers.csv", dtype=str).set_index("id")["answer"].to_dict()
    competition = TinyCompetition(root / "tiny" / "data", config, load_competition(config), answers)
    members = [configs / "first.yaml", configs / "second.yaml"]
    return FinishedEnsemble(root, competition, members, configs / "ensemble.yaml", (root / "out.txt").read_text())


def _run_ensemble(root):
    competition = _write_competition(root / "tiny")
    pd.DataFrame(competition.answers.items(), columns=["id", "answer"]).to_csv(root / "answers.csv", index=False)
    first = competition.member("first", tta=["identity", "horizontal_flip"])
    second = competition.member("second", seed=7)
    result = run_podium(root, "run", competition.ensemble([first, second], "ensemble"), "--data", competition.folder)
    assert result.code == 0, result.err
    (root / "out.txt").write_text(result.out)
