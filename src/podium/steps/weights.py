"""Which pretrained weights a run begins with, or which preset."""

import hashlib
from pathlib import Path

from podium.config.member import BackboneSettings
from podium.config.preset import PresetSettings
from podium.errors import RunError, WeightsError
from podium.files import digest_of, digest_of_file, read_json

CONFIG, CONVERTER, WEIGHTS = "config.json", "image_converter.json", "model*.weights.*"
"""What is read of a preset's folder, as KerasHub names it."""


def fingerprint(name: str, backbone: BackboneSettings | PresetSettings) -> str | None:
    """Of a weights file, or a preset's folder: the same path with other weights makes another run. One that is missing
    is told now, before anything else trains."""
    if isinstance(backbone, PresetSettings):
        return _fingerprint_of_preset(name, backbone)
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


def _fingerprint_of_preset(name: str, backbone: PresetSettings) -> str | None:
    if not backbone.is_a_folder:
        return backbone.preset if backbone.kaggle_source else None
    folder = Path(backbone.preset)
    try:
        is_a_preset = "registered_name" in read_json(folder / CONFIG)
    except RunError:
        is_a_preset = False
    weights = sorted(folder.glob(WEIGHTS))
    if not is_a_preset or not weights:
        raise WeightsError(
            f"{name}: no preset of KerasHub in {folder}; give a folder that save_to_preset wrote, with {CONFIG} and the"
            " weights, or one of KerasHub's names, such as backbone.preset: resnet_50_imagenet (needs internet)"
        )
    files = [folder / CONFIG, folder / CONVERTER, *weights]
    return digest_of([[file.name, digest_of_file(file)] for file in files if file.is_file()])
