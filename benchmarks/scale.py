"""python -m benchmarks.scale [--images N] [--root DIR] [--out FILE]

What a large competition costs before and in the first epoch: tables, folds, the catalogue of all images, `podium data
check`, and an epoch with a frozen backbone, each in a process of its own, at a tenth of N drawn images and at N. Writes
the table of docs/limits.md, with a million images extrapolated by the slope.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.podium_rows import QUIET, memory
from benchmarks.report import write_between
from benchmarks.rounds import ROOT, Machine, MeasuringFailedError, Result
from podium.demo.competition import CLASSES, draw_competition

SIZE = (64, 48)
EPOCH_PX = 48
MILLION = 1_000_000
START, END = "<!-- make scale -->\n", "<!-- end of make scale -->"
STEPS = {
    "table": "reading the tables, finding every image",
    "folds": "splitting into folds",
    "catalogue": "the catalogue: a digest of every image",
    "check": "`podium data check`",
    "epoch": "an epoch with a frozen backbone, from the command on",
}
SECONDS_PER_PAIR = {"check": 20 / 100_000**2}
"""Of comparing all images with each other, which is a part of the step."""
TIMEOUT = 4 * 3600


def measure(step: str, folder: str) -> Result:
    """In a process of its own. Seconds of the step, and the maximum memory of this process."""
    competition = _competition()
    seconds = _STEPS[step](competition, Path(folder))
    return {"seconds": seconds, "most": memory("VmHWM")}


def _competition() -> Any:
    from podium.config.loading import load_competition

    content = {
        "slug": "many-images",
        "train": {"table": "train.csv", "id": "Id", "label": "Category", "images": "train/{label}/{id}"},
        "test": {"images": "test_upload/{id}"},
        "classes": [str(number) for number in range(len(CLASSES))],
        "metric": "accuracy",
        "submission": {"id": "Id", "label": "Category", "format": "label"},
    }
    Path("competition.yaml").write_text(yaml.safe_dump(content))
    return load_competition(Path("competition.yaml").resolve())


def _table(competition: Any, folder: Path) -> float:
    from podium.data.table import read_rows
    from podium.data.unlabelled import find_test_set

    return _seconds(lambda: (read_rows(competition, folder), find_test_set(competition, folder)))


def _folds(competition: Any, folder: Path) -> float:
    from podium.data.folds import make_folds
    from podium.data.table import read_rows

    rows = read_rows(competition, folder)
    return _seconds(lambda: make_folds(competition, rows, Path("runs")))


def _catalogue(competition: Any, folder: Path) -> float:
    from podium.data.catalogue import read_catalogue
    from podium.data.table import read_rows

    rows = read_rows(competition, folder)
    return _seconds(lambda: read_catalogue(rows.paths, competition.slug, QUIET))


def _check(competition: Any, folder: Path) -> float:
    from podium.options import RunOptions
    from podium.workflows.data_check import check_data

    return _seconds(lambda: check_data(competition, RunOptions(data=folder, runs=Path("runs")), QUIET))


def _epoch(competition: Any, folder: Path) -> float:
    import podium

    stage = {"name": "head", "unfreeze": "none", "epochs": 1, "batch_size": 64}
    content = {
        "competition": "competition.yaml",
        "backbone": {"name": "SmallResNet", "weights": "none", "alpha": 0.25},
        "augmentation": ["HorizontalFlip"],
        "stages": [{**stage, "image_size": EPOCH_PX, "learning_rate": 1e-3}],
    }
    Path("member.yaml").write_text(yaml.safe_dump(content))
    member = podium.load_member(Path("member.yaml").resolve())
    return _seconds(lambda: podium.train(member, data=folder, runs="runs", console=QUIET))


_STEPS: Mapping[str, Callable[[Any, Path], float]] = {
    "table": _table,
    "folds": _folds,
    "catalogue": _catalogue,
    "check": _check,
    "epoch": _epoch,
}


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def table(results: Mapping[str, Mapping[int, Result]]) -> str:
    """A row for each step, with the costs of a million images on the line through the two measurements, and those of
    comparing all pairs of images."""
    few, many = next(iter(results.values()))
    head = f"| step | {few:,} images | {many:,} images | each more | a million, extrapolated |"
    lines = [head, "|---|---:|---:|---:|---:|"]
    for step, of_step in results.items():
        (less, most), span = of_step.values(), many - few
        time_each, memory_each = ((most[key] - less[key]) / span for key in ("seconds", "most"))
        of_pairs = SECONDS_PER_PAIR.get(step, 0.0)
        linear = time_each - of_pairs * (many**2 - few**2) / span
        seconds = most["seconds"] + (MILLION - many) * linear + of_pairs * (MILLION**2 - many**2)
        highest = most["most"] + (MILLION - many) * memory_each
        cells = [f"{one['seconds']:.1f} s, {one['most'] / 1e6:,.0f} MB" for one in (less, most)]
        cells.append(f"{time_each * 1e6:,.0f} µs, {memory_each:,.0f} bytes")
        cells.append(f"{_minutes(seconds)}, {highest / 1e9:.1f} GB")
        lines.append(f"| {STEPS[step]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="Costs of many images.")
    parser.add_argument("--images", type=int, default=100_000, help="training images; a tenth as many to predict")
    parser.add_argument("--root", type=Path, default=ROOT / "data" / "scale", help="the folder of the drawn images")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "limits.md", help="the page with the table")
    options = parser.parse_args(arguments)
    results: dict[str, dict[int, Result]] = {step: {} for step in STEPS}
    machine = Machine(timeout=TIMEOUT)
    for count in (options.images // 10, options.images):
        folder = options.root.resolve() / str(count)
        draw_competition(folder, train=count, test=count // 10, size=SIZE)
        for step in STEPS:
            job = {"call": "benchmarks.scale:measure", "arguments": {"step": step, "folder": str(folder)}}
            result = results[step][count] = machine.run(job)
            print(f"{count:,} images, {STEPS[step]}: {result['seconds']:.1f} s", flush=True)
    write_between(options.out, START, END, table(results))
    print(table(results))


if __name__ == "__main__":
    try:
        main()
    except MeasuringFailedError as error:
        raise SystemExit(str(error)) from None
