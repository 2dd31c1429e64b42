"""A batch that does not fit in memory is reported, and the training can be resumed with a smaller one."""

import keras
import pytest
import tensorflow as tf
from line_task import LineTask, assert_same_weights, fit, stage, started, trained

from podium.errors import MemoryFullError
from podium.models.devices import is_out_of_memory

STAGES = [stage("one", epochs=1), stage("two", epochs=1, image_size=32)]


class Enormous(keras.layers.Layer):
    """Needs more memory than any machine has."""

    def call(self, signals):
        rows = 2**40 * tf.cast(tf.shape(signals)[0], tf.int64)
        return signals + tf.reduce_sum(tf.random.normal([rows, 2**10]))


class Greedy(LineTask):
    """Needs too much memory for signals of this length."""

    def __init__(self, length):
        super().__init__()
        self.length = length

    def build(self, image_size, *, pretrained):
        model = super().build(image_size, pretrained=pretrained)
        if image_size != self.length:
            return model
        return keras.Model(model.inputs, Enormous()(model.outputs[0]))


class Full(LineTask):
    """Reports exhausted memory when the stage of this number is prepared."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def prepare_stage(self, model, number, stage, context):
        if number == self.number:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return super().prepare_stage(model, number, stage, context)


def test_message_names_the_batch_size_and_the_fix(tmp_path):
    with pytest.raises(MemoryFullError) as error:
        fit(started(tmp_path), STAGES, Full(0))
    assert str(error.value) == (
        "out of memory: a batch of 4 images of 16 pixels does not fit, at stage one, epoch 1 of 1; podium"
        " find-batch finds the largest that does; make the batch smaller (--set stages.0.batch_size=2)"
    )


# TensorFlow waits ten seconds for memory to become free before it gives up.
@pytest.mark.parametrize("task", [Full(1), pytest.param(Greedy(32), marks=pytest.mark.slow)], ids=["reported", "real"])
def test_training_resumes_to_the_same_end(task, tmp_path):
    uninterrupted, run = trained(tmp_path / "uninterrupted", STAGES), started(tmp_path / "full")
    with pytest.raises(MemoryFullError, match=r"stages\.1\.batch_size=2 --resume continues from the last checkpoint"):
        fit(run, STAGES, task)
    assert run.checkpoints
    fit(run, STAGES)
    assert run.history.read_bytes() == uninterrupted.history.read_bytes()
    assert_same_weights(run.best_weights, uninterrupted.best_weights)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"), True),
        (MemoryError(), True),
        (tf.errors.InternalError(None, None, "CUDA_ERROR_OUT_OF_MEMORY: out of memory"), True),
        (tf.errors.UnknownError(None, None, "CUDNN_STATUS_ALLOC_FAILED"), True),
        (tf.errors.InternalError(None, None, "stream did not block host"), False),
        (ValueError("out of memory of what was asked"), False),
        (OSError(28, "No space left on device"), False),
    ],
)
def test_out_of_memory_errors_are_recognised(error, expected):
    assert is_out_of_memory(error) == expected
