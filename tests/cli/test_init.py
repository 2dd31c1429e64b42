"""`podium init`: files that pass the checks as they are, and nothing overwritten."""

import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from layouts import LAYOUTS, OPTIONS, draw
from rich.console import Console

from podium.config.loading import load_ensemble, load_member
from podium.workflows import init


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


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("Quadratic Weighted Kappa", "quadratic_kappa"),
        ("Mean Columnwise Root Mean Squared Error", "columnwise_rmse"),
        ("MCRMSE", "columnwise_rmse"),
        ("Mean Columnwise Log Loss", "columnwise_log_loss"),
        ("Mean F-Score Beta 2", None),
        ("Mean F-Score", "samples_f1"),
    ],
)
def test_the_metric_of_a_page(name, metric, monkeypatch):
    page = SimpleNamespace(metric_name=lambda slug: name)
    monkeypatch.setattr(init, "describe_credentials", lambda: "a key")
    monkeypatch.setattr("podium.kaggle.client.sign_in", lambda: page)
    assert init.metric_at_kaggle("discs", Console()) == metric


@pytest.mark.parametrize(("metric", "written"), [("macro_f1", "macro_f1"), ("rmse", "accuracy")])
def test_the_metric_of_the_page_has_to_score_the_target(metric, written, tmp_path):
    draw("text-label", tmp_path / "discs", train=30, test=3)
    started = init.init(tmp_path / "discs", tmp_path / "configs", Console(quiet=True), metric_of_page=metric)
    assert load_ensemble(started.ensemble).competition.metric == written
    assert any(line.startswith(f"metric: {written} (") for line in started.assumptions)


def test_commands_can_be_pasted_whatever_the_folders_are_called(podium, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw("text-label", Path("data/my data"), train=30, test=3)
    code, out, _ = podium("init", "data/my data", "--configs", "my configs")
    assert code == 0
    assert "next: podium run 'my configs/ensembles/my-data.yaml' --data 'data/my data' --dry-run\n" in out
    for kind, command in (("members", "podium train"), ("ensembles", "podium run"), ("competitions", "podium run")):
        (file,) = Path("my configs", kind).glob("*.yaml")
        (line,) = [line for line in file.read_text().splitlines() if command in line]
        assert shlex.split(line.partition(command)[2])[1:3] == ["--data", "data/my data"]


def test_data_that_a_run_would_refuse_is_an_error(podium, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw("text-label", Path("data/discs"), train=30, test=3)
    Path("data/discs/train_images/train0007.jpg").unlink()
    code, out, err = podium("init", "discs")
    assert (code, "next:" in out) == (1, False)
    assert "listed in data/discs/train.csv do not exist in data/discs: train_images/train0007.jpg (line 9)" in err
    assert "; then: podium run configs/ensembles/discs.yaml --dry-run\n" in err
    assert podium("init", "discs", "--replace", "--label", "colour")[0] == 1
    table = Path("data/discs/train.csv")
    table.write_text(table.read_text().replace("train0007", "train0008"))
    code, _, err = podium("init", "discs", "--replace")
    assert (code, "has duplicate ids: train0008 (line 10)" in err) == (1, True)


@pytest.mark.parametrize("slug", ["My Competition", "a_b", "-", "a" * 300])
def test_a_slug_that_is_none_is_named_before_anything_is_written(slug, podium, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw("text-label", Path("data/discs"), train=30, test=3)
    code, _, err = podium("init", "discs", f"--slug={slug}")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith(f"podium: --slug: '{slug[:9]}")
    assert not Path("configs").exists()


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


@pytest.mark.parametrize("options", [[], ["--replace"]])
def test_data_that_leads_to_no_valid_file_leaves_none(options, podium, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw("text-label", Path("data/discs"), train=30, test=3)
    if options:
        assert podium("init", "discs")[0] == 0
    before = {path: path.read_text() for path in Path().glob("configs/*/*")}
    table = Path("data/discs/train.csv")
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *(line.rpartition(",")[0] + ",same" for line in lines[1:])]))
    code, _, err = podium("init", "discs", *options)
    assert (code, err) == (
        1,
        "podium: data/discs does not look like a competition that podium knows, so no file was written: classes:"
        " expected 2 or more items, got {'same': 'same'}; unpack all of its data, name the column of the answers with"
        " --label, or write the files as docs/configuration.md describes\n",
    )
    assert {path: path.read_text() for path in Path().glob("configs/*/*")} == before


def test_an_unknown_target_names_the_nearest(podium, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw("text-label", Path("data/discs"), train=30, test=3)
    code, _, err = podium("init", "discs", "--target", "singlelabel")
    assert (code, "single_label" in err) == (1, True)
    assert not Path("configs").exists()


RECIPES = sorted((Path(__file__).resolve().parents[2] / "configs" / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("recipe", [path.stem for path in RECIPES])
@pytest.mark.parametrize("name", ["text-label", "regression"])
def test_a_recipe_is_written_for_the_data(name, recipe, podium, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(RECIPES[0].parent, "configs/recipes")
    draw(name, Path("data") / name, train=30, test=3)
    code, _out, err = podium("init", name, "--recipe", recipe, *OPTIONS.get(name, []))
    assert (code, err) == (0, "")
    member = Path(f"configs/members/{name}_{recipe}.yaml")
    text, settings = member.read_text(), load_member(member).settings
    assert f"# Run:   podium train {member} --fold 0\n" in text
    assert "# Notes: " in text
    assert "podium init" not in text
    assert settings.label_smoothing == (0.1 if name == "text-label" else 0.0)
    assert {stage.image_size for stage in settings.stages} == {64}  # the drawn images are small
    assert all(size >= 64 for size in settings.tta.image_sizes)
    assert [part.name for part in load_ensemble(Path(f"configs/ensembles/{name}.yaml")).members] == [member.stem]


def test_sizes_of_a_recipe_that_become_one_are_not_averaged(podium, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(RECIPES[0].parent, "configs/recipes")
    text = (RECIPES[0].parent / "strong.yaml").read_text()
    own = re.sub(r"^tta:.*$", "tta: {image_sizes: [300, 352], average_sizes: true}", text, flags=re.MULTILINE)
    Path("configs/recipes/own.yaml").write_text(own)
    draw("text-label", Path("data") / "discs", train=30, test=3)
    assert podium("init", "discs", "--recipe", "own", *OPTIONS.get("discs", []))[0] == 0
    tta = load_member(Path("configs/members/discs_own.yaml")).settings.tta
    assert (tta.image_sizes, tta.average_sizes) == ([64], False)


def test_an_unknown_recipe_names_the_others(podium, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(RECIPES[0].parent, "configs/recipes")
    draw("text-label", Path("data/discs"), train=30, test=3)
    code, _, err = podium("init", "discs", "--recipe", "stron")
    assert (code, err.count("strong")) == (1, 1)
    assert not Path("configs/members").exists()
    code, _, err = podium("init", "discs", "--recipe", "xyz")
    assert (code, "xyz' is not a recipe in configs/recipes; expected one of last-day, quick, strong" in err) == (
        1,
        True,
    )
    code, _, err = podium("init", "discs", "--recipe", "quick", "--configs", "other")
    assert (code, "in other/recipes, which has none; copy" in err) == (1, True)
