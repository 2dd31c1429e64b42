"""The file with pretrained weights of a backbone."""

import hashlib
from pathlib import Path

from podium.config.member import BackboneSettings
from podium.errors import WeightsError
from podium.paths import kaggle_places


def find_weights_file(settings: BackboneSettings) -> Path | None:
    """The path on this machine or in a Kaggle kernel; None if the weights are random or downloaded by name."""
    if settings.kaggle_source is None:
        return Path(settings.weights) if settings.weights_are_a_path else None
    paths = [place / str(settings.kaggle_file) for place in kaggle_places(*settings.kaggle_source)]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise WeightsError(
            f"{settings.weights} is not mounted: looked for {' and '.join(map(str, paths))}; push to Kaggle, where it"
            " is attached, or use a local copy: --set backbone.weights=FILE"
        )
    return found


def weights_digest(name: str, backbone: BackboneSettings) -> str | None:
    """The SHA-256 of a weights file; None if the weights are random or downloaded by name.

    A missing file is an error here, before anything is trained.
    """
    if backbone.kaggle_source:
        return backbone.weights  # its Kaggle name, since the file does not exist outside Kaggle
    if not backbone.weights_are_a_path:
        return None
    path = Path(backbone.weights)
    if not path.is_file():
        raise WeightsError(missing_weights(name, path))
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def missing_weights(name: str, path: Path) -> str:
    return (
        f"{name}: no weights at {path}; expected an existing file, or backbone.weights: imagenet (needs internet) or"
        " none"
    )
