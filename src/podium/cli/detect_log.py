"""`podium detect import-log`: what a darknet training printed, as a table and charts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.options import Debug, make_console

if TYPE_CHECKING:
    import pandas as pd

LogFile = Annotated[
    Path, typer.Argument(metavar="LOG", help="What `darknet detector train` printed, whole or broken off.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Where the table and the charts go. Else runs/darknet/<the log's name>.", show_default=False
    ),
]


def import_log(log: LogFile, out: Out = None, debug: Debug = False) -> None:
    """Read a darknet training log: write its iterations as log.csv, and draw its loss, IoU and mAP.

    podium detect import-log train.log --out runs/darknet/boats
    """
    from podium.detection.charts import draw_log
    from podium.detection.darknet_log import read_darknet_log, write_log_table

    console = make_console()
    table = read_darknet_log(log)
    folder = out or Path("runs/darknet") / log.stem
    write_log_table(folder / "log.csv", table)
    charts = draw_log(folder, log.name, table)
    for line in (*summary(log.name, table), folder / "log.csv", *charts):
        console.print(line, markup=False)


def summary(name: str, table: "pd.DataFrame") -> list[str]:
    """How far the training came, in a line or two."""
    iterations = table["iteration"]
    lines = [f"{name}: {len(table):,} iterations, {iterations.iloc[0]:,} to {iterations.iloc[-1]:,}"]
    losses = table.dropna(subset="average_loss")
    if len(losses):
        lowest = losses.loc[losses["average_loss"].idxmin()]
        lines[0] += (
            f"; average loss {losses['average_loss'].iloc[-1]:.3f} at the end,"
            f" lowest {lowest['average_loss']:.3f} (iteration {lowest['iteration']:,.0f})"
        )
    told = []
    overlaps, worth = table.dropna(subset="iou"), table.dropna(subset="map50")
    if len(overlaps):
        last = overlaps.iloc[-1]
        told.append(f"mean IoU {last['iou']:.3f} at iteration {last['iteration']:,.0f}, the last of {len(overlaps):,}")
    if len(worth):
        highest = worth.loc[worth["map50"].idxmax()]
        told.append(
            f"mAP@0.5 {highest['map50']:.3f} at iteration {highest['iteration']:,.0f}, the highest of {len(worth)}"
        )
    return [*lines, *(["; ".join(told)] if told else [])]
