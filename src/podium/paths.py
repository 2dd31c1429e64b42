"""The only place that knows where data and outputs lie, here and under /kaggle."""

import os
from pathlib import Path

from podium.errors import DataError, MachineError


def kaggle_input() -> Path:
    """Where Kaggle mounts its inputs; a rehearsal puts another root here."""
    return Path(os.environ.get("PODIUM_KAGGLE_INPUT") or "/kaggle/input")


def kaggle_places(kind: str, name: str) -> list[Path]:
    """Where Kaggle mounts a competition, a dataset or a kernel's output: as it does now, and as it did."""
    folder = {"competition": "competitions", "dataset": "datasets", "kernel": "notebooks"}[kind]
    return [kaggle_input() / folder / name, kaggle_input() / name.rpartition("/")[2]]


def data_folder(slug: str, option: Path | None = None, at_kaggle: tuple[str, str] | None = None) -> Path:
    """The data of a competition or a detector: --data, else PODIUM_DATA, else data/<slug>, else where Kaggle mounts it.

    There it may be another source, a kind and a name, than the competition of that slug.
    """
    for named, source in ((option, "--data"), (os.environ.get("PODIUM_DATA"), "PODIUM_DATA")):
        if named:
            if not Path(named).is_dir():
                raise DataError(f"{source} names {named}, which is no folder; give the folder that holds {slug}'s data")
            return Path(named)
    places = [Path("data") / slug, *kaggle_places(*(at_kaggle or ("competition", slug)))]
    for place in places:
        if place.is_dir():
            return place
    looked = ", ".join(str(place) for place in places)
    raise DataError(f"no data for {slug}: looked for {looked}; give the folder with --data or in PODIUM_DATA")


def cache_folder() -> Path:
    """What podium can make again at any time, such as unpacked archives: PODIUM_CACHE, else the user's cache folder."""
    named = os.environ.get("PODIUM_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "podium"


def configs_folder() -> Path:
    """The configs of the folder podium runs in, else those of the checkout it was installed from."""
    checkout = Path(__file__).resolve().parents[2] / "configs"
    for place in (Path("configs"), checkout):
        if (place / "competitions").is_dir():
            return place
    raise MachineError(f"no configs folder here or at {checkout}; run podium in a clone of the project")


def submissions_folder() -> Path:
    return Path("submissions")


def folds_file(runs: Path, slug: str, digest: str) -> Path:
    """The folds made for one competition's rows: written once, then read, so that a person's change to it holds."""
    return runs / "folds" / f"{slug}-{digest}.csv"


def boxes_folder(runs: Path, slug: str) -> Path:
    """The set of images with boxes that was built for a detector."""
    return runs / "boxes" / slug


def worker_count() -> int:
    """How many processes or threads prepare images: PODIUM_WORKERS, else one for every core this process may use."""
    named = os.environ.get("PODIUM_WORKERS")
    if named:
        if not named.isdecimal() or int(named) == 0:
            raise MachineError(f"PODIUM_WORKERS is {named!r}; set it to a whole number of 1 or more, or leave it out")
        return int(named)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
