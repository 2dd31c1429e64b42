"""`podium data preview`: what a model sees in training and at test time.

runs/preview/<member>/
  batch.png                   the first batch of a stage, augmented and mixed, with its labels
  augmentation.png            one image of it in ten epochs
  views.png                   one validation image in every test-time view
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from podium.config.loading import Member
from podium.config.stage import Stage
from podium.data.target import Target
from podium.errors import ConfigError
from podium.options import RunOptions
from podium.reports.png import save_png
from podium.reports.sheet import image_figure
from podium.workflows.fold_runs import FoldRun, fold_images, fold_runs
from podium.workflows.prepare import prepare

DRAWS = 10
MOST_SHOWN = 48
"""Images of a large batch."""
_SHARE = 0.05
"""Classes with a smaller share of a mixed image are not named."""


def preview(member: Member, stage: str | None, options: RunOptions, console: Console) -> list[Path]:
    """Draw the sheets for a stage of the first fold, by default the last one. Returns their paths."""
    number, settings = _stage_of(member, stage)
    fold_run = fold_runs(member, prepare(member.competition, options, console), options)[0]
    task = fold_run.task(Console(quiet=True))
    batches = task.training_batches(number, settings)
    images, targets = (_images(part) for part in batches[0][:2])
    names = [member.competition.classes.get(name, name) for name in _target(fold_run).outputs]
    titles = [_describe(row, names, fold_run) for row in targets[:MOST_SHOWN]]
    folder = options.runs / "preview" / member.name
    batch, draws, views = (folder / name for name in ("batch.png", "augmentation.png", "views.png"))
    save_png(image_figure(list(images[:MOST_SHOWN]), titles), batch)
    drawn = [_images(task.batches(number, settings).in_row_order(epoch)[0][0])[0] for epoch in range(DRAWS)]
    save_png(image_figure(drawn, [f"epoch {epoch + 1}" for epoch in range(DRAWS)], columns=5), draws)
    _draw_views(fold_run, settings, views)
    return [batch, draws, views]


def _stage_of(member: Member, name: str | None) -> tuple[int, Stage]:
    stages = member.settings.stages
    found = [number for number, stage in enumerate(stages) if name in (None, stage.name, str(number))]
    if not found:
        known = ", ".join(stage.name for stage in stages)
        raise ConfigError(f"{member.name} has no stage {name}; expected one of {known}, or its number from 0")
    return found[-1], stages[found[-1]]


def _images(inputs: Any) -> NDArray[Any]:
    """The images among the inputs of a model; or the targets."""
    return np.asarray(inputs[0] if isinstance(inputs, tuple) else inputs)


def _target(fold_run: FoldRun) -> Target:
    from podium.data.targets import target_of

    return target_of(fold_run.member.competition)


def _describe(row: NDArray[np.float32], names: Sequence[str], fold_run: FoldRun) -> str:
    """The label of an image, or the shares of those that were mixed."""
    if _target(fold_run).kind == "regression":
        return ", ".join(f"{value:.4g}" for value in row)
    if len(row) == 1:
        return f"{names[0]} {row[0]:.2f}"
    shown = [number for number in np.argsort(-row)[:3] if row[number] > _SHARE]
    return "\n".join(names[number] if row[number] > 0.99 else f"{names[number]} {row[number]:.2f}" for number in shown)


def _draw_views(fold_run: FoldRun, stage: Stage, path: Path) -> None:
    from podium.data.batches import PredictionBatches
    from podium.data.catalogue import ImageSource
    from podium.inference.tta import make_views

    member = fold_run.member.settings
    views = make_views(member.tta)
    prepared = [view.prepare(stage.image_size, member.resize, member.seed) for view in views]
    _, validation = fold_images(fold_run)
    seen = PredictionBatches(ImageSource(validation.paths[:1]), prepared, len(views))[0][0]
    save_png(image_figure(list(_images(seen)), [view.name for view in views]), path)
