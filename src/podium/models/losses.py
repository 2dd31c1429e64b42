"""The losses of classifiers, from the settings of a member."""

import keras

from podium.config.member import MemberSettings


def classification_loss(settings: MemberSettings) -> keras.losses.Loss:
    """A `keras.losses.Loss` for one-hot labels; a plain function would not work on several GPUs."""
    return keras.losses.CategoricalCrossentropy(label_smoothing=settings.label_smoothing)
