"""The learning rate at any moment of a stage."""

import math

from podium.config.stage import Cosine, Exponential, OneCycle, Stage, Step


def rate_at(stage: Stage, epochs_done: float) -> float:
    """The learning rate after so many epochs of the stage, whole or not.

    Exponential and step change between epochs; cosine and one-cycle at every step. By plateau, the rate is Keras's
    ReduceLROnPlateau's to change, and this is only where it begins.
    """
    peak, schedule = stage.learning_rate, stage.schedule
    if isinstance(schedule, Exponential):
        return float(peak * schedule.decay ** math.floor(epochs_done))
    if isinstance(schedule, Step):
        return float(peak * schedule.factor ** (math.floor(epochs_done) // schedule.every))
    if isinstance(schedule, Cosine):
        # A dry run cuts stages short.
        warmup = schedule.warmup_epochs if schedule.warmup_epochs < stage.epochs else stage.epochs / 2
        if epochs_done < warmup:
            return peak * max(epochs_done / warmup, 0.01)
        return _along_cosine(peak, peak * schedule.final, (epochs_done - warmup) / (stage.epochs - warmup))
    if isinstance(schedule, OneCycle):
        turn = stage.epochs * schedule.warmup
        if epochs_done < turn:
            return _along_cosine(peak / schedule.start, peak, epochs_done / turn)
        return _along_cosine(peak, peak / schedule.end, (epochs_done - turn) / (stage.epochs - turn))
    return peak


def _along_cosine(begin: float, end: float, share: float) -> float:
    return end + (begin - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
