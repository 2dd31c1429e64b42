"""Records of pushed kernels, and importing their output: runs/kernels/<owner>/<slug>/.

    push/              a push whose version is not known yet, written before it is sent
    v<N>/kernel.json   the version of the kernel, and its commit and config
    v<N>/kernel.py     the pushed script
    v<N>/output/       the downloaded output

Imported, its runs are copied to runs/, each with a kernel.json that names the kernel.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium.config.kaggle_names import KernelRef
from podium.errors import RunError
from podium.files import link_or_copy, read_json, write_json, write_text
from podium.kernel.report import RunEntry, read_report
from podium.locks import locked
from podium.paths import submissions_folder
from podium.runs import Run

KERNEL, SCRIPT = "kernel.json", "kernel.py"


@dataclass(frozen=True)
class Record:
    folder: Path
    facts: dict[str, Any]

    @property
    def ref(self) -> KernelRef:
        if not isinstance(name := self.facts.get("kernel"), str):
            raise _damaged(self.folder / KERNEL)
        return KernelRef.parse(name)

    @property
    def output(self) -> Path:
        return self.folder / "output"


@dataclass(frozen=True)
class PendingPush:
    """A push that is about to be sent, or was sent and has no answer."""

    facts: dict[str, Any]
    script: str
    version_before: int
    """The newest version before it."""

    @property
    def digest(self) -> str:
        return str(self.facts["script_digest"])


def write_pending(runs: Path, ref: KernelRef, facts: Mapping[str, Any], script: str, version_before: int) -> None:
    discard_pending(runs, ref)
    folder = _pending_folder(runs, ref)
    write_text(folder / SCRIPT, script)
    write_json(folder / KERNEL, {**facts, "version_before": version_before})  # last: without it, nothing was sent


def discard_pending(runs: Path, ref: KernelRef) -> None:
    folder = _pending_folder(runs, ref)
    (folder / KERNEL).unlink(missing_ok=True)  # first
    shutil.rmtree(folder, ignore_errors=True)


def read_pending(runs: Path, ref: KernelRef) -> PendingPush | None:
    folder = _pending_folder(runs, ref)
    facts = read_json(folder / KERNEL)
    if not facts:
        return None
    version_before = facts.pop("version_before", None)
    if not isinstance(version_before, int) or "script_digest" not in facts:
        raise _damaged(folder / KERNEL)
    return PendingPush(facts, (folder / SCRIPT).read_text(encoding="utf-8"), version_before)


def _damaged(path: Path) -> RunError:
    return RunError(f"{path} is damaged; restore a copy of it, or remove it if that kernel does not matter")


def _pending_folder(runs: Path, ref: KernelRef) -> Path:
    return kernel_folder(runs, ref) / "push"


def record_push(runs: Path, facts: Mapping[str, Any], script: str, ref: KernelRef, url: str) -> Record:
    """Record the version of a push, which is no longer pending then."""
    folder = _folder_of(runs, ref)
    pushed_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    record = Record(folder, {"kernel": str(ref), "url": url, "pushed_at": pushed_at, **facts})
    digest = read_json(folder / KERNEL).get("script_digest")
    if digest and digest != facts.get("script_digest"):  # of a kernel that was deleted on Kaggle: numbers start again
        folder.rename(folder.with_name(f"deleted-{folder.name}-{time.strftime('%Y%m%d-%H%M%S')}"))
    write_text(folder / SCRIPT, script)
    write_json(folder / KERNEL, record.facts)
    discard_pending(runs, ref)
    return record


def recorded_version(runs: Path, ref: KernelRef, script_digest: str) -> Record | None:
    """The newest recorded version of a kernel with this script."""
    records = [record for record in read_records(runs) if record.ref.name == ref.name]
    return next((record for record in reversed(records) if record.facts.get("script_digest") == script_digest), None)


def read_record(runs: Path, ref: KernelRef) -> Record:
    """The record of a version; one that was pushed from another machine has only its name."""
    folder = _folder_of(runs, ref)
    return Record(folder, read_json(folder / KERNEL) or {"kernel": str(ref)})


def read_records(runs: Path) -> list[Record]:
    """All records, the latest push last."""
    found = [Record(path.parent, read_json(path)) for path in (runs / "kernels").glob(f"*/*/v*/{KERNEL}")]
    return sorted(found, key=lambda record: (str(record.facts.get("pushed_at")), str(record.folder)))


def kernel_folder(runs: Path, ref: KernelRef) -> Path:
    """The folder of all versions of a kernel."""
    return runs / "kernels" / ref.owner / ref.slug


def _folder_of(runs: Path, ref: KernelRef) -> Path:
    return kernel_folder(runs, ref) / f"v{ref.version}"


def import_runs(record: Record, runs: Path) -> list[str]:
    """Copy a kernel's runs, dataset, blend and submission to the local folders; returns a line for each action.

    Local runs with more progress are kept; a run that is replaced is moved aside, never deleted.
    """
    report = read_report(record.output)
    lines = [line for entry in report.runs for line in _import_run(record, entry, runs)]
    for path, what in ((report.boxes, "its dataset"), (report.blend, "the blend")):
        if path and not (target := local_path(runs, path)).exists():
            _copy_folder(record.output / path, target)
            lines.append(f"{target}: {what}")
    if report.submission:
        target = submissions_folder() / Path(report.submission).name
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(record.output / report.submission, target)
            lines.append(f"{target}: its submission")
    return lines


def local_path(runs: Path, path: str) -> Path:
    """The path in the local runs folder for a path in an output's runs/."""
    return runs.joinpath(*Path(path).parts[1:])


def _import_run(record: Record, entry: RunEntry, runs: Path) -> Iterator[str]:
    source, target = record.output / entry.run, local_path(runs, entry.run)
    if not source.is_dir():
        raise RunError(f"{record.output} has no {entry.run}, which its report lists; pull it again")
    with locked(target):
        local, remote = Run(target), Run(source)
        if local.is_trained and remote.is_trained and local.best == remote.best:
            for folder in sorted(source.glob("predictions-*")):
                if not (target / folder.name).exists():
                    _copy_folder(folder, target / folder.name)
                    yield f"{target / folder.name}: predictions"
            return
        if local.is_trained:
            yield f"{target}: already trained here, kept; Kaggle's run is in {source}"
            return
        if local.is_resumable and not remote.is_trained:
            yield f"{target}: in progress here, kept; Kaggle's run is in {source}"
            return
        if target.exists():
            backup = target.with_name(f"{target.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
            target.rename(backup)
            yield f"{backup}: the local run in progress, moved aside"
        origin = {key: record.facts.get(key) for key in ("kernel", "url", "commit", "config", "config_digest")}
        _copy_folder(source, target, origin)
        yield f"{target}: {'trained' if remote.is_trained else 'in progress'}"


def _copy_folder(source: Path, target: Path, origin: Mapping[str, Any] | None = None) -> None:
    """Copy under a temporary name first. Files are hard-linked if possible: podium replaces files, never rewrites."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".importing-", dir=target.parent) as temporary:
        copy = Path(temporary) / target.name
        shutil.copytree(source, copy, copy_function=link_or_copy)
        if origin:
            write_json(copy / KERNEL, origin)
        copy.rename(target)
