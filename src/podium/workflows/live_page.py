"""The page of a run, rewritten while it trains."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console

from podium.reports.charts import learning_curves
from podium.workflows.fold_runs import FoldRun
from podium.workflows.report import write_report_page
from podium.workflows.subject import subject_at

LEAST_SECONDS = 10.0
"""Between two pages; a training that takes less has none."""
_SHARE = 0.02
"""Of the time of a training that pages may take."""
OnEpoch = Callable[[Sequence[Mapping[str, Any]]], None]


class LivePage:
    """Called after each epoch. Whatever goes wrong with a page must not end a training."""

    def __init__(self, fold_run: FoldRun, console: Console) -> None:
        self._fold_run, self._console, self._then = fold_run, console, fold_run.options.on_epoch
        self._wait, self._written = LEAST_SECONDS, time.monotonic()
        self._has_failed = False

    def __call__(self, history: Sequence[Mapping[str, Any]]) -> None:
        if time.monotonic() - self._written >= self._wait:
            self.write()
        if self._then:
            self._then(history)

    def write(self) -> None:
        start = time.monotonic()
        try:
            subject = subject_at(self._fold_run.path)
            write_report_page(subject, self._fold_run.options, with_images=False)
            curves = learning_curves(self._fold_run.history, subject.metric.name, self._fold_run.name)
            curves.save(self._fold_run.path / "learning_curves.png")
        except Exception as error:
            if not self._has_failed:
                self._console.print(f"  the page of this run cannot be written: {error}", highlight=False)
            self._has_failed = True
        self._written = time.monotonic()
        self._wait = max(LEAST_SECONDS, (self._written - start) / _SHARE)

    def finish(self, seconds: float) -> None:
        """Write the last page of a training that took so long."""
        if seconds >= LEAST_SECONDS:
            self.write()


def with_live_page(fold_run: FoldRun, console: Console) -> tuple[FoldRun, LivePage]:
    """The same fold run, with a page that follows it."""
    page = LivePage(fold_run, console)
    return replace(fold_run, options=replace(fold_run.options, on_epoch=page)), page
