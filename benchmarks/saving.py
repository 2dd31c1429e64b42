"""The cost of saving a checkpoint after every epoch: epochs with and without it, alternating, in one process.

python -m benchmarks.saving [--images 1500] [--epochs 4] [--pairs 5]

Each pair trains the demo's wide member twice on drawn cars, with and without saving. The first epoch of each training,
which traces the graph, is not counted. The order within a pair alternates.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import keras
from rich.console import Console

from podium.config.loading import load_member
from podium.demo.competition import draw_competition
from podium.options import RunOptions
from podium.paths import configs_folder
from podium.training import trainer
from podium.training.run_training import train_run
from podium.training.session import StageRun
from podium.workflows.fold_runs import FoldRun, fold_runs
from podium.workflows.prepare import prepare

QUIET = Console(quiet=True)


@dataclass
class Clock:
    """Seconds of every epoch except the first, and of saving alone."""

    epochs: list[float] = field(default_factory=list)
    saving: list[float] = field(default_factory=list)


class EpochEnds(keras.callbacks.Callback):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock, self._last = clock, None

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter()
        if self._last is not None:
            self._clock.epochs.append(now - self._last)
        self._last = now


def timed(fold_run: FoldRun, clock: Clock, saving: bool) -> None:
    original, save = trainer.stage_callbacks, StageRun.save

    def with_clock(*arguments):
        return [*original(*arguments), EpochEnds(clock)]

    def timed_save(*arguments):
        start = time.perf_counter()
        save(*arguments)
        clock.saving.append(time.perf_counter() - start)

    with (
        mock.patch.object(trainer, "stage_callbacks", with_clock),
        mock.patch.object(StageRun, "save", timed_save if saving else mock.Mock()),
    ):
        train_run(fold_run, QUIET)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("images", 1500), ("epochs", 4), ("pairs", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    with_saving, without = Clock(), Clock()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        draw_competition(root / "data", train=2 * arguments.images, test=10)
        config = configs_folder() / "members" / "demo_wide.yaml"
        member = load_member(config, [f"stages.0.epochs={arguments.epochs}", "stages.0.schedule=constant"])
        for pair in range(arguments.pairs):
            order = [(with_saving, True), (without, False)]
            for clock, saving in order if pair % 2 == 0 else reversed(order):
                options = RunOptions(data=root / "data", runs=root / f"runs-{pair}-{saving}", folds=(0,))
                prepared = prepare(member.competition, options, QUIET)
                (fold_run,) = fold_runs(member, prepared, options)
                timed(fold_run, clock, saving)
            print(f"pair {pair + 1} of {arguments.pairs} done", flush=True)
    saved, bare = statistics.median(with_saving.epochs), statistics.median(without.epochs)
    alone = statistics.median(with_saving.saving)
    print(
        f"{arguments.images} images, medians of {len(with_saving.epochs)} epochs each:\n"
        f"with saving {saved:.3f} s per epoch, without {bare:.3f} s: {100 * (saved / bare - 1):+.2f} %\n"
        f"saving alone {1000 * alone:.1f} ms: {100 * alone / bare:.2f} % of an epoch"
    )


if __name__ == "__main__":
    main()
