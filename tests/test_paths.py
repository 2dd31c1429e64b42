from pathlib import Path

import pytest

from podium import paths
from podium.errors import DataError, MachineError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The folder podium runs in: empty, with an empty stand-in for /kaggle/input."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PODIUM_KAGGLE_INPUT", "kaggle")
    monkeypatch.delenv("PODIUM_DATA", raising=False)
    return tmp_path


def made(*folders):
    for folder in folders:
        Path(folder).mkdir(parents=True)


def test_data_is_looked_for_in_order(monkeypatch):
    made("kaggle/cars")
    assert paths.data_folder("cars") == Path("kaggle/cars")
    made("kaggle/competitions/cars")
    assert paths.data_folder("cars") == Path("kaggle/competitions/cars")
    made("data/cars")
    assert paths.data_folder("cars") == Path("data/cars")
    made("environment", "option")
    monkeypatch.setenv("PODIUM_DATA", "environment")
    assert paths.data_folder("cars") == Path("environment")
    assert paths.data_folder("cars", Path("option")) == Path("option")


def test_a_detectors_data_may_be_a_dataset_at_kaggle():
    made("kaggle/some-cars")
    assert paths.data_folder("cars", at_kaggle=("dataset", "ada/some-cars")) == Path("kaggle/some-cars")
    made("kaggle/datasets/ada/some-cars")
    assert paths.data_folder("cars", at_kaggle=("dataset", "ada/some-cars")) == Path("kaggle/datasets/ada/some-cars")
    made("data/cars")
    assert paths.data_folder("cars", at_kaggle=("dataset", "ada/some-cars")) == Path("data/cars")


def test_data_that_is_nowhere_is_told_with_every_place():
    Path("data").mkdir()
    Path("data/cars").write_text("a file, not a folder")
    with pytest.raises(DataError) as caught:
        paths.data_folder("cars")
    assert str(caught.value) == (
        "no data for cars: looked for data/cars, kaggle/competitions/cars, kaggle/cars;"
        " give the folder with --data or in PODIUM_DATA"
    )


def test_a_folder_that_was_named_is_not_looked_for_elsewhere(monkeypatch):
    made("data/cars")
    with pytest.raises(
        DataError, match=r"--data names typo, which is no folder; give the folder that holds cars's data"
    ):
        paths.data_folder("cars", Path("typo"))
    monkeypatch.setenv("PODIUM_DATA", "other")
    with pytest.raises(DataError, match="PODIUM_DATA names other, which is no folder"):
        paths.data_folder("cars")


@pytest.mark.parametrize("value", [None, ""])
def test_kaggles_own_place_is_the_default(monkeypatch, value):
    if value is None:
        monkeypatch.delenv("PODIUM_KAGGLE_INPUT")
    else:
        monkeypatch.setenv("PODIUM_KAGGLE_INPUT", value)
    assert paths.kaggle_input() == Path("/kaggle/input")


def test_the_cache_is_the_users_unless_named(monkeypatch, here):
    monkeypatch.setenv("PODIUM_CACHE", "mine")
    assert paths.cache_folder() == Path("mine")
    monkeypatch.delenv("PODIUM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "xdg"))
    assert paths.cache_folder() == here / "xdg" / "podium"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(here))
    assert paths.cache_folder() == here / ".cache" / "podium"


def test_configs_are_those_of_this_folder_else_of_the_checkout():
    checkout = Path(__file__).resolve().parents[1] / "configs"
    assert paths.configs_folder() == checkout
    made("configs")
    assert paths.configs_folder() == checkout
    made("configs/competitions")
    assert paths.configs_folder() == Path("configs")


def test_no_configs_anywhere_is_told(monkeypatch, here):
    monkeypatch.setattr(paths, "__file__", str(here / "site-packages" / "podium" / "paths.py"))
    with pytest.raises(
        MachineError, match=r"no configs folder here or at .*configs; run podium in a clone of the project"
    ):
        paths.configs_folder()


def test_folds_are_apart_by_competition_and_rows():
    assert paths.folds_file(Path("runs"), "cars", "12345678") == Path("runs/folds/cars-12345678.csv")


def test_submissions_lie_where_podium_runs():
    assert paths.submissions_folder() == Path("submissions")
