"""`podium train`, `predict`, `blend` and `run`, from images to a checked CSV."""

import csv
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from podium.config.loading import load_member
from podium.options import RunOptions
from podium.workflows.fold_runs import fold_runs
from podium.workflows.prepare import prepare


@pytest.fixture
def run(podium, finished_ensemble, tmp_path):
    """`run("--fold", 1)` runs the ensemble again, on a copy of the finished run."""
    finished_ensemble.copy_to(tmp_path)
    data = finished_ensemble.competition.folder
    return lambda *more: podium("run", finished_ensemble.ensemble, "--data", data, *more)


def answers_in(path):
    return dict(list(csv.reader(path.read_text().splitlines()))[1:])


def only_csv(folder=Path()):
    (path,) = (folder / "submissions").glob("*.csv")
    return path


def same_bytes(first, second, name):
    """How many files of this name are in the first folder; all of them are equal to those in the second."""
    paths = [path.relative_to(first) for path in sorted(first.rglob(name))]
    for path in paths:
        assert (first / path).read_bytes() == (second / path).read_bytes()
    return len(paths)


def test_run_prints_the_scores_and_writes_a_csv_that_check_accepts(finished_ensemble, podium):
    folder, competition = finished_ensemble.folder, finished_ensemble.competition
    submission = only_csv(folder)
    assert "by nested cross-validation" in finished_ensemble.out
    assert f"{submission.relative_to(folder)}: valid, ready to submit" in finished_ensemble.out
    assert list(answers_in(submission)) == list(competition.answers)
    checked = podium("check", submission, "--competition", competition.config, "--data", competition.folder)
    assert (checked.code, checked.err) == (0, "")
    assert "valid, ready to submit" in checked.out


def test_check_finds_the_competition_and_the_sample_of_the_blend_that_wrote_the_csv(
    podium, finished_ensemble, tmp_path
):
    finished_ensemble.copy_to(tmp_path)
    renamed = only_csv().rename("submissions/mine.csv")
    (blend,) = Path("runs").glob("*/blend.json")
    blend.write_text(json.dumps({**json.loads(blend.read_text()), "submission": renamed.name}))
    checked = podium("check", renamed)
    assert (checked.code, checked.out) == (0, "submissions/mine.csv: valid, ready to submit\n"), checked.err
    Path("output").mkdir()
    for name in ("runs", "submissions"):
        Path(name).rename(f"output/{name}")
    assert podium("check", "output/submissions/mine.csv").code == 0


def test_the_printed_scores_are_those_of_the_prediction_files(finished_ensemble):
    line = next(line for line in finished_ensemble.out.splitlines() if line.startswith("first  "))
    tables = [
        pd.read_csv(file, dtype={"label": str})
        for file in sorted(finished_ensemble.folder.glob("runs/first-*/fold*/predictions-*/oof.csv"))
    ]
    scores = [(table.filter(like="p_").idxmax(axis=1).str[2:] == table["label"]).mean() for table in tables]
    assert line.split()[1:4] == [f"{score:.4f}" for score in [*scores, sum(scores) / 2]]


def test_a_second_run_skips_every_step_and_changes_no_file(run):
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()}
    ended = run()
    assert ended.code == 0, ended.err
    assert ended.out.count("already trained with this config") == 4
    assert ended.out.count("already predicted with these views") == 4
    assert "blend: already written" in ended.out
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*") if path.is_file()} == before


def test_a_changed_config_gets_its_own_run_folder(finished_ensemble):
    competition, path = finished_ensemble.competition, finished_ensemble.members[1]
    options = RunOptions(data=competition.folder, runs=finished_ensemble.folder / "runs")
    prepared = prepare(competition.competition, options, Console(quiet=True))

    def folder(*overrides):
        return fold_runs(load_member(path, overrides), prepared, options)[0].path

    assert folder().is_dir()
    assert not folder("stages.0.learning_rate=1e-3").exists()
    assert not folder("seed=8").exists()
    assert folder("tta=[identity, {rotate: 10}]") == folder("cache_gb=1") == folder()


def test_a_changed_test_set_is_predicted_again_without_training(run, finished_ensemble, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(finished_ensemble.competition.folder, data)
    sample = data / "sample-submission.csv"
    for number in range(3):
        shutil.copy(data / "train" / "1" / "0001.jpg", data / "test_upload" / f"more{number}.jpg")
        sample.write_text(f"{sample.read_text()}more{number}.jpg,0\n")
    ended = run("--data", data)
    assert ended.code == 0, ended.err
    assert ended.out.count("already trained with this config") == 4
    assert "already predicted" not in ended.out
    written = max(Path("submissions").glob("*.csv"), key=lambda path: path.stat().st_mtime_ns)
    assert list(answers_in(written))[8:] == ["more0.jpg", "more1.jpg", "more2.jpg"]
    ended = run()
    assert ended.out.count("already predicted with these views") == 4


@pytest.mark.slow
def test_a_training_needs_no_test_set_and_predicting_later_needs_no_training(podium, tiny_competition):
    folder, member = tiny_competition.folder, tiny_competition.member()
    sample = folder / "sample-submission.csv"
    sample.rename(folder / "hidden.csv")
    shutil.rmtree(folder / "test_upload")
    train = ["train", member, "--data", folder, "--fold", 0]
    ended = podium(*train)
    assert ended.code == 0, ended.err
    assert "24 images to train on, no sample_submission.csv, which predicting needs, 4 classes" in ended.out
    (folder / "hidden.csv").rename(sample)
    assert "already trained with this config" in podium(*train).out
    predict = podium("predict", member, "--data", folder, "--fold", 0)
    assert (predict.code, predict.err.count("\n")) == (1, 1)
    assert "no folder test_upload for the images" in predict.err


def test_a_sample_that_does_not_fit_is_an_error_before_images_are_read(podium, tiny_competition):
    sample = tiny_competition.folder / "sample-submission.csv"
    sample.write_text(sample.read_text().replace("Category", "Label"))
    for command in ("train", "run"):
        config = tiny_competition.member()
        ended = podium(
            command, config if command == "train" else tiny_competition.ensemble([config]), "--data", sample.parent
        )
        assert (ended.code, ended.err.count("\n")) == (1, 1)
        assert "has the columns Id, Label; the competition file expects Id, Category" in ended.err
    assert not Path("runs").exists()


def test_new_views_predict_again_without_training(run):
    ended = run("--fold", 0, "--set", "second.tta=[identity, {rotate: 10}]")
    assert ended.out.count("already trained") == 2
    assert ended.out.count("already predicted") == 1


def test_a_run_without_a_final_state_is_finished(run):
    (state,) = Path("runs").glob("first-*/fold0/state.json")
    state.write_text(json.dumps({"status": "training"}))
    ended = run("--fold", 0)
    assert ended.out.count("already trained") == 1
    assert ended.out.count("training on 12 images") == 1


@pytest.mark.slow
def test_same_seed_gives_the_same_weights_and_predictions_bit_for_bit(run):
    shutil.copytree("runs", "expected")
    (fold,) = Path("runs").glob("second-*/fold0")
    shutil.rmtree(fold)  # trained after two folds of the other member before, and alone now
    ended = run()
    assert ended.out.count("already trained") == 3
    assert same_bytes(Path("expected"), Path("runs"), "*.h5") == 4
    assert same_bytes(Path("expected"), Path("runs"), "oof.csv") == 5
    assert same_bytes(Path("expected"), Path("runs"), "test.csv") == 5
    assert "blend: already written" in ended.out


@pytest.mark.slow
def test_another_seed_gives_other_weights(run, podium, finished_ensemble):
    data = finished_ensemble.competition.folder
    podium("train", finished_ensemble.members[0], "--data", data, "--fold", 0, "--seed", 1)
    first, second = (path.read_bytes() for path in sorted(Path("runs").glob("first-*/fold0/best.weights.h5")))
    assert first != second


def test_a_missing_fold_is_an_error_with_the_existing_ones(run):
    ended = run("--fold", 5)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "there is no fold 5" in ended.err
    assert "expected one of 0, 1" in ended.err


@pytest.mark.slow
def test_limit_test_makes_a_partial_csv_that_check_refuses(run, podium, finished_ensemble):
    ended = run("--limit-test", 3, "--fold", 0)
    assert ended.code == 0, ended.err
    assert "partial because of" in ended.out
    (partial,) = Path("submissions").glob("*.partial.csv")
    assert len(answers_in(partial)) == 3
    competition = finished_ensemble.competition
    checked = podium("check", partial, "--competition", competition.config, "--data", competition.folder)
    assert checked.code == 1
    assert "partial" in checked.err


def test_predict_before_train_and_blend_before_predict_are_errors(podium, finished_ensemble):
    data = ["--data", finished_ensemble.competition.folder]
    ended = podium("predict", finished_ensemble.members[0], *data)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "first fold 0 is not trained" in ended.err
    ended = podium("blend", finished_ensemble.ensemble, *data)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "missing predictions with this config: first fold 0, first fold 1, second fold 0, second fold 1" in ended.err


def test_predict_prints_the_score_of_finished_predictions(run, podium, finished_ensemble):
    ended = podium("predict", finished_ensemble.members[0], "--data", finished_ensemble.competition.folder)
    assert ended.code == 0, ended.err
    assert ended.out.count("already predicted") == 2
    assert ended.out.count("out-of-fold accuracy") == 2


def test_blend_uses_the_predictions_that_run_has_made(run, podium, finished_ensemble):
    data = finished_ensemble.competition.folder
    ended = podium("blend", finished_ensemble.ensemble, "--data", data, "--set", "blend=hill_climb")
    assert "blend (hill_climb)" in ended.out
    assert len(list(Path("submissions").glob("*.csv"))) == 2
    for facts in Path("runs").glob("*/blend.json"):
        folders = json.loads(facts.read_text())["predictions"]
        assert len(folders) == 4
        assert all((Path("runs") / folder / "oof.csv").is_file() for folder in folders)


def test_a_blend_can_be_written_as_probabilities(run, finished_ensemble, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(finished_ensemble.competition.folder, data)
    ids = list(finished_ensemble.competition.answers)
    pd.DataFrame({"Id": ids, "Red": 0.25, "1": 0.25, "2": 0.25, "3": 0.25}).to_csv(
        data / "sample-submission.csv", index=False
    )
    form = [
        "--set",
        "competition.submission.format=probabilities",
        "--set",
        "competition.submission.columns={'0': Red}",
    ]
    ended = run("--data", data, *form)
    assert ended.code == 0, ended.err
    assert ended.out.count("already predicted") == 4
    written = pd.read_csv(max(Path("submissions").glob("*.csv"), key=lambda path: path.stat().st_mtime_ns))
    assert list(written.columns) == ["Id", "Red", "1", "2", "3"]
    assert written.drop(columns="Id").sum(axis=1).round(6).eq(1).all()


def test_limit_trains_on_that_many_rows_of_all_classes(podium, tiny_competition):
    ended = podium(
        "train", tiny_competition.member(), "--data", tiny_competition.folder, "--limit", 5, "--fold", 0, "--dry-run"
    )
    assert ended.code == 0, ended.err
    assert "training on 5 images, validating on 12" in ended.out


@pytest.mark.slow
def test_a_folder_per_class_with_a_holdout_fold_and_chosen_views(podium, tiny_competition):
    competition = tiny_competition.change(
        train={"images": "train/{label}/{id}"}, folds={"kind": "holdout", "share": 0.25}
    )
    ensemble = competition.ensemble([competition.member(tta="auto")])
    ended = podium("run", ensemble, "--data", competition.folder, "--dry-run")
    assert "well-formed, but from a dry run" in ended.out or "must not be submitted" in ended.err, ended.err
    views = pd.read_csv(next(Path("runs").glob("*/fold0/predictions-*/views.csv")))
    assert list(views["view"][:2]) == ["identity", "horizontal_flip"]
    assert views["view"].iloc[-1] == "all views"


@pytest.mark.slow
def test_rows_of_the_final_test_are_scored_by_predict(podium, make_tiny_competition, tmp_path):
    competition = make_tiny_competition(tmp_path / "shares", train=80).change(folds="shares")
    member, options = competition.member(), ["--data", competition.folder, "--dry-run"]
    trained = podium("train", member, *options)
    assert "training on 12 images, validating on 8" in trained.out
    ended = podium("predict", member, *options)
    assert ended.code == 0, ended.err
    assert "on the rows of the final test" in ended.out
    final = pd.read_csv(next(Path("runs").glob("*/fold0/predictions-*/final_test.csv")))
    assert len(final) == 8


def test_an_unreadable_image_is_an_error_before_training_or_left_out(podium, tiny_competition):
    bad = next((tiny_competition.folder / "train" / "0").iterdir())
    bad.write_bytes(bad.read_bytes()[:200])
    train = ["train", tiny_competition.member(), "--data", tiny_competition.folder, "--dry-run"]
    ended = podium(*train)
    assert ended.code == 1
    assert bad.name in ended.err
    assert not list(Path("runs").glob("tiny-*"))
    ended = podium(*train, "--set", "competition.on_bad_image=skip", "--fold", 0)
    assert ended.code == 0, ended.err
    assert "left out (on_bad_image: skip): 1 images cannot be read: " in ended.out
    assert f"{bad.name} (its end is missing)" in ended.out.replace("\n", " ")


def test_all_problems_of_a_member_are_reported_before_anything_is_read(podium, tiny_competition):
    member = tiny_competition.member(augmentation=[{"Rotate": {"limt": 5}}], label_smoothing=2)
    ended = podium("train", member, "--data", tiny_competition.folder)
    assert ended.code == 1
    assert "limt" in ended.err
    assert "label_smoothing" in ended.err
    assert "Traceback" not in ended.err
    assert not Path("runs").exists()


def test_missing_weights_are_an_error_before_any_member_trains(podium, finished_ensemble):
    data, weights = finished_ensemble.competition.folder, "second.backbone.weights=./nowhere.h5"
    ended = podium("run", finished_ensemble.ensemble, "--data", data, "--set", weights)
    assert ended.code == 1
    assert "second: no weights at nowhere.h5" in ended.err
    assert "training on" not in ended.out
