"""Half precision: decided when a training starts, kept when it is resumed and for predictions, with its loss scale."""

from io import StringIO

import keras
import numpy as np
import pandas as pd
import pytest
from line_task import LineTask, assert_same_weights, fit, stage, started, stopped, trained, watch
from rich.console import Console

from podium.config.loading import load_member
from podium.errors import ConfigError, TrainingDivergedError
from podium.inference.sized_predictor import load_trained_model
from podium.models import devices
from podium.options import RunOptions
from podium.training.checkpoints import CheckpointStore
from podium.training.run_training import train_run
from podium.workflows.fold_runs import fold_runs
from podium.workflows.prepare import prepare

HALF = "mixed_float16"
STAGES = [
    stage("one", epochs=2, optimizer="Adam", schedule={"kind": "plateau", "patience": 1, "factor": 0.5}),
    stage("two", epochs=2, optimizer="Adam", image_size=32, schedule="cosine", early_stopping=2),
]
AVERAGED = [stage(epochs=2, learning_rate=0.3, ema=0.9, accumulate=3, layer_decay=0.5, clip_norm=0.5)]
STEPS = 4


def assert_same_end(run, uninterrupted):
    assert run.is_trained
    assert_same_weights(run.best_weights, uninterrupted.best_weights)
    assert run.history.read_bytes() == uninterrupted.history.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "stages"),
    [(HALF, STAGES), (HALF, AVERAGED), ("mixed_bfloat16", AVERAGED)],
    ids=["stages", "averages", "bfloat16"],
)
def test_stopped_training_resumes_to_the_same_end(policy, stages, tmp_path):
    uninterrupted = trained(tmp_path / "uninterrupted", stages, precision=policy)
    for steps in range(2, sum(one.epochs for one in stages) * STEPS, 5):
        run = started(tmp_path / str(steps))
        stopped(run, stages, steps, precision=policy)
        fit(run, stages, precision=policy)
        assert_same_end(run, uninterrupted)


@pytest.mark.slow
def test_resumed_training_keeps_its_precision(tmp_path):
    """For example one that started on Kaggle's GPU and is resumed where auto means another precision."""
    uninterrupted, run, log = (
        trained(tmp_path / "uninterrupted", STAGES, precision=HALF),
        started(tmp_path / "broken"),
        StringIO(),
    )
    stopped(run, STAGES, STEPS + 1, precision=HALF)
    fit(run, STAGES, precision="auto", console=Console(file=log, width=200))
    assert_same_end(run, uninterrupted)
    assert run.state["best"]["precision"] == HALF
    assert "weights trainable, in mixed_float16\n" in log.getvalue()


def test_auto_is_float32_on_a_cpu(tmp_path):
    run, log = started(tmp_path), StringIO()
    fit(run, [stage()], console=Console(file=log, width=200))
    assert run.state["best"]["precision"] == "float32"
    assert log.getvalue().count("weights trainable\n") == 1


@pytest.mark.parametrize(
    ("capabilities", "policy"), [([(7, 5), (7, 5)], HALF), ([(6, 0)], "float32"), ([(9, 0), (6, 1)], "float32")]
)
def test_auto_is_half_precision_if_every_gpu_gains_from_it(capabilities, policy, monkeypatch):
    monkeypatch.setattr(devices.tf.config, "list_physical_devices", lambda kind: list(range(len(capabilities))))
    details = [{"compute_capability": one} for one in capabilities]
    monkeypatch.setattr(devices.tf.config.experimental, "get_device_details", details.__getitem__)
    assert devices.resolve_precision("auto") == policy
    assert devices.resolve_precision("mixed_bfloat16") == "mixed_bfloat16"


def test_steps_that_overflow_are_skipped(tmp_path):
    class Far(LineTask):
        """Targets so large that their first gradients, times the loss scale, overflow half precision."""

        def batches(self, number, stage):
            made = super().batches(number, stage)
            made.means *= 50
            return made

    scales = []

    class Scale(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            scales.append(float(self.model.optimizer.dynamic_scale.numpy()))

    run = started(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        watch(patch, Scale())
        stopped(run, [stage(epochs=4, learning_rate=1e-4)], STEPS + 2, Far(), precision=HALF)
    assert scales[0] < 2.0**15
    checkpoint = CheckpointStore(run.path).load_newest(Console(quiet=True))
    assert scales[-1] in [float(array) for array in checkpoint.part("optimizer").values() if array.shape == ()]
    fit(run, [stage(epochs=4, learning_rate=1e-4)], Far(), precision=HALF)
    losses = pd.read_csv(run.history)["loss"]
    assert np.isfinite(losses).all()
    assert losses.iloc[-1] < losses.iloc[0]


def test_infinite_loss_is_an_error(tmp_path):
    with pytest.raises(TrainingDivergedError, match="in stage one, epoch"):
        fit(started(tmp_path), [stage(learning_rate=1e30)], precision=HALF)


# The key of a member


def runs_of(tiny_competition, tmp_path, **changes):
    member = load_member(tiny_competition.member(**changes))
    options = RunOptions(data=tiny_competition.folder, runs=tmp_path / "runs", folds=(0,))
    console = Console(quiet=True)
    return member, fold_runs(member, prepare(member.competition, options, console), options)


def test_only_an_explicit_precision_changes_the_digest(tiny_competition, tmp_path):
    _, [plain] = runs_of(tiny_competition, tmp_path)
    _, [auto] = runs_of(tiny_competition, tmp_path, precision="auto")
    _, [half] = runs_of(tiny_competition, tmp_path, precision=HALF)
    assert plain.resolved["member"]["precision"] == "auto"
    assert plain.run.path == auto.run.path != half.run.path
    assert half.resolved["member"]["precision"] == HALF


@pytest.mark.slow
def test_predictions_use_the_precision_of_the_training(tiny_competition, tmp_path):
    member, [one] = runs_of(tiny_competition, tmp_path, precision=HALF)
    train_run(one, Console(quiet=True))
    model, _ = load_trained_model(one.run, member)
    assert model.get_layer("scaling").compute_dtype == "float16"
    assert keras.config.dtype_policy().name == "float32"


def test_unknown_precision_is_a_problem(tiny_competition):
    with pytest.raises(
        ConfigError, match="precision: expected one of auto, float32, mixed_float16, mixed_bfloat16; got"
    ):
        load_member(tiny_competition.member(precision="half"))
