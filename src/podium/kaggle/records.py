"""What was pushed, and what came home: runs/kernels/<owner>/<slug>/v<N>/.

    kernel.json        which version of which kernel, from which commit and config
    kernel.py          the script that was pushed
    output/            what the kernel left, as it was fetched

Brought home, its runs lie among the others in runs/, each with a kernel.json that says where it was trained.
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


def folder_of(runs: Path, ref: KernelRef) -> Path:
    return runs / "kernels" / ref.owner / ref.slug / f"v{ref.version}"


def note_push(runs: Path, facts: Mapping[str, Any], script: str, ref: KernelRef, url: str) -> Record:
    folder = folder_of(runs, ref)
    pushed_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write_text(folder / "kernel.py", script)
    record = Record(folder, {"kernel": str(ref), "url": url, "pushed_at": pushed_at, **facts})
    write_json(folder / KERNEL, record.facts)
    return record


def records(runs: Path) -> list[Record]:
    """All of them, the newest push last."""
    found = [Record(path.parent, read_json(path)) for path in (runs / "kernels").glob(f"*/*/v*/{KERNEL}")]
    return sorted(found, key=lambda record: (str(record.facts.get("pushed_at")), str(record.folder)))


def record_of(runs: Path, ref: KernelRef) -> Record:
    """Of a version that was pushed from elsewhere only its name is known."""
    folder = folder_of(runs, ref)
    return Record(folder, read_json(folder / KERNEL) or {"kernel": str(ref)})


def bring_home(record: Record, runs: Path) -> list[str]:
    """Put a kernel's runs among the others, as whole folders; gives a line for each thing that was done.

    What is here already and is worth more stays; what it replaces is moved aside, never removed.
    """
    report = read_report(record.output)
    done = [line for entry in report.runs for line in _bring_run(record, entry, runs)]
    for place, what in ((report.boxes, "its set of boxes"), (report.blend, "the blend")):
        if place and not (target := here_of(runs, place)).exists():
            _copy_whole(record.output / place, target)
            done.append(f"{target}: {what}")
    if report.submission:
        target = submissions_folder() / Path(report.submission).name
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(record.output / report.submission, target)
            done.append(f"{target}: its submission")
    return done


def here_of(runs: Path, place: str) -> Path:
    """Where a folder in an output's runs/ belongs here."""
    return runs.joinpath(*Path(place).parts[1:])


def _bring_run(record: Record, entry: RunEntry, runs: Path) -> Iterator[str]:
    source, target = record.output / entry.run, here_of(runs, entry.run)
    if not source.is_dir():
        raise RunError(f"{record.output} lacks {entry.run}, which its report names; pull it again")
    origin = {key: record.facts.get(key) for key in ("kernel", "url", "commit", "config", "config_digest")}
    with locked(target):
        here, there = Run(target), Run(source)
        if here.is_trained and there.is_trained and here.state["best"] == there.state["best"]:
            for folder in sorted(source.glob("predictions-*")):
                if not (target / folder.name).exists():
                    _copy_whole(folder, target / folder.name)
                    yield f"{target / folder.name}: predictions"
            return
        if here.is_trained:
            yield f"{target}: trained here already, kept; Kaggle's lies in {source}"
            return
        if here.is_resumable and not there.is_trained:
            yield f"{target}: under way here, kept; Kaggle's lies in {source}"
            return
        if target.exists():
            aside = target.with_name(f"{target.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
            target.rename(aside)
            yield f"{aside}: what was under way here, moved aside"
        _copy_whole(source, target, {KERNEL: origin})
        yield f"{target}: {'trained' if there.is_trained else 'under way'}"


def _copy_whole(source: Path, target: Path, more: Mapping[str, Mapping[str, Any]] | None = None) -> None:
    """Under a temporary name first. Files are linked where the disk can: podium replaces files, it never rewrites."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".coming-home-", dir=target.parent) as temporary:
        place = Path(temporary) / target.name
        shutil.copytree(source, place, copy_function=_link_or_copy)
        for name, content in (more or {}).items():
            write_json(place / name, content)
        place.rename(target)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
