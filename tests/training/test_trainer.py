"""The trainer, on a regression line in milliseconds, and on small images."""

import json
import re
from io import StringIO

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from line_task import LineTask, Rates, assert_same_weights, fit, stage, started, trained, watch
from rich.console import Console

from podium.config.backbone_settings import BackboneSettings
from podium.config.member import Head, MemberSettings
from podium.data.targets import SingleLabelTarget
from podium.errors import ConfigError, TrainingDivergedError
from podium.evaluation.metrics import METRICS
from podium.progress import format_seconds
from podium.training.classification import ClassificationTask, LabelledImages
from podium.training.optimizers import make_optimizer


def history(run):
    return pd.read_csv(run.history)


# The line


def test_trainer_trains_a_task_without_classes(tmp_path):
    task = LineTask()
    run = trained(tmp_path, [stage(epochs=12, learning_rate=0.5)], task)
    assert run.is_trained
    task.uncompiled(task.model).load_weights(run.best_weights)
    slope, intercept = (float(weight.squeeze()) for weight in task.model.get_weights())
    assert (slope, intercept) == pytest.approx((2, 1), abs=0.05)
    assert task.reported > 1


def test_state_has_the_best_epoch_and_the_history_all(tmp_path):
    run = trained(tmp_path, [stage(epochs=4)], LineTask(errors=[3.0, 1.0, 2.0, 4.0]))
    assert run.state["status"] == "trained"
    best = {"stage": "one", "epoch": 1, "monitor": "val_error", "score": 1.0, "image_size": 16}
    assert best.items() <= run.state["best"].items()
    assert list(history(run)["val_error"]) == [3.0, 1.0, 2.0, 4.0]


def test_mode_max_keeps_the_highest_score(tmp_path):
    task = LineTask(errors=[3.0, 1.0, 4.0, 2.0])
    task.mode = "max"
    assert trained(tmp_path, [stage(epochs=4)], task).state["best"]["epoch"] == 2


def test_batches_know_the_epoch(tmp_path):
    task = LineTask()
    trained(tmp_path, [stage(epochs=3)], task)
    assert set(task.made[0].epochs_seen) == {0, 1, 2}


def test_history_has_every_epoch_with_its_learning_rate(tmp_path):
    stages = [
        stage("head", epochs=3, schedule={"kind": "exponential", "decay": 0.5}),
        stage("all", epochs=2, learning_rate=0.01),
    ]
    table = history(trained(tmp_path, stages))
    assert list(table["stage"]) == ["head"] * 3 + ["all"] * 2
    assert list(table["epoch"]) == [0, 1, 2, 0, 1]
    assert list(table["learning_rate"]) == pytest.approx([0.1, 0.05, 0.025, 0.01, 0.01])
    assert list(table.columns) == ["epoch", "learning_rate", "loss", "stage", "val_error", "changes"]


def test_worse_later_stage_keeps_the_better_earlier_weights(tmp_path):
    good, ruinous = stage("good", epochs=3), stage("ruinous", learning_rate=30.0)
    both, alone = trained(tmp_path / "both", [good, ruinous]), trained(tmp_path / "alone", [good])
    assert history(both)["val_error"].iloc[-1] > 100
    assert both.state["best"] == alone.state["best"]
    assert_same_weights(both.best_weights, alone.best_weights)
    assert not list(both.path.glob("stage*"))


def test_stage_begins_with_the_best_weights_so_far(tmp_path):
    good, ruinous, still = stage("good"), stage("ruinous", learning_rate=30.0), stage("still", learning_rate=1e-12)
    table = history(trained(tmp_path, [good, ruinous, still])).set_index("stage")["val_error"]
    assert table["still"].tolist() == pytest.approx([table["good"].min()] * 2)


def test_stage_with_larger_images_begins_with_the_best_weights(tmp_path):
    task = LineTask()
    stages = [stage("small", epochs=4), stage("large", image_size=32, learning_rate=1e-12)]
    run = trained(tmp_path, stages, task)
    assert task.built == [(16, True), (32, False)]
    table = history(run).set_index("stage")["val_error"]
    assert table["large"].tolist() == pytest.approx([table["small"].min()] * 2)


def test_state_has_the_image_size_of_the_best_weights(tmp_path):
    run = trained(tmp_path, [stage("small"), stage("large", image_size=32)])
    assert run.state["best"]["stage"] == "large"
    assert run.state["best"]["image_size"] == 32


def test_model_for_larger_images_has_the_same_layer_names(tmp_path):
    """A layer that Keras numbers, such as `dense`, must be found again."""
    stages = [stage("small"), stage("large", image_size=32, unfreeze={"from": "dense"})]
    assert trained(tmp_path, stages).is_trained


def test_early_stopping_ends_the_stage_and_the_next_begins(tmp_path):
    stages = [stage("first", epochs=10, early_stopping=2), stage("second", epochs=1)]
    run = trained(tmp_path, stages, LineTask(errors=[1.0, 2.0, 3.0, 0.5]))
    assert list(history(run)["stage"]) == ["first"] * 3 + ["second"]
    assert run.state["best"]["stage"] == "second"


def test_plateau_lowers_the_rate_of_the_optimizer_itself(tmp_path):
    task = LineTask(errors=[1.0] * 4)
    plateau = {"kind": "plateau", "patience": 1, "factor": 0.5}
    run = trained(tmp_path, [stage(epochs=4, schedule=plateau)], task)
    assert list(history(run)["learning_rate"]) == pytest.approx([0.1, 0.1, 0.05, 0.025])
    assert float(task.model.optimizer.learning_rate) == pytest.approx(0.0125)


def test_plateau_stops_at_its_minimum(tmp_path):
    plateau = {"kind": "plateau", "patience": 1, "factor": 0.1, "minimum": 0.02}
    run = trained(tmp_path, [stage(epochs=5, schedule=plateau)], LineTask(errors=[1.0] * 5))
    assert list(history(run)["learning_rate"])[-2:] == pytest.approx([0.02, 0.02])


def test_cosine_changes_the_rate_at_every_step(tmp_path, monkeypatch):
    rates = Rates()
    watch(monkeypatch, rates)
    trained(tmp_path, [stage(epochs=2, learning_rate=1e-3, schedule="cosine")])
    expected = [1e-3 * (1 + np.cos(np.pi * step / 8)) / 2 for step in range(8)]
    assert rates.seen == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "optimizer",
    [
        "Adam",
        "Nadam",
        "Adamax",
        {"name": "AdamW", "weight_decay": 1e-4},
        {"name": "SGD", "momentum": 0.9, "nesterov": True},
    ],
)
def test_optimizer_takes_its_arguments_and_moves_the_weights(optimizer):
    task, moving = LineTask(), stage(optimizer=optimizer)
    model, batches = task.build(16, pretrained=True), task.batches(0, moving)
    task.compile(model, make_optimizer(moving, model))
    before = model.get_weights()
    model.train_on_batch(*batches[0])
    assert all((old != new).all() for old, new in zip(before, model.get_weights(), strict=True))
    arguments = optimizer if isinstance(optimizer, dict) else {"name": optimizer}
    assert {key: model.optimizer.get_config()[key] for key in arguments if key != "name"} == {
        key: value for key, value in arguments.items() if key != "name"
    }
    assert type(model.optimizer).__name__ == arguments["name"]


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD", "Lion"])
def test_weight_decay_of_kernels_only(optimizer):
    decaying = stage(optimizer={"name": optimizer, "weight_decay": 0.5, "decay_kernels_only": True}, learning_rate=0.1)
    images = keras.Input((8, 8, 3))
    x = keras.layers.SeparableConv2D(3, 3, use_bias=False)(images)
    x = keras.layers.LayerNormalization()(x)
    model = keras.Model(images, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    before = {weight.path: np.array(weight) + 1 for weight in model.trainable_weights}
    for weight in model.trainable_weights:
        weight.assign(before[weight.path])
    optimizer = make_optimizer(decaying, model)
    optimizer.apply([np.zeros(weight.shape, np.float32) for weight in model.trainable_weights], model.trainable_weights)
    for weight in model.trainable_weights:
        share = 0.95 if "kernel" in weight.name else 1.0
        np.testing.assert_allclose(np.array(weight), share * before[weight.path], rtol=1e-5)
    assert {weight.name for weight in model.trainable_weights} >= {"depthwise_kernel", "kernel", "bias", "gamma"}


def test_decay_of_an_optimizer_without_weight_decay_is_a_problem():
    with pytest.raises(ValueError, match="Adam decays no weights: set its weight_decay"):
        stage(optimizer={"name": "Adam", "decay_kernels_only": True})


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ({"name": "SGD", "momentun": 0.9}, "stage second: SGD does not accept .*momentun.*see keras.optimizers.SGD"),
        ({"name": "SGD", "momentum": 9.0}, "stage second: SGD does not accept .*momentum"),
    ],
)
def test_wrong_argument_of_a_later_optimizer_is_an_error_before_training(optimizer, message, tmp_path):
    run = started(tmp_path)
    stages = [stage("first"), stage("second", optimizer=optimizer)]
    with pytest.raises(ConfigError, match=message):
        fit(run, stages)
    assert not run.history.exists()


@pytest.mark.parametrize("rate", [1e15, 1e30])
def test_diverged_training_names_the_learning_rate_and_leaves_no_files(rate, tmp_path):
    run = started(tmp_path)
    before = sorted(path.name for path in run.path.iterdir())
    with pytest.raises(
        TrainingDivergedError, match=rf"stage one, epoch 1, at the learning rate {re.escape(f'{rate:.3g}')};"
    ):
        fit(run, [stage(learning_rate=rate)])
    assert sorted(path.name for path in run.path.iterdir()) == before
    assert run.state == {"status": "training"}


def test_diverged_later_stage_keeps_the_earlier_best_weights(tmp_path):
    run = started(tmp_path)
    stages = [stage("good"), stage("bad", learning_rate=1e30)]
    with pytest.raises(TrainingDivergedError, match=r"--set stages\.1\.learning_rate=1e\+29"):
        fit(run, stages)
    assert run.state["best"]["stage"] == "good"
    assert (run.path / run.state["best"]["file"]).is_file()
    assert run.is_resumable
    assert list(history(run)["stage"]) == ["good", "good"]


@pytest.mark.slow
def test_tensorboard_logs_every_stage_if_enabled(tmp_path):
    from tensorflow.python.summary.summary_iterator import summary_iterator

    stages = [stage("head"), stage("all")]
    asked = trained(tmp_path / "asked", stages, tensorboard=True)
    for name in ("0-head", "1-all"):
        assert list((asked.path / "tensorboard" / name / "train").glob("events*"))
        assert list((asked.path / "tensorboard" / name / "validation").glob("events*"))
        (details,) = (asked.path / "tensorboard" / name).glob("events*")
        tags = [value.tag for event in summary_iterator(str(details)) for value in event.summary.value]
        assert "_hparams_/session_start_info" in tags
    assert not (trained(tmp_path / "not", stages).path / "tensorboard").exists()


def test_log_has_a_line_for_each_stage_and_epoch(tmp_path):
    log = StringIO()
    trained(tmp_path, [stage(epochs=3)], LineTask(errors=[3.0, 2.0, 1.0]), console=Console(file=log, width=200))
    lines = log.getvalue().splitlines()
    assert lines[0] == "  stage one: 3 epochs at 16 px, batches of 4, 2 of 2 weights trainable"
    assert [line.split()[:2] for line in lines[1:]] == [["one", "1/3"], ["one", "2/3"], ["one", "3/3"]]
    assert "val_error 2.0000" in lines[2]
    assert "lr 1.00e-01" in lines[2]


def test_terminal_has_a_progress_bar_and_the_same_lines(tmp_path):
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=200)
    trained(tmp_path, [stage(epochs=2)], console=console)
    assert "━" in screen.getvalue()
    assert "one 2/2" in screen.getvalue()
    assert re.search(r"one  loss \d\.\d{4}", screen.getvalue())


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.4, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (3600, "1 h 00 min"), (45296, "12 h 34 min")],
)
def test_seconds_are_formatted(seconds, expected):
    assert format_seconds(seconds) == expected


# Images: three classes, each of one colour

COLOURS = [(220, 40, 40), (40, 200, 60), (50, 60, 220)]
TARGET = SingleLabelTarget(["red", "green", "blue"])


def draw(folder, count, first):
    random, paths, numbers = np.random.default_rng(first), [], [number % len(COLOURS) for number in range(count)]
    for row, number in enumerate(numbers):
        noise = random.integers(-10, 10, (24, 24, 3))
        image = np.clip(np.array(COLOURS[number])[::-1] + noise, 0, 255).astype("uint8")
        paths.append(folder / f"{first + row}.png")
        assert cv2.imwrite(str(paths[-1]), image)
    return LabelledImages(paths, np.array(numbers))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    return draw(folder, 24, 0), draw(folder, 12, 100)


def image_stage(name, **changes):
    return stage(name, **{"batch_size": 4, "image_size": 32, "optimizer": "Adam", "learning_rate": 0.01} | changes)


def member(stages, seed=1):
    backbone = BackboneSettings(name="SmallResNet", weights="none", alpha=0.25, freeze_batchnorm=False)
    return MemberSettings(
        competition="-",
        backbone=backbone,
        head=Head(dropout=0.1),
        augmentation=["HorizontalFlip"],
        stages=stages,
        seed=seed,
    )


def classify(folder, images, settings):
    # Without graphs, which take longer to make than a few steps of a small model.
    task = ClassificationTask(settings, TARGET, METRICS["accuracy"], *images, fold=0, eager=True)
    return trained(folder, settings.stages, task, seed=settings.seed)


HEAD = image_stage("head", unfreeze="none", epochs=1)
ALL = image_stage("all", epochs=2)


@pytest.fixture(scope="module")
def colours(tmp_path_factory, images):
    """A trained classifier of colours."""
    return classify(tmp_path_factory.mktemp("colours"), images, member([HEAD, ALL]))


def test_run_folder_has_all_files(colours):
    assert sorted(path.name for path in colours.path.iterdir()) == [
        "best.weights.h5",
        "checkpoints",
        "classification_report.csv",
        "config.yaml",
        "confusion_matrix.csv",
        "folds.csv",
        "history.csv",
        "state.json",
        "timings.json",
        "versions.json",
    ]
    timings = json.loads((colours.path / "timings.json").read_text())
    assert list(timings) == [
        *("training", "stage head", "stage all"),
        *("input of stage head", "input of stage all"),
    ]
    assert timings["input of stage all"] < timings["stage all"]
    assert timings["training"] >= timings["stage all"] > 0


def test_classifier_learns_colours(colours):
    assert colours.state["best"]["monitor"] == "val_accuracy"
    assert colours.state["best"]["score"] > 0.6
    assert (colours.state["stage"], colours.state["epoch"], colours.state["epochs"]) == ("all", 2, 2)


def test_report_and_confusion_matrix_are_those_of_the_best_epoch(colours):
    confusion = pd.read_csv(colours.path / "confusion_matrix.csv", index_col="true class")
    assert list(confusion.columns) == list(confusion.index) == ["red", "green", "blue"]
    assert list(confusion.sum(axis=1)) == [4, 4, 4]
    assert np.trace(confusion) / 12 == pytest.approx(colours.state["best"]["score"])
    report = pd.read_csv(colours.path / "classification_report.csv", index_col="class")
    for name in confusion.columns:
        assert report.loc[name, "recall"] == pytest.approx(confusion.loc[name, name] / 4)


def test_history_of_a_classifier_has_training_and_validation_metrics(colours):
    table = history(colours)
    assert list(table["stage"]) == ["head"] + ["all"] * 2
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "changes"} <= set(table.columns)
    assert np.isfinite(table.drop(columns=["stage", "changes"]).astype(float)).all(axis=None)


@pytest.mark.slow
def test_same_seed_gives_the_same_bits_and_another_seed_others(colours, tmp_path, images):
    again = classify(tmp_path / "again", images, member([HEAD, ALL]))
    assert_same_weights(again.best_weights, colours.best_weights)
    assert again.history.read_bytes() == colours.history.read_bytes()
    other = classify(tmp_path / "other", images, member([HEAD], seed=2))
    assert history(other)["loss"][0] != history(colours)["loss"][0]


def test_unknown_block_of_a_later_stage_is_an_error_before_training(tmp_path, images):
    stages = [HEAD, image_stage("end", unfreeze={"from": "conv_dw_99"})]
    with pytest.raises(ConfigError, match="'conv_dw_99'"):
        classify(tmp_path, images, member(stages))
    assert not list(tmp_path.rglob("history.csv"))


def test_infinite_predictions_are_an_error(tmp_path, images):
    """With finite weights, as the loss of the last step is computed before they are changed."""
    task = ClassificationTask(member([HEAD]), TARGET, METRICS["accuracy"], *images, fold=0, eager=True)
    model = task.build(32, pretrained=True)
    model.get_layer("probabilities").bias.assign([np.nan] * 3)
    with pytest.raises(TrainingDivergedError, match=r"predictions became NaN in stage head at the learning rate 0\.01"):
        task.validate(model, HEAD)
