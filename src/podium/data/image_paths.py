"""The paths of many images in little memory."""

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.config.reading import AS_USUAL, Reading

_CHUNK = 5_000
"""Paths processed at a time, so that the memory for intermediate values does not grow with their number."""
NO_IMAGE = -1
"""As a position: the row's image cannot be read."""


class ImagePaths(Sequence[Path]):
    """The paths of many images, at about 20 bytes each; a `Path` takes 300. Slices and selections are ImagePaths.

    The item is None if the row has no image. `reading` is how these images are read.
    """

    def __init__(
        self,
        folders: list[str],
        folder_of: NDArray[np.int32],
        names: NDArray[np.bytes_],
        reading: Reading = AS_USUAL,
    ) -> None:
        self.folders, self.folder_of, self.names, self.reading = folders, folder_of, names, reading

    @classmethod
    def of(cls, paths: Iterable[Path | str], root: Path | None = None) -> "ImagePaths":
        """Paths, relative to `root` if it is given."""
        number_of: dict[str, int] = {}
        folder_of, names = array("i"), [np.empty(0, "S1")]
        remaining = iter(paths)
        while chunk := list(islice(remaining, _CHUNK)):
            parts = [_split(path) for path in chunk]
            folder_of.extend(number_of.setdefault(folder, len(number_of)) for folder, _ in parts)
            names.append(np.array([os.fsencode(name) for _, name in parts]))
        folders = [str(Path(folder) if root is None else root / folder) for folder in number_of]
        return cls(folders, np.array(folder_of, np.int32), np.concatenate(names))

    @classmethod
    def join(cls, parts: Sequence["ImagePaths"]) -> "ImagePaths":
        """The paths of all parts, one part after the other; their images are read in the same way."""
        first = np.cumsum([0, *(len(part.folders) for part in parts)])
        folder_of = [part.folder_of + shift for part, shift in zip(parts, first[:-1], strict=True)]
        return cls(
            [folder for part in parts for folder in part.folders],
            np.concatenate(folder_of).astype(np.int32),
            np.concatenate([part.names for part in parts]),
            parts[0].reading,
        )

    def read_as(self, reading: Reading) -> "ImagePaths":
        """The same paths, of images that are read in this way."""
        return ImagePaths(self.folders, self.folder_of, self.names, reading)

    def take(self, positions: NDArray[np.integer[Any]]) -> "ImagePaths":
        """The paths at these positions, None for NO_IMAGE."""
        folder_of = np.where(positions == NO_IMAGE, NO_IMAGE, self.folder_of[positions]) if len(self) else positions
        return ImagePaths(self.folders, folder_of.astype(np.int32), self.names[positions], self.reading)

    def renamed(self, names: Mapping[int, str]) -> "ImagePaths":
        """The paths with other file names at some positions."""
        if not names:
            return self
        encoded = [os.fsencode(name) for name in names.values()]
        changed = self.names.astype(f"S{max(self.names.dtype.itemsize, *map(len, encoded))}")
        changed[list(names)] = encoded
        return ImagePaths(self.folders, self.folder_of, changed, self.reading)

    @property
    def missing(self) -> NDArray[np.bool_]:
        """True where there is no image."""
        return np.asarray(self.folder_of == NO_IMAGE)

    def text(self, position: int) -> str:
        """The path as text, which system calls take too: creating a Path takes several times as long."""
        name = self.names[position].decode("utf-8", "surrogateescape")
        return f"{self.folders[self.folder_of[position]]}{os.sep}{name}"

    def by_folder(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Each folder with the positions of its images."""
        order = np.argsort(self.folder_of, kind="stable")
        for positions in np.split(order, np.flatnonzero(np.diff(self.folder_of[order])) + 1):
            if len(positions):
                yield self.folders[self.folder_of[positions[0]]], positions

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, item: Any) -> Any:
        if not isinstance(item, int | np.integer):
            return ImagePaths(self.folders, self.folder_of[item], self.names[item], self.reading)
        if self.folder_of[item] == NO_IMAGE:
            return None
        return Path(self.folders[self.folder_of[item]], os.fsdecode(self.names[item]))


def _split(path: Path | str) -> tuple[str, str]:
    folder, name = os.path.split(path)
    return os.path.split(Path(path)) if name in ("", ".", "..") else (folder, name)


def reading_of(paths: Sequence[Path]) -> Reading:
    return paths.reading if isinstance(paths, ImagePaths) else AS_USUAL


def path_text(paths: Sequence[Path], position: int) -> str:
    return paths.text(position) if isinstance(paths, ImagePaths) else str(paths[position])
