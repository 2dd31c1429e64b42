"""Input rates: images decoded, resized, augmented with the same list of Albumentations, in batches.

Rows compare the same kind of input: batches as arrays, and for the drawn images also batches in Keras's `fit`.
"""

from typing import Any

from benchmarks.figures import Outcome, Row, best, column, compared, details, not_measured
from benchmarks.images import ImageSet
from benchmarks.plan import Bench
from benchmarks.rounds import Candidate, Machine, Results

PODIUM = "podium"
IN_MEMORY = "tf.data"
"""It caches all images in memory, which only works for few images. It has its own row."""
COLUMNS = {
    "first": "first epoch, images/s",
    "later": "later epochs, images/s",
    "second": "second epoch, images/s",
    "first_batch_seconds": "time to first batch, s",
}


def measure(bench: Bench, machine: Machine) -> Outcome:
    rows: list[Row] = []
    lines: list[str] = []
    raw = {}
    for images in bench.sets(bench.plan.input):
        outcome = _measure(bench, machine, images)
        rows, lines, raw = rows + outcome.rows, lines + outcome.details, {**raw, images.name: outcome.raw}
    return Outcome(rows, lines, raw)


def _measure(bench: Bench, machine: Machine, images: ImageSet) -> Outcome:
    rows: list[Row] = []
    lines: list[str] = []
    raw = {}
    for how, candidates in _candidates(bench, images).items():
        results = machine.run_rounds(candidates, bench.plan.rounds, f"input, {images.name}, {how}")
        rows += _rows(results, how, images)
        lines += details(f"Input, {images.name}, {how}: {images.counts.training:,} images per epoch", results, COLUMNS)
        raw[how] = results
    if not bench.torch:
        rows.append(not_measured("input rate of torch's DataLoader", images.name, "–", "torch is not installed"))
    return Outcome(rows, lines, raw)


def _candidates(bench: Bench, images: ImageSet) -> dict[str, list[Candidate]]:
    given = {"folder": str(images.training), "images": images.counts.training}

    def candidate(name: str, call: str, **settings: Any) -> Candidate:
        return Candidate(name, f"benchmarks.{call}", given | settings)

    arrays = [
        candidate(PODIUM, "podium_side:arrays"),
        candidate("ImageDataGenerator", "peers.image_data_generator:arrays"),
        candidate("tf.data", "peers.tf_data:arrays"),
    ]
    if bench.torch:
        arrays.append(candidate("torch", "peers.torch_loader:arrays"))
    if images.name != bench.sources[0].name:
        return {"as arrays": arrays}
    fed = [
        candidate(PODIUM, "podium_side:fit"),
        candidate("ImageDataGenerator", "peers.image_data_generator:fit"),
        candidate("tf.data", "peers.tf_data:fit"),
    ]
    if bench.plan.variants:
        as_set = {"workers": 2, "use_multiprocessing": True}
        fed.append(candidate("ImageDataGenerator, 2 processes", "peers.image_data_generator:fit", **as_set))
    return {"as arrays": arrays, "in fit": fed}


def _rows(results: Results, how: str, images: ImageSet) -> list[Row]:
    peers = {name: rounds for name, rounds in results.items() if name != PODIUM}
    from_files = {name: rounds for name, rounds in peers.items() if name != IN_MEMORY}

    def against(among: Results, what: str, target: str, key: str, bound: float | None) -> Row:
        peer = best(among, key)
        mine, theirs = column(results[PODIUM], key), column(among[peer], key)
        return compared(f"{what}, {how}", images.name, target, mine, theirs, peer, at_least=bound)

    later = "input rate of later epochs"
    return [
        against(peers, "input rate of the first epoch", "at least that of the best peer", "first", 1.0),
        against(from_files, later, "at least 3 times that of the best peer", "later", 3.0),
        against({IN_MEMORY: peers[IN_MEMORY]}, f"{later}, peer in memory", "–", "later", None),
    ]
