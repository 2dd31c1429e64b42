"""`podium find-batch` as a person meets it, on this machine and a tiny network; nothing of the competition's data."""

import json
import re

import cv2
import pytest

STAGE = {"name": "all", "unfreeze": "all", "epochs": 2, "batch_size": 16, "image_size": 32, "learning_rate": 0.005}
FULL = {"precision": "float32"}


@pytest.fixture
def member(tiny_competition, tmp_path, monkeypatch):
    """`member(stages=[…])`: the file, seen from where podium runs; the images are gone."""
    tiny_competition.folder.rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    return lambda *stages, **changes: tiny_competition.member(stages=list(stages or [STAGE]), **FULL, **changes)


def test_a_table_the_verdict_a_plot_and_its_figures(podium, member, tmp_path):
    code, out, err = podium("find-batch", member(), "--largest", "16")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "tiny, stage all: 32 px, all of it learns, Adam"
    table = [line.split() for line in lines if re.match(r" *\d+ .* ms ", line)]
    assert [row[0] for row in table] == ["8", "16"]
    assert [row[-1] for row in table[:1]] != ["own"]
    assert "its own" in next(line for line in lines if line.lstrip().startswith("16 ") and " ms " in line)
    assert "largest: 16 fits, and is the largest that was asked for (--largest)" in lines
    assert any(line.startswith("fastest: ") for line in lines)
    assert lines[-2:] == ["runs/find-batch/tiny-all.png", "runs/find-batch/tiny-all.json"]
    figures = json.loads((tmp_path / lines[-1]).read_text())
    assert [one["batch_size"] for one in figures["batches"]] == [8, 16]
    assert [one["learning_rate"] for one in figures["batches"]] == pytest.approx([0.005 / 2**0.5, 0.005])
    assert figures["batches"][1]["gain"] == 1
    assert all(10**8 < one["memory"] < 10**11 for one in figures["batches"])
    assert figures["precision"] == "float32"
    assert cv2.imread(str(tmp_path / lines[-2])).std() > 10


def test_a_stage_of_its_own_and_a_place_for_the_plot(podium, member, tmp_path):
    path = member(STAGE, STAGE | {"name": "slow", "batch_size": 4, "optimizer": "SGD"})
    code, out, _ = podium("find-batch", path, "--stage", "slow", "--largest", "8", "--plot", "charts/slow.png")
    assert code == 0
    assert "stage all" not in out
    assert sorted(one.name for one in (tmp_path / "charts").iterdir()) == ["slow.json", "slow.png"]
    assert not (tmp_path / "runs").exists()
    figures = json.loads((tmp_path / "charts" / "slow.json").read_text())
    assert figures["batches"][1]["learning_rate"] == pytest.approx(0.01)
    if figures["fastest"] == 8:
        assert "--set stages.1.batch_size=8 --set stages.1.learning_rate=0.01" in out
        assert "grows in step with the batch, as is usual for SGD, from the stage's 0.005 at 4" in out


def test_a_stage_that_trains_on_kept_features_has_nothing_to_find(podium, member, tmp_path):
    code, out, err = podium("find-batch", member(STAGE | {"unfreeze": "none", "epochs": 10}))
    assert (code, err) == (0, "")
    assert out.splitlines()[1] == "  the frozen backbone runs once a view, then only the head trains: any batch is fast"
    assert not (tmp_path / "runs").exists()


def test_problems_are_told_before_anything_is_measured(podium, member):
    path = member(STAGE, STAGE | {"name": "more"})
    assert podium("find-batch", path, "--stage", "moer") == (
        1, "", "podium: tiny has no stage 'moer'; it has all, more\n"
    )  # fmt: skip
    code, out, err = podium("find-batch", path, "--plot", "one.png")
    assert (code, out) == (1, "")
    assert err == "podium: --plot names one file, but tiny has 2 stages; add --stage NAME\n"
    assert podium("find-batch", path, "--largest", "0")[0] == 2


def test_what_only_the_model_can_tell_is_one_line_too(podium, member):
    code, _, err = podium("find-batch", member(STAGE | {"unfreeze": {"from": "blockk"}}))
    assert code == 1
    assert err.startswith("podium: unfreeze: no layer of backbone has a name that begins with 'blockk'; its parts are ")
    assert err.count("\n") == 1
    code, _, err = podium("find-batch", member(STAGE | {"optimizer": {"name": "Adam", "beta": 1}}))
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("podium: stage all: Adam does not take {'beta': 1} (")
