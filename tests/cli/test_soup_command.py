"""`podium soup` on runs of the finished ensemble."""

import json
import shutil

import h5py
import numpy as np
import pytest
import yaml
from line_task import weights_in

from podium.files import digest_of_file
from podium.runs import Run


@pytest.fixture
def work(finished_ensemble, tmp_path, monkeypatch):
    """A folder with the runs, and with the configs in `tiny/configs`."""
    finished_ensemble.copy_to(tmp_path)
    shutil.copytree(finished_ensemble.folder / "tiny", tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PODIUM_DATA", str(tmp_path / "tiny" / "data"))
    return tmp_path


def runs_of(work, member):
    return next((work / "runs").glob(f"{member}-*"))


def variant(folder, name, change):
    """A copy of a run with other weights."""
    copy = folder.with_name(name)
    shutil.copytree(folder, copy)
    for path in copy.glob("fold*"):
        with h5py.File(path / "best.weights.h5", "a") as file:
            file.visititems(lambda _, part: change(part) if isinstance(part, h5py.Dataset) else None)
        state = json.loads((path / "state.json").read_text())
        state["best"] |= {"digest": digest_of_file(path / "best.weights.h5"), "score": state["best"]["score"] - 0.01}
        (path / "state.json").write_text(json.dumps(state))
    return copy


def add(amount):
    def change(part):
        part[...] = part[...] + np.float32(amount)

    return change


def test_soup_is_predicted_and_blended_like_a_member(podium, work):
    first = runs_of(work, "first")
    near, far = variant(first, "near-00000001", add(1e-4)), variant(first, "far-00000002", add(5.0))
    path = "tiny/configs/soup.yaml"
    code, out, err = podium("soup", first / "fold0", far / "fold0", near / "fold0", "--out", path)
    assert (code, err) == (0, "")
    score = Run(first / "fold0").state["best"]["score"]
    assert (
        f"  2 of 3 runs: val_accuracy {score:.4f}, the best run alone {score:.4f}: {first.name}, {near.name}\n" in out
    )
    assert "  chosen on the same rows, so these scores are optimistic: " in out
    (soup,) = (work / "runs").glob("soup-*/fold0")
    parts = [weights_in(run / "best.weights.h5") for run in (soup, first / "fold0", near / "fold0")]
    for name, mean in parts[0].items():
        np.testing.assert_allclose(mean, (parts[1][name] + parts[2][name]) / 2, rtol=1e-6, atol=1e-7)
    assert Run(soup).state["best"]["digest"] == digest_of_file(soup / "best.weights.h5")
    assert yaml.safe_load((work / path).read_text())["soup"] == [first.name, far.name, near.name]

    (work / "tiny" / "configs" / "both.yaml").write_text("members: [first.yaml, soup.yaml]\nfolds: [0]\n")
    code, out, err = podium("run", "tiny/configs/both.yaml")
    assert (code, err) == (0, "")
    assert "soup fold 0: already trained with this config" in out
    assert "blend (mean): accuracy" in out


def test_runs_that_do_not_fit_are_refused_in_one_line(podium, work):
    first = runs_of(work, "first")
    assert podium("soup", first) == (
        1, "", "podium: a soup needs two or more runs, such as those of several seeds or learning rates\n"
    )  # fmt: skip
    other = variant(first, "other-00000001", add(0.0))
    for config in other.glob("fold*/config.yaml"):
        content = yaml.safe_load(config.read_text())
        content["member"]["backbone"]["alpha"] = 0.5
        config.write_text(yaml.safe_dump(content))
    code, _, err = podium("soup", first, other, "--out", "tiny/configs/soup.yaml")
    assert (code, err.count("\n")) == (1, 1)
    assert "these runs cannot be averaged, because they differ: backbone SmallResNet 0.25 / SmallResNet 0.5 (of " in err
    code, _, err = podium("soup", first / "fold0", other / "fold1", "--out", "tiny/configs/soup.yaml")
    assert (code, err) == (1, f"podium: expected the same folds of all runs, got {first.name}: 0, {other.name}: 1\n")


def test_kernel_does_not_train_a_soup(podium, work):
    first = work / "tiny" / "configs" / "first.yaml"
    (first.parent / "soup.yaml").write_text(first.read_text() + "soup: [first-00000000, first-00000001]\n")
    code, _, err = podium("kernel", "build", "tiny/configs/soup.yaml", "--fold", "0")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith(
        "podium: soup is a soup, made of runs on this machine, so Kaggle cannot train it: leave it out"
    )


def test_soup_without_its_runs_says_what_to_train(podium, work):
    first = work / "tiny" / "configs" / "first.yaml"
    (first.parent / "lost.yaml").write_text(first.read_text() + "soup: [first-00000000, first-00000001]\n")
    code, _, err = podium("train", "tiny/configs/lost.yaml", "--fold", "0")
    assert (code, err) == (
        1,
        "podium: lost fold 0 is a soup of runs that are not trained: runs/first-00000000/fold0,"
        " runs/first-00000001/fold0; train them first\n",
    )


def test_soup_of_a_soup_names_its_own_runs(podium, work):
    first = runs_of(work, "first")
    near, other = variant(first, "near-00000001", add(1e-4)), variant(first, "other-00000002", add(2e-4))
    assert podium("soup", first / "fold0", near / "fold0", "--out", "tiny/configs/soup.yaml")[0] == 0
    (soup,) = (work / "runs").glob("soup-*")
    code, _, err = podium("soup", soup / "fold0", other / "fold0", "--out", "tiny/configs/more.yaml")
    assert (code, err) == (0, "")
    assert yaml.safe_load((work / "tiny/configs/more.yaml").read_text())["soup"] == [soup.name, other.name]


def test_last_layers_of_a_soup_have_to_be_alike(podium, work):
    first = runs_of(work, "first")
    other = variant(first, "other-00000001", add(0.0))
    for config in other.glob("fold*/config.yaml"):
        content = yaml.safe_load(config.read_text())
        content["member"]["loss"] = {"kind": "arcface", "scale": 20.0}
        config.write_text(yaml.safe_dump(content))
    code, _, err = podium("soup", first / "fold0", other / "fold0", "--out", "tiny/configs/soup.yaml")
    assert (code, err.count("\n")) == (1, 1)
    assert "they differ: last layer None / {'scale': 20.0, 'centres': 1} (of " in err
