"""Kernels that only predict: the blend they apply, where Kaggle has its runs, and what is uploaded for it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from podium.config.kaggle_names import KaggleSource, slug_of
from podium.config.loading import load_ensemble
from podium.errors import BundleError, ConfigError
from podium.files import link_or_copy, read_json
from podium.kaggle.dataset_push import default_title
from podium.kaggle.records import read_records
from podium.kernel.job import Job
from podium.runs import Run
from podium.workflows.finished import FinishedBlend, find_blend, read_blend

STAGED = Path("build/runs")
"""Where the files of a blend are collected to be uploaded."""


def inference_job(
    ensemble: Path, runs: Path, attach: Sequence[str] = (), overrides: Sequence[str] = (), seed: int | None = None
) -> Job:
    """The job that applies the newest finished blend of an ensemble file to the test set that Kaggle mounts.

    `attach` names where Kaggle has its runs: by default the dataset that `podium data push` made of the blend, else the
    kernels that trained them.
    """
    for source in attach:
        found = KaggleSource.parse(source)
        if found is None or found.kind not in ("dataset", "kernel") or found.path:
            raise ConfigError(
                f"--attach: expected kaggle-dataset:<owner>/<slug> or kaggle-kernel:<owner>/<slug>, got {source!r}"
            )
    blend = find_blend(load_ensemble(ensemble, overrides, seed), runs)
    sources = list(attach) or _pushed_dataset(blend, runs) or _kernels_of(blend, runs)
    return Job(
        kind="inference", overrides=tuple(overrides), seed=seed, blend=blend.path.name, trained_at=tuple(sources)
    )


def _pushed_dataset(blend: FinishedBlend, runs: Path) -> list[str]:
    slug = slug_of(default_title(blend.path))
    pushed = [path for path in (runs / "datasets").glob(f"*/{slug}.json") if read_json(path).get("version")]
    return [f"kaggle-dataset:{path.parent.name}/{slug}" for path in pushed[:1]]


def _kernels_of(blend: FinishedBlend, runs: Path) -> list[str]:
    """The kernels that trained the runs, if their outputs have all of the blend's predictions."""
    outputs = [record for record in read_records(runs) if record.output.is_dir()]
    kernels, local = [], []
    for predictions in blend.predictions:
        relative = Path("runs", *predictions.parts[-3:])
        record = next((record for record in reversed(outputs) if (record.output / relative).is_dir()), None)
        if record:
            kernels.append(f"kaggle-kernel:{record.ref.name}")
        else:
            local.append(Path(*relative.parts[1:3]).as_posix())
    if local:
        raise BundleError(
            f"{blend.path}: these runs are not in the output of a kernel: {', '.join(local)}; upload them with podium"
            f" data push {blend.path}, and run the same command again"
        )
    return list(dict.fromkeys(kernels))


def stage_blend(folder: Path) -> Path:
    """Collect what predicting with a blend needs in a folder to upload: its description, and of each run the weights,
    the config and the blended predictions."""
    blend = read_blend(folder)
    blend.check()
    target = STAGED / folder.name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    link_or_copy(folder / "blend.json", target / "blend.json")
    for predictions in blend.predictions:
        run = Run(predictions.parent)
        files = [run.best_weights, run.config, run.recipe, run.path / "state.json"]
        files += [predictions / "predictions.json", predictions / "oof.csv", *run.path.glob("neighbours-*.npz")]
        for file in (file for file in files if file.is_file()):
            staged = target.joinpath(*predictions.parts[-3:-1]) / file.relative_to(run.path)
            staged.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(file, staged)
    return target
