"""What a data folder contains: images (also in zips), tables and the sample submission, and how ids name images."""

import zipfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import pandas as pd

from podium.data.archives import zip_errors
from podium.data.find_images import files_below, is_image
from podium.data.table import no_csv
from podium.files import check_table

_ROWS_TRIED = 200
"""How many rows decide which column has the ids and where their images are."""


@dataclass(frozen=True)
class Inventory:
    folder: Path
    images: Sequence[str]
    """Relative to the folder, or to the root of their zip."""
    zips: Sequence[str]
    """The archives that contain images."""
    tables: dict[str, pd.DataFrame]
    """The CSV files at the top, by name, as text."""
    sample: str | None
    """The name of the sample submission."""

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """Images by their name, and by their name without its suffix."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for image in self.images:
            name = image.rpartition("/")[2]
            found[name].append(image)
            found[name.rpartition(".")[0]].append(image)
        return found

    def find(self, name: str) -> list[str]:
        """The images that an id may mean: a name or the end of a path, with or without its suffix."""
        ends = (f"/{name}",)
        return [
            image
            for image in self._by_name.get(name.rpartition("/")[2], [])
            if f"/{image}".endswith(ends) or f"/{image}".rpartition(".")[0].endswith(ends)
        ]


@dataclass(frozen=True)
class Located:
    """Where the images of a table's rows are."""

    pattern: str
    """Such as `train/{patient_id}/{id}.png`."""
    share: float
    """The share of the rows that were tried whose image exists."""


def read_inventory(folder: Path) -> Inventory:
    images = [file for file in files_below(folder, "") if is_image(file)]
    zips = []
    for path in sorted(folder.glob("*.zip")):
        if inside := _images_in_zip(path):
            zips.append(path.name)
            images += inside
    tables = {path.name: _read(path) for path in sorted(folder.glob("*.csv"))}
    samples = [name for name in tables if "submission" in name.lower()]
    best = sorted(samples, key=lambda name: ("sample" not in name.lower(), len(name)))
    return Inventory(folder, list(dict.fromkeys(images)), zips, tables, best[0] if best else None)


def _images_in_zip(path: Path) -> list[str]:
    with zip_errors(path), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return [name for name in names if is_image(name)]


def _read(path: Path) -> pd.DataFrame:
    try:
        check_table(path)
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise no_csv(path, error) from None


def locate(inventory: Inventory, table: pd.DataFrame, id_column: str, role: str) -> Located | None:
    """The pattern of the images of these rows; `role`, "train" or "test", decides between images of the same name."""
    rows = table.iloc[:: max(1, len(table) // _ROWS_TRIED)]
    found = []
    for position, name in zip(rows.index, rows[id_column], strict=True):
        if name and (images := sorted(inventory.find(name), key=lambda image: _rank(image, role))):
            found.append((position, name, images[0]))
    if not found:
        return None
    folders, endings = [], set()
    for _, name, image in found:
        has_suffix = f"/{image}".endswith(f"/{name}")
        stem = image if has_suffix else image.rpartition(".")[0]
        endings.add("" if has_suffix else image[len(stem) :])
        folders.append(PurePosixPath(stem[: len(stem) - len(name)]).parts)
    columns = {column: [table.at[position, column] for position, *_ in found] for column in table.columns}
    parts = [*_common_parts(folders, columns, id_column), "{id}" + (endings.pop() if len(endings) == 1 else "")]
    return Located("/".join(parts), len(found) / len(rows))


def _rank(image: str, role: str) -> tuple[bool, bool]:
    other = {"train": "test", "test": "train"}[role]
    return role not in image.lower(), other in image.lower()


def _common_parts(folders: list[tuple[str, ...]], columns: dict[str, list[str]], id_column: str) -> list[str]:
    """A name for each level of folders: the same for all, a column, or `**` from where neither holds."""
    parts = []
    depth = max(map(len, folders))
    for level in range(depth):
        names = [folder[level] if level < len(folder) else "" for folder in folders]
        column = next((key for key, values in columns.items() if values == names and key != id_column), None)
        if len(set(names)) == 1:
            parts.append(names[0])
        elif column is not None:
            parts.append("{" + column + "}")
        else:
            return [*parts, "**"]
    return parts


def class_folders(inventory: Inventory, apart_from: str | None) -> tuple[str, dict[str, int], bool] | None:
    """The folder that has a folder of images for each class, with their counts, and whether images are nested in them.

    `apart_from` is the pattern of the test images.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    nested: Counter[str] = Counter()
    for image in inventory.images:
        parts = image.split("/")
        for level in range(len(parts) - 1):
            above = "/".join(parts[:level])
            counts[above][parts[level]] += 1
            nested[above] += level < len(parts) - 2
    test = apart_from.partition("{")[0].rstrip("/") if apart_from else None
    candidates = [
        (above, classes)
        for above, classes in counts.items()
        if len(classes) > 1
        and not (test and (above == test or test in [f"{above}/{name}".lstrip("/") for name in classes]))
    ]
    if not candidates:
        return None
    above, classes = min(candidates, key=lambda found: (*_rank(found[0], "train"), found[0].count("/"), found[0]))
    return above, dict(sorted(classes.items())), bool(nested[above])
