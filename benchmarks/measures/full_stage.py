"""A stage in which all learns, validated, saved and logged after every epoch, against bare train steps of its model.

Both begin with building the model and make their graphs within the clock. podium begins with the files as well.
"""

from typing import Any

import yaml

from benchmarks.figures import Figure, Outcome, column, compared, details, number, ratios
from benchmarks.plan import Bench
from benchmarks.recipe import BATCH_SIZE, MEMBER
from benchmarks.rounds import Contender, Machine

WHAT, TARGET = "a full stage against bare train steps", "at most 8 % slower, everything included"


def member(bench: Bench) -> dict[str, Any]:
    return bench.member(
        bench.plan.backbone,
        unfreeze="all",
        epochs=bench.plan.full_epochs,
        image_size=bench.plan.full_size,
        learning_rate=1e-4,
        member={"augmentation": yaml.safe_load(MEMBER.read_text())["augmentation"]},
    )


def measure(bench: Bench, machine: Machine) -> Outcome:
    images = bench.drawn_set(bench.plan.full)
    counts, epochs = images.counts, bench.plan.full_epochs
    assert counts.training % BATCH_SIZE == 0  # else podium's last step of an epoch would be a smaller one
    given = {"folder": str(images.folder), "member": member(bench)}

    def bare(_: int, before: Any) -> dict[str, Any]:
        return given | {
            "precision": before["podium"]["precision"],
            "steps": counts.training // BATCH_SIZE,
            "epochs": epochs,
            "validation": counts.validation,
        }

    contenders = [
        Contender("podium", "benchmarks.podium_side:stage", lambda turn, _: given | {"seed": turn}),
        Contender("bare train steps", "benchmarks.bounds.train_steps:seconds", bare),
    ]
    results = machine.in_turns(contenders, bench.plan.turns, f"full stage, {images.name}")
    mine, theirs = column(results["podium"], "seconds"), column(results["bare train steps"], "seconds")
    validating = column(results["bare train steps"], "validation_seconds")
    row = compared(WHAT, images.name, TARGET, mine, theirs, "bare", at_most=1.08, unit=" s")
    both = [steps + predicting for steps, predicting in zip(theirs, validating, strict=True)]
    lines = details(
        f"Full stage, {images.name}: {bench.plan.backbone} at {bench.plan.full_size} px, {counts.training:,} images"
        f" and {counts.validation:,} to validate on, {epochs} epochs, {results['podium'][0]['precision']}",
        results,
        {"seconds": "seconds", "validation_seconds": "validating barely, seconds (not in the table above)"},
    )
    lines += [
        f"Validation alone, as a bare `predict` of as many arrays after every epoch, takes"
        f" {Figure.of(validating).spelled(' s')}: against bare steps and bare validation together podium takes"
        f" {number(ratios(mine, both).median)} times as long.",
        "",
    ]
    return Outcome([row], lines, results)
