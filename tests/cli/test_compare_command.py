"""`podium compare`, on run folders that hold what it reads: nothing here trains."""

import copy
import json
import os
import time

import numpy as np
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
    """`config(key=value, …)`: a resolved config of a member; a key is one of `member`, such as `seed`."""
    loaded = load_member(tiny_competition.member())
    content = {
        "name": "tiny", "digest": "1a2b3c4d", "dry_run": False, "limit": None,
        "made_of": {"labels": list("0123"), "weights": None, "rows": "cbe84c92", "folds": "bfc5218f"},
        "member": loaded.settings.model_dump(mode="json", by_alias=True),
        "competition": loaded.competition.model_dump(mode="json", by_alias=True),
    }  # fmt: skip

    def made(**changes):
        return copy.deepcopy(content | {"member": content["member"] | changes})

    return made


def predicted(rows, wrong, fold=0, sure=0.9, labels="0123"):
    """Of these rows, whose class is their number modulo 4, those of `wrong` are taken for the class after it."""
    said = np.array([row + (row in wrong) for row in rows]) % 4
    probs = np.where(np.eye(4, dtype=bool)[said], sure, (1 - sure) / 3)
    truth = [labels[row % 4] for row in rows]
    return Predictions([f"{row:04}.jpg" for row in rows], list(labels), probs, truth, np.full(len(truth), fold))


@pytest.fixture
def make_run(here, config):
    """`make_run(name, wrong, fold=0, …)`: a trained and predicted fold, which has the rows `wrong` wrong."""

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
    facts = {"views": list(views), "mean": "arithmetic", "select": "all", "weights": weights}
    write_json(folder / "predictions.json", facts)
    return folder


def make_blend(here, name="cars", wrong=(), submission="tiny-squares_cars__20260101-120000.csv"):
    folder = here / "runs" / f"{name}-5e6f7a8b"
    write_predictions(folder / "oof.csv", predicted(range(ROWS), wrong))
    facts = {
        "ensemble": name, "competition": "tiny-squares", "metric": "accuracy", "blend": {"method": "mean"},
        "members": {"wide": {"folds": [0], "score": 0.9}}, "submission": submission, "commit": "0123456789abcdef",
    }  # fmt: skip
    write_json(folder / "blend.json", facts)
    return folder.relative_to(here)


def last_line(out):
    return out.rstrip("\n").splitlines()[-1]


def row_of(out, beginning):
    """The cells of the only line that begins so."""
    (line,) = [line for line in out.splitlines() if line.split()[:1] == [beginning]]
    return line.split()[1:]


def table_after(out, title):
    """The cells of the lines that follow a title, up to an empty line."""
    lines = out.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith(title)]
    return [line.split() for line in lines[place + 1 : lines.index("", place)]]


# What it says


def test_the_better_run_is_named_with_its_interval_and_its_test(podium, make_run):
    one, other = make_run("wide", range(80)), make_run("narrow", range(50))
    code, out, err = podium("compare", one, other)
    assert (code, err) == (0, "")
    first, *rest = last_line(out).split(" (95 %: ")
    assert first == "B is better than A by 7.50 points"
    assert rest[0].endswith("; McNemar p < 0.001)")
    low, high = rest[0].partition(";")[0].split(" to ")
    assert 4.5 < float(low) < 5.5 < 9.5 < float(high) < 10.5
    assert table_after(out, "accuracy of 400 rows, out of fold (higher is better)")[1][:2] == ["A", "0.8000"]
    assert table_after(out, "rows whose")[:2] == [
        ["both", "right", "only", "A", "only", "B", "both", "wrong", "p", "test"],
        ["B", "320", "0", "30", "50", "<", "0.001", "chi-squared"],
    ]


def test_a_worse_run_is_worse(podium, make_run):
    out = podium("compare", make_run("wide", range(50)), make_run("narrow", range(80)))[1]
    assert last_line(out).startswith("B is worse than A by 7.50 points (95 %: ")


def test_a_difference_that_chance_may_make_is_no_difference(podium, make_run):
    out = podium("compare", make_run("wide", range(50)), make_run("narrow", range(20, 68)))[1]
    assert last_line(out).startswith(
        "B and A cannot be told apart: B is better by 0.50 points, which may be chance (95 %"
    )
    assert last_line(out).endswith("; McNemar p = 0.871)")  # (|20 - 18| - 1)² / 38


def test_runs_that_score_the_same_are_told_so(podium, make_run):
    out = podium("compare", make_run("wide", range(50)), make_run("narrow", range(50)))[1]
    told = "B and A cannot be told apart: they score the same (95 %: 0.00 to 0.00; McNemar p = 1.000)"
    assert last_line(out) == told


def test_a_loss_is_compared_in_its_own_figures(podium, make_run, config):
    content = config()
    content["competition"]["metric"] = "log_loss"
    surer = make_run("narrow", range(2), sure=0.99, content=content)
    out = podium("compare", make_run("wide", range(2), sure=0.6, content=content), surer)[1]
    assert "log_loss of 400 rows, out of fold (lower is better)" in out
    assert "B is better than A by 0.4" in last_line(out)
    assert " in log_loss (95 %: 0.4" in last_line(out)
    assert last_line(out).endswith("; resampling p = 0.002)")
    assert table_after(out, "rows whose")[1] == ["B", "398", "0", "0", "2", "1.000", "exact"]


def test_of_several_runs_the_first_is_the_baseline_and_holm_decides(podium, make_run):
    runs = [make_run(name, range(wrong)) for name, wrong in (("a", 40), ("b", 33), ("c", 34))]
    out = podium("compare", *runs)[1]
    warning, first, second = out.splitlines()[-3:]
    assert warning.startswith("2 runs against A: the more of them, the likelier one has a small p by chance")
    assert first.startswith("B is better than A by 1.75 points")
    assert first.endswith("; McNemar p = 0.016, by Holm 0.031)")
    assert second.startswith("C is better than A by 1.50 points")
    assert second.endswith("; McNemar p = 0.031, by Holm 0.031)")
    more = podium("compare", *runs, make_run("d", range(34)))[1]
    assert "C and A cannot be told apart: C is better by 1.50 points, which may be chance" in more


def test_what_differs_between_configs_versions_and_views_is_told_key_by_key(podium, make_run, config):
    stages = config()["member"]["stages"]
    changed = config(seed=7, precision="mixed_bfloat16", stages=[stages[0] | {"epochs": 20}])
    one, other = make_run("wide"), make_run("narrow", content=changed, views=("identity", "horizontal_flip"))
    versions = {"keras": "3.12.0", "commit": "fedcba9876543210+changes"}
    write_json(other / "versions.json", versions)
    Run(other).update_state(best=BEST | {"precision": "mixed_bfloat16"})
    out = podium("compare", one, other)[1]
    assert table_after(out, "what differs in configs and versions") == [
        ["A", "B"],
        ["precision", "auto", "mixed_bfloat16"],
        ["seed", "42", "7"],
        ["stages.0.epochs", "2", "20"],
        ["tta.views", "[identity]", "[identity,", "horizontal_flip]"],
        ["keras", "3.13.2", "3.12.0"],
        ["commit", "0123456789", "fedcba9876+changes"],
        ["computed", "in", "float32", "mixed_bfloat16"],
    ]


def test_runs_of_one_config_differ_in_nothing(podium, make_run):
    assert "no difference in configs and versions" in podium("compare", make_run("wide"), make_run("narrow"))[1]


def test_the_cost_is_that_of_all_folds(podium, make_run):
    for fold, minutes in enumerate([(3, 0.5), (4, 1)]):
        make_run("wide", fold=fold, rows=range(fold, ROWS, 2), minutes=minutes)
    one = make_run("narrow")
    (one / "timings.json").write_text("{")
    out = podium("compare", "runs/wide-1a2b3c4d", one)[1]
    assert table_after(out, "cost in minutes") == [
        ["training", "prediction", "together", "a", "fold"],
        ["A", "7.0", "1.5", "8.5", "4.2"],
        ["B", "–", "–", "–", "–"],
    ]


def test_all_of_it_is_written_as_json_too(podium, make_run, here):
    one, other = make_run("wide", range(80)), make_run("narrow", range(50))
    assert podium("compare", one, other, "--json", "found.json")[0] == 0
    found = json.loads((here / "found.json").read_text())
    assert found["metric"] == "accuracy"
    assert [run["letter"] for run in found["runs"]] == ["A", "B"]
    assert [score["value"] for score in found["scores"]] == [0.8, 0.875]
    assert found["others"][0]["mcnemar"]["only_other"] == 30
    assert found["others"][0]["gain"]["interval"]["low"] > 0.04


def test_a_terminal_of_80_columns_is_enough(podium, make_run, config, monkeypatch):
    from rich.console import Console

    monkeypatch.setattr(
        "podium.cli.comparing.make_console", lambda: Console(width=80, force_terminal=True, color_system=None)
    )
    changed = config(
        augmentation=["HorizontalFlip", {"Affine": {"scale": [0.95, 1.05], "translate_percent": [-0.06, 0.06]}}]
    )
    long = make_run("a_member_with_a_name_that_is_as_long_as_names_of_members_get", range(9), content=changed)
    out = podium("compare", long, make_run("narrow"))[1]
    shown = out[out.index("A  runs/") :]  # after the bar
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown


# Which rows, and which predictions


def test_a_members_folder_is_all_of_its_folds(podium, make_run):
    for name in ("wide", "narrow"):
        for fold in (0, 1):
            make_run(name, range(20), fold=fold, rows=range(fold, ROWS, 2))
    code, out, _ = podium("compare", "runs/wide-1a2b3c4d", "runs/narrow-1a2b3c4d")
    assert code == 0
    assert out.startswith("A  runs/wide-1a2b3c4d    2 folds\nB  runs/narrow-1a2b3c4d  2 folds\n\n")
    assert "accuracy of 400 rows" in out
    assert "note:" not in out


def test_a_name_is_looked_for_in_the_folder_of_runs(podium, make_run, here):
    make_run("wide"), make_run("narrow")
    (here / "runs").rename(here / "others")
    code, out, _ = podium("compare", "wide-1a2b3c4d", "narrow-1a2b3c4d/fold0", "--runs", "others")
    assert code == 0
    assert "B  others/narrow-1a2b3c4d/fold0" in out


def test_only_common_rows_are_compared_and_the_others_counted(podium, make_run):
    out = podium("compare", make_run("wide", rows=range(300)), make_run("narrow", rows=range(100, 320)))[1]
    assert "accuracy of 200 rows" in out
    assert "note: compared are the 200 rows that both have; left out: 100 of A, 20 of B\n" in out


def test_other_folds_are_told(podium, make_run):
    out = podium("compare", make_run("wide"), make_run("narrow", fold=1))[1]
    assert "note: B has 400 of 400 rows in another fold than A: each is still predicted by a model that had not" in out


def test_few_rows_are_told(podium, make_run):
    out = podium("compare", make_run("wide", rows=range(24)), make_run("narrow", rows=range(24)))[1]
    assert "note: only 24 rows: intervals of so few are too narrow\n" in out


def test_a_blend_is_compared_with_its_member_and_with_another(podium, make_run, here):
    blends = [make_blend(here, wrong=range(10)), make_blend(here, "other", submission="tiny_dry-run__20260101.csv")]
    facts = json.loads((blends[1] / "blend.json").read_text())
    write_json(blends[1] / "blend.json", facts | {"blend": {"method": "hill_climb"}, "commit": "fedcba9876543210"})
    code, out, _ = podium("compare", make_run("wide", range(40)), *blends)
    assert code == 0
    assert row_of(out, "blend.method") == ["mean", "hill_climb"]
    assert row_of(out, "commit") == ["0123456789", "fedcba9876"]
    assert "seed" not in out
    assert "note: B is a blend: its cost is that of its members\n" in out
    assert "note: C is a dry run: " in out
    assert "B is better than A by 7.50 points" in out


def test_a_blend_costs_what_its_members_did(podium, make_run, here):
    folds = [make_run("wide", fold=0, minutes=(3, 0.5)), make_run("wide", fold=1, minutes=(4, 0.5))]
    blend = here / make_blend(here, wrong=range(10))
    facts = json.loads((blend / "blend.json").read_text())
    write_json(blend / "blend.json", facts | {"made_of": [f"{one.relative_to('runs')}/predictions-1" for one in folds]})
    out = podium("compare", folds[0], blend.relative_to(here))[1]
    assert table_after(out, "cost in minutes")[1:] == [["A", "3.0", "0.5", "3.5"], ["B", "7.0", "1.0", "8.0"]]
    assert "note: B is a blend: its cost is that of its members, all folds together\n" in out


def test_a_competition_of_another_name_with_the_same_rows_is_compared_and_told(podium, make_run, config):
    content = config()
    content["competition"]["slug"] = "tiny-squares-cut-out"
    out = podium("compare", make_run("wide", range(40)), make_run("narrow", content=content))[1]
    assert "note: A is of tiny-squares, B of tiny-squares-cut-out: compared since ids, labels and classes are" in out
    assert row_of(out, "competition.slug") == ["tiny-squares", "tiny-squares-cut-out"]
    assert last_line(out).startswith("B is better than A by 10.00 points")


def test_the_baselines_metric_is_the_one(podium, make_run, config):
    content = config()
    content["competition"]["metric"] = "log_loss"
    out = podium("compare", make_run("wide", range(40)), make_run("narrow", content=content))[1]
    assert "note: the competition of B scores by log_loss; compared is accuracy, that of A\n" in out


def test_dry_runs_and_limited_ones_are_told(podium, make_run, config):
    limited, dry = config() | {"limit": 200}, config() | {"dry_run": True}
    out = podium("compare", make_run("wide", content=limited), make_run("narrow", content=dry))[1]
    assert "note: A trained on 200 rows a fold only (--limit)\n" in out
    assert "note: B is a dry run: its figures rehearse the comparison, and say nothing\n" in out


def test_of_several_predictions_those_of_the_configs_views_are_taken_and_that_is_told(podium, make_run):
    one, other = make_run("wide"), make_run("narrow", range(40))
    newer = predict(Run(other), "ffffffff", predicted(range(ROWS), range(100)), ("identity", "horizontal_flip"))
    out = podium("compare", one, other)[1]
    assert last_line(out).startswith("B is worse than A by 10.00 points")
    assert "note: B was predicted through 2 options of views; these figures are of predictions-" in out
    assert f"name {newer} for another's\n" in out
    named = podium("compare", one, newer)[1]
    assert last_line(named).startswith("B is worse than A by 25.00 points")
    assert "options of views" not in named


def test_else_the_predictions_made_last_are_taken(podium, make_run):
    one, other = make_run("wide"), make_run("narrow", views=("identity", "horizontal_flip"))
    for digest, wrong, age in (("eeeeeeee", 40, 100), ("ffffffff", 80, 50)):
        folder = predict(Run(other), digest, predicted(range(ROWS), range(wrong)))
        moment = time.time() + 10_000 - age
        os.utime(folder / "predictions.json", (moment, moment))
    assert last_line(podium("compare", one, other)[1]).startswith("B is worse than A by 20.00 points")


def test_two_views_of_one_run_can_be_compared(podium, make_run):
    one = make_run("wide", range(40))
    other = predict(Run(one), "ffffffff", predicted(range(ROWS), range(10)), ("identity", "horizontal_flip"))
    out = podium("compare", one, other)[1]
    assert row_of(out, "tta.views") == ["[identity]", "[identity,", "horizontal_flip]"]
    assert last_line(out).startswith("B is better than A by 7.50 points")


def test_a_fold_that_is_not_predicted_yet_is_left_out_and_told(podium, make_run, here):
    one, other = make_run("wide"), make_run("narrow")
    behind = Run(other.parent / "fold1")
    behind.path.mkdir()
    behind.update_state(status="training", command="podium train narrow.yaml --resume")
    code, out, _ = podium("compare", one, other.parent)
    assert code == 0
    told = "note: B without a fold: runs/narrow-1a2b3c4d/fold1 is not trained yet, so it has predicted nothing"
    assert told in out


# What cannot be compared is one line


def refusal(podium, *arguments):
    code, out, err = podium("compare", *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("podium: ")
    assert err.count("\n") == 1
    return err.removeprefix("podium: ")


def test_one_run_alone_is_wrong_usage(podium, make_run):
    code, _, err = podium("compare", make_run())
    assert code == 2
    assert "give two runs or more" in err


def test_a_folder_that_is_not_there(podium, make_run):
    told = refusal(podium, make_run(), "runs/none")
    assert told == "there is no folder runs/none, here or in runs; podium runs lists the members' folders\n"


def test_a_folder_that_is_no_run(podium, make_run, here):
    (here / "runs" / "folds").mkdir(parents=True)
    assert refusal(podium, make_run(), "runs/folds").startswith("runs/folds is no run; expected a member's folder")


def test_the_same_run_twice(podium, make_run):
    one = make_run()
    assert "are the same predictions; expected other ones" in refusal(podium, one, one.parent)


def test_a_run_that_is_not_trained_yet(podium, make_run):
    one, other = make_run("wide"), make_run("narrow")
    for path in other.glob("predictions-*/*"):
        path.unlink()
    Run(other).update_state(status="training", command="podium train narrow.yaml --resume")
    told = refusal(podium, one, other)
    assert told == f"{other} is not trained yet, so it has predicted nothing; go on with: podium train\n"
    (other / "checkpoints").mkdir()
    (other / "checkpoints" / "checkpoint-000001-0123456789abcdef.npz").touch()
    assert refusal(podium, one, other).endswith("; go on with: podium train narrow.yaml --resume\n")


def test_a_run_that_is_not_predicted_yet(podium, make_run):
    one, other = make_run("wide"), make_run("narrow")
    for path in other.glob("predictions-*/*"):
        path.unlink()
    told = refusal(podium, one, other)
    assert told == f"{other} is trained, but not predicted; podium predict with the same config does that\n"


def test_predictions_by_earlier_weights_do_not_count(podium, make_run):
    one, other = make_run("wide"), make_run("narrow")
    Run(other).update_state(best=BEST | {"digest": "bb"})
    told = f"{other} has no whole predictions by its best weights; podium predict with the same config makes them\n"
    assert refusal(podium, one, other) == told
    (named,) = other.glob("predictions-*")
    assert "has no whole predictions by its best weights" in refusal(podium, one, named)


def test_folds_that_were_predicted_through_different_views(podium, make_run):
    for fold, views in enumerate([("identity",), ("identity", "horizontal_flip")]):
        make_run("wide", fold=fold, rows=range(fold, ROWS, 2), views=views)
    told = refusal(podium, "runs/wide-1a2b3c4d", make_run("narrow"))
    assert told.startswith("the folds of runs/wide-1a2b3c4d were predicted through different views")


def test_rows_that_no_two_runs_share(podium, make_run):
    told = refusal(podium, make_run("wide", rows=range(100)), make_run("narrow", rows=range(100, 200), fold=1))
    assert told.startswith("No row was validated in all of these runs (A (runs/wide-1a2b3c4d/fold0) 100 in fold 0, B (")


def test_other_labels_for_one_id(podium, make_run, here):
    one, other = make_run("wide"), make_run("narrow")
    (file,) = other.glob("predictions-*/oof.csv")
    file.write_text(file.read_text().replace("0003.jpg,3,", "0003.jpg,1,"))
    assert "1 of 400 common rows have other labels in B (runs/narrow-1a2b3c4d/fold0)" in refusal(podium, one, other)


def test_other_classes(podium, make_run):
    told = refusal(podium, make_run("wide"), make_run("narrow", labels="wxyz"))
    assert "tell other classes apart (4 and 4; only in one of them: '0', '1', '2', …)" in told


def test_another_competition_that_shares_a_few_ids(podium, make_run, config):
    content = config()
    content["competition"]["slug"] = "other-squares"
    other = make_run("narrow", rows=range(300, 1000), content=content)
    told = refusal(podium, make_run("wide"), other)
    assert told.startswith(
        "these are runs of different competitions (tiny-squares, other-squares) with 100 rows in common"
    )


@pytest.mark.parametrize("content", ["", "{", "[]", "member: {}", "competition: {slug: a, metric: fame}\nmember: {}"])
def test_a_damaged_config(podium, make_run, content):
    one, other = make_run("wide"), make_run("narrow")
    (other / "config.yaml").write_text(content)
    assert refusal(podium, one, other).startswith(f"{other}/config.yaml does not say what that run was made of")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"metric": "fame"}', '{"metric": "accuracy", "blend": 3}'])
def test_a_damaged_blend(podium, make_run, here, content):
    blend = make_blend(here)
    (blend / "blend.json").write_text(content)
    assert refusal(podium, make_run(), blend).startswith(f"{blend}/blend.json ")


def test_a_damaged_table_of_predictions(podium, make_run):
    one, other = make_run("wide"), make_run("narrow")
    (file,) = other.glob("predictions-*/oof.csv")
    file.write_text("id,label,fold,p_0\n0000.jpg,0,0,high\n")
    assert refusal(podium, one, other).startswith(f"{file}, line 2: ")


def test_more_runs_than_letters(podium):
    assert refusal(podium, *map(str, range(27))).startswith("27 runs at once; expected at most 26")
