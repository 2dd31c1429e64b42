"""`podium data check` on a Ray cluster: some images are a task."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from podium.cluster.ray_cluster import Jobs, Report, Resources, resources_per_task
from podium.cluster.storage import Storage
from podium.data.catalogue import file_digest
from podium.data.image_paths import ImagePaths
from podium.data.quality import VERSION, Measurements, measure_here, read_measurements
from podium.errors import DataError, RunError
from podium.files import digest_of
from podium.jobs.queue import OnRound
from podium.locks import locked
from podium.workflows.cluster import (
    Cluster,
    ClusterJob,
    ClusterQueue,
    Rounds,
    follow_jobs,
)
from podium.workflows.cluster_task import check_versions, compared_versions, machine

PER_TASK = 10_000
"""Images: about a minute on a few cores."""
FILE = "measured.npy"


@dataclass(frozen=True)
class Work:
    """Some images, as a task gets them."""

    paths: ImagePaths
    name: str
    """Where their measurements are stored."""
    bytes: int
    """The size of all files together."""
    storage: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class ClusterMeasure:
    """Measures images on a cluster. Interrupted, the next one takes what is measured already."""

    cluster: Cluster
    config: Path
    """What is checked."""
    runs: Path
    command: str
    on_round: OnRound

    def __call__(self, paths: ImagePaths, console: Console | None) -> Iterator[Measurements]:
        storage = self.cluster.storage_in(self.runs)
        works = [_work(paths[start : start + PER_TASK], storage.url) for start in range(0, len(paths), PER_TASK)]
        folder = self.runs / "clusters" / f"{self.config.stem}-{digest_of([work.name for work in works])}"
        jobs = [
            ClusterJob(
                run=work.name, label=f"images {PER_TASK * number + 1:,} to {PER_TASK * number + len(work.paths):,}"
            )
            for number, work in enumerate(works)
        ]
        queue = ClusterQueue(folder, self.config, jobs, self.cluster.address, storage.url)
        names = [work.name for work in works]
        with locked(folder), self.cluster.connected():
            tasks, resources = Jobs.start(queue.coordinator), resources_per_task(Resources(gpus=0.0))
            rounds = Rounds(queue, tasks, run_work, dict(zip(names, works, strict=True)), resources)
            follow_jobs(rounds, names, self.on_round, self.command)
        with tempfile.TemporaryDirectory() as temporary:
            for work in works:
                yield fetch_measurements(storage, work.name, len(work.paths), Path(temporary) / work.name)
                storage.remove(work.name)


def fetch_measurements(storage: Storage, name: str, images: int, folder: Path) -> Measurements:
    """The stored measurements of so many images. Damaged ones are removed, so that they are measured again."""
    storage.pull(name, folder)
    try:
        measured = read_measurements(folder / FILE)
        if len(measured) != images:
            raise ValueError(f"{len(measured):,} images instead of {images:,}")
    except (OSError, ValueError) as error:
        storage.remove(name)
        raise RunError(f"{storage.url} has damaged measurements ({error}): run the same command again") from None
    return measured


def _work(paths: ImagePaths, url: str) -> Work:
    folders = [str(Path(folder).absolute()) for folder in paths.folders]
    here = ImagePaths(folders, paths.folder_of, paths.names, paths.reading)
    files = [file_digest(files).hex() for files in _files(here)]
    name = f"check-{digest_of([files, str(paths.reading), VERSION])}"
    return Work(here, name, _bytes(here), url, compared_versions())


def _files(paths: ImagePaths) -> Iterator[list[str]]:
    return (paths.reading.files_of(paths.text(row)) for row in range(len(paths)))


def _bytes(paths: ImagePaths) -> int:
    return sum(Path(file).stat().st_size for files in _files(paths) for file in files if Path(file).is_file())


def run_work(work: Work, report: Report) -> str:
    """On a machine of the cluster; returns how many images it measured."""
    check_versions(work.versions)
    storage = Storage(work.storage)
    if _bytes(work.paths) != work.bytes:
        raise DataError(
            f"{machine()} has other images than the machine that started the check, in {work.paths.folders[0]}"
        )
    with tempfile.TemporaryDirectory() as folder:
        if not storage.pull(work.name, Path(folder)):  # else its machine was lost after it was done
            parts, done = list[Measurements](), 0
            for part in measure_here(work.paths, None):
                parts.append(part)
                done += len(part)
                report(f"{done:,} images", ())
            np.save(Path(folder) / FILE, np.concatenate(parts))
            storage.push(Path(folder), work.name)
    return f"{len(work.paths):,} images"
