"""What the packed script of a detector does whose set of boxes does not travel: it is built there, before all else."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from podium.detection.config import OpenImagesSource
from podium.detection.loading import Detector
from podium.kernel.session import Session, do_job
from podium.kernel_detector import train


def run_job(content: Mapping[str, Any], about: Mapping[str, str], unpacked: Path) -> None:
    do_job(content, about, unpacked, partial(train, build=build_set))


def build_set(detector: Detector, session: Session) -> None:
    from podium.workflows.detect_build import Where, build

    options, source = session.options, detector.settings.source
    if isinstance(source, OpenImagesSource):  # what is mounted is all there is, and takes no images more
        source = source.model_copy(update={"fetch": None, "urls": []})
        detector = replace(detector, settings=detector.settings.model_copy(update={"source": source}))
    where = Where.of(detector, None, options.runs)
    build(detector, where, session.console, session.stop_condition, options.command)
