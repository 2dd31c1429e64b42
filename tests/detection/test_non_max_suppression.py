import numpy as np
import pytest
import tensorflow as tf

from podium.detection.model import NonMaxSuppression


def logits_of(scores):
    return np.log(scores / (1 - np.array(scores)))


def test_better_of_two_overlapping_boxes_is_kept_regardless_of_class():
    boxes = np.array([[[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [50, 50, 60, 60]]], np.float32)
    scores = [[[0.2, 0.6], [0.9, 0.1], [0.3, 0.3], [0.04, 0.01]]]  # 0.8, 0.625 and 0.5 of the union are shared
    found = NonMaxSuppression(min_score=0.05, max_iou=0.5, max_detections=3)(boxes, logits_of(scores))
    (count,) = found["num_detections"].numpy()
    assert count == 1
    assert found["boxes"].numpy()[0, :count].tolist() == [[0, 0, 10, 8]]
    assert found["labels"].numpy()[0, :count].tolist() == [0]
    assert found["confidence"].numpy()[0, 0] == pytest.approx(0.9)
    assert found["boxes"].shape == (1, 3, 4)


def greedy(boxes, scores, min_score, max_iou, most):
    """The best box, then the next best that does not overlap those kept, and so on."""
    kept = []
    for row in sorted(np.flatnonzero(scores > min_score), key=lambda row: -scores[row]):
        left_top = np.maximum(boxes[row, :2], boxes[kept, :2])
        right_bottom = np.minimum(boxes[row, 2:], boxes[kept, 2:])
        shared = np.clip(right_bottom - left_top, 0, None).prod(axis=1)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        if not (shared / (areas[row] + areas[kept] - shared) > max_iou).any():
            kept.append(row)
    return kept[:most]


@pytest.mark.parametrize("most", [20, 400])
def test_result_equals_greedy_suppression(most):
    random = np.random.default_rng(5)
    middles, sides = random.uniform(0, 320, (2, 600, 2)), random.uniform(10, 150, (2, 600, 2))
    boxes = np.concatenate([middles - sides / 2, middles + sides / 2], axis=-1)
    logits = random.normal(-3, 1, (2, 600, 3))
    best = NonMaxSuppression(min_score=0.05, max_iou=0.5, max_detections=most)
    found = tf.function(best.call)(tf.constant(boxes, tf.float32), tf.constant(logits, tf.float32))
    for image in range(2):
        scores = 1 / (1 + np.exp(-logits[image]))
        kept = greedy(boxes[image], scores.max(axis=1), 0.05, 0.5, most)
        count = int(found["num_detections"][image])
        assert found["labels"].numpy()[image, :count].tolist() == scores[kept].argmax(axis=1).tolist()
        assert found["boxes"].numpy()[image, :count] == pytest.approx(boxes[image][kept], rel=1e-5, abs=1e-4)
