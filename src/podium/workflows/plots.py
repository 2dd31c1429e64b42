"""What runs, predictions and blends show of themselves in a notebook, as matplotlib figures."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from podium.config.competition import Competition
from podium.errors import RunError
from podium.options import RunOptions
from podium.reports.charts import combined, learning_curves
from podium.reports.sheet import image_figure, images_of
from podium.workflows.report import blend_charts, titled_mistakes
from podium.workflows.subject import image_paths, subject_at

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_history(history: pd.DataFrame, competition: Competition, title: str) -> "Figure":
    return learning_curves(history, competition.metric, title).figure()


def plot_mistakes(run: Path, count: int, data: str | Path | None) -> "Figure":
    subject = subject_at(run)
    images = image_paths(subject.competition, RunOptions(data=Path(data) if data is not None else None))
    if images is None:
        raise RunError("the competition's images were not found; give the folder of its data with data=")
    rows, titles = titled_mistakes(subject.mistakes.head(count), images[1])
    return image_figure(images_of(images[0], rows), titles)


def plot_blend(blend: Path) -> "Figure":
    charts = blend_charts(subject_at(blend))
    return combined(charts, (7, 3.2 * len(charts)))
