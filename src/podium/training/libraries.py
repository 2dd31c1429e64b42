"""The libraries that trainings and predictions need: imported once per process, in the order that is fastest."""

import gc
import os
from functools import cache

from podium.signals import delay_keyboard_interrupt


@cache
def import_libraries(*, to_fork: bool = True) -> None:
    """`to_fork`: worker processes may be needed to prepare images."""
    if to_fork:
        from podium.data.workers import start_fork_server

        start_fork_server()  # its imports run at the same time as those below
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no messages about missing GPUs and instruction sets
    with delay_keyboard_interrupt():
        import podium.models.classifier
        import podium.models.predictor
        import podium.training.trainer  # noqa: F401

    # These objects live as long as the process. Each garbage collection would take a quarter of a second to visit them.
    gc.freeze()
