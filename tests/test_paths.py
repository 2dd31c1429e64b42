from pathlib import Path

import pytest

from podium import paths
from podium.errors import DataError, MachineError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working directory, with an empty folder in place of /kaggle/input."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PODIUM_KAGGLE_INPUT", "kaggle")
    monkeypatch.delenv("PODIUM_DATA", raising=False)
    return tmp_path


def make(*folders):
    for folder in folders:
        Path(folder).mkdir(parents=True)


def test_the_first_existing_data_folder_is_used(monkeypatch):
    make("kaggle/cars")
    assert paths.data_folder("cars") == Path("kaggle/cars")
    make("kaggle/competitions/cars")
    assert paths.data_folder("cars") == Path("kaggle/competitions/cars")
    make("data/cars")
    assert paths.data_folder("cars") == Path("data/cars")
    make("environment", "option")
    monkeypatch.setenv("PODIUM_DATA", "environment")
    assert paths.data_folder("cars") == Path("environment")
    assert paths.data_folder("cars", Path("option")) == Path("option")


def test_data_may_be_a_mounted_kaggle_dataset():
    make("kaggle/some-cars")
    assert paths.data_folder("cars", at_kaggle=("dataset", "ada/some-cars")) == Path("kaggle/some-cars")
    make("kaggle/datasets/ada/some-cars")
    assert paths.data_folder("cars", at_kaggle=("dataset", "ada/some-cars")) == Path("kaggle/datasets/ada/some-cars")
    make("data/cars")
    assert paths.data_folder("cars", at_kaggle=("dataset", "ada/some-cars")) == Path("data/cars")


def test_models_are_mounted_by_version_in_both_layouts():
    assert paths.kaggle_places("model", "google/some-net/tensorFlow2/small/3") == [
        Path("kaggle/models/google/some-net/tensorflow2/small/3"),
        Path("kaggle/some-net/tensorflow2/small/3"),
    ]


def test_missing_data_is_reported_with_every_searched_folder():
    Path("data").mkdir()
    Path("data/cars").write_text("a file, not a folder")
    with pytest.raises(DataError) as caught:
        paths.data_folder("cars")
    assert str(caught.value) == (
        "no data for cars in data/cars, kaggle/competitions/cars, kaggle/cars;"
        " give its folder with --data or PODIUM_DATA"
    )


def test_there_is_no_fallback_for_a_given_data_folder(monkeypatch):
    make("data/cars")
    with pytest.raises(DataError, match=r"--data: typo is not a folder; expected the folder with the data of cars"):
        paths.data_folder("cars", Path("typo"))
    monkeypatch.setenv("PODIUM_DATA", "other")
    with pytest.raises(DataError, match="PODIUM_DATA: other is not a folder"):
        paths.data_folder("cars")


@pytest.mark.parametrize("value", [None, ""])
def test_kaggle_mounts_inputs_in_kaggle_input(monkeypatch, value):
    if value is None:
        monkeypatch.delenv("PODIUM_KAGGLE_INPUT")
    else:
        monkeypatch.setenv("PODIUM_KAGGLE_INPUT", value)
    assert paths.kaggle_input() == Path("/kaggle/input")


def test_the_cache_folder_is_the_users_unless_it_is_set(monkeypatch, here):
    monkeypatch.setenv("PODIUM_CACHE", "mine")
    assert paths.cache_folder() == Path("mine")
    monkeypatch.delenv("PODIUM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "xdg"))
    assert paths.cache_folder() == here / "xdg" / "podium"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(here))
    assert paths.cache_folder() == here / ".cache" / "podium"


def test_configs_are_those_of_the_working_directory_or_else_of_the_checkout():
    checkout = Path(__file__).resolve().parents[1] / "configs"
    assert paths.configs_folder() == checkout
    make("configs")
    assert paths.configs_folder() == checkout
    make("configs/competitions")
    assert paths.configs_folder() == Path("configs")


def test_missing_configs_are_an_error(monkeypatch, here):
    monkeypatch.setattr(paths, "__file__", str(here / "site-packages" / "podium" / "paths.py"))
    with pytest.raises(
        MachineError, match=r"no configs folder here or at .*configs; run podium in a clone of the project"
    ):
        paths.configs_folder()


def test_a_folds_file_is_named_by_competition_and_digest():
    assert paths.folds_file(Path("runs"), "cars", "12345678") == Path("runs/folds/cars-12345678.csv")


def test_submissions_are_in_the_working_directory():
    assert paths.submissions_folder() == Path("submissions")
