"""Where the images of a download lie."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath


def exact_patterns(patterns: Sequence[str], data: Path) -> list[str]:
    """The same without any `*`: one for each folder that there is."""
    found = []
    for pattern in patterns:
        folder, name = PurePosixPath(pattern).parent, PurePosixPath(pattern).name
        if "*" not in str(folder):
            found.append(pattern)
            continue
        folders = sorted(path for path in data.glob(str(folder)) if path.is_dir())
        found += [(path.relative_to(data) / name).as_posix() for path in folders]
    return found


def places_of(ids: Collection[str], patterns: Sequence[str], data: Path) -> dict[str, str]:
    """The file of each image that is there, seen from the data folder: where more than one place has it, the first.

    Each folder is listed once, however many images are looked for.
    """
    found: dict[str, str] = {}
    for pattern in patterns:
        path = PurePosixPath(pattern)
        before, _, after = path.name.partition("{id}")
        for name in _names_in(data / path.parent):
            id_ = name[len(before) : len(name) - len(after)]
            if id_ in ids and name == f"{before}{id_}{after}":
                found.setdefault(id_, str(path.parent / name))
    return found


def is_there(id_: str, patterns: Sequence[str], data: Path) -> bool:
    return any((data / pattern.format(id=id_)).is_file() for pattern in patterns)


def _names_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
