"""Records of pushed kernels, and importing their output: runs/kernels/<owner>/<slug>/v<N>/.

    kernel.json        the version of the kernel, and its commit and config
    kernel.py          the pushed script
    output/            the downloaded output

Imported, its runs are copied to runs/, each with a kernel.json that names the kernel.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium.config.kaggle_names import KernelRef
from podium.errors import RunError
from podium.files import read_json, write_json, write_text
from podium.kernel.report import RunEntry, read_report
from podium.locks import locked
from podium.paths import submissions_folder
from podium.runs import Run

KERNEL = "kernel.json"


@dataclass(frozen=True)
class Record:
    folder: Path
    facts: dict[str, Any]

    @property
    def ref(self) -> KernelRef:
        return KernelRef.parse(self.facts["kernel"])

    @property
    def output(self) -> Path:
        return self.folder / "output"


def record_push(runs: Path, facts: Mapping[str, Any], script: str, ref: KernelRef, url: str) -> Record:
    folder = _folder_of(runs, ref)
    pushed_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_text(folder / "kernel.py", script)
    record = Record(folder, {"kernel": str(ref), "url": url, "pushed_at": pushed_at, **facts})
    write_json(folder / KERNEL, record.facts)
    return record


def read_record(runs: Path, ref: KernelRef) -> Record:
    """The record of a version; one that was pushed from another machine has only its name."""
    folder = _folder_of(runs, ref)
    return Record(folder, read_json(folder / KERNEL) or {"kernel": str(ref)})


def read_records(runs: Path) -> list[Record]:
    """All records, the latest push last."""
    found = [Record(path.parent, read_json(path)) for path in (runs / "kernels").glob(f"*/*/v*/{KERNEL}")]
    return sorted(found, key=lambda record: (str(record.facts.get("pushed_at")), str(record.folder)))


def _folder_of(runs: Path, ref: KernelRef) -> Path:
    return runs / "kernels" / ref.owner / ref.slug / f"v{ref.version}"


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
        if local.is_trained and remote.is_trained and local.state["best"] == remote.state["best"]:
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
        shutil.copytree(source, copy, copy_function=_link_or_copy)
        if origin:
            write_json(copy / KERNEL, origin)
        copy.rename(target)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
