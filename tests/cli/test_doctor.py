"""`podium doctor` names what is missing on a machine, and how to get it."""

import re
import shutil
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from podium.cli import doctor

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with enough room, no matter how much this one has."""
    monkeypatch.setattr(doctor, "free_memory", lambda: 8_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=9_000_000_000))
    monkeypatch.setattr(doctor, "_gpus", lambda: "none; training runs on the CPU")
    monkeypatch.setenv("PODIUM_CACHE", str(tmp_path / "cache" / "podium"))


@pytest.fixture
def installed(monkeypatch):
    """The versions that seem to be installed; all others are as they are."""
    versions, as_it_is = {}, metadata.version

    def version(name):
        if versions.get(name, "") is None:
            raise metadata.PackageNotFoundError(name)
        return versions.get(name) or as_it_is(name)

    monkeypatch.setattr(metadata, "version", version)
    return versions


def test_the_lists_are_those_of_the_project():
    assert list(doctor.REQUIRED) == PROJECT["dependencies"]
    assert PROJECT["requires-python"] == doctor.PYTHON
    extras = {name: texts for name, texts in PROJECT["optional-dependencies"].items() if name != "dev"}
    names = {extra: tuple(re.split(r"[<>=\[]", text)[0] for text in texts) for extra, texts in extras.items()}
    assert {extra: names for extra, (names, _) in doctor.EXTRAS.items()} == names


def test_this_environment_has_all_that_podium_needs(podium_in, tmp_path):
    done = podium_in(tmp_path, "doctor")
    assert (done.code, done.err) == (0, "")
    assert re.search(r"^keras-hub +\d", done.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({"jinja2": None}, "missing: jinja2; run make install, or pip install podium-kit"),
        ({"keras": "3.5.0"}, "keras 3.5.0: expected >=3.13; run make install, or pip install podium-kit"),
        (
            {"opencv-python-headless": "5.0.1"},
            "opencv-python-headless 5.0.1: expected >=4.9,<5; run make install, or pip install podium-kit",
        ),
    ],
)
def test_a_library_that_is_missing_or_of_a_wrong_version_is_named(podium_in, tmp_path, installed, versions, message):
    installed.update(versions)
    assert podium_in(tmp_path, "doctor")[::2] == (1, f"podium: {message}\n")


def test_all_that_is_missing_is_named_though_a_fact_needs_a_missing_library(
    podium_in, tmp_path, installed, monkeypatch
):
    def import_keras():
        raise ModuleNotFoundError("No module named 'keras'", name="keras")

    def import_requests():
        raise ModuleNotFoundError("No module named 'requests'", name="requests")

    installed.update({"keras": None, "requests": None})
    monkeypatch.setattr(doctor, "_gpus", import_keras)
    monkeypatch.setattr(doctor, "describe_credentials", import_requests)
    code, out, err = podium_in(tmp_path, "doctor")
    assert (code, err) == (1, "podium: missing: keras, requests; run make install, or pip install podium-kit\n")
    assert re.search(r"^GPUs +unknown without keras *$", out, re.MULTILINE)
    assert re.search(r"^kaggle key +unknown without requests *$", out, re.MULTILINE)


def test_an_extra_that_is_missing_is_no_problem(podium_in, tmp_path, installed):
    installed.update({"optuna": None, "alembic": None})
    done = podium_in(tmp_path, "doctor")
    assert (done.code, done.err) == (0, "")
    assert re.search(
        r"^optuna +not installed, only for podium search: pip install 'podium-kit\[search\]'", done.out, re.M
    )
    assert re.search(r"^mlflow-skinny +not installed, only for podium export: ", done.out, re.M)


def test_another_python_is_named(podium_in, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "PYTHON", ">=3.99")
    code, _, err = podium_in(tmp_path, "doctor")
    assert code == 1
    assert re.fullmatch(r"podium: Python \S+: expected 3\.11, 3\.12 or 3\.13; make install PYTHON=\S+\n", err)


def test_too_little_room_is_named_once_for_each_place(podium_in, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "free_memory", lambda: 500_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100_000_000))
    code, _, err = podium_in(tmp_path, "doctor")
    assert code == 1
    assert err.splitlines() == [
        "podium: 2 problems on this machine",
        f"  {tmp_path}: 0.1 GB of free disk space, expected 2.0 GB; delete something, or work in another folder",
        "  0.5 GB of free memory, expected 2.0 GB; close other programs, or train on Kaggle with podium kernel push",
    ]


def test_a_folder_that_cannot_be_written_is_named(podium_in, tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    create = doctor.tempfile.TemporaryFile

    def refused(dir):
        if dir == tmp_path / "cache":
            raise PermissionError(13, "Permission denied", str(dir))
        return create(dir=dir)

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refused)
    code, _, err = podium_in(tmp_path, "doctor")
    assert (code, err) == (
        1,
        f"podium: {tmp_path / 'cache'}: no file can be written there (Permission denied); change its permissions,"
        " or set PODIUM_CACHE to another folder\n",
    )
    assert list((tmp_path / "cache").iterdir()) == []
