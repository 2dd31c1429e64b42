"""`podium find-lr` on a tiny competition."""

import cv2
import pandas as pd
import pytest

MEMBER = """# A comment
competition: competition.yaml
backbone: {name: SmallResNet, weights: none, alpha: 0.25}
precision: float32
stages:
  - {name: head, unfreeze: none, epochs: 10, batch_size: 8, image_size: 32, learning_rate: 0.01}
  - name: all
    unfreeze: all
    epochs: 2
    batch_size: 8
    image_size: 32
    learning_rate: 50  # too high
"""


@pytest.fixture
def member(tiny_competition, tmp_path, monkeypatch):
    path = tiny_competition.config.parent / "tiny.yaml"
    path.write_text(MEMBER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PODIUM_DATA", str(tiny_competition.folder))
    return path


@pytest.mark.slow
def test_curve_and_suggestion_of_a_later_stage(podium, member, tmp_path):
    code, out, err = podium("find-lr", member, "--stage", "all", "--steps", "40", "--lowest", "1e-5", "--write")
    assert (code, err) == (0, "")
    assert "  the stages after head need its weights: training it for one epoch\n" in out
    assert "tiny, stage all, fold 0: " in out
    assert "  configured: 50, in the diverging part of the curve, from " in out
    suggested = out.partition("  suggested: ")[2].partition(",")[0]
    line = MEMBER.splitlines().index("    learning_rate: 50  # too high") + 1
    assert f"{member}:{line}  stages.1.learning_rate: {suggested}\n" in out
    assert member.read_text() == MEMBER.replace("50  # too high", f"{suggested}  # too high")
    table = pd.read_csv(tmp_path / "runs" / "find-lr" / "tiny-all.csv")
    assert list(table) == ["learning_rate", "loss", "smoothed_loss"]
    assert table["learning_rate"].is_monotonic_increasing
    assert cv2.imread(str(tmp_path / "runs" / "find-lr" / "tiny-all.png")).std() > 10
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["find-lr", "folds"]


def test_wrong_options_are_one_line(podium, member):
    assert podium("find-lr", member, "--lowest", "1", "--highest", "0.1") == (
        1, "", "podium: expected --lowest above 0 and below --highest, got 1 and 0.1\n"
    )  # fmt: skip
    assert (
        podium("find-lr", member, "--stage", "al")[2] == "podium: tiny has no stage 'al'; expected one of head, all\n"
    )
