"""`podium find-batch` on this machine with a tiny network, without the competition's data."""

import json
import re

import cv2
import pytest

STAGE = {"name": "all", "unfreeze": "all", "epochs": 2, "batch_size": 16, "image_size": 32, "learning_rate": 0.005}


@pytest.fixture
def member(tiny_competition, tmp_path, monkeypatch):
    """`member(*stages)`: the member file; the images do not exist."""
    tiny_competition.folder.rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    return lambda *stages, **changes: tiny_competition.member(
        stages=list(stages or [STAGE]), precision="float32", **changes
    )


@pytest.mark.slow
def test_table_verdict_chart_and_json_of_one_stage(podium, member, tmp_path):
    path = member(STAGE, STAGE | {"name": "slow", "batch_size": 16, "optimizer": "SGD"})
    code, out, err = podium("find-batch", path, "--stage", "slow", "--largest", "16", "--plot", "charts/slow.png")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "tiny, stage slow: 32 px, all layers are trained, SGD"
    table = [line.split() for line in lines if re.match(r" *\d+ .* ms ", line)]
    assert [row[0] for row in table] == ["8", "16"]
    assert "own" in next(line for line in lines if line.lstrip().startswith("16 ") and " ms " in line)
    assert "largest: 16, the limit of the search (--largest)" in lines
    assert any(line.startswith("fastest: ") for line in lines)
    assert lines[-2:] == ["charts/slow.png", "charts/slow.json"]
    figures = json.loads((tmp_path / lines[-1]).read_text())
    assert [batch["batch_size"] for batch in figures["batches"]] == [8, 16]
    assert [batch["learning_rate"] for batch in figures["batches"]] == pytest.approx([0.0025, 0.005])
    assert figures["batches"][1]["speedup"] == 1
    assert all(10**8 < batch["memory"] < 10**11 for batch in figures["batches"])
    assert cv2.imread(str(tmp_path / lines[-2])).std() > 10
    assert not (tmp_path / "runs").exists()
    if figures["fastest"] == 8:
        assert "--set stages.1.batch_size=8 --set stages.1.learning_rate=0.0025" in out


def test_stage_trained_on_cached_features_is_not_timed(podium, member, tmp_path):
    code, out, err = podium("find-batch", member(STAGE | {"unfreeze": "none", "epochs": 10}))
    assert (code, err) == (0, "")
    assert out.splitlines()[1] == "  features of the frozen backbone are computed once: any batch size is fast"
    assert not (tmp_path / "runs").exists()


def test_wrong_options_are_reported_before_timing(podium, member):
    path = member(STAGE, STAGE | {"name": "more"})
    assert podium("find-batch", path, "--stage", "moer") == (
        1, "", "podium: tiny has no stage 'moer'; expected one of all, more\n"
    )  # fmt: skip
    code, out, err = podium("find-batch", path, "--plot", "one.png")
    assert (code, out) == (1, "")
    assert err == "podium: --plot is one file, but tiny has 2 stages; add --stage NAME\n"
    assert podium("find-batch", path, "--largest", "0")[0] == 2


@pytest.mark.slow
def test_config_errors_of_the_model_are_one_line(podium, member):
    code, _, err = podium("find-batch", member(STAGE | {"unfreeze": {"from": "blockk"}}))
    assert code == 1
    assert err.startswith("podium: unfreeze: backbone has no layer whose name starts with 'blockk'; expected one of ")
    assert err.count("\n") == 1
    code, _, err = podium("find-batch", member(STAGE | {"optimizer": {"name": "Adam", "beta": 1}}))
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("podium: stage all: Adam does not accept {'beta': 1} (")
