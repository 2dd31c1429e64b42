"""Which of a detector's many boxes are found: the best ones that do not overlap a better one too much."""

from typing import Any

import keras
import tensorflow as tf


class BestBoxes(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Non-maximum suppression whatever the class, as KerasHub's NonMaxSuppression answers it, an image at a time.

    KerasHub's goes through all places of all images tile by tile, which takes ten times as long as the detector
    itself, and within a graph it chooses others than the best where there are thousands; TensorFlow's own operation
    looks only at what has the least score.
    """

    bounding_box_format = "xyxy"

    def __init__(self, *, least_score: float, overlap: float, most: int) -> None:
        """`overlap` is the IoU above which of two boxes the better one stays, `most` how many an image has."""
        super().__init__(dtype="float32")
        self._least_score, self._overlap, self._most = least_score, overlap, most
        self.built = True

    def call(self, boxes: Any, logits: Any, images: Any = None) -> dict[str, Any]:
        """Best first; what comes after so many detections of an image means nothing."""
        boxes, scores = tf.cast(boxes, tf.float32), tf.sigmoid(tf.cast(logits, tf.float32))
        best = tf.reduce_max(scores, axis=-1)
        signature = (tf.TensorSpec([self._most], tf.int32), tf.TensorSpec([], tf.int32))
        chosen, counts = tf.map_fn(self._of_one, (boxes, best), fn_output_signature=signature)
        return {
            "boxes": tf.gather(boxes, chosen, batch_dims=1),
            "confidence": tf.gather(best, chosen, batch_dims=1),
            "labels": tf.gather(tf.argmax(scores, axis=-1), chosen, batch_dims=1),
            "num_detections": counts,
        }

    def _of_one(self, image: tuple[Any, Any]) -> tuple[Any, Any]:
        boxes, scores = image
        chosen = tf.image.non_max_suppression(boxes, scores, self._most, self._overlap, self._least_score)
        count = tf.shape(chosen)[0]
        return tf.ensure_shape(tf.pad(chosen, [[0, self._most - count]]), [self._most]), count
