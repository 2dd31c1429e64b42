"""Push a folder to a private Kaggle dataset, and name the config keys that use it."""

from pathlib import Path

from rich.console import Console

from podium.errors import DataError
from podium.kaggle.dataset_push import PushedDataset, default_title, push_dataset
from podium.kernel.pretrained import config_key
from podium.workflows.inference_jobs import stage_blend

_PRESET = "task.json"
"""A file of every KerasHub preset."""
_RUN = "state.json"
"""A file of every run, whose weights are those of a whole model."""
_WEIGHTS = ".weights.h5"


def push_data(
    folder: Path, console: Console, *, title: str | None = None, runs: Path = Path("runs")
) -> tuple[PushedDataset, list[str]]:
    """Returns the dataset and the lines that use it: keys of a config or, for the folder of a blend, a command."""
    from podium.kaggle.client import sign_in

    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; name the folder whose files are uploaded")
    is_blend = (folder / "blend.json").is_file()
    if is_blend:
        folder = stage_blend(folder)
        console.print(f"{folder}: the blend, and of its runs the weights, configs and predictions", highlight=False)
    pushed = push_dataset(sign_in(), folder, title or default_title(folder), runs, console)
    command = f"podium kernel build --inference ENSEMBLE.yaml --attach {pushed.source}"
    return pushed, [command] if is_blend else source_lines(pushed)


def source_lines(pushed: PushedDataset) -> list[str]:
    """Weights and presets by their paths, everything else as a data folder."""
    names = [file.name for entry in pushed.entries for file in entry.files]
    folders = {name.rpartition("/")[0] for name in names if name.rpartition("/")[2] in (_PRESET, _RUN)}
    presets = [name.removesuffix(f"/{_PRESET}") for name in names if name.endswith(f"/{_PRESET}")]
    weights = [name for name in names if name.endswith(_WEIGHTS) and name.rpartition("/")[0] not in folders]
    lines = [f"{config_key(name)}: {pushed.source}/{name}" for name in [*weights, *presets]]
    return lines or [pushed.source if folders else f"data_at_kaggle: {pushed.source}"]
