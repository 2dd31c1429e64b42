"""`podium compare` of classifiers, on run folders written by hand: nothing is trained."""

import copy
import json
import os
import time

import numpy as np
import pandas as pd
import pytest

from podium.config.loading import load_member
from podium.files import digest_of, write_json
from podium.predictions import Predictions, write_predictions
from podium.runs import Run

ROWS = 400
BEST = {
    "stage": "all", "epoch": 1, "monitor": "val_accuracy", "score": 0.9, "image_size": 32, "digest": "aa",
    "precision": "float32",
}  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def config(here, tiny_competition):
    """`config(key=value, …)`: the resolved config of a member, with these keys of `member` changed."""
    loaded = load_member(tiny_competition.member())
    content = {
        "name": "tiny", "digest": "1a2b3c4d", "dry_run": False, "limit": None,
        "inputs": {"labels": list("0123"), "weights": None, "rows": "cbe84c92", "folds": "bfc5218f"},
        "member": loaded.settings.model_dump(mode="json", by_alias=True),
        "competition": loaded.competition.model_dump(mode="json", by_alias=True),
    }  # fmt: skip

    def made(**changes):
        return copy.deepcopy(content | {"member": content["member"] | changes})

    return made


def predicted(rows, wrong, fold=0, sure=0.9, labels="0123"):
    """The class of a row is its number modulo 4; the rows in `wrong` are predicted as the next class."""
    predicted = np.array([row + (row in wrong) for row in rows]) % 4
    probs = np.where(np.eye(4, dtype=bool)[predicted], sure, (1 - sure) / 3)
    truth = pd.DataFrame({"label": [labels[row % 4] for row in rows]})
    return Predictions([f"{row:04}.jpg" for row in rows], list(labels), probs, truth, np.full(len(truth), fold))


@pytest.fixture
def make_run(here, config):
    """`make_run(name, wrong, fold=0, …)`: a trained and predicted fold, wrong on the rows `wrong`."""

    def made(
        name="wide", wrong=(), fold=0, rows=range(ROWS), content=None, views=("identity",), minutes=(3, 0.5), **more
    ):
        run = Run(here / "runs" / f"{name}-1a2b3c4d" / f"fold{fold}")
        (here / "folds.csv").write_text("id,label,fold\n")
        content = content or config()
        run.path.mkdir(parents=True)
        write_json(run.path / "versions.json", {"keras": "3.13.2", "commit": "0123456789abcdef"})
        run.describe(content, here / "folds.csv")
        run.update_state(status="trained", best=BEST)
        run.best_weights.touch()
        run.record_seconds(dict(zip(("training", "prediction"), (60 * one for one in minutes), strict=True)))
        tta = content["member"]["tta"] | {"views": list(views)}
        predict(run, digest_of([tta, None]), predicted(rows, wrong, fold, **more), views)
        return run.path.relative_to(here)

    return made


def predict(run, digest, predictions, views=("identity",), weights="aa"):
    folder = run.predictions(digest)
    write_predictions(folder / "oof.csv", predictions)
    tta = {"views": list(views), "mean": "arithmetic", "select": "all", "image_sizes": [], "average_sizes": False}
    scores = {"metric": "accuracy", "score": 0.9, "score_of_first_view": 0.9}
    facts = {"settings": {"tta": tta, "neighbours": None}, **tta, **scores, "image_size": 32, "weights": weights}
    write_json(folder / "predictions.json", facts)
    return folder


def make_blend(here, name="cars", wrong=(), dry_run=False):
    folder = here / "runs" / f"{name}-5e6f7a8b"
    write_predictions(folder / "oof.csv", predicted(range(ROWS), wrong))
    facts = {
        "ensemble": name, "competition": "tiny-squares", "metric": "accuracy", "blend": {"method": "mean"},
        "members": {"wide": {"folds": [0], "score": 0.9}}, "dry_run": dry_run, "commit": "0123456789abcdef",
        "config": {
            "slug": "tiny-squares", "metric": "accuracy", "classes": list("0123"),
            "train": {"table": "train.csv", "images": "{id}"}, "test": {"images": "{id}"},
        },
    }  # fmt: skip
    write_json(folder / "blend.json", facts)
    return folder.relative_to(here)


def last_line(out):
    return out.rstrip("\n").splitlines()[-1]


def row_of(out, beginning):
    """The cells of the only line that begins with this word."""
    (line,) = [line for line in out.splitlines() if line.split()[:1] == [beginning]]
    return line.split()[1:]


def table_after(out, title):
    """The cells of the lines between a title and the next empty line."""
    lines = out.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith(title)]
    return [line.split() for line in lines[place + 1 : lines.index("", place)]]


# Scores and verdicts


def test_better_run_is_reported_with_interval_and_p(podium, make_run):
    one, other = make_run("wide", range(80)), make_run("narrow", range(50))
    code, out, err = podium("compare", one, other)
    assert (code, err) == (0, "")
    first, *rest = last_line(out).split(" (95 % CI ")
    assert first == "B is better than A by 7.50 points"
    assert rest[0].endswith("; McNemar p < 0.001)")
    low, high = rest[0].partition(";")[0].split(" to ")
    assert 4.5 < float(low) < 5.5 < 9.5 < float(high) < 10.5
    assert table_after(out, "accuracy on 400 rows, out of fold (higher is better)")[1][:2] == ["A", "0.8000"]
    assert table_after(out, "rows classified correctly")[:2] == [
        ["both", "correct", "only", "A", "only", "B", "both", "wrong", "p", "test"],
        ["B", "320", "0", "30", "50", "<", "0.001", "chi-squared"],
    ]


def test_worse_run_is_reported(podium, make_run):
    out = podium("compare", make_run("wide", range(50)), make_run("narrow", range(80)))[1]
    assert last_line(out).startswith("B is worse than A by 7.50 points (95 % CI ")


def test_small_difference_is_not_significant(podium, make_run):
    out = podium("compare", make_run("wide", range(50)), make_run("narrow", range(20, 68)))[1]
    assert last_line(out).startswith("no significant difference: B is better than A by 0.50 points (95 % CI")
    assert last_line(out).endswith("; McNemar p = 0.871)")  # (|20 - 18| - 1)² / 38


def test_equal_scores_are_reported(podium, make_run):
    out = podium("compare", make_run("wide", range(50)), make_run("narrow", range(50)))[1]
    expected = "no difference between B and A: the scores are equal (95 % CI 0.00 to 0.00; McNemar p = 1.000)"
    assert last_line(out) == expected


def test_log_loss_is_better_when_lower(podium, make_run, config):
    content = config()
    content["competition"]["metric"] = "log_loss"
    surer = make_run("narrow", range(2), sure=0.99, content=content)
    out = podium("compare", make_run("wide", range(2), sure=0.6, content=content), surer)[1]
    assert "log_loss on 400 rows, out of fold (lower is better)" in out
    assert "B is better than A by 0.4" in last_line(out)
    assert " log_loss (95 % CI 0.4" in last_line(out)
    assert last_line(out).endswith("; bootstrap p = 0.002)")
    assert table_after(out, "rows classified correctly")[1] == ["B", "398", "0", "0", "2", "1.000", "exact"]


def test_several_runs_are_compared_with_the_first_by_holm_corrected_p(podium, make_run):
    runs = [make_run(name, range(wrong)) for name, wrong in (("a", 40), ("b", 33), ("c", 34))]
    out = podium("compare", *runs)[1]
    warning, first, second = out.splitlines()[-3:]
    assert warning.startswith("2 runs are compared with A: with more comparisons a small p is more likely by chance")
    assert first.startswith("B is better than A by 1.75 points")
    assert first.endswith("; McNemar p = 0.016, Holm-corrected 0.031)")
    assert second.startswith("C is better than A by 1.50 points")
    assert second.endswith("; McNemar p = 0.031, Holm-corrected 0.031)")
    more = podium("compare", *runs, make_run("d", range(34)))[1]
    assert "no significant difference: C is better than A by 1.50 points" in more


def test_differences_of_configs_versions_and_views_are_listed(podium, make_run, config):
    stages = config()["member"]["stages"]
    changed = config(seed=7, precision="mixed_bfloat16", stages=[stages[0] | {"epochs": 20}])
    one, other = make_run("wide"), make_run("narrow", content=changed, views=("identity", "horizontal_flip"))
    versions = {"keras": "3.12.0", "commit": "fedcba9876543210+changes"}
    write_json(other / "versions.json", versions)
    Run(other).update_state(best=BEST | {"precision": "mixed_bfloat16"})
    out = podium("compare", one, other)[1]
    assert table_after(out, "differences in configs and versions") == [
        ["A", "B"],
        ["precision", "auto", "mixed_bfloat16"],
        ["seed", "42", "7"],
        ["stages.0.epochs", "2", "20"],
        ["tta.views", "[identity]", "[identity,", "horizontal_flip]"],
        ["keras", "3.13.2", "3.12.0"],
        ["commit", "0123456789", "fedcba9876+changes"],
        ["computed", "in", "float32", "mixed_bfloat16"],
    ]


def test_equal_configs_have_no_differences(podium, make_run):
    assert "no differences in configs and versions\n" in podium("compare", make_run("wide"), make_run("narrow"))[1]


def test_the_config_of_a_blend_is_not_said_to_be_that_of_a_member(podium, make_run, here):
    assert (
        "no differences in configs and versions among runs of one kind: a blend has no keys in common with a member\n"
        in podium("compare", make_run("wide"), make_blend(here))[1]
    )


def test_time_is_that_of_all_folds(podium, make_run):
    for fold, minutes in enumerate([(3, 0.5), (4, 1)]):
        make_run("wide", fold=fold, rows=range(fold, ROWS, 2), minutes=minutes)
    one = make_run("narrow")
    (one / "timings.json").write_text("{")
    out = podium("compare", "runs/wide-1a2b3c4d", one)[1]
    assert table_after(out, "time in minutes") == [
        ["training", "prediction", "total", "per", "fold"],
        ["A", "7.0", "1.5", "8.5", "4.2"],
        ["B", "–", "–", "–", "–"],
    ]


def test_json_has_scores_differences_and_verdicts(podium, make_run):
    code, out, _ = podium("compare", make_run("wide", range(80)), make_run("narrow", range(50)), "--json")
    found = json.loads(out)
    assert code == 0
    assert found["metric"] == "accuracy"
    assert [run["letter"] for run in found["runs"]] == ["A", "B"]
    assert [score["value"] for score in found["scores"]] == [0.8, 0.875]
    assert found["differences"][0]["mcnemar"]["only_run"] == 30
    assert found["differences"][0]["gain"]["interval"]["low"] > 0.04
    assert found["verdicts"][0].startswith("B is better than A by 7.50 points")
    assert found["config_differences"] == {}


def test_output_fits_80_columns(podium, make_run, config, monkeypatch):
    from rich.console import Console

    monkeypatch.setattr(
        "podium.cli.compare.make_console", lambda: Console(width=80, force_terminal=True, color_system=None)
    )
    changed = config(
        augmentation=["HorizontalFlip", {"Affine": {"scale": [0.95, 1.05], "translate_percent": [-0.06, 0.06]}}]
    )
    long = make_run("a_member_with_a_name_that_is_as_long_as_names_of_members_get", range(9), content=changed)
    out = podium("compare", long, make_run("narrow"))[1]
    shown = out[out.index("A  runs/") :]  # after the progress bar
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown


# Rows and predictions


def test_member_folder_means_all_of_its_folds(podium, make_run):
    for name in ("wide", "narrow"):
        for fold in (0, 1):
            make_run(name, range(20), fold=fold, rows=range(fold, ROWS, 2))
    code, out, _ = podium("compare", "runs/wide-1a2b3c4d", "runs/narrow-1a2b3c4d")
    assert code == 0
    assert out.startswith("A  runs/wide-1a2b3c4d    2 folds\nB  runs/narrow-1a2b3c4d  2 folds\n\n")
    assert "accuracy on 400 rows" in out
    assert "note:" not in out


def test_name_is_looked_up_in_the_folder_of_runs(podium, make_run, here):
    make_run("wide"), make_run("narrow")
    (here / "runs").rename(here / "others")
    code, out, _ = podium("compare", "wide-1a2b3c4d", "narrow-1a2b3c4d/fold0", "--runs", "others")
    assert code == 0
    assert "B  others/narrow-1a2b3c4d/fold0" in out


def test_only_common_rows_are_compared(podium, make_run):
    out = podium("compare", make_run("wide", rows=range(300)), make_run("narrow", rows=range(100, 320)))[1]
    assert "accuracy on 200 rows" in out
    assert "note: compared on the 200 rows common to both; left out: 100 of A, 20 of B\n" in out


def test_rows_in_other_folds_are_noted(podium, make_run):
    out = podium("compare", make_run("wide"), make_run("narrow", fold=1))[1]
    assert "note: B has 400 of 400 rows in another fold than A: each was still predicted by a model that had not" in out


def test_few_rows_are_noted(podium, make_run):
    out = podium("compare", make_run("wide", rows=range(24)), make_run("narrow", rows=range(24)))[1]
    assert "note: only 24 rows: the intervals are too narrow\n" in out


def test_blends_are_compared_with_a_member(podium, make_run, here):
    blends = [make_blend(here, wrong=range(10)), make_blend(here, "other", dry_run=True)]
    facts = json.loads((blends[1] / "blend.json").read_text())
    write_json(blends[1] / "blend.json", facts | {"blend": {"method": "hill_climb"}, "commit": "fedcba9876543210"})
    code, out, _ = podium("compare", make_run("wide", range(40)), *blends)
    assert code == 0
    assert row_of(out, "blend.method") == ["mean", "hill_climb"]
    assert row_of(out, "commit") == ["0123456789", "fedcba9876"]
    assert "seed" not in out
    assert "note: B is a blend: its time is that of its members\n" in out
    assert "note: C is a dry run: " in out
    assert "B is better than A by 7.50 points" in out


def test_time_of_a_blend_is_that_of_its_members(podium, make_run, here):
    folds = [make_run("wide", fold=0, minutes=(3, 0.5)), make_run("wide", fold=1, minutes=(4, 0.5))]
    blend = here / make_blend(here, wrong=range(10))
    facts = json.loads((blend / "blend.json").read_text())
    folders = [f"{fold.relative_to('runs')}/predictions-1" for fold in folds]
    write_json(blend / "blend.json", facts | {"predictions": folders})
    out = podium("compare", folds[0], blend.relative_to(here))[1]
    assert table_after(out, "time in minutes")[1:] == [["A", "3.0", "0.5", "3.5"], ["B", "7.0", "1.0", "8.0"]]
    assert "note: B is a blend: its time is that of its members, all folds together\n" in out


def test_cropped_competition_with_the_same_rows_is_comparable(podium, make_run, config):
    content = config()
    content["competition"]["slug"] = "tiny-squares-cropped"
    out = podium("compare", make_run("wide", range(40)), make_run("narrow", content=content))[1]
    assert "note: A belongs to tiny-squares, B to tiny-squares-cropped: comparable, since ids, labels and" in out
    assert row_of(out, "competition.slug") == ["tiny-squares", "tiny-squares-cropped"]
    assert last_line(out).startswith("B is better than A by 10.00 points")


def test_metric_of_the_baseline_decides(podium, make_run, config):
    content = config()
    content["competition"]["metric"] = "log_loss"
    out = podium("compare", make_run("wide", range(40)), make_run("narrow", content=content))[1]
    assert "note: the competition of B is scored by log_loss; all are compared by accuracy\n" in out


def test_dry_runs_and_limits_are_noted(podium, make_run, config):
    limited, dry = config() | {"limit": 200}, config() | {"dry_run": True}
    out = podium("compare", make_run("wide", content=limited), make_run("narrow", content=dry))[1]
    assert "note: A was trained on at most 200 images (--limit)\n" in out
    assert "note: B is a dry run: its scores are not meaningful\n" in out


def test_predictions_with_the_views_of_the_config_come_first(podium, make_run):
    one, other = make_run("wide"), make_run("narrow", range(40))
    newer = predict(Run(other), "ffffffff", predicted(range(ROWS), range(100)), ("identity", "horizontal_flip"))
    out = podium("compare", one, other)[1]
    assert last_line(out).startswith("B is worse than A by 10.00 points")
    assert "note: B has predictions with 2 choices of views or test images; predictions-" in out
    assert f"to compare another, pass {newer}\n" in out
    named = podium("compare", one, newer)[1]
    assert last_line(named).startswith("B is worse than A by 25.00 points")
    assert "choices of views" not in named


def test_newest_predictions_come_next(podium, make_run):
    one, other = make_run("wide"), make_run("narrow", views=("identity", "horizontal_flip"))
    for digest, wrong, age in (("eeeeeeee", 40, 100), ("ffffffff", 80, 50)):
        folder = predict(Run(other), digest, predicted(range(ROWS), range(wrong)))
        moment = time.time() + 10_000 - age
        os.utime(folder / "predictions.json", (moment, moment))
    assert last_line(podium("compare", one, other)[1]).startswith("B is worse than A by 20.00 points")


def test_one_run_with_two_choices_of_views_is_compared(podium, make_run):
    one = make_run("wide", range(40))
    other = predict(Run(one), "ffffffff", predicted(range(ROWS), range(10)), ("identity", "horizontal_flip"))
    out = podium("compare", one, other)[1]
    assert row_of(out, "tta.views") == ["[identity]", "[identity,", "horizontal_flip]"]
    assert last_line(out).startswith("B is better than A by 7.50 points")


def test_unpredicted_fold_is_left_out_and_noted(podium, make_run, here):
    one, other = make_run("wide"), make_run("narrow")
    behind = Run(other.parent / "fold1")
    behind.path.mkdir()
    behind.update_state(status="training", command="podium train narrow.yaml --resume")
    code, out, _ = podium("compare", one, other.parent)
    assert code == 0
    assert "note: B lacks a fold: runs/narrow-1a2b3c4d/fold1 is not trained yet; resume with: podium train" in out


# Runs that cannot be compared


def refusal(podium, *arguments):
    code, out, err = podium("compare", *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("podium: ")
    assert err.count("\n") == 1
    return err.removeprefix("podium: ")


def test_one_run_is_a_usage_error(podium, make_run):
    code, _, err = podium("compare", make_run())
    assert code == 2
    assert "expected two runs or more" in err


def test_missing_folder(podium, make_run):
    message = refusal(podium, make_run(), "runs/none")
    assert message == "no folder runs/none, also not in runs; podium runs lists the runs\n"


def test_folder_that_is_not_a_run(podium, make_run, here):
    (here / "runs" / "folds").mkdir(parents=True)
    assert refusal(podium, make_run(), "runs/folds").startswith(
        "runs/folds is not a run; expected the folder of a member"
    )


def test_the_same_run_twice(podium, make_run):
    one = make_run()
    assert "are the same predictions; expected different runs" in refusal(podium, one, one.parent)


def test_untrained_run(podium, make_run):
    one, other = make_run("wide"), make_run("narrow")
    for path in other.glob("predictions-*/*"):
        path.unlink()
    Run(other).update_state(status="training", command="podium train narrow.yaml --resume")
    message = refusal(podium, one, other)
    assert message == f"{other} is not trained yet; resume with: podium train\n"
    (other / "checkpoints").mkdir()
    (other / "checkpoints" / "checkpoint-000001-0123456789abcdef.npz").touch()
    assert refusal(podium, one, other).endswith("; resume with: podium train narrow.yaml --resume\n")


def test_unpredicted_run(podium, make_run):
    one, other = make_run("wide"), make_run("narrow")
    for path in other.glob("predictions-*/*"):
        path.unlink()
    message = refusal(podium, one, other)
    assert message == f"{other} is trained but not predicted: run podium predict with the same config\n"


def test_predictions_by_earlier_weights_are_ignored(podium, make_run):
    one, other = make_run("wide"), make_run("narrow")
    Run(other).update_state(best=BEST | {"digest": "bb"})
    message = f"{other} has no complete predictions by its best weights: run podium predict with the same config\n"
    assert refusal(podium, one, other) == message
    (named,) = other.glob("predictions-*")
    assert "has no complete predictions by its best weights" in refusal(podium, one, named)


def test_folds_predicted_with_different_views(podium, make_run):
    for fold, views in enumerate([("identity",), ("identity", "horizontal_flip")]):
        make_run("wide", fold=fold, rows=range(fold, ROWS, 2), views=views)
    message = refusal(podium, "runs/wide-1a2b3c4d", make_run("narrow"))
    assert message.startswith("the folds of runs/wide-1a2b3c4d were predicted with different views")


def test_runs_without_common_rows(podium, make_run):
    message = refusal(podium, make_run("wide", rows=range(100)), make_run("narrow", rows=range(100, 200), fold=1))
    assert message.startswith(
        "No row was validated in all of these runs (A (runs/wide-1a2b3c4d/fold0) 100 in fold 0, B ("
    )


def test_different_label_for_the_same_id(podium, make_run):
    one, other = make_run("wide"), make_run("narrow")
    (file,) = other.glob("predictions-*/oof.csv")
    file.write_text(file.read_text().replace("0003.jpg,3,", "0003.jpg,1,"))
    assert "1 of 400 common rows have different labels in A (runs/wide-1a2b3c4d/fold0) and B" in refusal(
        podium, one, other
    )


def test_different_classes(podium, make_run):
    message = refusal(podium, make_run("wide"), make_run("narrow", labels="wxyz"))
    assert "have different classes (4 and 4; only in one of them: '0', '1', '2', …)" in message


def test_other_competition_that_shares_a_few_ids(podium, make_run, config):
    content = config()
    content["competition"]["slug"] = "other-squares"
    other = make_run("narrow", rows=range(300, 1000), content=content)
    message = refusal(podium, make_run("wide"), other)
    assert message.startswith(
        "these are runs of different competitions (tiny-squares, other-squares) with 100 common rows"
    )


@pytest.mark.parametrize("content", ["", "{", "[]", "member: {}", "competition: {slug: a, metric: fame}\nmember: {}"])
def test_damaged_config(podium, make_run, content):
    one, other = make_run("wide"), make_run("narrow")
    (other / "config.yaml").write_text(content)
    assert refusal(podium, one, other).startswith(f"{other}/config.yaml is damaged; expected the")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"metric": "fame"}', '{"metric": "accuracy", "blend": 3}'])
def test_damaged_blend(podium, make_run, here, content):
    blend = make_blend(here)
    (blend / "blend.json").write_text(content)
    assert refusal(podium, make_run(), blend).startswith(f"{blend}/blend.json")


def test_damaged_predictions(podium, make_run):
    one, other = make_run("wide"), make_run("narrow")
    (file,) = other.glob("predictions-*/oof.csv")
    file.write_text("id,label,fold,p_0\n0000.jpg,0,0,high\n")
    assert refusal(podium, one, other).startswith(f"{file}: 'high' in column p_0")


def test_more_runs_than_letters(podium):
    assert refusal(podium, *map(str, range(27))).startswith("cannot compare 27 runs; expected 2 to 26")
