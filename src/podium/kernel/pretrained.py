"""Pretrained weights fetched where there is internet, kept as files that kernels without it can read."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from podium.config.member import BackboneSettings
from podium.detection.config import PresetSettings
from podium.errors import ConfigError
from podium.kernel.job import Job, Model, load_config

Backbone = BackboneSettings | PresetSettings


def wanted_weights(models: Iterable[Model]) -> dict[str, Backbone]:
    """By the name of their file, or of a preset's folder: what these want from the internet."""
    backbones: list[Backbone] = [model.settings.backbone for model in models]
    fetched = [one for one in backbones if one.is_fetched]
    if not fetched:
        raise ConfigError("none of these configs wants weights from the internet: there is nothing to fetch")
    return {weights_file(one): one for one in fetched}


def weights_file(backbone: Backbone) -> str:
    if isinstance(backbone, PresetSettings):
        return backbone.preset.rpartition("://")[2].replace("/", "-")
    width = "" if backbone.alpha is None else f"-{backbone.alpha:g}"
    return f"{backbone.name}{width}-{backbone.weights}.weights.h5"


def key_of(name: str) -> str:
    """The key of a config that takes what has such a name."""
    return "backbone.weights" if name.endswith(".weights.h5") else "backbone.preset"


def keep_weights(job: Job, configs: Path, console: Console) -> list[str]:
    """Save each backbone's weights without its top, as `backbone.weights: <file>` reads them, and each preset whole, as
    `backbone.preset: <folder>` does."""
    models = [
        model
        for name in (job.config, *job.also)
        for model in job.models_of(load_config(configs / name, job.overrides_among(configs), job.seed))
    ]
    files = wanted_weights(models)
    for name, backbone in files.items():
        _keep(backbone, Path(name))
        parts = [path for path in (Path(name), *Path(name).rglob("*")) if path.is_file()]
        console.print(f"{name}: {sum(path.stat().st_size for path in parts):,} bytes")
    return list(files)


def _keep(backbone: Backbone, path: Path) -> None:
    from podium.detection.presets import save_preset
    from podium.models.backbone import build_backbone

    if isinstance(backbone, PresetSettings):
        save_preset(backbone, path)
    else:
        # Weights without the top do not depend on the size, only on a size that every family takes.
        build_backbone(backbone, 224).save_weights(path)
