"""python -m benchmarks.scores --data DIR --weights DIR [--peers VENV] [--only NAME] [--minutes M]

What users of different tools get in the same minutes: Keras's guide, fastai's fine_tune with the weights of podium's
Lite0, one member of podium, and an ensemble. All predict the same tenth of the training images, whose answers they do
not see; podium's also answer the competition's own test images, outside of their minutes. Ctrl-C stops it; the same
command continues, and does not repeat finished candidates.
"""

import argparse
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from benchmarks.__main__ import COMPETITION
from benchmarks.held_out import HeldOut, hold_out
from benchmarks.images import photographs
from benchmarks.machine import describe_environment
from benchmarks.rounds import ROOT, MeasuringFailedError
from benchmarks.score_candidates import MINUTES, SIZE, Sitting, candidates, ensembles, write_answers
from podium.errors import PodiumError
from podium.files import read_json, write_json, write_text

LIBRARIES = ("tensorflow", "keras", "keras-hub", "albumentations", "torch", "torchvision", "timm", "fastai")
HEAD = ("candidate", "held-out accuracy", "minutes", "validation accuracy", "nested estimate", "minutes to 0.90")
INTRODUCTION = """\
# What the same minutes bring

Written by `make scores`, in one sitting. Each candidate is a command of its own, and predicts a stratified tenth of the
training images of {name} ({test} of {all}); a fifth of the others is for validation. Keras and fastai have images of
{size} px, podium those of its member files. Minutes are from the command to predictions on disk; those to 0.90 end with
the first epoch of at least this validation accuracy. Validation accuracies of podium are out of fold, with test-time
augmentation. fastai has the weights of podium's Lite0 and the minutes of Keras's guide. The candidates are in
`benchmarks/peers/`, podium's in `benchmarks/members/`, and the answers of these models for the competition's own test
images in `benchmarks/answers/`.
"""


def measure(sitting: Sitting, name: str) -> None:
    folder = sitting.work / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    print(f"{name}: running, output in {folder / 'output.log'}", flush=True)
    rows = candidates(sitting.configs)[name](sitting, folder)
    write_json(folder / "rows.json", {"settings": settings_of(sitting, name), "rows": [asdict(row) for row in rows]})


def finished_rows(sitting: Sitting, name: str) -> list[dict[str, Any]]:
    """The rows of a candidate that was measured with these settings; else none."""
    content = read_json(sitting.work / name / "rows.json")
    return list(content["rows"]) if content.get("settings") == settings_of(sitting, name) else []


def settings_of(sitting: Sitting, name: str) -> dict[str, Any]:
    """What decides the rows of a candidate."""
    settings: dict[str, Any] = {"images": sitting.held_out.images.folder.name, "minutes": sitting.minutes}
    if name in ensembles(sitting.configs):
        members = yaml.safe_load((sitting.configs / f"{name}.yaml").read_text())["members"]
        settings["configs"] = {file: (sitting.configs / file).read_text() for file in (f"{name}.yaml", *members)}
    elif name == "fastai":
        settings["guide"] = finished_rows(sitting, "keras")
    return settings


def table(rows: Sequence[Mapping[str, Any]], test: int) -> str:
    lines = [f"| {' | '.join(HEAD)} |", f"|---|{'---:|' * (len(HEAD) - 1)}"]
    for row in rows:
        error = math.sqrt(row["held_out"] * (1 - row["held_out"]) / test)
        cells = [f"{row['held_out']:.4f} ± {error:.4f}", _one_decimal(row["minutes"]), f"{row['validation']:.4f}"]
        cells += ["{:.4f} ± {:.4f}".format(*row["nested"]) if row["nested"] else "–"]
        lines.append(f"| {' | '.join([row['candidate'], *cells, _one_decimal(row['minutes_to_target'])])} |")
    return "\n".join(lines) + "\n"


def _one_decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def write_results(out: Path, rows: Sequence[Mapping[str, Any]], held_out: HeldOut, machine: Mapping[str, str]) -> None:
    images = held_out.images
    text = INTRODUCTION.format(
        name=images.name, test=images.counts.test, all=sum(vars(images.counts).values()), size=SIZE
    )
    text += f"\n{table(rows, images.counts.test)}\n## Machine\n\n"
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "scores.md", text + "".join(f"- {name}: {value}\n" for name, value in machine.items()))
    write_json(out / "scores.json", {"machine": dict(machine), "images": vars(images.counts), "rows": list(rows)})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scores", description="Compare scores and minutes.")
    parser.add_argument("--data", type=Path, required=True, help="data of a competition, with train/{label}/{id}")
    parser.add_argument("--competition", type=Path, default=COMPETITION, help="the competition file of --data")
    parser.add_argument("--weights", type=Path, required=True, help="a folder with presets and MobileNetV2's weights")
    parser.add_argument("--peers", type=Path, help="a virtual environment with fastai, timm and h5py")
    parser.add_argument("--configs", type=Path, default=ROOT / "benchmarks" / "members", help="podium's candidates")
    parser.add_argument("--only", action="append", metavar="NAME", help="keras, fastai, or an ensemble of --configs")
    parser.add_argument("--minutes", type=float, help=f"scale all epochs to about so many minutes, not {MINUTES:.0f}")
    parser.add_argument("--images", type=int, help="use only so many images")
    parser.add_argument("--work", type=Path, default=ROOT / "data" / "scores", help="folder of images and candidates")
    parser.add_argument("--out", type=Path, help="where scores.md and scores.json are written, benchmarks by default")
    options = parser.parse_args(arguments)
    names = list(candidates(options.configs))
    if unknown := set(options.only or []) - set(names):
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}; expected {', '.join(names)}")
    for name in ("data", "competition", "weights", "peers"):
        if (path := getattr(options, name)) and not path.exists():
            parser.error(f"--{name}: {path} does not exist")
    work, peers = options.work.resolve(), options.peers and options.peers.absolute()
    work.mkdir(parents=True, exist_ok=True)
    source = photographs(work, options.data, options.competition)
    held_out = hold_out(source, work, options.images)
    sitting = Sitting(held_out, options.weights.resolve(), peers, work, options.configs.resolve(), options.minutes)
    machine = describe_environment(peers and next(peers.glob("lib/python*/site-packages"), None), LIBRARIES)
    out = options.out or (work if options.minutes or options.images else ROOT / "benchmarks")
    rows: list[dict[str, Any]] = []
    for name in options.only or (names if peers else [name for name in names if name != "fastai"]):
        answers = out / "answers" / f"{name}.csv"
        if not finished_rows(sitting, name):
            answers.unlink(missing_ok=True)
            measure(sitting, name)
        if name in ensembles(sitting.configs) and not answers.exists():
            write_answers(source, work / name, answers)
        rows = [row for name in names for row in finished_rows(sitting, name)]
        write_results(out, rows, held_out, machine)
    print(f"{table(rows, held_out.images.counts.test)}written: {out}/scores.md and scores.json")


if __name__ == "__main__":
    try:
        main()
    except (MeasuringFailedError, PodiumError) as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command continues, and keeps finished candidates") from None
