"""A batch that does not fit is told in one line, and what was saved goes on to the same end."""

import keras
import pytest
import tensorflow as tf
from line_task import LineTask, assert_same_weights, fit, stage, started, trained

from podium.errors import MemoryFullError
from podium.models.devices import is_out_of_memory

STAGES = [stage("one"), stage("two", image_size=32)]


class Enormous(keras.layers.Layer):
    """More than any machine has."""

    def call(self, signals):
        rows = 2**40 * tf.cast(tf.shape(signals)[0], tf.int64)
        return signals + tf.reduce_sum(tf.random.normal([rows, 2**10]))


class Greedy(LineTask):
    """Takes too much for signals of this length."""

    def __init__(self, length):
        super().__init__()
        self.length = length

    def build(self, image_size, *, pretrained):
        model = super().build(image_size, pretrained=pretrained)
        if image_size != self.length:
            return model
        return keras.Model(model.inputs, Enormous()(model.outputs[0]))


def test_the_message_names_the_batch_and_what_to_do_before_anything_is_saved(tmp_path):
    with pytest.raises(MemoryFullError) as told:
        fit(started(tmp_path), STAGES, Greedy(16))
    assert str(told.value) == (
        "the memory is full: a batch of 4 images of 16 pixels does not fit, at stage one, epoch 1 of 2; podium"
        " find-batch finds the largest that does; make the batch smaller (--set stages.0.batch_size=2)"
    )


def test_what_was_saved_goes_on_to_the_same_end(tmp_path):
    whole, run = trained(tmp_path / "whole", STAGES), started(tmp_path / "full")
    with pytest.raises(MemoryFullError, match=r"stages\.1\.batch_size=2 --resume goes on from what was saved"):
        fit(run, STAGES, Greedy(32))
    assert run.checkpoints
    fit(run, STAGES)
    assert run.history.read_bytes() == whole.history.read_bytes()
    assert_same_weights(run.best_weights, whole.best_weights)


@pytest.mark.parametrize(
    ("error", "is_one"),
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
def test_other_names_of_the_same_failure_are_known(error, is_one):
    assert is_out_of_memory(error) == is_one


def test_getting_ready_for_a_stage_may_fill_it_too(tmp_path):
    class Unready(LineTask):
        def learner(self, whole, number, stage, watch):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    with pytest.raises(MemoryFullError, match="at stage one, epoch 1 of 2; podium find-batch"):
        fit(started(tmp_path), STAGES, Unready())
