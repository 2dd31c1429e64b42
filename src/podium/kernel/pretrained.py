"""Pretrained weights, downloaded by a kernel with internet and stored as files for kernels without."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

from podium.config.member import BackboneSettings
from podium.detection.config import PresetSettings
from podium.errors import ConfigError
from podium.kernel.job import Job, Model, load_config
from podium.options import RunOptions

Backbone = BackboneSettings | PresetSettings


def pretrained_files(models: Iterable[Model]) -> dict[str, Backbone]:
    """The backbones of these models that need a download, by the name of their weights file or preset folder."""
    backbones: list[Backbone] = [model.settings.backbone for model in models]
    files = {_file_name(backbone): backbone for backbone in backbones if backbone.is_fetched}
    if not files:
        raise ConfigError("no config needs pretrained weights from the internet: there is nothing to download")
    return files


def _file_name(backbone: Backbone) -> str:
    if isinstance(backbone, PresetSettings):
        return backbone.preset.rpartition("://")[2].replace("/", "-")
    width = "" if backbone.alpha is None else f"-{backbone.alpha:g}"
    return f"{backbone.name}{width}-{backbone.weights}.weights.h5"


def config_key(name: str) -> str:
    """The config key that takes this weights file or preset folder."""
    return "backbone.weights" if name.endswith(".weights.h5") else "backbone.preset"


def run(job: Job, configs: Path, options: RunOptions, console: Console) -> dict[str, Any]:
    """Save the pretrained weights and presets of the job's configs. Return the report."""
    overrides = job.overrides_in(configs)
    loaded = [load_config(configs / name, overrides, job.seed) for name in (job.config, *job.more_configs)]
    files = pretrained_files(model for config in loaded for model in job.models_of(config))
    for name, backbone in files.items():
        _save(backbone, Path(name))
        parts = [path for path in (Path(name), *Path(name).rglob("*")) if path.is_file()]
        console.print(f"{name}: {sum(path.stat().st_size for path in parts):,} bytes")
    return {"status": "done", "weights": list(files)}


def _save(backbone: Backbone, path: Path) -> None:
    from podium.detection.presets import save_preset
    from podium.models.backbone import build_backbone

    if isinstance(backbone, PresetSettings):
        save_preset(backbone, path)
    else:
        # Without the top layers, weights do not depend on the image size; every family accepts 224.
        build_backbone(backbone, 224).save_weights(path)
