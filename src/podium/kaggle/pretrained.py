"""Pretrained weights fetched where there is internet, kept as files that kernels without it can read."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from podium.config.member import NAMED_WEIGHTS, BackboneSettings
from podium.errors import ConfigError
from podium.kaggle.job import Job, Model, load_config


def wanted_weights(models: Iterable[Model]) -> dict[str, BackboneSettings]:
    """By the name of their file: what these want from the internet."""
    backbones = [model.settings.backbone for model in models]
    named = [one for one in backbones if one.weights in NAMED_WEIGHTS and one.weights != "none"]
    if not named:
        raise ConfigError("none of these configs wants weights from the internet: there is nothing to fetch")
    return {weights_file(one): one for one in named}


def weights_file(backbone: BackboneSettings) -> str:
    width = "" if backbone.alpha is None else f"-{backbone.alpha:g}"
    return f"{backbone.name}{width}-{backbone.weights}.weights.h5"


def keep_weights(job: Job, configs: Path, console: Console) -> list[str]:
    """Save each backbone's weights without its top, as `backbone.weights: <file>` reads them."""
    from podium.models.backbone import build_backbone

    models = [
        model
        for name in (job.config, *job.also)
        for model in job.models_of(load_config(configs / name, job.overrides_among(configs), job.seed))
    ]
    files = wanted_weights(models)
    for name, backbone in files.items():
        # Weights without the top do not depend on the size, only on a size that every family takes.
        build_backbone(backbone, 224).save_weights(name)
        console.print(f"{name}: {Path(name).stat().st_size:,} bytes")
    return list(files)
