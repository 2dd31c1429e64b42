"""The parts of a report page, as the template takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podium.reports.charts import Chart
from podium.reports.page import write_page
from podium.runs import Run


@dataclass(frozen=True)
class Table:
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[str] = frozenset()
    """The columns that are aligned at the right."""


@dataclass(frozen=True)
class Section:
    name: str
    title: str
    texts: Sequence[str] = ()
    table: Table | None = None
    charts: Sequence[Chart] = ()
    more_title: str = ""
    more: Sequence[Chart] = ()
    """Charts that are folded."""


@dataclass(frozen=True)
class Mistake:
    id: str
    true: str
    predicted: str
    detail: str
    source: str | None
    """The image, as the source of an `img` element."""
    explained: str | None = None
    """The image with where the model looks."""


@dataclass(frozen=True)
class Point:
    """An image on the map, within 400 × 300."""

    x: float
    y: float
    colour: str
    text: str
    wrong: bool


@dataclass(frozen=True)
class Map:
    summary: str
    points: Sequence[Point]
    legend: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Report:
    title: str
    headline: str
    sections: Sequence[Section]
    versions: Table
    notes: Sequence[str] = ()
    mistakes: Sequence[Mistake] = ()
    mistakes_summary: str = ""
    map: Map | None = None


def write_report(report: Report, path: Path) -> None:
    found = report.mistakes
    values = {name: sorted({getattr(item, name) for item in found}) for name in ("true", "predicted")}
    write_page(
        path,
        "report.html",
        zip=zip,
        title=report.title,
        headline=report.headline,
        notes=report.notes,
        sections=report.sections,
        versions=report.versions,
        mistakes={"summary": report.mistakes_summary, "items": found, "values": values} if found else None,
        map=report.map,
    )


def versions_table(runs: Sequence[Run]) -> Table:
    """The versions that the runs were made with."""
    versions: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, version in run.versions.items():
            versions.setdefault(name, {})[str(version)] = None
    return Table(["library", "version"], [[name, ", ".join(found)] for name, found in versions.items()])
