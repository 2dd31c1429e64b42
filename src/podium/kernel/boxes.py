"""A detector's set of boxes, where it travels in the script: the images and boxes there are those of home, split as
they are here."""

from dataclasses import dataclass, field
from pathlib import Path, PurePath

from podium.detection.config import FolderSource
from podium.detection.loading import Detector
from podium.errors import BundleError
from podium.paths import boxes_folder


@dataclass(frozen=True)
class Travelling:
    """The files of a set, by their place in the script; none where it is built there, and why it is."""

    files: dict[str, str] = field(default_factory=dict)
    why_not: str = ""


def travelling_set(detector: Detector, runs: Path) -> Travelling:
    """The set that was built here for this detector, if it can travel."""
    from podium.detection.dataset import BOXES, IMAGES, INDEX, read_dataset

    folder = boxes_folder(runs, detector.settings.slug)
    if not (folder / INDEX).is_file():
        return Travelling(why_not=f"none was built in {folder}")
    boxset = read_dataset(folder)
    if turned := int(boxset.images["turned"].sum()):
        return Travelling(why_not=f"{turned:,} of its images were turned, and images do not travel")
    place = f"boxes/{detector.settings.slug}"
    names = (INDEX, IMAGES, BOXES)
    return Travelling({f"{place}/{name}": (folder / name).read_text(encoding="utf-8") for name in names})


def check_data(detector: Detector) -> None:
    """What a kernel would only find out after its start."""
    settings = detector.settings
    if settings.kaggle_source is None:
        raise BundleError(
            f"{detector.name}: nothing says where its images lie at Kaggle; put the data folder into a dataset and"
            " say data_at_kaggle: kaggle-dataset:<owner>/<slug> (or with --set)"
        )
    source = settings.source
    if isinstance(source, FolderSource) and PurePath(source.folder).is_absolute():
        raise BundleError(
            f"{detector.name}: source.folder {source.folder} is a place of this machine; say it as seen from the data"
            " folder"
        )
