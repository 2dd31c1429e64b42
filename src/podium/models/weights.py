"""The file with pretrained weights of a backbone, and the digest of a file or of a preset."""

from pathlib import Path

from podium.config.backbone_settings import AnyBackbone, BackboneSettings, PresetSettings
from podium.errors import RunError, WeightsError
from podium.files import digest_of, digest_of_file, read_json, sha256_of
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


def weights_digest(name: str, backbone: AnyBackbone) -> str | None:
    """A digest of the weights file or the preset folder, or its name at Kaggle; None if weights are random or
    downloaded by name.

    A missing file is an error here, before anything is trained.
    """
    if isinstance(backbone, PresetSettings):
        return _preset_digest(name, backbone) if backbone.is_a_folder else _at_kaggle(backbone)
    if not backbone.weights_are_a_path:
        return _at_kaggle(backbone)
    path = Path(backbone.weights)
    if not path.is_file():
        raise WeightsError(missing_weights(name, path))
    return sha256_of(path)


def _at_kaggle(backbone: AnyBackbone) -> str | None:
    """The name of what does not exist outside Kaggle."""
    if backbone.kaggle_source is None:
        return None
    return backbone.preset if isinstance(backbone, PresetSettings) else backbone.weights


def _preset_digest(name: str, backbone: PresetSettings) -> str:
    folder = Path(backbone.preset)
    config, converter = folder / "config.json", folder / "image_converter.json"
    try:
        is_preset = "registered_name" in read_json(config)
    except RunError:
        is_preset = False
    files = [] if backbone.has_random_weights else sorted(folder.glob("model*.weights.*"))
    if not is_preset or not (files or backbone.has_random_weights):
        raise WeightsError(
            f"{name}: no KerasHub preset in {folder}; expected a folder written by save_to_preset, with {config.name}"
            " and weights, or the name of a preset such as backbone.preset: resnet_50_imagenet (needs internet)"
        )
    return digest_of([[file.name, digest_of_file(file)] for file in (config, converter, *files) if file.is_file()])


def missing_weights(name: str, path: Path) -> str:
    if path.is_dir():
        return (
            f"{name}: the weights {path} are a folder; expected a file, or for a KerasHub preset"
            f" --set 'backbone={{preset: {path.absolute()}}}'"
        )
    return (
        f"{name}: no weights at {path}; expected an existing file, or backbone.weights: imagenet (needs internet) or"
        " none"
    )
