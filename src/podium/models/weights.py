"""Which pretrained weights a run begins with."""

import hashlib
from pathlib import Path

from podium.config.member import BackboneSettings
from podium.errors import WeightsError


def fingerprint(name: str, backbone: BackboneSettings) -> str | None:
    """Of a weights file: the same path with other weights makes another run. One that is missing
    is told now, before anything else trains."""
    if backbone.kaggle_source:
        return backbone.weights  # by its name alone: at home the file is not there
    if not backbone.weights_are_a_path:
        return None
    path = Path(backbone.weights)
    if not path.is_file():
        raise WeightsError(
            f"{name}: no weights at {path}; give a file that is there, or backbone.weights: imagenet (needs"
            " internet) or none"
        )
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
