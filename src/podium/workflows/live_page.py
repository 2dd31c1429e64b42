"""The page of a run, rewritten while it trains."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from rich.console import Console

from podium.detection.detector_run import DetectorRun
from podium.reports.charts import learning_curves
from podium.training.run_training import train_run
from podium.workflows.detector_report import write_detector_page
from podium.workflows.fold_runs import FoldRun
from podium.workflows.report import write_report_page
from podium.workflows.subject import subject_at

LEAST_SECONDS = 10.0
"""Between two pages; a training that takes less has none."""
_SHARE = 0.02
"""Of the time of a training that pages may take."""
AnyRun = TypeVar("AnyRun", FoldRun, DetectorRun)


class LivePage:
    """Called after each epoch. Whatever goes wrong with a page must not end a training."""

    def __init__(self, trained: FoldRun | DetectorRun, console: Console) -> None:
        self._trained, self._console, self._then = trained, console, trained.options.on_epoch
        self._wait, self._written = LEAST_SECONDS, time.monotonic()
        self._has_failed = False

    def __call__(self, history: Sequence[Mapping[str, Any]]) -> None:
        if time.monotonic() - self._written >= self._wait:
            self.write()
        if self._then:
            self._then(history)

    def write(self) -> None:
        start, run = time.monotonic(), self._trained.run
        try:
            metric = ""
            if isinstance(self._trained, DetectorRun):
                write_detector_page(run, self._trained.options)
            else:
                subject = subject_at(run.path)
                write_report_page(subject, self._trained.options, with_images=False)
                metric = subject.metric.name
            learning_curves(run.read_history(), metric, self._trained.name).save(run.path / "learning_curves.png")
        except Exception as error:
            if not self._has_failed:
                self._console.print(f"  the page of this run cannot be written: {error}", highlight=False)
            self._has_failed = True
        self._written = time.monotonic()
        self._wait = max(LEAST_SECONDS, (self._written - start) / _SHARE)


def train_with_page(trained: AnyRun, console: Console, *, resume: bool = False) -> None:
    """Train a run, with a page that follows it."""
    page, start = LivePage(trained, console), time.monotonic()
    train_run(replace(trained, options=replace(trained.options, on_epoch=page)), console, resume=resume)
    if time.monotonic() - start >= LEAST_SECONDS:
        page.write()
