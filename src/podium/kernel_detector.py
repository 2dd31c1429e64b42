"""What the packed script of a detector does: `podium detect train` and `evaluate`, from the mounted inputs on.

Its set of boxes travelled in the script, or lies in what the version before left; `inside_building` builds it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from podium.detection.loading import Detector
from podium.errors import DataError, StoppedError
from podium.kernel.job import load_config
from podium.kernel.session import Session, do_job, entry_of, take_up
from podium.paths import boxes_folder

Build = Callable[[Detector, Session], None]


def run_job(content: Mapping[str, Any], about: Mapping[str, str], unpacked: Path) -> None:
    do_job(content, about, unpacked, train)


def no_set(detector: Detector, session: Session) -> None:
    raise DataError(f"the set of boxes of {detector.name} did not travel in this script; build it again")


def train(session: Session, build: Build = no_set) -> dict[str, Any]:
    """`build` makes the set where there is none."""
    from podium.data.augmentation import transform_problems
    from podium.detection.dataset import INDEX, SPLITS
    from podium.detection.detector_run import detector_run, evaluate_detector, tell_evaluation
    from podium.training.run_training import train_run

    job, console, options = session.job, session.console, session.options
    detector = load_config(session.config, session.overrides, job.seed, partial(transform_problems, takes_boxes=True))
    assert isinstance(detector, Detector)
    take_up(job, session.about, session.unpacked, options.runs, console)
    boxes = boxes_folder(options.runs, detector.settings.slug)
    one = None
    try:
        if not (boxes / INDEX).is_file():
            build(detector, session)
        one = detector_run(detector, options, console)
        train_run(one, console, resume=True)
        if why := options.stop_condition.reason(one.seconds_to_evaluate):
            raise StoppedError(
                f"{why}: {one.name} is trained; evaluating it takes {one.seconds_to_evaluate:.0f} s more"
            )
        figures, folder = evaluate_detector(one, SPLITS, None, console)
        tell_evaluation(one, figures, folder, console)
        told = {"status": "done"}
    except StoppedError as stopped:
        console.print(str(stopped))
        told = {"status": "stopped", "why": str(stopped)}
    made = {"boxes": boxes.as_posix()} if (boxes / INDEX).is_file() else {}
    return {**told, **made, "runs": [entry_of(one.name, 0, one.run)] if one else []}
