"""The candidates of `make scores`: each runs in processes and a folder of its own, and has rows in the table."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import podium
from benchmarks.held_out import HeldOut
from benchmarks.images import Source
from benchmarks.rounds import ROOT, MeasuringFailedError
from podium.files import read_json
from podium.paths import sample_file
from podium.submission.spec import SubmissionSpec
from podium.submission.write import write_submission

SIZE, SEED = 160, 1
EPOCHS, FINE_EPOCHS = 20, 10
"""Of Keras's guide."""
MINUTES = 15.0
"""About those of the guide on two cores; with --minutes, all epochs are scaled by the ratio to this."""
TARGET = 0.9
EPOCH = re.compile(r"\d+/\d+ .*val_accuracy ([\d.]+)")


@dataclass(frozen=True)
class Row:
    """Accuracies, and minutes from the command to predictions on disk."""

    candidate: str
    held_out: float
    minutes: float | None
    validation: float
    """Of podium out of fold, with test-time augmentation; of others after the last epoch."""
    nested: tuple[float, float] | None = None
    """The estimate of a blend by nested cross-validation, and its standard error."""
    minutes_to_target: float | None = None


@dataclass(frozen=True)
class Process:
    """A finished process: the lines that it printed, with the seconds since its start."""

    lines: list[tuple[float, str]]
    seconds: float

    @classmethod
    def run(cls, words: Sequence[str | Path], folder: Path) -> "Process":
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
        environment |= {"PODIUM_CACHE": str(folder / "cache"), "TF_CPP_MIN_LOG_LEVEL": "3"}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        lines, start = [], time.perf_counter()
        with subprocess.Popen(words, cwd=folder, env=environment, **pipes) as process:
            try:
                for line in process.stdout:
                    lines.append((time.perf_counter() - start, line.rstrip()))
                    with (folder / "output.log").open("a") as log:
                        log.write(f"{lines[-1][0]:8.1f}  {line}")
            except BaseException:
                process.terminate()
                raise
        if process.returncode:
            end = "\n".join(text for _, text in lines[-20:])
            raise MeasuringFailedError(f"{folder.name} failed with exit code {process.returncode}:\n{end}")
        return cls(lines, time.perf_counter() - start)

    @property
    def epochs(self) -> list[tuple[float, float]]:
        """The time of the end of each epoch, and its validation accuracy."""
        return [(seconds, float(match[1])) for seconds, text in self.lines if (match := EPOCH.search(text))]

    def minutes_to_target(self, seconds: float) -> float | None:
        """If training had ended with the first epoch that reaches it, with as much time for the rest."""
        reached = [end for end, accuracy in self.epochs if accuracy >= TARGET]
        return (reached[0] + seconds - self.epochs[-1][0]) / 60 if reached else None

    def rows(self, title: str, folder: Path, held_out: HeldOut) -> list[Row]:
        """A row for each file of predictions of a peer; each with the time of the training and its own."""
        times = {text: seconds for seconds, text in self.lines}
        before, rows = times["trained"], []
        for text, seconds in times.items():
            if text.startswith("predicted "):
                name, total = text.split()[1], times["trained"] + seconds - before
                score, minutes = held_out.score(folder / f"{name}.csv"), self.minutes_to_target(total)
                rows.append(Row(f"{title}, {name}", score, total / 60, self.epochs[-1][1], None, minutes))
                before = seconds
        return rows


@dataclass(frozen=True)
class Sitting:
    """What all candidates share."""

    held_out: HeldOut
    weights: Path
    """The folder of the presets and of MobileNetV2's file."""
    peers: Path | None
    """The virtual environment with fastai."""
    work: Path
    configs: Path
    minutes: float | None

    def scaled(self, epochs: float) -> float:
        return epochs if self.minutes is None else epochs * self.minutes / MINUTES

    def call(self, function: str, folder: Path, python: str | Path = sys.executable, **arguments: Any) -> Process:
        """A function of `benchmarks.peers` in a process."""
        job = {"call": f"benchmarks.peers.{function}", "arguments": arguments, "torch": None}
        (folder / "job.json").write_text(json.dumps(job))
        return Process.run([python, "-m", "benchmarks.child", folder / "job.json", folder / "result.json"], folder)

    @property
    def images(self) -> dict[str, Any]:
        split, test = self.held_out.images.folder / "split", self.held_out.test
        return {"split": str(split), "test": str(test), "size": SIZE, "seed": SEED}

    @property
    def mobilenet(self) -> Path:
        files = sorted(self.weights.glob("mobilenet_v2*notop*.h5"))
        if not files:
            raise MeasuringFailedError(f"{self.weights} has no mobilenet_v2*notop*.h5, MobileNetV2 without its top")
        return files[0]


def measure_keras(sitting: Sitting, folder: Path) -> list[Row]:
    epochs, fine_epochs = (max(1, round(sitting.scaled(epochs))) for epochs in (EPOCHS, FINE_EPOCHS))
    arguments = {**sitting.images, "epochs": epochs, "fine_epochs": fine_epochs, "weights": str(sitting.mobilenet)}
    done = sitting.call("keras_guide:whole_guide", folder, **arguments)
    return done.rows("Keras's guide", folder, sitting.held_out)


def measure_fastai(sitting: Sitting, folder: Path) -> list[Row]:
    """In the minutes of Keras's guide: after a run with one epoch, it is known how many epochs fit."""
    guide = read_json(sitting.work / "keras" / "rows.json").get("rows", [])
    minutes = max((row["minutes"] for row in guide), default=sitting.minutes)
    if sitting.peers is None or minutes is None:
        raise MeasuringFailedError("fastai needs --peers, and the minutes of Keras's guide: measure keras first")
    python, preset = sitting.peers / "bin" / "python", str(sitting.weights / "efficientnet_lite0")
    compare_features(sitting, folder, python, preset)
    arguments = {**sitting.images, "preset": preset}
    first = sitting.call("fastai_fine_tune:fine_tune", folder, python, **arguments, epochs=1)
    (frozen, _), (full, _) = first.epochs
    total = max(row.minutes or 0 for row in first.rows("", folder, sitting.held_out))
    epochs = 1 + max(0, math.floor(60 * (minutes - total) / (full - frozen)))
    done = sitting.call("fastai_fine_tune:fine_tune", folder, python, **arguments, epochs=epochs)
    return done.rows(f"fastai, {epochs} epochs", folder, sitting.held_out)


def compare_features(sitting: Sitting, folder: Path, python: Path, preset: str) -> None:
    """Keras and timm have the same features of a few images."""
    images, file = [str(path) for path in sorted(sitting.held_out.test.iterdir())[:8]], str(folder / "features.npz")
    sitting.call("fastai_fine_tune:write_features", folder, preset=preset, images=images, size=SIZE, file=file)
    sitting.call("fastai_fine_tune:compare_features", folder, python, preset=preset, file=file)
    if (result := read_json(folder / "result.json"))["difference"] > 1e-3:
        raise MeasuringFailedError(f"timm has other features with the converted weights of {preset}: {result}")


def measure_podium(sitting: Sitting, folder: Path) -> list[Row]:
    """`podium run` in an empty folder; rows of the blend and, if there are several, of its members."""
    name, held_out = folder.name, sitting.held_out
    write_configs(sitting, folder)
    words = [sys.executable, "-m", "podium", "run", f"{name}.yaml", "--data", held_out.images.folder]
    done = Process.run(words, folder)
    (csv,), (blend,) = folder.glob(f"submissions/*_{name}_*.csv"), folder.glob("runs/*/blend.json")
    facts = read_json(blend)
    to_target = done.minutes_to_target(done.seconds) if len(facts["predictions"]) == 1 else None
    if to_target is None and facts["optimistic_score"] >= TARGET:  # only with its views and image sizes
        to_target = done.seconds / 60
    nested = (facts["score"], facts["standard_error"])
    whole = (held_out.score(csv), done.seconds / 60, facts["optimistic_score"], nested, to_target)
    rows = [Row(f"podium, {name}", *whole)]
    if len(facts["members"]) > 1:
        for member, of_member in facts["members"].items():
            parts = [folder / "runs" / part for part in facts["predictions"] if part.startswith(f"{member}-")]
            score = held_out.score(write_labels(parts, folder / f"{member}.csv"))
            rows.append(Row(f"podium, {name}: {member}", score, None, of_member["score"]))
    return rows


def write_configs(sitting: Sitting, folder: Path) -> None:
    """podium's configs, the competition's, and the folder `weights`, that the configs name."""
    (folder / "weights").mkdir()
    for preset in sitting.weights.glob("*/config.json"):
        (folder / "weights" / preset.parent.name).symlink_to(preset.parent)
    (folder / "weights" / "mobilenet_v2.weights.h5").symlink_to(sitting.mobilenet)
    shutil.copyfile(sitting.held_out.images.competition, folder / "competition.yaml")
    for config in sitting.configs.glob("*.yaml"):
        content = yaml.safe_load(config.read_text())
        for stage in content.get("stages", []) if sitting.minutes else []:
            stage["epochs"] = max(1, round(sitting.scaled(stage["epochs"])))
            if "warmup_epochs" in stage.get("schedule", {}):
                stage["schedule"]["warmup_epochs"] = sitting.scaled(stage["schedule"]["warmup_epochs"])
        (folder / config.name).write_text(yaml.safe_dump(content, sort_keys=False))


def write_labels(parts: Sequence[Path], file: Path) -> Path:
    """The labels that the mean of the predictions of some folds has."""
    import pandas as pd

    tables = [pd.read_csv(part / "test.csv", dtype={"id": str}, index_col="id") for part in parts]
    sum(tables[1:], tables[0]).idxmax(axis=1).str.removeprefix("p_").to_csv(file)
    return file


def write_answers(source: Source, folder: Path, file: Path) -> None:
    """The answers of a finished candidate of podium for the competition's own test images, as a submission."""
    (blend,) = folder.glob("runs/*/blend.json")
    sample = sample_file(source.folder, source.competition.submission.sample)
    predicted = podium.predict_images(blend.parent, sample, data=source.folder)
    spec = SubmissionSpec.of(source.competition, sample)
    with tempfile.TemporaryDirectory() as temporary:
        written = write_submission(
            spec, list(predicted.index), predicted.values, folder=Path(temporary), name="answers"
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(written, file)


def ensembles(configs: Path) -> list[str]:
    """podium's candidates."""
    return sorted(path.stem for path in configs.glob("*.yaml") if "members" in yaml.safe_load(path.read_text()))


def candidates(configs: Path) -> dict[str, Callable[[Sitting, Path], list[Row]]]:
    return {"keras": measure_keras, "fastai": measure_fastai, **dict.fromkeys(ensembles(configs), measure_podium)}
