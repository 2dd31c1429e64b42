"""Pushing a folder to a private dataset, once for the same content: runs/datasets/<owner>/.

    <slug>.json         the digest and version of the last push, and the state of an unfinished one
    .<slug>.packing/    meanwhile, the zips of its folders

The digest of the files is also stored on Kaggle, so that another machine recognizes them. Before a version is created,
the record says so: after an interruption podium first looks for that version.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.kaggle_names import slug_of
from podium.errors import DataError, KaggleError, UnreachableError
from podium.files import digest_of, read_json, write_json
from podium.kaggle.dataset_files import Entry, checksums_entry, digest_of_files, pack, read_entries
from podium.kaggle.datasets import Datasets, State
from podium.kaggle.transfers import Progress
from podium.kaggle.uploads import UploadExpiredError
from podium.kernel.secrets import check_for_secrets
from podium.locks import locked
from podium.progress import show_progress
from podium.retries import pause

if TYPE_CHECKING:
    from podium.kaggle.client import Kaggle

POLL_SECONDS = 10.0
LOOKS = 12
"""How often podium looks for a version that may have been created: Kaggle shows it some seconds late."""
MISSING_LOOKS = 90
"""How often podium looks for a version that Kaggle accepted."""
MOST_LOOKS = 2160
"""How often podium looks while Kaggle processes a version: six hours."""
EXPIRY_SECONDS = 6 * 24 * 3600
"""The file store keeps an upload that belongs to no dataset for a week."""


@dataclass(frozen=True)
class PushedDataset:
    name: str
    """owner/slug."""
    version: int
    entries: Sequence[Entry]
    is_new: bool
    """Whether a version was created by this push."""

    @property
    def source(self) -> str:
        """As a config names it."""
        return f"kaggle-dataset:{self.name}"

    @property
    def url(self) -> str:
        return page_of(self.name)


def page_of(name: str) -> str:
    return f"https://www.kaggle.com/datasets/{name}"


def default_title(folder: Path) -> str:
    title = f"podium-{slug_of(folder.resolve().name)}"
    return title if len(title) <= 50 else f"{title[:41].rstrip('-')}-{digest_of(title)}"


def push_dataset(kaggle: "Kaggle", folder: Path, title: str, runs: Path, console: Console) -> PushedDataset:
    """Create a private dataset of this title, or a version of it, unless it has the same files already."""
    if not (6 <= len(title) <= 50 and 6 <= len(slug_of(title)) <= 50):
        raise DataError(f"the title {title!r} must have 6 to 50 letters and digits; choose another with --title")
    check_for_secrets({"the title": title}, ())
    entries = read_entries(folder, console)
    name = f"{kaggle.user.lower()}/{slug_of(title)}"
    place = runs / "datasets" / name
    with locked(place):
        push = _Push(kaggle.datasets, name, title, entries, place, console)
        version = push.find_published()
        is_new = version is None
        if version is None:
            version = push.publish()
        shutil.rmtree(push.packing, ignore_errors=True)
    return PushedDataset(name, version, entries, is_new)


@dataclass
class _Push:
    datasets: Datasets
    name: str
    title: str
    entries: Sequence[Entry]
    place: Path
    console: Console
    before: int = 0
    """The version on Kaggle before this push; 0 if there is no such dataset."""
    record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.record = read_json(self._record_file)
        self.digest = digest_of_files(file for entry in self.entries for file in entry.files)

    @property
    def _record_file(self) -> Path:
        return self.place.with_name(f"{self.place.name}.json")

    @property
    def packing(self) -> Path:
        return self.place.with_name(f".{self.place.name}.packing")

    def _write(self, **changes: Any) -> None:
        self.record |= changes
        write_json(self._record_file, self.record)

    # Looking

    def find_published(self) -> int | None:
        """The version on Kaggle that has these files, once it is ready; None if it has to be created."""
        if self.record.get("creating") == self.digest:
            self.console.print(f"{self.name}: looking for the version of the interrupted push", highlight=False)
            self.before = self.record.get("after", 0)
            if version := self._wait_for_version(LOOKS):
                return self._finish(version)
        state = self._wait_for_other_version()
        found = self.datasets.find(self.name) if state else None
        self.before = found.version if found else 0
        if found is None:
            return None
        if not found.is_private:
            raise KaggleError(
                f"{self.name} is public, and podium pushes only to private datasets; make it private at"
                f" {page_of(self.name)}/settings, or choose another --title"
            )
        is_known = self.record.get("version") == found.version
        digest = found.digest or (self.record.get("digest") if is_known else None)
        if not (digest or is_known or found.is_from_podium):
            raise KaggleError(
                f"{self.name} exists on Kaggle and was not pushed by podium; nothing was changed: choose another"
                " --title"
            )
        return self._finish(found.version) if digest == self.digest and state == "ready" else None

    def _wait_for_other_version(self) -> State | None:
        """The state of the dataset; Kaggle rejects a new version while another one is processed."""
        states = self._states()
        state = next(states)
        if state == "processing":
            self.console.print(f"{self.name}: waiting until Kaggle has processed a version", highlight=False)
            state = next(later for later in states if later != "processing")
        return state

    def _wait_for_version(self, looks: int) -> int | None:
        """The number of the version with these files once it is ready; None if Kaggle does not show any that often.

        Kaggle's response to its creation does not have the number, and it may be shown late: until then the state is
        that of the version before, which may have failed.
        """
        missing, failed, states = 0, 0, self._states()
        while True:
            state = next(states)
            found = self.datasets.find(self.name) if state == "ready" else None
            if found and found.version > self.before and found.digest in (self.digest, None):
                return found.version
            missing = 0 if state == "processing" else missing + 1
            failed = failed + 1 if state == "failed" else 0
            if failed >= LOOKS:
                self._write(creating=None)
                raise KaggleError(f"Kaggle could not process {self.name}; {page_of(self.name)} has the reason")
            if missing >= looks:
                return None

    def _states(self) -> Iterator[State | None]:
        """The state, again and again; an error if Kaggle processes the dataset for hours."""
        for _ in range(MOST_LOOKS):
            yield self.datasets.state(self.name)
            pause(POLL_SECONDS)
        raise KaggleError(
            f"Kaggle has been processing {self.name} for {MOST_LOOKS * POLL_SECONDS / 3600:.0f} hours: look at"
            f" {page_of(self.name)}; the same command continues to wait"
        )

    # Publishing

    def publish(self) -> int:
        """Upload the files and create the dataset or the version. Returns its number once it is ready."""
        tokens = self._upload_all()
        self._write(creating=self.digest, after=self.before)
        try:
            if self.before:
                self.datasets.create_version(self.name, self.digest, tokens)
            else:
                self.datasets.create(self.name, self.title, self.digest, tokens)
        except UnreachableError:
            version = self._wait_for_version(LOOKS)
            if version is None:
                raise
            return self._finish(version)
        except KaggleError as error:
            self._write(creating=None)
            raise KaggleError(f"{error}{self._hint(str(error))}") from error
        self.console.print(f"{self.name}: created, waiting until Kaggle has processed it", highlight=False)
        version = self._wait_for_version(MISSING_LOOKS)
        if version is None:
            raise KaggleError(
                f"Kaggle accepted {self.name} and does not show it; usually the quota of private datasets is used up"
                " (delete some of your datasets on kaggle.com), or a file name has a character such as @ that Kaggle"
                " rejects; run the same command again"
            )
        return self._finish(version)

    def _hint(self, problem: str) -> str:
        is_taken = "in use" in problem or (not self.before and "status 400" in problem)
        return "; a dataset or kernel may have this name: choose another --title" if is_taken else ""

    def _finish(self, version: int) -> int:
        self.record = {}
        self._write(digest=self.digest, version=version)
        return version

    # Uploading

    def _upload_all(self) -> list[str]:
        """The tokens of the uploaded files. Kaggle creates a version from whatever it is given, so all come first."""
        tokens, done = [], 0
        entries = [*self.entries, checksums_entry(self.entries, self.packing)]
        size = sum(entry.size for entry in entries)
        description = f"{self.name}: uploading {len(entries):,} files"
        with show_progress(self.console, description, size) as progress:
            for entry in entries:
                tokens.append(self._upload(entry, partial(_add, progress, done)))
                done += entry.size
        return tokens

    def _upload(self, entry: Entry, progress: Progress) -> str:
        """The token of one uploaded file, from this call or an interrupted one."""
        saved = self.record.get("uploads", {}).get(entry.digest)
        if saved and time.time() - saved["started"] > EXPIRY_SECONDS:
            saved = None
        if saved and saved["is_complete"]:
            return str(saved["token"])
        path = pack(entry, self.packing)
        try:
            saved = self._send(entry, path, saved, progress)
        except UploadExpiredError:
            saved = self._send(entry, path, None, progress)
        changed = next((file for file in entry.files if not file.is_unchanged()), None)
        if changed:
            self._save_upload(entry, None)
            raise DataError(f"{changed.path} changed while it was uploaded; run the same command again")
        self._save_upload(entry, saved | {"is_complete": True})
        shutil.rmtree(self.packing / entry.digest, ignore_errors=True)
        return str(saved["token"])

    def _send(self, entry: Entry, path: Path, saved: dict[str, Any] | None, progress: Progress) -> dict[str, Any]:
        """Send a file, beginning a new upload or continuing the saved one."""
        if saved is None:
            started = self.datasets.start_upload(path)
            saved = {"token": started.token, "url": started.url, "started": time.time(), "is_complete": False}
            self._save_upload(entry, saved)
        self.datasets.upload(saved["url"], path, progress)
        return saved

    def _save_upload(self, entry: Entry, saved: dict[str, Any] | None) -> None:
        self._write(uploads=self.record.get("uploads", {}) | {entry.digest: saved})


def _add(progress: Progress, before: int, done: int) -> None:
    progress(before + done)
