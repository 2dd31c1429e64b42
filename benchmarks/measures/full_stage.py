"""A stage that trains all layers, with validation, saving and logging, compared with the training steps alone.

Both include building the model and tracing its graph. podium also starts from the files.
"""

from typing import Any

import yaml

from benchmarks.figures import Figure, Outcome, column, compared, details, number, ratios
from benchmarks.plan import Bench
from benchmarks.recipe import BATCH_SIZE, MEMBER
from benchmarks.rounds import Candidate, Machine

WHAT, TARGET = "full stage, compared with training steps alone", "at most 8 % slower, everything included"


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
    assert counts.training % BATCH_SIZE == 0  # otherwise the last step of podium's epochs would be smaller
    given = {"folder": str(images.folder), "member": member(bench)}

    def bare(_: int, before: Any) -> dict[str, Any]:
        return given | {
            "precision": before["podium"]["precision"],
            "steps": counts.training // BATCH_SIZE,
            "epochs": epochs,
            "validation": counts.validation,
        }

    candidates = [
        Candidate("podium", "benchmarks.podium_side:stage", lambda number, _: given | {"seed": number}),
        Candidate("training steps alone", "benchmarks.bounds.train_steps:seconds", bare),
    ]
    results = machine.run_rounds(candidates, bench.plan.rounds, f"full stage, {images.name}")
    mine, theirs = column(results["podium"], "seconds"), column(results["training steps alone"], "seconds")
    validating = column(results["training steps alone"], "validation_seconds")
    row = compared(WHAT, images.name, TARGET, mine, theirs, "steps alone", at_most=1.08, unit=" s")
    both = [steps + predicting for steps, predicting in zip(theirs, validating, strict=True)]
    lines = details(
        f"Full stage, {images.name}: {bench.plan.backbone} at {bench.plan.full_size} px, {counts.training:,} images"
        f" and {counts.validation:,} for validation, {epochs} epochs, {results['podium'][0]['precision']}",
        results,
        {"seconds": "seconds", "validation_seconds": "validation alone, seconds (not in the table above)"},
    )
    lines += [
        f"Validation alone, a `predict` of as many arrays after every epoch, takes"
        f" {Figure.of(validating).format(' s')}. podium takes {number(ratios(mine, both).median)} times as long as"
        " steps and validation together.",
        "",
    ]
    return Outcome([row], lines, results)
