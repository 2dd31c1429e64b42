"""The checkpoints of a training, and the best weights that each of them speaks of.

    checkpoints/
      checkpoint-000012-<digest>.npz             progress and arrays; the digest is that of the file's bytes
      best-<stage>-<epoch>-<digest>/        the best weights at some time, with what was reported of them

A file's name carries its digest, so one that was cut short or altered is found before anything is taken from it. The
newest two states are kept with their best weights: the older one goes only after a newer one was read back.
"""

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from podium.errors import RunError
from podium.files import atomic_write, digest_of_file, fsync_folder, report_full_disk
from podium.runs import BEST_WEIGHTS, CHECKPOINT_NAME
from podium.training.training_progress import FORMAT, Progress

Arrays = Mapping[str, NDArray[Any]]
"""By `part/number`."""

LOSSES = "losses"
KEPT = 2
_HEADER = "progress"


@dataclass(frozen=True)
class Checkpoint:
    path: Path
    progress: Progress
    arrays: Arrays

    def part(self, name: str) -> dict[int, NDArray[Any]]:
        """The arrays of `model`, `optimizer`, `metrics`, `devices` or LOSSES, by their number."""
        return {int(key.split("/")[1]): array for key, array in self.arrays.items() if key.startswith(f"{name}/")}


class DamagedStateError(Exception):
    """Why a checkpoint cannot be used."""


class CheckpointStore:
    def __init__(self, run: Path) -> None:
        self._run = run
        self.folder = run / "checkpoints"
        self._damaged: set[Path] = set()
        """States found unusable: none of them is one to fall back on."""

    def states(self) -> list[Path]:
        """Newest first, read or not."""
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if CHECKPOINT_NAME.fullmatch(path.name)), reverse=True)

    def newest(self, console: Console) -> Checkpoint | None:
        """The newest state that is whole. One that is not is told, and left where it is."""
        problems = []
        for path in self.states():
            try:
                saved = self._read(path)
            except DamagedStateError as damage:
                problems.append(f"{path.name} {damage}")
                self._damaged.add(path)
                continue
            for problem in problems:
                console.print(f"  checkpoint {problem}: going on from the one before", highlight=False)
            return saved
        if problems:
            raise RunError(
                f"no checkpoint in {self.folder} can be used: {'; '.join(problems)}. Nothing was changed; to start"
                f" anew, move {self._run} away"
            )
        return None

    def _read(self, path: Path) -> Checkpoint:
        named = CHECKPOINT_NAME.fullmatch(path.name)
        assert named
        try:
            if digest_of_file(path) != named[2]:
                raise DamagedStateError("is damaged (its bytes are not those that were saved)")
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            header = json.loads(arrays.pop(_HEADER).tobytes()) if _HEADER in arrays else {}
        except OSError as error:
            raise DamagedStateError(f"cannot be read ({error.strerror or error})") from None
        if header.get("format") != FORMAT:
            raise DamagedStateError(f"was saved by another podium (format {header.get('format')}; this one: {FORMAT})")
        progress = Progress.from_json(header)
        self._check_best(progress)
        return Checkpoint(path, progress, arrays)

    def _check_best(self, progress: Progress) -> None:
        if progress.best is None:
            return
        weights = self._run / progress.best["file"]
        if not weights.is_file():
            raise DamagedStateError(f"lacks its best weights ({progress.best['file']} is not there)")
        if digest_of_file(weights) != progress.best["digest"]:
            raise DamagedStateError(f"lacks its best weights ({progress.best['file']} is damaged)")

    def write(self, progress: Progress, arrays: Arrays) -> Path:
        """Save, read back, and only then let go of what is older than the state before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        earlier = self.states()
        number = int(earlier[0].name.split("-")[1]) + 1 if earlier else 1
        header = np.frombuffer(json.dumps(progress.to_json()).encode(), dtype=np.uint8)
        size = sum(array.nbytes + 300 for array in (*arrays.values(), header))
        with report_full_disk(self.folder, size, "a checkpoint"):
            temporary = self.folder / f".writing-checkpoint-{number:06d}.npz"
            try:
                digest = _write_npz(temporary, {_HEADER: header, **arrays})
                if digest_of_file(temporary) != digest:
                    raise RunError(
                        f"{self.folder} does not hold what is written into it (a state read back was another); the"
                        " state before is kept: check that disk, or move the run folder to another"
                    )
                path = self.folder / f"checkpoint-{number:06d}-{digest}.npz"
                temporary.rename(path)
            finally:
                temporary.unlink(missing_ok=True)
            fsync_folder(self.folder)
        self._let_go(path, progress, earlier)
        return path

    def _let_go(self, newest: Path, progress: Progress, earlier: list[Path]) -> None:
        """Keep the state before this one, if it is whole, and the best weights that the two speak of."""
        kept, best = [newest], {_best_folder(progress)}
        for path in earlier:
            if len(kept) == KEPT:
                break
            if path in self._damaged:
                continue
            try:
                before = self._read_progress(path)
            except DamagedStateError:
                continue
            kept.append(path)
            best.add(_best_folder(before))
        for path in self.folder.iterdir():
            if path.name.startswith("best-") and path.name not in best:
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_file() and path not in kept:
                path.unlink(missing_ok=True)

    def _read_progress(self, path: Path) -> Progress:
        """Without hashing it all once more: it was read back when it was written, or when this process began."""
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                return Progress.from_json(json.loads(file[_HEADER].tobytes()))
        except Exception as error:  # whatever a damaged zip makes of itself
            raise DamagedStateError(str(error)) from None

    def keep_best(self, weights: Path, stage: int, epoch: int, report: Callable[[Path], None]) -> dict[str, Any]:
        """Give the weights just saved a name of their own, beside the earlier ones; says where they are."""
        folder = self.folder / ".writing-best"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with weights.open("rb") as written:
            os.fsync(written.fileno())
        digest = digest_of_file(weights)
        weights.rename(folder / BEST_WEIGHTS)
        report(folder)
        beside = sorted(path.name for path in folder.iterdir() if path.name != BEST_WEIGHTS)
        place = self.folder / f"best-{stage}-{epoch}-{digest}"
        shutil.rmtree(place, ignore_errors=True)  # the same weights, from before a break
        folder.rename(place)
        fsync_folder(self.folder)
        return {"file": f"{self.folder.name}/{place.name}/{BEST_WEIGHTS}", "digest": digest, "beside": beside}

    def bring_out_best(self, best: dict[str, Any]) -> dict[str, Any]:
        """Copy the best weights, and what was reported of them, to the top of the run folder."""
        folder = (self._run / best["file"]).parent
        if folder == self._run:
            return best
        for path in (folder / name for name in [*best["beside"], BEST_WEIGHTS]):
            with (
                report_full_disk(self._run, path.stat().st_size, "the best weights"),
                atomic_write(self._run / path.name) as temporary,
            ):
                shutil.copyfile(path, temporary)
        return {**best, "file": BEST_WEIGHTS}

    def copy(self, saved: Checkpoint, run: Path) -> None:
        """Put a state, and the best weights it speaks of, into another run folder."""
        best = saved.progress.best
        beside = [(self._run / best["file"]).parent / name for name in best["beside"]] if best else []
        files = [saved.path, *beside, *([self._run / best["file"]] if best else [])]
        with report_full_disk(run, sum(path.stat().st_size for path in files), "a copy of the checkpoint"):
            for path in files:
                with atomic_write(run / path.relative_to(self._run)) as temporary:
                    shutil.copyfile(path, temporary)

    def keep_only_newest(self) -> None:
        """After the end, when the best weights lie at the top of the run folder."""
        newest = self.states()[0]
        for path in self.folder.iterdir():
            if path != newest:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def forget_orphans(self) -> None:
        """Remove best weights that no state speaks of: a kill or a full disk came between the two."""
        try:
            spoken_of = {_best_folder(self._read_progress(path)) for path in self.states()}
        except DamagedStateError:
            return
        if self._damaged or not spoken_of:  # they may be needed by someone who can read those states
            return
        for path in self.folder.glob("best-*"):
            if path.name not in spoken_of:
                shutil.rmtree(path, ignore_errors=True)

    def forget_unfinished(self) -> None:
        """What a killed process was writing."""
        for folder in (self._run, self.folder):
            for path in folder.glob(".writing-*"):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _best_folder(progress: Progress) -> str:
    return Path(progress.best["file"]).parent.name if progress.best else ""


class _Digesting(io.RawIOBase):
    """Writes to a file, and digests what it was given to write. It cannot be wound back, so each byte passes once.

    After a write that failed it takes no more, so that whoever writes can still be closed.
    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file, self.digest, self._has_failed = file, hashlib.sha256(), False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self._has_failed:
            return len(data)
        self.digest.update(data)
        try:
            return self._file.write(data)
        except OSError:
            self._has_failed = True
            raise


def _write_npz(path: Path, arrays: Arrays) -> str:
    """As `numpy.savez` does, which leaves its zip file open when it fails."""
    with path.open("wb") as file:
        digesting = _Digesting(file)
        with zipfile.ZipFile(digesting, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.save(entry, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
        return digesting.digest.hexdigest()[:16]
