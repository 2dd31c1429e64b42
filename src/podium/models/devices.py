"""Seeds and devices: the one place where models are trained and asked that speaks to TensorFlow itself."""

import keras
import tensorflow as tf


def make_repeatable(seed: int) -> None:
    """Every later random number of Keras comes from the seed, whatever ran in this process before.

    On a CPU, TensorFlow's operations are made deterministic as well, which also keeps XLA away: so a prediction made
    right after training equals one made by another process. Not on a GPU, where some of them have no such
    form and the rest are slower.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    if not tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()
