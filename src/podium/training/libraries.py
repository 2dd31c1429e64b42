"""What trainings and predictions import, which takes seconds: once a process, and in the order that makes it quick."""

import gc
from functools import cache


@cache
def import_libraries(*, to_fork: bool = True) -> None:
    """`to_fork`: images may have to be prepared fast."""
    if to_fork:
        from podium.data.workers import start_fork_server

        start_fork_server()  # its imports run at the same time as those below
    import podium.models.classifier
    import podium.models.predictor
    import podium.training.trainer  # noqa: F401

    # All that stays for as long as the process does. Python would look through it for garbage now and then, a quarter
    # of a second each time.
    gc.freeze()
