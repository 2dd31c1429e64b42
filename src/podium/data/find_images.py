"""Finding the images of a competition: in its data folder, or in the folders that its zips are unpacked to."""

import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from podium.config.competition import Competition
from podium.data.archives import unpack
from podium.data.image_paths import ImagePaths
from podium.errors import DataError, listed
from podium.files import digest_of
from podium.paths import cache_folder


def image_roots(competition: Competition, folder: Path, pattern: str) -> list[Path]:
    """Where to look for images: the data folder, and if needed the folders its zips are unpacked to."""
    fixed = _fixed_part(pattern)
    if fixed != Path() and (folder / fixed).is_dir():
        return [folder]
    roots = [folder]
    for name in competition.zips:
        archive = folder / name
        if archive.is_file():
            status = archive.stat()
            digest = digest_of([str(archive.resolve()), status.st_size, status.st_mtime_ns])
            roots.append(unpack(archive, cache_folder() / "unpacked" / f"{competition.slug}-{archive.stem}-{digest}"))
    return roots


def _fixed_part(pattern: str) -> Path:
    """The folders of a pattern before its first field."""
    before = pattern.split("{", 1)[0]
    return Path(before) if before.endswith("/") else Path(before).parent


def find_images(files: Iterator[str], pattern: str, roots: Sequence[Path], table: Path) -> ImagePaths:
    """The images of a table, under the root that has them. One error names all that are missing."""
    example = next(files, None)
    root = root_of(pattern, roots, example)
    paths = ImagePaths.of(files if example is None else chain([example], files), root)
    missing: list[int] = []
    for folder, positions in paths.by_folder():
        present = _names_in(Path(folder))
        is_missing = [name not in present for name in paths.names[positions].tolist()]
        missing += positions[is_missing].tolist()
    if missing:
        names = [paths.text(position) for position in sorted(missing)]
        raise DataError(f"{len(missing)} images listed in {table} do not exist: {listed(names)}")
    return paths


def _names_in(folder: Path) -> set[bytes]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {os.fsencode(entry.name) for entry in entries}


def root_of(pattern: str, roots: Sequence[Path], example: str | None = None) -> Path:
    """The root that has the example's image, else the first that has the pattern's folder."""
    for root in roots:
        if example and (root / example).is_file():
            return root
    for root in roots:
        if (root / _fixed_part(pattern)).is_dir():
            return root
    raise DataError(
        f"no folder {_fixed_part(pattern)} for the images {pattern}: looked in {', '.join(map(str, roots))};"
        " give the competition's data folder with --data, or list its zips in the competition file"
    )


def files_in(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())
