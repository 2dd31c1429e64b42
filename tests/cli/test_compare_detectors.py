"""`podium compare` of detectors, on run folders that hold what it reads: nothing here trains."""

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
    """A box on each image, of the first class."""
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
    """`make_run(name, missed, …)`: a trained detector, which finds the box of each image but the first so many."""

    def made(name="small", missed=0, evaluated=True, boxset=None, score=0.9, changes=None, **more):
        boxset = boxset or boats()
        run = Run(here / "runs" / f"{name}-1a2b3c4d" / "fold0")
        run.path.mkdir(parents=True)
        content = {
            "name": name, "digest": "1a2b3c4d", "dry_run": False, "limit": None,
            "made_of": {"labels": boxset.classes, "weights": None, "rows": "cbe84c92", "folds": "bfc5218f"},
            "detector": DetectorSettings.model_validate(DETECTOR | (changes or {})).model_dump(mode="json"),
        }  # fmt: skip
        (here / "images.csv").write_text(
            boxset.images.sort_values("id").astype({"turned": int}).to_csv(index=False, lineterminator="\n")
        )
        write_json(run.path / "versions.json", {"keras": "3.13.2", "commit": "0123456789abcdef"})
        run.describe(content | more, here / "images.csv")
        run.update_state(status="trained", best=BEST)
        run.record_seconds({"training": 180, "prediction": 30})
        search(run, boxset, missed, score)
        if evaluated:
            evaluated_with(run, boxset, missed, score)
        return run.path.relative_to(here)

    return made


def found_in(boxset, part, missed, score):
    ids = boxset.images["id"][boxset.images["split"] == part].tolist()
    return detections_table([(name, boxset.classes[0], score, 0, 0, 10, 10) for name in ids[missed:]])


def search(run, boxset, missed, score):
    """What training leaves of the validation part."""
    found = found_in(boxset, "validation", missed, score)
    write_json(run.path / "validation.json", evaluate_part(boxset, found, "validation").to_json())
    write_detections(run.path / "validation_boxes.csv", found)


def evaluated_with(run, boxset, missed, score, weights="aa"):
    """What `podium detect evaluate` leaves."""
    tables = {part: found_in(boxset, part, missed, score) for part in ("validation", "test")}
    figures = evaluate(boxset, pd.concat(tables.values(), ignore_index=True), parts=list(tables))
    for part, found in tables.items():
        write_detections(run.path / "evaluation" / f"{part}.csv", found)
    write_json(run.path / "evaluation" / "figures.json", {**figures.to_json(), "weights": weights})


def last_line(out):
    return out.rstrip("\n").splitlines()[-1]


def table_after(out, title):
    """The cells of the lines that follow a title, up to an empty line."""
    lines = out.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith(title)]
    return [line.split() for line in lines[place + 1 : lines.index("", place)]]


# What it says


def test_the_better_detector_is_named_with_its_interval_and_its_p(podium, make_run):
    code, out, err = podium("compare", make_run("small", 35), make_run("large", 5))
    assert (code, err) == (0, "")
    assert out.startswith("A  runs/small-1a2b3c4d/fold0  detector\n")
    # 85 of 120 boxes are found, all right: precision 1 at 71 of the 101 recalls; 115 of 120: at 96 of them.
    title = "AP@0.5 of 120 images, the test part (higher is better)"
    assert table_after(out, title)[1][:2] == ["A", f"{71 / 101:.4f}"]
    assert table_after(out, title)[2][5:6] == [f"{25 / 101:+.4f}"]
    assert table_after(out, "boxes that are hit, at IoU 0.5 and from each run's threshold of the score on (A 0.900,")[
        :2
    ] == [
        ["both", "hit", "only", "A", "only", "B", "both", "missed", "p", "test"],
        ["B", "85", "0", "30", "5", "<", "0.001", "chi-squared"],
    ]
    first, rest = last_line(out).split(" (95 %: ")
    assert first == "B is better than A by 24.75 points of AP@0.5"
    assert rest.endswith("; resampling p = 0.002)")
    assert "note:" not in out


def test_detectors_that_find_the_same_cannot_be_told_apart(podium, make_run):
    out = podium("compare", make_run("small", 5), make_run("large", 5))[1]
    told = "B and A cannot be told apart: they score the same (95 %: 0.00 to 0.00; resampling p = 1.000)"
    assert last_line(out) == told


def test_of_several_the_first_is_the_baseline_and_holm_decides(podium, make_run):
    out = podium("compare", *(make_run(name, missed) for name, missed in (("a", 35), ("b", 5), ("c", 34))))[1]
    warning, second, third = out.splitlines()[-3:]
    assert warning.startswith("2 runs against A")
    assert second.endswith("; resampling p = 0.002, by Holm 0.004)")
    assert third.startswith("C and A cannot be told apart: ")


def test_what_differs_and_what_each_cost_is_told(podium, make_run):
    changes = {"backbone": {"name": "SmallResNet", "weights": "none", "alpha": 0.5}, "title": "Other boats"}
    out = podium("compare", make_run("small"), make_run("large", changes=changes))[1]
    assert table_after(out, "what differs in configs and versions") == [["A", "B"], ["backbone.alpha", "null", "0.5"]]
    assert table_after(out, "cost in minutes") == [
        ["training", "prediction", "together"],
        ["A", "3.0", "0.5", "3.5"],
        ["B", "3.0", "0.5", "3.5"],
    ]


def test_the_ap_is_the_one_that_the_evaluation_told_and_json_holds_all_of_it(podium, make_run, here):
    runs = [make_run("small", 35), make_run("large", 5)]
    assert podium("compare", *runs, "--json", "found.json")[0] == 0
    found = json.loads((here / "found.json").read_text())
    told = [json.loads((run / "evaluation" / "figures.json").read_text())["parts"]["test"] for run in runs]
    assert [score["value"] for score in found["scores"]] == [one["ap50"] for one in told]
    assert [score["value"] for score in found["beside"][0]["scores"]] == [one["ap"] for one in told]
    assert [score["value"] for score in found["beside"][1]["scores"]] == [one["mean_iou"] for one in told]
    assert found["others"][0]["mcnemar"]["only_other"] == 30
    assert (found["part"], found["set"], found["rows"]) == ("test", "runs/boxes/boats", 120)
    assert found["thresholds"] == [0.9, 0.9]


# Which part, and which images


def test_without_an_evaluation_of_each_it_is_the_validation_part_and_that_is_told(podium, make_run):
    out = podium("compare", make_run("small", 35), make_run("large", 5, evaluated=False))[1]
    assert "AP@0.5 of 120 images, the validation part" in out
    assert (
        "note: compared is the validation part (B without an evaluation of the test part, which podium detect evaluate"
        " makes): weights and thresholds were chosen there, so its figures flatter every run\n"
    ) in out
    assert last_line(out).startswith("B is better than A by 24.75 points of AP@0.5")


def test_several_without_an_evaluation_are_told_together(podium, make_run):
    out = podium("compare", *(make_run(name, evaluated=False) for name in ("a", "b")))[1]
    assert "compared is the validation part (A and B without an evaluation of the test part, which" in out


def test_an_evaluation_of_earlier_weights_does_not_count_and_that_is_told(podium, make_run):
    one, other = make_run("small"), make_run("large")
    evaluated_with(Run(other), boats(), 35, 0.9, weights="bb")
    out = podium("compare", one, other)[1]
    assert "compared is the validation part (B evaluated with weights that it no longer has, so podium detect" in out
    assert last_line(out).startswith("B and A cannot be told apart: they score the same")
    told = refusal(podium, one, other, "--part", "test")
    assert told.startswith("these runs cannot be compared on the test part: B evaluated with weights that it no longer")


def test_the_part_can_be_asked_for(podium, make_run):
    runs = [make_run("small"), make_run("large")]
    out = podium("compare", *runs, "--part", "validation")[1]
    assert "the validation part (higher is better)" in out
    assert "note: compared is the validation part: weights and thresholds were chosen there" in out
    code, _, err = podium("compare", *runs, "--part", "train")
    assert code == 2
    assert "expected test or validation: got 'train'" in err


def test_only_images_that_all_have_searched_are_compared_and_the_others_counted(podium, make_run):
    """The set was built again with more images before the second was trained; then with fewer."""
    changed = {"labels": ["Boat"], "weights": None, "rows": "aaaaaaaa", "folds": "bbbbbbbb"}
    one = make_run("small", boxset=boats(110))
    out = podium("compare", one, make_run("large", boxset=boats(130), made_of=changed))[1]
    assert "AP@0.5 of 110 images, the test part" in out
    assert "note: compared are the 110 images of the test part that both have; left out: 20 of B\n" in out
    assert (
        "note: B learned from the set as it was built another time than for A; all are judged by the boxes that are in"
        " runs/boxes/boats now\n"
    ) in out


def test_boxes_that_were_changed_since_are_told(podium, make_run, here):
    runs = [make_run("small"), make_run("large")]
    write_dataset(boats(side=30), here / "runs" / "boxes" / "boats")
    out = podium("compare", *runs)[1]
    assert "note: the set has other boxes now than when A searched these images: its AP@0.5 was 1.0000 then\n" in out
    assert "note: no mean IoU of hits: a run has none from its threshold on\n" in out


def test_a_class_without_boxes_is_told(podium, make_run, here):
    both = boats(classes=("Boat", "Canoe"))
    write_dataset(both, here / "runs" / "boxes" / "boats")
    out = podium("compare", make_run("small", boxset=both), make_run("large", boxset=both))[1]
    assert "note: no box of Canoe on these images: AP is the mean over the other classes\n" in out


def test_dry_runs_limited_ones_and_few_images_are_told(podium, make_run):
    out = podium("compare", make_run("small", limit=200), make_run("large", dry_run=True, boxset=boats(8)))[1]
    assert "note: A trained on 200 images only (--limit)\n" in out
    assert "note: B is a dry run: its figures rehearse the comparison, and say nothing\n" in out
    assert "left out: 112 of A\n" in out
    assert "note: only 8 images: intervals of so few are too narrow\n" in out


def test_the_set_beside_the_first_run_is_the_one_also_when_seen_from_elsewhere(podium, make_run, here, monkeypatch):
    make_run("small"), make_run("large")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    code, out, _ = podium("compare", "../runs/small-1a2b3c4d", "large-1a2b3c4d/fold0", "--runs", "../runs")
    assert code == 0
    assert "AP@0.5 of 120 images" in out


# What cannot be compared is one line


def refusal(podium, *arguments):
    code, out, err = podium("compare", *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("podium: ")
    assert err.count("\n") == 1
    return err.removeprefix("podium: ")


def test_a_detector_and_a_classifier(podium, make_run, here):
    other = here / "runs" / "wide-1a2b3c4d" / "fold0"
    other.mkdir(parents=True)
    (other / "config.yaml").write_text("member: {}\n")
    told = refusal(podium, other.parent, make_run())
    assert told.startswith(f"runs/small-1a2b3c4d/fold0 is a detector's run, and {other.parent} is none; expected runs")


def test_a_part_of_classifiers(podium, here):
    for name in ("wide", "narrow"):
        (here / "runs" / name).mkdir()
    told = refusal(podium, "wide", "narrow", "--part", "test")
    assert told == "these are no detectors, so there is no test part to compare on: leave --part away\n"


def test_the_same_run_twice(podium, make_run):
    one = make_run()
    assert "are the same predictions; expected other ones" in refusal(podium, one, one.parent)


def test_a_detector_that_is_not_trained_yet(podium, make_run):
    one, other = make_run("small"), make_run("large")
    Run(other).update_state(status="training", command="podium detect train large.yaml --resume")
    assert refusal(podium, one, other) == f"{other} is not trained yet; go on with: podium detect train\n"
    (other / "checkpoints").mkdir()
    (other / "checkpoints" / "checkpoint-000001-0123456789abcdef.npz").touch()
    assert refusal(podium, one, other).endswith("; go on with: podium detect train large.yaml --resume\n")


def test_detectors_of_different_sets(podium, make_run):
    told = refusal(podium, make_run("small"), make_run("large", changes={"slug": "ships"}))
    assert told.startswith("these are detectors of different sets of boxes (boats, ships); expected one set")


def test_a_set_that_is_no_longer_there(podium, make_run, here):
    runs = [make_run("small"), make_run("large")]
    (here / "runs" / "boxes").rename(here / "away")
    assert refusal(podium, *runs).startswith("there is no set of boxes in runs/boxes/boats: build it with podium")


def test_detectors_of_other_classes(podium, make_run):
    told = refusal(podium, make_run("small"), make_run("large", boxset=boats(classes=("Ship", "Boat"))))
    assert "find other classes (1 and 2; only in one of them: Ship)" in told


def test_a_set_that_has_other_classes_now(podium, make_run, here):
    runs = [make_run("small"), make_run("large")]
    write_dataset(boats(classes=("Ship",)), here / "runs" / "boxes" / "boats")
    told = refusal(podium, *runs)
    assert told.startswith("the set boats has other classes now than when these runs were trained (only then or now:")


def test_images_that_no_two_runs_share(podium, make_run, here):
    other = boats()
    for table in (other.images, other.boxes):
        table["id"] = "x" + table["id"]
    told = refusal(podium, make_run("small"), make_run("large", boxset=other))
    assert told.startswith("no image of the test part was searched by all of these runs (A 120, B 120) and is in the")


@pytest.mark.parametrize(
    "content", ["detector:", "detector: {slug: 3}\n", "detector: {slug: a}\nmade_of: {labels: 3}\n"]
)
def test_a_damaged_config(podium, make_run, content):
    one, other = make_run("small"), make_run("large")
    (other / "config.yaml").write_text(content)
    assert refusal(podium, one, other).startswith(f"{other}/config.yaml does not say what that run was made of")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evaluation/figures.json", '{"weights": "aa", "parts": {"test": 3}}'),
        ("evaluation/figures.json", "{"),
        ("evaluation/test.csv", "id,class\n"),
        ("folds.csv", "id,fold\n"),
    ],
)
def test_a_damaged_file_of_what_was_found(podium, make_run, name, content):
    one, other = make_run("small"), make_run("large")
    (other / name).write_text(content)
    assert refusal(podium, one, other).startswith(str(other / name))
