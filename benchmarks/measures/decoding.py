"""Decoding and resizing alone, compared with OpenCV on all cores.

podium's cache is off, so that every epoch decodes. The target is relative to the faster of two bounds: decoding every
pixel, or only those that are needed.
"""

from benchmarks.figures import Outcome, best, column, compared, details
from benchmarks.plan import Bench
from benchmarks.rounds import Candidate, Machine

PODIUM = "podium"


def measure(bench: Bench, machine: Machine) -> Outcome:
    rows, lines, raw = [], [], {}
    for images in bench.sets(bench.plan.input):
        given = {"folder": str(images.training), "images": images.counts.training}
        candidates = [
            Candidate(PODIUM, "benchmarks.podium_side:arrays", given | {"augmented": False, "cached": False}),
            Candidate("OpenCV, every pixel", "benchmarks.bounds.decoding:rate", given),
            Candidate("OpenCV, scaled decoding", "benchmarks.bounds.decoding:rate", given | {"scaled": True}),
        ]
        results = machine.run_rounds(candidates, bench.plan.rounds, f"decoding, {images.name}")
        bounds = {name: rounds for name, rounds in results.items() if name.startswith("OpenCV")}
        bound = best(bounds, "rate")
        mine, theirs = column(results[PODIUM], "later"), column(bounds[bound], "rate")
        what, target = "input rate, only decoding and resizing", "at least 80 % of the bound"
        rows.append(compared(what, images.name, target, mine, theirs, bound, at_least=0.8))
        shown = {
            PODIUM: [{"rate": result["later"]} for result in results[PODIUM]],
            **bounds,
        }
        lines += details(f"Decoding and resizing alone, {images.name}", shown, {"rate": "images/s"})
        raw[images.name] = results
    return Outcome(rows, lines, raw)
