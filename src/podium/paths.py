"""Where data, configs and outputs are, on this machine and in a Kaggle kernel."""

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from podium.errors import DataError, MachineError, listed

FILE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""What may name a file that is sent to Kaggle."""


def stays_inside(name: str) -> bool:
    """Whether a name from outside is a plain relative path, also on Windows with its drives and both slashes."""
    is_plain = not {"", ".", ".."} & set(name.split("/")) and "\\" not in name and "\0" not in name
    return is_plain and not PureWindowsPath(name).anchor


def kaggle_input() -> Path:
    """The folder where Kaggle mounts inputs; a rehearsal sets another one."""
    return Path(os.environ.get("PODIUM_KAGGLE_INPUT") or "/kaggle/input")


MOUNT_FOLDERS = {"competition": "competitions", "dataset": "datasets", "kernel": "notebooks", "model": "models"}
"""The folder of each kind of source in the current layout."""


def mount_points(kind: str, name: str) -> tuple[PurePosixPath, PurePosixPath]:
    """Where Kaggle mounts a source below its input folder: in the current layout and in the old one."""
    if kind == "model":
        owner, model, framework, *version = name.split("/")
        name = "/".join((owner, model, framework.lower(), *version))
        return PurePosixPath(MOUNT_FOLDERS[kind], name), PurePosixPath(name).relative_to(owner)
    return PurePosixPath(MOUNT_FOLDERS[kind], name), PurePosixPath(name.rpartition("/")[2])


def kaggle_places(kind: str, name: str) -> list[Path]:
    """The folders where Kaggle mounts a source: in the current layout and in the old one."""
    return [kaggle_input() / place for place in mount_points(kind, name)]


def data_folder(slug: str, option: Path | None = None, at_kaggle: tuple[str, str] | None = None) -> Path:
    """The data of a competition or a detector: --data, else PODIUM_DATA, else data/<slug>, else Kaggle's mount.

    `at_kaggle` is the kind and name of the source that Kaggle mounts; by default the competition of that slug.
    """
    for named, source in ((option, "--data"), (os.environ.get("PODIUM_DATA"), "PODIUM_DATA")):
        if named:
            if not Path(named).is_dir():
                raise DataError(f"{source}: {named} is not a folder; expected the folder with the data of {slug}")
            return Path(named)
    places = [Path("data") / slug, *kaggle_places(*(at_kaggle or ("competition", slug)))]
    for place in places:
        if place.is_dir():
            return place
    tried = ", ".join(str(place) for place in places)
    raise DataError(f"no data for {slug} in {tried}; give its folder with --data or PODIUM_DATA")


def unpack_advice(folder: Path) -> str:
    """For a message: what to unpack, if something is missing from a folder that has zips."""
    zips = sorted(path.name for path in folder.glob("*.zip"))
    return f"unpack {listed(zips)}, or " if zips else ""


SAMPLES = ("sample_submission.csv", "sample-submission.csv")
"""The usual names of a sample submission."""


def sample_file(folder: Path, name: str) -> Path:
    """The sample submission in the data folder: the file of this name, else one with the other usual name."""
    path = folder / name
    others = [path.with_name(other) for other in SAMPLES if path.name in SAMPLES]
    return next((place for place in (path, *others) if place.is_file()), path)


def cache_folder() -> Path:
    """The folder of files that can be recreated at any time: PODIUM_CACHE, else podium in the user's cache folder."""
    named = os.environ.get("PODIUM_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "podium"


def kerashub_cache() -> Path:
    """Where KerasHub keeps the Kaggle Models that it has downloaded."""
    return Path(os.environ.get("KAGGLEHUB_CACHE") or Path.home() / ".cache" / "kagglehub") / "models"


def configs_folder() -> Path:
    """The configs folder of the working directory, else that of the checkout podium is installed from."""
    checkout = Path(__file__).resolve().parents[2] / "configs"
    for place in (Path("configs"), checkout):
        if (place / "competitions").is_dir():
            return place
    raise MachineError(f"no configs folder here or at {checkout}; run podium in a clone of the project")


def submissions_folder() -> Path:
    return Path("submissions")


def folds_file(runs: Path, slug: str, digest: str) -> Path:
    """The folds of a competition's rows. They are written once and then read, so that a user may edit them."""
    return runs / "folds" / f"{slug}-{digest}.csv"


def boxes_folder(runs: Path, slug: str) -> Path:
    """The images with boxes that were built for a detector."""
    return runs / "boxes" / slug


def labels_folder(runs: Path, name: str) -> Path:
    """The labels that an ensemble made for other members."""
    return runs / "pseudo" / name
