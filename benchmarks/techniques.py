"""python -m benchmarks.techniques [--member FILE] [--data DIR] [--only NAME] [--seeds N] [--out FILE]

Trains a member with and without each technique of docs/recipes.md, with several seeds, and writes the differences of
their scores on the validation rows of the first fold to benchmarks/techniques.json and the table of docs/recipes.md.
What the file has is not measured again, so it can be stopped and continued, and techniques added one at a time.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import podium
from podium.config.loading import Member
from podium.errors import ConfigError
from podium.files import write_json, write_text

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- make recipes -->\n", "<!-- end of make recipes -->"
FLIP = "HorizontalFlip"


@dataclass(frozen=True)
class Technique:
    member: Mapping[str, Any] | None = None
    """Changed keys of the member."""
    stages: Mapping[str, Any] | None = None
    """Changed keys of each stage that trains the backbone."""
    augmentation: Sequence[Any] = ()
    """Transforms that are added to those of the member."""


TECHNIQUES = {
    "no augmentation": Technique({"augmentation": []}),
    "no test-time views": Technique({"tta": "none"}),
    "mixup": Technique(stages={"mixup": 0.2, "plain_epochs": 2}),
    "CutMix": Technique(stages={"cutmix": 1.0, "plain_epochs": 2}),
    "RandAugment": Technique(augmentation=[{"RandAugment": {"n": 2, "magnitude": 9}}]),
    "TrivialAugment": Technique(augmentation=["TrivialAugment"]),
    "random erasing": Technique(augmentation=[{"Erasing": {"scale": [0.02, 0.2], "p": 0.25}}]),
    "label smoothing": Technique({"label_smoothing": 0.1}),
    "focal loss": Technique({"loss": {"kind": "focal", "gamma": 2.0}}),
    "ArcFace": Technique({"loss": {"kind": "arcface", "margin": 0.3, "scale": 20.0}}),
    "class weights": Technique({"class_weights": "balanced"}),
    "balanced sampling": Technique({"sampling": "balanced"}),
    "multi-sample dropout": Technique({"head.dropout": 0.5, "head.dropout_samples": 5}),
    "decay on kernels only": Technique(
        stages={"optimizer": {"name": "AdamW", "weight_decay": 0.05, "decay_kernels_only": True}}
    ),
    "layer-wise rates": Technique(stages={"layer_decay": 0.8}),
    "moving averages": Technique(stages={"ema": 0.99}),
    "mean of 3 epochs": Technique(stages={"average": {"last": 3}}),
    "accumulated gradients": Technique(stages={"accumulate": 2}),
    "clipped gradients": Technique(stages={"clip_norm": 1.0}),
    "nearest neighbours": Technique({"neighbours": {"count": 20, "temperature": 0.1}}),
}


@dataclass(frozen=True)
class Row:
    technique: str
    scores: list[float]
    """One for each seed, from 1; of the member as it is, for the technique ''."""
    minutes: list[float]
    """Of all cores together, for training and prediction: other work on the machine hardly changes them."""


def changes_of(technique: Technique, member: Member) -> dict[str, Any]:
    """As for --set."""
    changes = dict(technique.member or {})
    if technique.augmentation:
        changes["augmentation"] = [*member.settings.augmentation, *technique.augmentation]
    for number, stage in enumerate(member.settings.stages):
        if not stage.unfreeze.is_none:
            changes |= {f"stages.{number}.{key}": value for key, value in (technique.stages or {}).items()}
    return changes


def measure(name: str, seed: int, file: Path, changes: Mapping[str, Any], data: Path | None) -> tuple[float, float]:
    """The score and the minutes of one run."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as runs:
        member = podium.load_member(file, {**changes}, seed)
        predictions = podium.predict(podium.train(member, data=data, runs=runs))
        score = predictions.score
    minutes = (time.process_time() - start) / 60
    print(f"{name or 'as it is'}, seed {seed}: {score:.4f}, {minutes:.1f} min", flush=True)
    return score, minutes


def table(results: Mapping[str, Any]) -> str:
    """The Markdown of all members that were measured."""
    parts = []
    for member, content in results.items():
        rows = {row["technique"]: Row(**row) for row in content["rows"]}
        base = rows.pop("")
        lines = [
            f"`{member}`, {content['images']}: {content['metric']} {_mean_and_spread(base.scores)} as it is,"
            f" {statistics.mean(base.minutes):.1f} minutes of one core; differences in points, with their standard"
            " error.\n",
            "| technique | difference | seeds | minutes |",
            "|---|---:|---:|---:|",
        ]
        for row in sorted(rows.values(), key=lambda row: -_difference(row, base)[0]):
            difference, error = _difference(row, base)
            minutes = statistics.mean(row.minutes)
            lines.append(f"| {row.technique} | {difference:+.1f} ± {error:.1f} | {len(row.scores)} | {minutes:.1f} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _difference(row: Row, base: Row) -> tuple[float, float]:
    """In points of the metric, with its standard error, of the seeds that both have."""
    differences = [100 * (one - other) for one, other in zip(row.scores, base.scores, strict=False)]
    spread = statistics.stdev(differences) if len(differences) > 1 else math.nan
    return statistics.mean(differences), spread / math.sqrt(len(differences))


def _mean_and_spread(scores: Sequence[float]) -> str:
    spread = f" (standard deviation {statistics.stdev(scores):.4f})" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.4f}{spread}"


def write_table(page: Path, results: Mapping[str, Any]) -> None:
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    write_text(page, f"{before}{START}\n{table(results)}\n{END}{after}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.techniques", description="Measure training techniques.")
    parser.add_argument("--member", type=Path, default=ROOT / "configs" / "members" / "demo_wide.yaml")
    parser.add_argument("--data", type=Path, help="the folder of the competition's data")
    parser.add_argument("--only", action="append", choices=TECHNIQUES, metavar="NAME", help=", ".join(TECHNIQUES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "techniques.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "recipes.md", help="the page with the table")
    options = parser.parse_args(arguments)
    member = podium.load_member(options.member)
    results = json.loads(options.out.read_text()) if options.out.is_file() else {}
    content = results.setdefault(member.name, {"rows": []})
    content |= {"metric": member.competition.metric, "images": member.competition.title or member.competition.slug}
    rows = {row["technique"]: Row(**row) for row in content["rows"]}
    for name in ["", *(options.only or TECHNIQUES)]:
        row = rows.get(name, Row(name, [], []))
        try:
            changes = changes_of(TECHNIQUES[name], member) if name else {}
            for seed in range(len(row.scores) + 1, options.seeds + 1):
                score, minutes = measure(name, seed, options.member, changes, options.data)
                row.scores.append(score)
                row.minutes.append(minutes)
                rows[name] = row
                content["rows"] = [asdict(row) for row in rows.values()]
                write_json(options.out, results)
        except ConfigError as error:  # it does not fit this target or backbone
            print(f"{name}: left out, {str(error).splitlines()[0]}", flush=True)
        write_table(options.page, results)
    print(table(results))


if __name__ == "__main__":
    try:
        main()
    except podium.PodiumError as error:
        raise SystemExit(str(error)) from None
