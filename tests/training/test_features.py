"""Features of a frozen backbone are computed once, cached within the limit, and give the same training as images."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
import yaml
from frozen_runs import BATCH, BATCHES, ROWS, VALIDATION, AtBatch, Frozen, entries, frozen, member
from line_task import Stop, assert_same_weights, fit, watch
from rich.console import Console

from podium.config.loading import load_member
from podium.data.augmentation import PlainView
from podium.data.batches import PredictionBatches
from podium.errors import StoppedError
from podium.locks import locked
from podium.models.classifier import split_classifier
from podium.options import RunOptions
from podium.signals import StopCondition
from podium.training import features
from podium.training.features import Features
from podium.training.task import StageContext
from podium.workflows.fold_runs import fold_runs
from podium.workflows.prepare import prepare

HERE = Path(__file__).parents[1] / "helpers"
FILES = ["timing.json", "validation.npy", "view-0.npy", "view-1.npy"]


@pytest.fixture
def here(tmp_path):
    return Frozen(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted training, and its features."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODIUM_CACHE", str(tmp_path_factory.mktemp("cache")))
        made = Frozen(tmp_path_factory.mktemp("whole"))
        run = made.trained("run")
        (entry,) = entries()
        kept = {path.name: np.load(path) for path in entry.glob("*.npy")}
    return run, kept, made.said


def figures(run):
    return pd.read_csv(run.history).drop(columns=["changes", "stage"])


def assert_same_end(run, other):
    assert run.is_trained
    assert_same_weights(run.best_weights, other.best_weights)
    assert run.history.read_bytes() == other.history.read_bytes()


def built(here, settings, seed=1):
    """The task, and its model as a training begins with it: the weights are drawn from the seed."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    task = here.task(settings)
    return task, task.build(settings.stages[0].image_size, pretrained=True)


def made(here, settings=None, seed=1):
    """What is printed while features are computed or found in the cache; no head is trained."""
    settings, log = settings or member(), StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "predict_on_batch", lambda model, batch: np.asarray(model(batch)))  # without a graph
        task, model = built(here, settings, seed)
        for number, one in enumerate(settings.stages):
            task.unfreeze(model, one)
            task.prepare_stage(model, number, one, StageContext(Console(file=log, width=300), lambda seconds: None))
    return log.getvalue()


def stopped(here, run, settings, steps, **options):
    stop_condition = StopCondition()
    with pytest.MonkeyPatch.context() as patch:
        watch(patch, Stop(steps, lambda: stop_condition.request("SIGTERM")))
        with pytest.raises(StoppedError):
            here.fit(run, settings, stop_condition=stop_condition, **options)


# The cached features


@pytest.mark.parametrize("pooling", ["avg", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("max", "gem"))])
def test_cached_features_are_those_of_the_backbone_for_each_view(here, pooling):
    settings = member(head={"pooling": pooling})
    made(here, settings)
    (entry,) = entries()
    assert sorted(path.name for path in entry.iterdir()) == FILES
    task, model = built(here, settings)

    def by_hand(images):
        features = model.get_layer("backbone")(model.get_layer("scaling")(images), training=False)
        return features if pooling == "gem" else model.get_layer("pooling")(features)

    batches, rows = task.batches(0, settings.stages[0]), np.arange(ROWS)
    for view in range(2):
        expected = by_hand(batches.batch(rows, view)[0])
        np.testing.assert_allclose(np.load(entry / f"view-{view}.npy"), expected, rtol=1e-4, atol=1e-5)
    (images,) = PredictionBatches(task._validation_source, [PlainView(32, "squash")], VALIDATION)[0]
    np.testing.assert_allclose(np.load(entry / "validation.npy"), by_hand(images), rtol=1e-4, atol=1e-5)


def test_epochs_alternate_between_views_each_in_its_own_order(here):
    made(here)
    (entry,) = entries()
    task, model = built(here, member())
    task.unfreeze(model, frozen())
    setup = task.prepare_stage(model, 0, frozen(), StageContext(Console(quiet=True), lambda seconds: None))
    seen = []
    for epoch in range(4):
        setup.batches.epoch = epoch
        taken, targets = (
            np.concatenate(parts) for parts in zip(*(setup.batches[n] for n in range(BATCHES)), strict=True)
        )
        order = task.batches(0, frozen()).order(epoch)
        np.testing.assert_array_equal(taken, np.load(entry / f"view-{epoch % 2}.npy")[order])
        np.testing.assert_array_equal(targets.argmax(axis=1), here.training.truth[order])
        seen.append(tuple(order))
    assert len(set(seen)) == 4


@pytest.mark.slow
def test_training_without_the_cache_is_the_same_within_rounding(here, whole):
    run = here.trained("run", cache_gb=0)
    assert not entries()
    assert (
        "features of view 1 to the validation rows are not cached (cache_gb is 0): every epoch computes them again"
        in here.said
    )
    np.testing.assert_allclose(figures(run), figures(whole[0]), rtol=1e-4)


@pytest.mark.slow
def test_as_many_views_as_epochs_are_an_ordinary_stage(here):
    settings = member([frozen(epochs=2, views=2)])
    run = here.trained("run", settings)
    assert not entries()
    assert "features" not in here.said
    ordinary = here.trained("ordinary", member([frozen(epochs=2, views=9)]), cache_gb=0)
    assert_same_end(run, ordinary)


def test_only_the_head_is_trained(here, whole):
    run, _, _ = whole
    task, before = built(here, member())
    after = task.build(32, pretrained=False)
    after.load_weights(run.best_weights)
    for old, new in zip(before.get_layer("backbone").weights, after.get_layer("backbone").weights, strict=True):
        np.testing.assert_array_equal(old, new)
    kernel = [keras.ops.convert_to_numpy(one.get_layer("probabilities").kernel) for one in (before, after)]
    assert not np.array_equal(*kernel)


def test_best_weights_predict_what_was_validated(here, whole):
    """With the full model, from images."""
    run, _, _ = whole
    task, model = built(here, member())
    model.load_weights(run.best_weights)
    best = figures(run).iloc[run.state["best"]["epoch"]]
    assert task.validate(model, frozen())["val_loss"] == pytest.approx(best["val_loss"], rel=1e-4)


def test_dropout_of_a_frozen_backbone_is_off():
    images = keras.Input((8, 8, 3), dtype="uint8")
    inner = keras.Input((8, 8, 3))
    backbone = keras.Model(inner, keras.layers.Dropout(0.5)(keras.layers.Conv2D(4, 3)(inner)), name="backbone")
    hidden = keras.layers.GlobalAveragePooling2D()(backbone(keras.layers.Rescaling(1 / 255)(images)))
    model = keras.Model(images, keras.layers.Dense(3, activation="softmax")(keras.layers.Dropout(0.5)(hidden)))
    parts, some = split_classifier(model), np.random.default_rng(0).integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
    features = parts.feature_model()
    np.testing.assert_array_equal(features(some, training=True), features(some, training=False))
    together, head = parts.full_model(), parts.head_model(features)
    np.testing.assert_allclose(together(some), head(features(some)), rtol=1e-5)
    assert not np.allclose(together(some, training=True), together(some))  # the head's own dropout is on


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_is_cached_in_two_bytes(here, precision):
    settings = member(precision=precision)
    run = here.trained("run", settings, precision=precision)
    (entry,) = entries()
    kept = np.load(entry / "view-0.npy")
    assert kept.dtype.itemsize == 2
    computed = here.trained("computed", settings, cache_gb=0, precision=precision)
    np.testing.assert_allclose(figures(run), figures(computed), rtol=0.02, atol=0.02)


def test_bfloat16_is_read_correctly(tmp_path):
    numbers = np.array([[1.0, -2.5], [0.0, 3.0e30]], np.float32)
    np.save(tmp_path / "some.npy", (numbers.view(np.uint32) >> 16).astype(np.uint16))
    read = Features(tmp_path / "some.npy", (2, 2), "bfloat16")
    np.testing.assert_allclose(read[np.array([1, 0])], numbers[[1, 0]], rtol=0.01)


# Resuming


@pytest.mark.slow
@pytest.mark.parametrize("steps", [BATCHES + 3, 2, BATCHES, 5 * BATCHES + 1])
def test_stopped_training_resumes_to_the_same_end(here, whole, steps):
    run = here.run("broken")
    stopped(here, run, member(), steps)
    here.fit(run)
    assert "cached" in here.said
    assert_same_end(run, whole[0])


@pytest.mark.slow
def test_features_removed_from_the_cache_are_computed_again(here, whole):
    run = here.run("broken")
    stopped(here, run, member(), BATCHES + 1)
    (entry,) = entries()
    for path in entry.iterdir():
        path.unlink()
    here.fit(run)
    assert "cached" not in here.said
    assert_same_end(run, whole[0])


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1.0, 0), (0, 1.0)])
def test_training_can_be_resumed_with_and_without_the_cache(here, whole, before, after):
    run = here.run("broken")
    stopped(here, run, member(), BATCHES + 3, cache_gb=before)
    here.fit(run, cache_gb=after)
    np.testing.assert_allclose(figures(run), figures(whole[0]), rtol=1e-4)


@pytest.mark.slow
def test_next_stage_continues_from_the_trained_head(here):
    stages = [frozen(), frozen("all", unfreeze="all", epochs=1, image_size=40)]
    run = here.trained("run", member(stages))
    assert list(pd.read_csv(run.history)["stage"]) == ["head"] * 6 + ["all"]
    broken = here.run("broken")
    stopped(here, broken, member(stages), 6 * BATCHES + 1)
    here.fit(broken, member(stages))
    assert_same_end(broken, run)


# Kills, stops, and other processes


@pytest.mark.slow
def test_training_killed_while_features_are_computed_resumes_to_the_same_end(here, whole):
    command = [sys.executable, HERE / "frozen_runs.py", here.folder, str(BATCHES + 2)]
    path = f"{HERE}{os.pathsep}{HERE.parents[1] / 'src'}"
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (entry,) = entries()
    whole_view, *torn = sorted(entry.glob("*.npy"), reverse=True)
    assert whole_view.name == "view-0.npy"
    assert len(torn) == 1  # pathlib finds hidden files too
    before = whole_view.stat().st_ino
    run = here.fit(here.run("again"))
    assert whole_view.stat().st_ino == before
    assert sorted(path.name for path in entry.iterdir()) == FILES
    assert_same_end(run, whole[0])


@pytest.mark.slow
def test_stop_while_features_are_computed_keeps_the_finished_views(here, whole, monkeypatch):
    stop_condition, run = StopCondition(), here.run("stopped")
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "predict_on_batch", AtBatch(BATCHES + 2, lambda: stop_condition.request("SIGTERM")))
        with pytest.raises(StoppedError, match="stopped before the first step"):
            here.fit(run, stop_condition=stop_condition)
    (entry,) = entries()
    assert sorted(path.name for path in entry.iterdir()) == ["timing.json", "view-0.npy"]
    here.fit(run)
    assert "features of view 1: " not in here.said
    assert "features of view 2: " in here.said
    assert_same_end(run, whole[0])


@pytest.mark.slow
def test_features_of_another_process_are_waited_for(here, monkeypatch):
    made(here)
    (entry,) = entries()
    apart = entry.rename(entry.with_name("apart"))

    @contextmanager
    def wait_for_lock(folder):
        apart.rename(folder)  # the other process has finished
        yield

    monkeypatch.setattr(features, "wait_for_lock", wait_for_lock)
    with locked(entry):
        printed = made(here)
    assert "waiting for the same features from process" in printed
    assert "images" not in printed


@pytest.mark.slow
@pytest.mark.parametrize("damage", [b"\x93NUMPY", b"", b"no array"])
def test_damaged_file_is_computed_again(here, damage):
    made(here)
    (entry,) = entries()
    before = np.load(entry / "view-1.npy")
    (entry / "view-1.npy").write_bytes(damage)
    said = made(here)
    assert "features of view 2: 14 images" in said
    assert "features of view 1: " not in said
    np.testing.assert_array_equal(np.load(entry / "view-1.npy"), before)


@pytest.mark.slow
def test_full_disk_does_not_end_the_training(here, whole, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    run = here.trained("run")
    assert "are not cached ([Errno 28] No space left on device" in here.said
    assert not [path for entry in entries() for path in entry.iterdir()]
    np.testing.assert_allclose(figures(run), figures(whole[0]), rtol=1e-4)


# The limit, and what is shared


@pytest.mark.slow
def test_too_small_limit_is_reported_and_changes_nothing(here, whole):
    run = here.trained("run", cache_gb=1e-7)
    assert "are not cached (there is no space for" in here.said
    assert not [path for entry in entries() for path in entry.iterdir()]
    np.testing.assert_allclose(figures(run), figures(whole[0]), rtol=1e-4)


@pytest.mark.slow
def test_different_heads_share_features(here):
    made(here)
    other = member([frozen(learning_rate=0.1, epochs=8)], head={"dropout": 0.5})
    assert made(here, other) == "  features of view 1 to the validation rows: cached\n"
    assert len(entries()) == 1


def test_stages_without_augmentation_share_features(here):
    said = made(here, member([frozen(), frozen("again")], augmentation=[]))
    assert said.count("cached") == 1
    (entry,) = entries()
    assert sorted(path.name for path in entry.iterdir()) == ["timing.json", "validation.npy", "view-0.npy"]


@pytest.mark.slow
def test_stages_with_augmentation_have_their_own_views(here):
    assert "cached" not in made(here, member([frozen(), frozen("again")]))
    assert len(entries()) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 7},
        pytest.param({"resize": "crop"}, marks=pytest.mark.slow),
        pytest.param({"augmentation": ["HorizontalFlip"]}, marks=pytest.mark.slow),
        pytest.param({"backbone": {"name": "SmallResNet", "weights": "none", "alpha": 0.5}}, marks=pytest.mark.slow),
        pytest.param({"head": {"pooling": "max"}}, marks=pytest.mark.slow),
        pytest.param({"stages": [frozen(image_size=40)]}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_settings_that_decide_the_features_give_other_ones(here, changes):
    made(here)
    assert "cached" not in made(here, member(**changes))
    assert len(entries()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("which", ["training", "validation"])
def test_changed_image_gives_new_features(here, which):
    made(here)
    path = getattr(here, which).paths[3]
    image = cv2.imread(str(path))
    cv2.imwrite(str(path), 255 - image)
    assert "cached" not in made(here)
    assert len(entries()) == 2


@pytest.mark.slow
def test_other_backbone_weights_give_other_features(here):
    made(here, seed=1)
    made(here, seed=2)
    assert len(entries()) == 2


# The key of a stage


def resolved(tiny_competition, **changes):
    stages = [{**one, **changes} for one in yaml.safe_load(tiny_competition.member().read_text())["stages"]]
    settings = load_member(tiny_competition.member(stages=stages))
    options = RunOptions(data=tiny_competition.folder, runs=tiny_competition.folder / "runs", folds=(0,))
    [one] = fold_runs(settings, prepare(settings.competition, options, Console(quiet=True)), options)
    return one.resolved["digest"], one.resolved["member"]["stages"][0].get("views")


def test_digest_depends_on_views_only_where_epochs_share_them(tiny_competition):
    assert resolved(tiny_competition)[1] is None
    assert resolved(tiny_competition, unfreeze="none", epochs=1)[1] is None
    assert resolved(tiny_competition, unfreeze="none", epochs=5, views=5)[1] is None
    default, one, two = (
        resolved(tiny_competition, unfreeze="none", epochs=5, **views) for views in ({}, {"views": 1}, {"views": 2})
    )
    assert default == one
    assert (one[1], two[1]) == (1, 2)
    assert one[0] != two[0]


# Output


def test_log_has_a_line_for_each_view(whole):
    lines = [line.split("  ")[1] for line in whole[2].splitlines() if "features" in line]
    assert lines == [
        "features of view 1: 14 images",
        "features of view 2: 14 images",
        "features of the validation rows: 6 images",
    ]


@pytest.mark.slow
def test_terminal_has_a_progress_bar(here):
    screen = StringIO()
    fit(
        here.run("run"),
        member().stages,
        here.task(member()),
        console=Console(file=screen, force_terminal=True, width=200),
    )
    assert "━" in screen.getvalue()


@pytest.mark.slow
def test_seconds_per_image_are_measured_while_features_are_computed(here, monkeypatch):
    clock = [0.0]

    def an_hour():
        clock[0] += 3600

    real = features.time.perf_counter
    with monkeypatch.context() as patch:
        patch.setattr(features.time, "perf_counter", lambda: real() + clock[0])
        patch.setattr(keras.Model, "predict_on_batch", AtBatch(2, an_hour))
        run = here.trained("run")
    assert run.state["seconds"] > 3600
    images = 2 * ROWS + VALIDATION - BATCH  # the first batch waits for the graph
    assert run.state["seconds_per_image"] == pytest.approx(3600 / images, rel=0.1)
    assert figures(run).shape[0] == 6
    again = here.trained("again")  # made already
    assert again.state["seconds_per_image"] == run.state["seconds_per_image"]
    assert again.state["seconds"] < 3600


def test_rows_that_are_drawn_again_are_augmented_as_if_they_were_cached():
    """So the bits do not depend on whether there is room in the cache."""
    asked = []
    images = SimpleNamespace(seed=(0,), batch=lambda rows, epoch: asked.append((rows.tolist(), epoch)))
    features.ViewBatches(images, rows=10, batch_size=4, views=2).batch(np.array([3, 13, 25]), epoch=5)
    assert asked == [([3, 3, 5], 1)]
