"""A sheet of images with a title each, as a PNG."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from podium.data.image_paths import ImagePaths
from podium.data.images import Image, Scaling, read_scaled
from podium.reports.png import save_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS, SIZE = 6, 160
"""Images in a row, and their height in pixels."""


def draw_sheet(paths: ImagePaths, rows: Sequence[int], titles: Sequence[str], path: Path) -> None:
    """The images of these rows, each with its title, of one or two lines."""
    save_png(image_figure(images_of(paths, rows), titles), path)


def images_of(paths: ImagePaths, rows: Sequence[int]) -> list[Image]:
    return [read_scaled(paths.text(row), [Scaling(SIZE, "pad")], paths.reading)[0] for row in rows]


def image_figure(images: Sequence[Image], titles: Sequence[str], columns: int = COLUMNS) -> "Figure":
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it logs its search for fonts
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(columns * 1.8, lines * 2.15), dpi=100, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    for number, (image, title) in enumerate(zip(images, titles, strict=True)):
        axes = figure.add_subplot(lines, columns, number + 1)
        axes.imshow(image[..., :3] if image.shape[2] >= 3 else image[..., 0], cmap="gray")
        axes.set_title(title, fontsize=7, parse_math=False)
        axes.axis("off")
    return figure
