"""The storage that all machines of a cluster reach: a shared folder, or anything else that fsspec opens.

It has the layout of the folder with all runs. A file arrives whole or not at all. Checkpoints refer to the best
weights, and everything else in a run folder repeats what they contain, so files are stored in this order: a run folder
that is stored in part resumes from the checkpoint before.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

from podium.errors import MachineError, PodiumError, RunError
from podium.runs import CHECKPOINT_NAME

PARTIAL = ".part-"
"""Prefix of files that are being written."""
_WRITES_WHOLE_FILES = {"abfs", "az", "gcs", "gs", "memory", "s3", "s3a"}


class Storage:
    def __init__(self, url: str) -> None:
        """A folder, or an address such as s3://bucket/folder."""
        if find_spec("fsspec") is None:
            raise MachineError("a cluster's storage needs fsspec: pip install 'podium-kit[ray]'")
        from fsspec.core import url_to_fs

        self.url = url
        with self._named():
            self._files, self._root = url_to_fs(url)
        self._stored: dict[str, tuple[int, int]] = {}
        """Time and size of the files that this process has stored."""

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors name the storage. Each file system has its own kinds of them."""
        try:
            yield
        except PodiumError:
            raise
        except Exception as error:
            raise MachineError(f"--storage {self.url}: {type(error).__name__}: {error}") from error

    def push(self, folder: Path, name: str) -> bool:
        """Make the stored folder `name` the same as this one; False if that is empty."""
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        files = {part: path for part, path in files.items() if not _is_hidden(part)}
        with self._named():
            known = self._sizes(name)
            for part in sorted(files, key=_order):
                self._push_file(files[part], f"{name}/{part}", known.get(part))
            for part in known.keys() - files.keys():
                self._files.rm_file(f"{self._root}/{name}/{part}")
        return bool(files)

    def _push_file(self, path: Path, name: str, known: int | None) -> None:
        """Checkpoints are named by their content."""
        facts = path.stat()
        version, target = (facts.st_mtime_ns, facts.st_size), f"{self._root}/{name}"
        if known == facts.st_size and (self._stored.get(name) == version or CHECKPOINT_NAME.fullmatch(path.name)):
            return
        self._files.makedirs(self._files._parent(target), exist_ok=True)
        if _WRITES_WHOLE_FILES.intersection(_protocols(self._files)):
            self._files.put_file(str(path), target)
        else:
            partial = f"{self._files._parent(target)}/{PARTIAL}{uuid4().hex}"
            self._files.put_file(str(path), partial)
            self._files.mv(partial, target)
        self._stored[name] = version

    def pull(self, name: str, folder: Path) -> bool:
        """Replace the folder by the stored one; False if nothing is stored."""
        with self._named():
            names = self._sizes(name)
            if not names:
                return False
            shutil.rmtree(folder, ignore_errors=True)
            for part in names:
                target = folder.joinpath(*PurePosixPath(part).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                self._files.get_file(f"{self._root}/{name}/{part}", str(target))
        return True

    def last_checkpoint(self, name: str) -> int:
        """The number of the newest checkpoint of a stored run; 0 if there is none."""
        with self._named():
            found = [CHECKPOINT_NAME.fullmatch(PurePosixPath(part).name) for part in self._sizes(name)]
        return max((int(match[1]) for match in found if match), default=0)

    def remove(self, name: str) -> None:
        with self._named():
            if self._sizes(name):
                self._files.rm(f"{self._root}/{name}", recursive=True)

    def _sizes(self, name: str) -> dict[str, int]:
        """The size of each file in a stored folder."""
        top = f"{self._root}/{name}"
        self._files.invalidate_cache()
        sizes = {path.removeprefix(f"{top}/"): size for path, size in self._find(top)}
        for part in sizes:
            if ".." in PurePosixPath(part).parts or PurePosixPath(part).is_absolute():
                raise RunError(f"{self.url} has {part!r} in {name}, which is outside the folder")
        return {part: size for part, size in sizes.items() if not _is_hidden(part)}

    def _find(self, folder: str) -> Iterator[tuple[str, int]]:
        """All files below a folder. fsspec's own search takes a folder that cannot be listed for an empty one."""
        try:
            entries: list[dict[str, Any]] = self._files.ls(folder, detail=True)
        except FileNotFoundError:
            return
        for entry in entries:
            if entry["type"] != "directory":
                yield entry["name"], entry["size"]
            elif entry["name"].rstrip("/") != folder:
                yield from self._find(entry["name"].rstrip("/"))


def _protocols(files: Any) -> set[str]:
    return {files.protocol} if isinstance(files.protocol, str) else set(files.protocol)


def _is_hidden(part: str) -> bool:
    return any(name.startswith(".") for name in PurePosixPath(part).parts)


def _order(part: str) -> tuple[int, str]:
    is_state = "/checkpoints/" in f"/{part}"
    is_checkpoint = bool(CHECKPOINT_NAME.fullmatch(PurePosixPath(part).name))
    return (1 if is_checkpoint else 0 if is_state else 2), part
