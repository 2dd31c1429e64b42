"""`podium init`: files that pass the checks as they are, and nothing overwritten."""

from pathlib import Path

import pytest
from layouts import LAYOUTS, OPTIONS, draw

from podium.config.loading import load_ensemble


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_written_files_are_valid(name, podium, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw(name, Path("data") / name, train=60, test=6)
    if name == "binary":
        Path("configs/competitions").mkdir(parents=True)
        Path("data/own_metric.py").rename("configs/competitions/own_metric.py")
    code, out, err = podium("init", f"data/{name}", *OPTIONS.get(name, []))
    assert (code, err) == (0, "")
    assert f"next: podium run configs/ensembles/{name}.yaml --dry-run" in out
    assert load_ensemble(Path(f"configs/ensembles/{name}.yaml")).competition.slug == name


def test_existing_files_are_kept(podium, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw("text-label", Path("data/discs"), train=30, test=3)
    assert podium("init", "discs")[0] == 0
    competition = Path("configs/competitions/discs.yaml")
    competition.write_text("mine\n")
    code, _, err = podium("init", "discs")
    assert (code, "configs/competitions/discs.yaml" in err, "--replace" in err) == (1, True, True)
    assert competition.read_text() == "mine\n"
    assert podium("init", "discs", "--replace")[0] == 0
    assert "slug: discs" in competition.read_text()


def test_a_folder_that_is_missing(podium, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = podium("init", "digit-recognizer")
    assert (code, "podium data download digit-recognizer" in err) == (1, True)


def test_a_target_that_the_data_does_not_have(podium, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw("text-label", Path("data/discs"), train=30, test=3)
    code, _, err = podium("init", "discs", "--target", "regression")
    assert (code, "expected a number" in err, "another --target" in err) == (1, True, True)


def test_an_unknown_target_names_the_nearest(podium, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw("text-label", Path("data/discs"), train=30, test=3)
    code, _, err = podium("init", "discs", "--target", "singlelabel")
    assert (code, "single_label" in err) == (1, True)
    assert not Path("configs").exists()
