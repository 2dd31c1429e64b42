"""Where images lie, at a few bytes each: a column of a table of rows, and a sequence of paths.

A `Path` takes some 300 bytes. Here each folder is kept once and each name as its letters; a selection of the rows
(a fold's, say) shares all that and only adds numbers.
"""

import os
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pandas.api.extensions import ExtensionArray, ExtensionDtype, take
from pandas.api.indexers import check_array_indexer

NOWHERE = -1
"""Instead of an image's number: there is none, and its path is None."""


class PathDtype(ExtensionDtype):
    name = "path"
    type = Path
    na_value = None

    @classmethod
    def construct_array_type(cls) -> Any:
        return ImagePaths


@dataclass
class _Images:
    """Each one's folder by its number, and its name as bytes from the end of the one before to its own."""

    folders: list[str] = field(default_factory=list)
    folder_of: "array[int]" = field(default_factory=lambda: array("i"))
    names: bytearray = field(default_factory=bytearray)
    ends: "array[int]" = field(default_factory=lambda: array("I"))

    def add(self, folder: int, name: str) -> None:
        self.folder_of.append(folder)
        self.names += name.encode("utf-8", "surrogateescape")
        self.ends.append(len(self.names))

    def add_all(self, other: "_Images") -> None:
        shift = len(self.names)
        further = len(self.folders)
        self.folders += other.folders
        self.folder_of.extend(number + further for number in other.folder_of)
        self.names += other.names
        self.ends.extend(end + shift for end in other.ends)

    def name(self, number: int) -> str:
        start = self.ends[number - 1] if number else 0
        return self.names[start : self.ends[number]].decode("utf-8", "surrogateescape")


class ImagePaths(ExtensionArray, Sequence[Path]):  # type: ignore[misc]  # __contains__ of both takes anything
    """Paths by position; slices and selections are ImagePaths again. None where there is no image to be read."""

    def __init__(self, images: _Images, numbers: NDArray[np.int32]) -> None:
        self._images, self._numbers = images, numbers

    @classmethod
    def under(cls, root: Path, names: Iterable[str]) -> "ImagePaths":
        """Paths below a folder, each told as a text such as `train/Audi/7.jpg`."""
        images = _Images()
        known: dict[str, int] = {}
        for name in names:
            folder, last = os.path.split(name)
            if last in ("", ".", ".."):  # spelt oddly: Path knows what is meant
                folder, last = str((root / name).parent), (root / name).name
            if folder not in known:
                known[folder] = len(known)
                images.folders.append(str(root / folder))
            images.add(known[folder], last)
        return cls(images, np.arange(len(images.ends), dtype=np.int32))

    @classmethod
    def of(cls, paths: Iterable[Path | None]) -> "ImagePaths":
        images, numbers = _Images(), array("i")
        known: dict[str, int] = {}
        for path in paths:
            numbers.append(NOWHERE if path is None else len(images.ends))
            if path is not None:
                folder = str(path.parent)
                if folder not in known:
                    known[folder] = len(known)
                    images.folders.append(folder)
                images.add(known[folder], path.name)
        return cls(images, np.array(numbers, dtype=np.int32))

    @classmethod
    def sharing(cls, columns: Sequence["ImagePaths"]) -> list["ImagePaths"]:
        """The same columns, so that putting any rows of them together copies no name."""
        together = cls.together(columns)
        ends = np.cumsum([len(column) for column in columns])
        return [together[end - len(column) : end] for column, end in zip(columns, ends, strict=True)]

    @classmethod
    def together(cls, columns: Sequence["ImagePaths"]) -> "ImagePaths":
        """One column after the other. Names are copied only where they are not shared yet."""
        stores = {id(column._images): column._images for column in columns if len(column)}
        if len(stores) <= 1:
            shared = next(iter(stores.values()), _Images())
            return cls(shared, np.concatenate([np.empty(0, np.int32), *(column._numbers for column in columns)]))
        images, shift_of, numbers = _Images(), {}, []
        for key, store in stores.items():
            shift_of[key] = len(images.ends)
            images.add_all(store)
        for column in columns:
            shifted = column._numbers + shift_of.get(id(column._images), 0)
            numbers.append(np.where(column._numbers == NOWHERE, NOWHERE, shifted).astype(np.int32))
        return cls(images, np.concatenate(numbers))

    def split(self) -> Iterator[tuple[str, str]]:
        """Folder and name of each, without making a Path; of what has none, ("", "")."""
        folders, folder_of, name = self._images.folders, self._images.folder_of, self._images.name
        for number in self._numbers.tolist():
            yield ("", "") if number == NOWHERE else (folders[folder_of[number]], name(number))

    def texts(self) -> Iterator[str]:
        """Each path as a text, which the system's calls take as well, and faster."""
        return (os.path.join(folder, name) for folder, name in self.split())  # noqa: PTH118  # a Path costs ten times that

    def text(self, position: int) -> str:
        """One of them. Not by way of a Path, which would leave each name among the texts that Python keeps for good."""
        number = int(self._numbers[position])
        return os.path.join(self._images.folders[self._images.folder_of[number]], self._images.name(number))  # noqa: PTH118  # as in texts

    def by_folder(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Each folder with the positions of its images."""
        folder_of = np.frombuffer(self._images.folder_of, dtype=np.int32)[self._numbers]
        order = np.argsort(folder_of, kind="stable")
        starts = np.flatnonzero(np.diff(folder_of[order], prepend=-1))
        for positions in np.split(order, starts[1:]) if len(order) else []:
            yield self._images.folders[folder_of[positions[0]]], positions

    def leaving_out(self, bad: Collection[Path]) -> "ImagePaths":
        """As many as before, with None for each of the bad."""
        return ImagePaths(self._images, np.where(self.isin(bad), NOWHERE, self._numbers).astype(np.int32))

    # What makes it a column of pandas.

    @property
    def dtype(self) -> PathDtype:
        return PathDtype()

    @property
    def nbytes(self) -> int:
        held = self._images
        return int(self._numbers.nbytes) + len(held.names) + held.folder_of.itemsize * 3 * len(held.folder_of)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, item: Any) -> Any:
        if not isinstance(item, int | np.integer):
            chosen = item if isinstance(item, slice) else check_array_indexer(self, item)  # type: ignore[no-untyped-call]  # pandas gives it none
            return ImagePaths(self._images, self._numbers[chosen])
        number = int(self._numbers[item])
        if number == NOWHERE:
            return None
        return Path(self._images.folders[self._images.folder_of[number]], self._images.name(number))

    def __iter__(self) -> Iterator[Any]:
        return (Path(folder, name) if name else None for folder, name in self.split())

    def __eq__(self, other: object) -> NDArray[np.bool_]:  # type: ignore[override]  # as every column compares
        others = other if isinstance(other, Sequence | ImagePaths) else [other] * len(self)
        return np.array([one == another for one, another in zip(self, others, strict=True)], dtype=bool)

    def isna(self) -> NDArray[np.bool_]:
        return np.equal(self._numbers, NOWHERE)

    def isin(self, values: Iterable[Any]) -> NDArray[np.bool_]:
        wanted = {(str(path.parent), path.name) for path in values if path is not None}
        return np.fromiter((pair in wanted for pair in self.split()), dtype=bool, count=len(self))

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> "ImagePaths":
        numbers = take(self._numbers, np.asarray(indices), allow_fill=allow_fill, fill_value=NOWHERE)
        return ImagePaths(self._images, numbers.astype(np.int32))

    def copy(self) -> "ImagePaths":
        return ImagePaths(self._images, self._numbers.copy())

    @classmethod
    def _from_sequence(cls, scalars: Iterable[Path | None], *, dtype: Any = None, copy: bool = False) -> "ImagePaths":
        return cls.of(scalars)

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence["ImagePaths"]) -> "ImagePaths":
        return cls.together(to_concat)


def text_of(paths: Sequence[Path], position: int) -> str:
    return paths.text(position) if isinstance(paths, ImagePaths) else str(paths[position])
