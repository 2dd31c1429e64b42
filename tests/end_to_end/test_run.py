"""From images to a checked CSV, by the commands themselves."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture
def finished(finished_ensemble):
    """The folder, the competition, the ensemble file and the output of the finished run."""
    return finished_ensemble


@pytest.fixture
def run(podium, finished, tmp_path):
    """`run("--fold", 1)` runs the ensemble again on a copy of the finished run."""
    finished.copy_to(tmp_path)
    return lambda *more: podium("run", finished.ensemble, "--data", finished.competition.folder, *more)


def answers_of(path):
    return dict(list(csv.reader(path.read_text().splitlines()))[1:])


def the_csv(folder=Path()):
    (path,) = (folder / "submissions").glob("*.csv")
    return path


def same_bytes(first, second, name):
    """How many files of this name lie in both folders; they are equal."""
    paths = [path.relative_to(first) for path in sorted(first.rglob(name))]
    for path in paths:
        assert (first / path).read_bytes() == (second / path).read_bytes()
    return len(paths)


def test_run_ends_with_a_table_and_a_csv_that_check_accepts(finished, podium):
    root, competition = finished.folder, finished.competition
    assert "first" in finished.out
    assert "fold 0" in finished.out
    assert "by nested cross-validation" in finished.out
    assert f"{the_csv(root).relative_to(root)}: valid" in finished.out
    assert list(answers_of(the_csv(root))) == list(competition.answers)
    checked = podium("check", the_csv(root), "--competition", competition.config, "--data", competition.folder)
    assert checked.code == 0, checked.err
    assert "valid, ready to be sent" in checked.out


def test_the_table_tells_what_the_prediction_files_hold(finished):
    root = finished.folder
    line = next(line for line in finished.out.splitlines() if line.startswith("first  "))
    tables = [
        pd.read_csv(file, dtype={"label": str})
        for file in sorted(root.glob("runs/first-*/fold*/predictions-*/oof.csv"))
    ]
    scores = [(table.filter(like="p_").idxmax(axis=1).str[2:] == table["label"]).mean() for table in tables]
    assert line.split()[1:4] == [f"{score:.4f}" for score in [*scores, sum(scores) / 2]]


def test_a_second_run_does_nothing_again_and_writes_no_second_csv(run):
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*") if path.is_file()}
    ended = run()
    assert ended.code == 0, ended.err
    assert ended.out.count("trained already with this config: skipped") == 4
    assert ended.out.count("predicted already with these views: skipped") == 4
    assert "blend: made already" in ended.out
    assert {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*") if path.is_file()} == before
    assert the_csv()


def test_a_changed_config_gets_run_folders_of_its_own_and_only_where_it_changed(run):
    run("--fold", 0, "--set", "second.stages.0.learning_rate=1e-3")
    assert len(list(Path("runs").glob("first-*"))) == 1
    assert len(list(Path("runs").glob("second-*"))) == 2


def test_other_views_predict_again_without_training(run):
    ended = run("--set", "second.tta=[identity, {rotate: 10}]")
    assert ended.out.count("trained already") == 4
    assert ended.out.count("predicted already") == 2


def test_a_run_folder_that_was_left_half_trained_is_trained_again(run):
    state = next(Path("runs").glob("first-*/fold0/state.json"))
    state.write_text(json.dumps({"status": "training"}))
    ended = run("--fold", 0)
    assert ended.out.count("trained already") == 1
    assert ended.out.count("training on 12 images") == 1


def test_a_fold_that_is_not_there_is_told_with_those_that_are(run):
    ended = run("--fold", 5)
    assert ended.code == 1
    assert "there is no fold 5" in ended.err
    assert "0, 1" in ended.err


def test_a_limited_test_set_makes_a_partial_csv_that_check_refuses(run, podium, finished):
    competition = finished.competition
    ended = run("--limit-test", 3, "--fold", 0)
    assert ended.code == 0, ended.err
    assert "partial, as asked" in ended.out
    (partial,) = Path("submissions").glob("*.partial.csv")
    assert len(answers_of(partial)) == 3
    checked = podium("check", partial, "--competition", competition.config, "--data", competition.folder)
    assert checked.code == 1
    assert "partial" in checked.err


def test_two_runs_with_one_seed_give_the_same_weights_and_the_same_csv_bit_for_bit(run):
    """The first trained its fold 1 after other folds and members, the second by itself."""
    the_csv().unlink()
    run("--fold", 1)
    first = the_csv()
    first.rename("first.csv")
    run("--fold", 1, "--runs", "again")
    assert the_csv().read_bytes() == Path("first.csv").read_bytes()
    assert same_bytes(Path("again"), Path("runs"), "*.h5") == 2
    assert same_bytes(Path("again"), Path("runs"), "oof.csv") >= 2
    assert same_bytes(Path("again"), Path("runs"), "test.csv") >= 2


def test_another_seed_gives_other_weights(run, podium, finished):
    competition, ensemble = finished.competition, finished.ensemble
    podium("train", ensemble.parent / "first.yaml", "--data", competition.folder, "--fold", 0, "--seed", 1)
    one, other = (path.read_bytes() for path in sorted(Path("runs").glob("first-*/fold0/best.weights.h5")))
    assert one != other


def test_predict_and_blend_say_what_must_come_before_them(podium, finished):
    competition, ensemble = finished.competition, finished.ensemble
    data = ["--data", competition.folder]
    ended = podium("predict", ensemble.parent / "first.yaml", *data)
    assert ended.code == 1
    assert "first fold 0 is not trained" in ended.err
    ended = podium("blend", ensemble, *data)
    assert ended.code == 1
    assert "first fold 0, first fold 1, second fold 0, second fold 1: not predicted yet" in ended.err


def test_predict_tells_the_score_of_what_is_predicted_already(run, podium, finished):
    competition, ensemble = finished.competition, finished.ensemble
    ended = podium("predict", ensemble.parent / "first.yaml", "--data", competition.folder)
    assert ended.code == 0, ended.err
    assert ended.out.count("predicted already") == 2
    assert ended.out.count("out-of-fold accuracy") == 2


def test_blend_alone_blends_what_run_has_predicted(run, podium, finished):
    competition, ensemble = finished.competition, finished.ensemble
    ended = podium("blend", ensemble, "--data", competition.folder, "--set", "blend=hill_climb")
    assert "blend (hill_climb)" in ended.out
    assert len(list(Path("submissions").glob("*.csv"))) == 2
    for facts in Path("runs").glob("*/blend.json"):
        made_of = json.loads(facts.read_text())["made_of"]
        assert len(made_of) == 4
        assert all((Path("runs") / one / "oof.csv").is_file() for one in made_of)


def test_limit_keeps_every_class_and_trains_on_no_more(podium, tiny_competition):
    member = tiny_competition.member()
    ended = podium("train", member, "--data", tiny_competition.folder, "--limit", 5, "--fold", 0)
    assert ended.code == 0, ended.err
    assert "training on 5 images, validating on 12" in ended.out


def test_probabilities_are_written_where_the_competition_asks_for_them(podium, tiny_competition):
    sample = tiny_competition.folder / "sample-submission.csv"
    ids = list(tiny_competition.answers)
    pd.DataFrame({"Id": ids, "Red": 0.25, "1": 0.25, "2": 0.25, "3": 0.25}).to_csv(sample, index=False)
    competition = tiny_competition.change(
        metric="log_loss", submission={"format": "probabilities", "columns": {"0": "Red"}}
    )
    ensemble = competition.ensemble([competition.member()])
    ended = podium("run", ensemble, "--data", competition.folder, "--fold", 0)
    assert ended.code == 0, ended.err
    written = pd.read_csv(the_csv())
    assert list(written.columns) == ["Id", "Red", "1", "2", "3"]
    assert written.drop(columns="Id").sum(axis=1).round(6).eq(1).all()


def test_a_folder_per_class_a_holdout_and_views_chosen_by_themselves(podium, tiny_competition):
    competition = tiny_competition.change(
        train={"images": "train/{label}/{id}"}, folds={"kind": "holdout", "share": 0.25}
    )
    ensemble = competition.ensemble([competition.member(tta="auto")])
    ended = podium("run", ensemble, "--data", competition.folder)
    assert ended.code == 0, ended.err
    views = pd.read_csv(next(Path("runs").glob("*/fold0/predictions-*/views.csv")))
    assert list(views["view"][:2]) == ["identity", "horizontal_flip"]
    assert views["view"].iloc[-1] == "all views"


def test_rows_kept_apart_are_scored_once_at_the_end(podium, make_tiny_competition, tmp_path):
    competition = make_tiny_competition(tmp_path / "shares", train=80).change(folds="shares")
    member = competition.member()
    data = ["--data", competition.folder]
    trained = podium("train", member, *data)
    assert "training on 64 images, validating on 8" in trained.out
    ended = podium("predict", member, *data)
    assert ended.code == 0, ended.err
    assert "on the rows kept apart" in ended.out
    apart = pd.read_csv(next(Path("runs").glob("*/fold0/predictions-*/apart.csv")))
    assert len(apart) == 8


def test_an_unreadable_image_is_told_before_training_or_left_out(podium, tiny_competition):
    bad = next((tiny_competition.folder / "train" / "0").iterdir())
    bad.write_bytes(bad.read_bytes()[:200])
    member = tiny_competition.member()
    ended = podium("train", member, "--data", tiny_competition.folder)
    assert ended.code == 1
    assert bad.name in ended.err
    assert not list(Path("runs").glob("tiny-*"))
    ended = podium(
        "train", member, "--data", tiny_competition.folder, "--set", "competition.on_bad_image=skip", "--fold", 0
    )
    assert ended.code == 0, ended.err
    assert "1 images cannot be read and are left out" in ended.out


def test_a_broken_member_is_told_before_anything_is_read(podium, tiny_competition):
    member = tiny_competition.member(augmentation=[{"Rotate": {"limt": 5}}], label_smoothing=2)
    ended = podium("train", member, "--data", tiny_competition.folder)
    assert ended.code == 1
    assert "limt" in ended.err
    assert "label_smoothing" in ended.err
    assert "Traceback" not in ended.err
    assert not Path("runs").exists()


def test_another_form_of_submission_makes_another_csv_of_the_same_predictions(run):
    ended = run("--set", "competition.submission.format=probabilities")
    assert "blend: made already" not in ended.out
    assert ended.out.count("predicted already") == 4


def test_weights_that_are_missing_are_told_before_any_member_trains(podium, finished):
    competition, ensemble = finished.competition, finished.ensemble
    ended = podium("run", ensemble, "--data", competition.folder, "--set", "second.backbone.weights=./nowhere.h5")
    assert ended.code == 1
    assert "second: no weights at nowhere.h5" in ended.err
    assert "training on" not in ended.out
