"""Every shipped config is rehearsed, so that none can break unseen."""

from pathlib import Path

import pytest
import yaml

CONFIGS = Path(__file__).parents[2] / "configs"
MEMBERS = sorted((CONFIGS / "members").glob("*.yaml"))
ENSEMBLES = sorted((CONFIGS / "ensembles").glob("*.yaml"))


@pytest.fixture
def data_of(tmp_path, make_tiny_competition):
    """A few drawn images in the layout and with the class names of a shipped competition."""

    def make(member):
        named = yaml.safe_load(member.read_text())["competition"]
        classes = yaml.safe_load((member.parent / named).read_text())["classes"]
        colours = {str(label): (25 * int(label), 255 - 25 * int(label), 40 * (int(label) % 5)) for label in classes}
        return make_tiny_competition(tmp_path / "drawn", train=6 * len(classes), test=8, colours=colours).folder

    return make


@pytest.mark.parametrize("member", MEMBERS, ids=lambda path: path.stem)
def test_a_dry_run_trains_every_member(podium, data_of, member):
    ended = podium("train", member, "--dry-run", "--data", data_of(member))
    assert ended.code == 0, ended.err
    stages = yaml.safe_load(member.read_text())["stages"]
    for stage in stages:
        assert f"{stage['name']} 1/1" in ended.out


@pytest.mark.parametrize("ensemble", ENSEMBLES, ids=lambda path: path.stem)
def test_every_ensemble_names_shipped_members(ensemble):
    for member in yaml.safe_load(ensemble.read_text())["members"]:
        assert (ensemble.parent / member).resolve() in [path.resolve() for path in MEMBERS]


def test_the_demo_tells_scores_on_the_hidden_answers_and_a_csv_to_send(podium, tmp_path):
    ended = podium("demo", "--dry-run")
    assert ended.code == 0 or "must not be submitted" in ended.err  # so little training may answer one class only
    assert "240 cars drawn, 8 body types" in ended.out
    header = next(line for line in ended.out.splitlines() if line.startswith("member"))
    assert header.split()[-2:] == ["hidden", "test"]
    assert {line.split()[0] for line in ended.out.splitlines() if line.startswith(("demo_", "blend  "))} >= {
        "demo_wide",
        "demo_narrow",
        "blend",
    }


@pytest.mark.slow
def test_the_demo_beats_nine_in_ten_and_its_blend_the_mean_of_its_members(podium):
    ended = podium("demo")
    assert ended.code == 0, ended.err
    hidden = {
        line.split()[0]: float(line.split()[-1])
        for line in ended.out.splitlines()
        if line.startswith(("demo_wide  ", "demo_narrow  ", "blend  "))
    }
    assert hidden["blend"] > 0.9
    assert hidden["blend"] >= (hidden["demo_wide"] + hidden["demo_narrow"]) / 2
