"""The page of `podium data check`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from podium.data.image_paths import ImagePaths
from podium.reports.page import thumbnail, write_page

SHOWN = 48
"""Images of each kind on the page."""


@dataclass(frozen=True)
class Item:
    """A row or a file that was found."""

    part: str
    id: str
    label: str = ""
    file: str = ""
    detail: str = ""
    group: int | None = None
    """Images of one group show the same."""
    position: int | None = None
    """Among all images."""


@dataclass(frozen=True)
class Section:
    """What was found of one kind."""

    name: str
    title: str
    advice: str
    items: Sequence[Item]


def write_data_page(
    path: Path,
    name: str,
    counts: str,
    sections: Iterable[Section],
    classes: Mapping[str, int],
    drift: str,
    images: ImagePaths,
) -> None:
    total = sum(classes.values())
    write_page(
        path,
        "data.html",
        title=f"The data of {name}",
        counts=counts,
        sections=[
            {
                "name": section.name,
                "title": _sentence(section.title),
                "advice": _sentence(section.advice),
                "count": len(section.items),
                "shown": min(SHOWN, len(section.items)),
                "groups": list(_groups(section.items[:SHOWN], images)),
            }
            for section in sections
        ],
        classes=[(label, count, count / total) for label, count in classes.items()],
        drift=_sentence(drift) + "." if drift else "",
    )


def _groups(items: Sequence[Item], images: ImagePaths) -> Iterator[list[dict[str, str | None]]]:
    """Items of one group are shown together."""
    numbered = enumerate(items)
    for _, together in groupby(numbered, lambda pair: -1 - pair[0] if pair[1].group is None else pair[1].group):
        yield [
            {
                "part": item.part,
                "id": item.id or Path(item.file).name,
                "label": item.label,
                "detail": item.detail,
                "source": None if item.position is None else thumbnail(images, item.position),
            }
            for _, item in together
        ]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
