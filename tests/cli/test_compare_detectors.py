"""`podium compare` of detectors, on run folders written by hand: nothing is trained."""

import json

import pandas as pd
import pytest

from podium.detection.config import DetectorSettings
from podium.detection.dataset import BOX_COLUMNS, IMAGE_COLUMNS, BoxDataset, write_dataset
from podium.detection.detections import detections_table, write_detections
from podium.detection.evaluation import evaluate, evaluate_part
from podium.files import write_json
from podium.runs import Run

BEST = {
    "stage": "all", "epoch": 1, "monitor": "val_ap50", "score": 0.9, "image_size": 64, "digest": "aa",
    "precision": "float32",
}  # fmt: skip
STAGE = {"name": "all", "unfreeze": "all", "epochs": 2, "batch_size": 4, "image_size": 64, "learning_rate": 1e-3}
DETECTOR = {
    "slug": "boats", "source": "yolo", "classes": ["Boat"], "stages": [STAGE],
    "backbone": {"name": "SmallResNet", "weights": "none"},
}  # fmt: skip
EACH = 120
"""Images of the validation and of the test part."""


def ids_of(part, count=EACH):
    return [f"{part[0]}{number:03d}" for number in range(count)]


def boats(count=EACH, classes=("Boat",), side=10):
    """A dataset with a box of the first class on each image."""
    parts = {name: part for part in ("train", "validation", "test") for name in ids_of(part, count)}
    images = [[name, f"{name}.jpg", 64, 64, False, part] for name, part in parts.items()]
    boxes = [[name, classes[0], 0.0, 0.0, side, side, False, False, False, False] for name in parts]
    tables = (pd.DataFrame(images, columns=IMAGE_COLUMNS), pd.DataFrame(boxes, columns=BOX_COLUMNS))
    return BoxDataset("boats", list(classes), *tables, {})


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_dataset(boats(), tmp_path / "runs" / "boxes" / "boats")
    return tmp_path


@pytest.fixture
def make_run(here):
    """`make_run(name, missed, …)`: a trained detector that misses the boxes of the first `missed` images."""

    def made(name="small", missed=0, evaluated=True, dataset=None, score=0.9, changes=None, **more):
        dataset = dataset or boats()
        run = Run(here / "runs" / f"{name}-1a2b3c4d" / "fold0")
        run.path.mkdir(parents=True)
        content = {
            "name": name, "digest": "1a2b3c4d", "dry_run": False, "limit": None,
            "inputs": {"labels": dataset.classes, "weights": None, "rows": "cbe84c92", "folds": "bfc5218f"},
            "detector": DetectorSettings.model_validate(DETECTOR | (changes or {})).model_dump(mode="json"),
        }  # fmt: skip
        (here / "images.csv").write_text(
            dataset.images.sort_values("id").astype({"rotated": int}).to_csv(index=False, lineterminator="\n")
        )
        write_json(run.path / "versions.json", {"keras": "3.13.2", "commit": "0123456789abcdef"})
        run.describe(content | more, here / "images.csv")
        run.update_state(status="trained", best=BEST)
        run.record_seconds({"training": 180, "prediction": 30})
        search(run, dataset, missed, score)
        if evaluated:
            evaluated_with(run, dataset, missed, score)
        return run.path.relative_to(here)

    return made


def found_in(dataset, part, missed, score):
    ids = dataset.images["id"][dataset.images["split"] == part].tolist()
    return detections_table([(name, dataset.classes[0], score, 0, 0, 10, 10) for name in ids[missed:]])


def search(run, dataset, missed, score):
    """Write what training leaves of the validation part."""
    found = found_in(dataset, "validation", missed, score)
    write_json(run.path / "validation.json", evaluate_part(dataset, found, "validation").to_json())
    write_detections(run.path / "validation_boxes.csv", found)


def evaluated_with(run, dataset, missed, score, weights="aa"):
    """Write what `podium detect evaluate` leaves."""
    tables = {part: found_in(dataset, part, missed, score) for part in ("validation", "test")}
    figures = evaluate(dataset, pd.concat(tables.values(), ignore_index=True), parts=list(tables))
    for part, found in tables.items():
        write_detections(run.path / "evaluation" / f"{part}.csv", found)
    write_json(run.path / "evaluation" / "metrics.json", {**figures.to_json(), "weights": weights})


def last_line(out):
    return out.rstrip("\n").splitlines()[-1]


def table_after(out, title):
    """The cells of the lines between a title and the next empty line."""
    lines = out.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith(title)]
    return [line.split() for line in lines[place + 1 : lines.index("", place)]]


# Scores and verdicts


def test_better_detector_is_reported_with_interval_and_p(podium, make_run):
    code, out, err = podium("compare", make_run("small", 35), make_run("large", 5))
    assert (code, err) == (0, "")
    assert out.startswith("A  runs/small-1a2b3c4d/fold0  detector\n")
    # 85 of 120 boxes are found, all right: precision 1 at 71 of the 101 recalls; 115 of 120: at 96 of them.
    title = "AP@0.5 on 120 images, test part (higher is better)"
    assert table_after(out, title)[1][:2] == ["A", f"{71 / 101:.4f}"]
    assert table_after(out, title)[2][5:6] == [f"{25 / 101:+.4f}"]
    assert table_after(out, "boxes hit at IoU 0.5, with score thresholds A 0.900, B 0.900: McNemar's test")[:2] == [
        ["both", "hit", "only", "A", "only", "B", "both", "missed", "p", "test"],
        ["B", "85", "0", "30", "5", "<", "0.001", "chi-squared"],
    ]
    first, rest = last_line(out).split(" (95 % CI ")
    assert first == "B is better than A by 24.75 points"
    assert rest.endswith("; bootstrap p = 0.002)")
    assert "note:" not in out


def test_equal_detections_score_the_same(podium, make_run):
    out = podium("compare", make_run("small", 5), make_run("large", 5))[1]
    expected = "no difference between B and A: the scores are equal (95 % CI 0.00 to 0.00; bootstrap p = 1.000)"
    assert last_line(out) == expected


def test_differences_and_times_are_listed(podium, make_run):
    changes = {"backbone": {"name": "SmallResNet", "weights": "none", "alpha": 0.5}, "title": "Other boats"}
    out = podium("compare", make_run("small"), make_run("large", changes=changes))[1]
    assert table_after(out, "differences in configs and versions") == [["A", "B"], ["backbone.alpha", "null", "0.5"]]
    assert table_after(out, "time in minutes") == [
        ["training", "prediction", "total"],
        ["A", "3.0", "0.5", "3.5"],
        ["B", "3.0", "0.5", "3.5"],
    ]


def test_json_has_the_scores_of_the_evaluation(podium, make_run):
    runs = [make_run("small", 35), make_run("large", 5)]
    found = json.loads(podium("compare", *runs, "--json")[1])
    evaluated = [json.loads((run / "evaluation" / "metrics.json").read_text())["parts"]["test"] for run in runs]
    assert [score["value"] for score in found["scores"]] == [one["ap50"] for one in evaluated]
    assert [score["value"] for score in found["secondary"][0]["scores"]] == [one["ap"] for one in evaluated]
    assert [score["value"] for score in found["secondary"][1]["scores"]] == [one["mean_iou"] for one in evaluated]
    assert found["differences"][0]["mcnemar"]["only_run"] == 30
    assert (found["part"], found["count"]) == ("test", 120)
    assert found["thresholds"] == [0.9, 0.9]


# Parts and images


def test_validation_part_if_not_all_are_evaluated(podium, make_run):
    out = podium("compare", make_run("small", 35), make_run("large", 5, evaluated=False))[1]
    assert "AP@0.5 on 120 images, validation part" in out
    assert (
        "note: compared on the validation part (B not evaluated on the test part (podium detect evaluate)): weights and"
        " thresholds were chosen on it, so all scores are optimistic\n"
    ) in out
    assert last_line(out).startswith("B is better than A by 24.75 points")


def test_evaluation_of_earlier_weights_is_ignored(podium, make_run):
    one, other = make_run("small"), make_run("large")
    evaluated_with(Run(other), boats(), 35, 0.9, weights="bb")
    out = podium("compare", one, other)[1]
    assert "compared on the validation part (B evaluated with earlier weights (repeat podium detect" in out
    assert last_line(out).startswith("no difference between B and A: the scores are equal")
    message = refusal(podium, one, other, "--part", "test")
    assert message.startswith("cannot compare on the test part: B evaluated with earlier weights")


def test_part_option(podium, make_run):
    runs = [make_run("small"), make_run("large")]
    out = podium("compare", *runs, "--part", "validation")[1]
    assert "validation part (higher is better)" in out
    assert "note: compared on the validation part: weights and thresholds were chosen on it" in out
    code, _, err = podium("compare", *runs, "--part", "train")
    assert code == 2
    assert "expected test or validation, got 'train'" in err


def test_only_images_evaluated_by_all_are_compared(podium, make_run):
    """The dataset was built again with more images before the second was trained, then with fewer."""
    changed = {"labels": ["Boat"], "weights": None, "rows": "aaaaaaaa", "folds": "bbbbbbbb"}
    one = make_run("small", dataset=boats(110))
    out = podium("compare", one, make_run("large", dataset=boats(130), inputs=changed))[1]
    assert "AP@0.5 on 110 images, test part" in out
    assert "note: compared on the 110 images of the test part common to both; left out: 20 of B\n" in out
    assert (
        "note: B was trained on another build of the dataset than A; all are scored with the boxes that are in"
        " runs/boxes/boats now\n"
    ) in out


def test_changed_boxes_are_noted(podium, make_run, here):
    runs = [make_run("small"), make_run("large")]
    write_dataset(boats(side=30), here / "runs" / "boxes" / "boats")
    out = podium("compare", *runs)[1]
    assert "note: the boxes of the dataset have changed since A was evaluated: its AP@0.5 was 1.0000\n" in out
    assert "note: no mean IoU of true positives: a run has no hit above its threshold\n" in out


def test_class_without_boxes_is_noted(podium, make_run, here):
    both = boats(classes=("Boat", "Canoe"))
    write_dataset(both, here / "runs" / "boxes" / "boats")
    out = podium("compare", make_run("small", dataset=both), make_run("large", dataset=both))[1]
    assert "note: no box of 'Canoe' on these images: AP is the mean over the other classes\n" in out


def test_dry_runs_limits_and_few_images_are_noted(podium, make_run):
    out = podium("compare", make_run("small", limit=200), make_run("large", dry_run=True, dataset=boats(8)))[1]
    assert "note: A was trained on at most 200 images (--limit)\n" in out
    assert "note: B is a dry run: its scores are not meaningful\n" in out
    assert "left out: 112 of A\n" in out
    assert "note: only 8 images: the intervals are too narrow\n" in out


def test_dataset_next_to_the_first_run_is_used(podium, make_run, here, monkeypatch):
    make_run("small"), make_run("large")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    code, out, _ = podium("compare", "../runs/small-1a2b3c4d", "large-1a2b3c4d/fold0", "--runs", "../runs")
    assert code == 0
    assert "AP@0.5 on 120 images" in out


# Runs that cannot be compared


def refusal(podium, *arguments):
    code, out, err = podium("compare", *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("podium: ")
    assert err.count("\n") == 1
    return err.removeprefix("podium: ")


def test_detector_and_classifier(podium, make_run, here):
    other = here / "runs" / "wide-1a2b3c4d" / "fold0"
    other.mkdir(parents=True)
    (other / "config.yaml").write_text("member: {}\n")
    message = refusal(podium, other.parent, make_run())
    assert message.startswith(f"runs/small-1a2b3c4d/fold0 is a detector and {other.parent} is not; expected runs")


def test_classifiers_have_no_parts(podium, here):
    for name in ("wide", "narrow"):
        (here / "runs" / name).mkdir()
    message = refusal(podium, "wide", "narrow", "--part", "test")
    assert message == "classifiers have no test part to compare on: omit --part\n"


def test_the_same_run_twice(podium, make_run):
    one = make_run()
    assert "are the same predictions; expected different runs" in refusal(podium, one, one.parent)


def test_untrained_detector(podium, make_run):
    one, other = make_run("small"), make_run("large")
    Run(other).update_state(status="training", command="podium detect train large.yaml --resume")
    assert refusal(podium, one, other) == f"{other} is not trained yet; resume with: podium detect train\n"
    (other / "checkpoints").mkdir()
    (other / "checkpoints" / "checkpoint-000001-0123456789abcdef.npz").touch()
    assert refusal(podium, one, other).endswith("; resume with: podium detect train large.yaml --resume\n")


def test_detectors_of_different_datasets(podium, make_run):
    message = refusal(podium, make_run("small"), make_run("large", changes={"slug": "ships"}))
    assert message.startswith("these are detectors of different datasets (boats, ships); expected one dataset")


def test_missing_dataset(podium, make_run, here):
    runs = [make_run("small"), make_run("large")]
    (here / "runs" / "boxes").rename(here / "away")
    assert refusal(podium, *runs).startswith("no dataset in runs/boxes/boats: build it with podium")


def test_detectors_of_different_classes(podium, make_run):
    message = refusal(podium, make_run("small"), make_run("large", dataset=boats(classes=("Ship", "Boat"))))
    assert "have different classes (1 and 2; only in one of them: 'Ship')" in message


def test_dataset_whose_classes_have_changed(podium, make_run, here):
    runs = [make_run("small"), make_run("large")]
    write_dataset(boats(classes=("Ship",)), here / "runs" / "boxes" / "boats")
    message = refusal(podium, *runs)
    assert message.startswith(
        "the classes of the dataset boats have changed since these runs were trained (only before or after:"
    )


def test_detectors_without_common_images(podium, make_run, here):
    other = boats()
    for table in (other.images, other.boxes):
        table["id"] = "x" + table["id"]
    message = refusal(podium, make_run("small"), make_run("large", dataset=other))
    assert message.startswith(
        "no image of the test part was evaluated by all of these runs (A 120, B 120) and is in the"
    )


@pytest.mark.parametrize(
    "content", ["detector:", "detector: {slug: 3}\n", "detector: {slug: a}\ninputs: {labels: 3}\n"]
)
def test_damaged_config(podium, make_run, content):
    one, other = make_run("small"), make_run("large")
    (other / "config.yaml").write_text(content)
    assert refusal(podium, one, other).startswith(f"{other}/config.yaml is damaged; expected the")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evaluation/metrics.json", '{"weights": "aa", "parts": {"test": 3}}'),
        ("evaluation/metrics.json", "{"),
        ("evaluation/test.csv", "id,class\n"),
        ("folds.csv", "id,fold\n"),
    ],
)
def test_damaged_detections(podium, make_run, name, content):
    one, other = make_run("small"), make_run("large")
    (other / name).write_text(content)
    assert refusal(podium, one, other).startswith(str(other / name))
