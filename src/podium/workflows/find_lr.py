"""The learning rate of a member's stages, by a range test: its curve, the suggested rate, and what speaks for it."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from podium.config.stage import Stage
from podium.errors import StoppedError
from podium.files import write_table
from podium.reports.png import open_style, save_png
from podium.runs import Run
from podium.training.run_training import import_libraries
from podium.workflows.fold_runs import FoldRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SAFETY = 2.0
"""The suggested rate is this many times lower than the one with the lowest loss. The usual factor of 10 is for curves
that a running mean of the past shifts to higher rates; here the smoothing is centred."""
FIRST_PART = 0.1
"""Of the test, at rates too low to change anything: its mean is the loss before training."""
SMOOTHED = 0.03
"""The standard deviation of the Gaussian that smooths the losses, as a part of the test."""


@dataclass(frozen=True)
class FoundRate:
    """The range test of one stage."""

    member: str
    stage_number: int
    stage: Stage
    rates: NDArray[np.float64]
    """Of all steps, in rising order."""
    losses: NDArray[np.float64]
    """Of the steps before the loss diverged."""

    @cached_property
    def smoothed(self) -> NDArray[np.float64]:
        """Centred, so that the curve is not late. A diverged loss counts only as well above the start."""
        from scipy.ndimage import gaussian_filter1d

        limited = np.minimum(np.nan_to_num(self.losses, nan=np.inf), 4 * np.median(self.losses[: self._first]))
        smoothed: NDArray[np.float64] = gaussian_filter1d(limited, SMOOTHED * len(self.rates), mode="nearest")
        return smoothed

    @property
    def _first(self) -> int:
        return max(1, int(FIRST_PART * len(self.rates)))

    @property
    def start(self) -> float:
        """The loss before training."""
        return float(self.smoothed[: self._first].mean())

    @property
    def _lowest(self) -> int:
        return int(np.argmin(self.smoothed))

    @property
    def rate_of_lowest(self) -> float:
        return float(self.rates[self._lowest])

    @property
    def lowest(self) -> float:
        return float(self.smoothed[self._lowest])

    @property
    def problem(self) -> str | None:
        """Why the test suggests no rate."""
        noise = float(np.std((self.losses - self.smoothed)[: self._first]))
        if self.start - self.lowest <= noise or self._lowest < self._first:
            return "the loss did not fall: test more steps (--steps) or other rates (--lowest, --highest)"
        if self._lowest >= len(self.rates) - 1:
            return f"the loss still falls at {self.rates[-1]:.2g}: test higher rates (--highest)"
        return None

    @property
    def suggested(self) -> float | None:
        return None if self.problem else float(f"{self.rate_of_lowest / SAFETY:.1e}")

    @property
    def diverging_from(self) -> float | None:
        """The rate from which the loss is above its start again; None if the test ended before."""
        above = np.flatnonzero(self.smoothed[self._lowest :] > self.start)
        return float(self.rates[self._lowest + above[0]]) if len(above) else None


def find_rates(
    fold_run: FoldRun, numbers: Sequence[int], rates: NDArray[np.float64], console: Console
) -> Iterator[FoundRate]:
    """Test these stages of a member, in order. The run folder of the member is neither read nor written."""
    import_libraries()
    from podium.training.range_test import measure_losses, train_one_epoch

    with tempfile.TemporaryDirectory(prefix="podium-find-lr-") as folder, _nothing_to_resume():
        trial = replace(fold_run, run=Run(Path(folder) / "run" / "fold0"))
        trial.run.start(trial.resolved, trial.folds_file)
        for number, stage in enumerate(fold_run.settings.stages[: max(numbers) + 1]):
            if number in numbers:
                of_steps = rates.repeat(stage.accumulate or 1)
                losses = measure_losses(trial, number, of_steps.tolist(), console)
                yield FoundRate(fold_run.member.name, number, stage, of_steps, np.array(losses))
            if number < max(numbers):
                console.print(f"  the stages after {stage.name} need its weights: training it for one epoch")
                train_one_epoch(trial, number, console)


@contextmanager
def _nothing_to_resume() -> Iterator[None]:
    try:
        yield
    except StoppedError as error:
        reason = str(error).partition(":")[0]
        raise StoppedError(f"{reason}: stopped before the range test ended; nothing was written") from None


def write_curve(found: FoundRate, path: Path) -> None:
    """The losses as CSV."""
    columns = ["learning_rate", "loss", "smoothed_loss"]
    values = zip(found.rates, found.losses, found.smoothed, strict=False)  # the last rates were not tested
    rows = [dict(zip(columns, (f"{value:.6g}" for value in row), strict=True)) for row in values]
    write_table(path, columns, rows, fsync=False)


def draw_curve(found: FoundRate, path: Path) -> None:
    """The losses by learning rate, as PNG."""
    from matplotlib.figure import Figure

    with open_style():
        figure = Figure(figsize=(7.6, 4.4), dpi=130, layout="constrained")
        axes = figure.subplots()
    rates = found.rates[: len(found.losses)]
    axes.plot(rates, found.losses, ".", color="0.7", ms=4, label="each step")
    axes.plot(rates, found.smoothed, color="C0", lw=2, label="smoothed")
    axes.axvline(found.stage.learning_rate, color="k", ls=":", label=f"configured: {found.stage.learning_rate:.2g}")
    if found.suggested:
        axes.axvline(found.suggested, color="C2", label=f"suggested: {found.suggested:.2g}")
    if found.diverging_from:
        axes.axvspan(found.diverging_from, found.rates[-1], color="C3", alpha=0.12, lw=0, label="diverging")
    _limit(axes, found)
    title = f"{found.member}, stage {found.stage.name}: {found.stage.optimizer.name}"
    axes.set_title(title, loc="left", parse_math=False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save_png(figure, path)


def _limit(axes: "Axes", found: FoundRate) -> None:
    """Show the fall of the loss, and only the beginning of its rise."""
    height = max(found.start - found.lowest, 0.05 * abs(found.start), 1e-9)
    axes.set(xlabel="learning rate", ylabel="loss", xscale="log", xlim=(found.rates[0], found.rates[-1]))
    axes.set_ylim(found.lowest - 0.5 * height, found.start + height)
