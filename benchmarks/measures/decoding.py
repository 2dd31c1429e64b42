"""Nothing but decoding and resizing, against OpenCV alone on all cores.

podium keeps nothing here, so that every epoch decodes. The figure to reach is held against whichever of the two bounds
is faster: decoding every pixel, or leaving out what is shrunk away anyway.
"""

from benchmarks.figures import Outcome, best, column, compared, details
from benchmarks.plan import Bench
from benchmarks.rounds import Contender, Machine

PODIUM = "podium"


def measure(bench: Bench, machine: Machine) -> Outcome:
    rows, lines, raw = [], [], {}
    for images in bench.sets(bench.plan.input):
        given = {"folder": str(images.training), "images": images.counts.training}
        contenders = [
            Contender(PODIUM, "benchmarks.podium_side:arrays", given | {"augmented": False, "cached": False}),
            Contender("OpenCV, every pixel", "benchmarks.bounds.decoding:rate", given),
            Contender("OpenCV, scaled decoding", "benchmarks.bounds.decoding:rate", given | {"scaled": True}),
        ]
        results = machine.in_turns(contenders, bench.plan.turns, f"decoding, {images.name}")
        bounds = {name: turns for name, turns in results.items() if name.startswith("OpenCV")}
        bound = best(bounds, "rate")
        mine, theirs = column(results[PODIUM], "later"), column(bounds[bound], "rate")
        what, target = "input rate with nothing but decode and resize", "at least 80 % of the bound"
        rows.append(compared(what, images.name, target, mine, theirs, bound, at_least=0.8))
        shown = {
            PODIUM: [{"rate": turn["later"]} for turn in results[PODIUM]],
            **bounds,
        }
        lines += details(f"Decoding and resizing alone, {images.name}", shown, {"rate": "images a second"})
        raw[images.name] = results
    return Outcome(rows, lines, raw)
