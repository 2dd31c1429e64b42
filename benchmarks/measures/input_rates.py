"""How fast images come: decoded, resized, augmented with one list of Albumentations, in batches.

The rows compare like with like: batches as arrays in a consumer, and, with the drawn images, as Keras's fit is fed.
"""

from typing import Any

from benchmarks.figures import Outcome, Row, best, column, compared, details, not_measured
from benchmarks.images import ImageSet
from benchmarks.plan import Bench
from benchmarks.rounds import Contender, Machine, Results

PODIUM = "podium"
IN_MEMORY = "tf.data"
"""It keeps all images in memory: a bound for few of them, and no way for many. Shown in a row of its own."""
COLUMNS = {
    "first": "first epoch, a second",
    "later": "later epochs, a second",
    "second": "of them the second",
    "first_batch_seconds": "first batch after, s",
}


def measure(bench: Bench, machine: Machine) -> Outcome:
    rows: list[Row] = []
    lines: list[str] = []
    raw = {}
    for images in bench.sets(bench.plan.input):
        one = _measure(bench, machine, images)
        rows, lines, raw = rows + one.rows, lines + one.details, {**raw, images.name: one.raw}
    return Outcome(rows, lines, raw)


def _measure(bench: Bench, machine: Machine, images: ImageSet) -> Outcome:
    rows: list[Row] = []
    lines: list[str] = []
    raw = {}
    for how, contenders in _ways(bench, images).items():
        results = machine.in_turns(contenders, bench.plan.turns, f"input, {images.name}, {how}")
        rows += _rows(results, how, images)
        lines += details(f"Input, {images.name}, {how}: {images.counts.training:,} images an epoch", results, COLUMNS)
        raw[how] = results
    if not bench.torch:
        rows.append(not_measured("input rate of torch's DataLoader", images.name, "–", "torch is not installed"))
    return Outcome(rows, lines, raw)


def _ways(bench: Bench, images: ImageSet) -> dict[str, list[Contender]]:
    given = {"folder": str(images.training), "images": images.counts.training}

    def contender(name: str, call: str, **settings: Any) -> Contender:
        return Contender(name, f"benchmarks.{call}", given | settings)

    arrays = [
        contender(PODIUM, "podium_side:arrays"),
        contender("ImageDataGenerator", "peers.image_data_generator:arrays"),
        contender("tf.data", "peers.tf_data:arrays"),
    ]
    if bench.torch:
        arrays.append(contender("torch", "peers.torch_loader:arrays"))
    if images.name != bench.sources[0].name:
        return {"as arrays": arrays}
    fed = [
        contender(PODIUM, "podium_side:fit"),
        contender("ImageDataGenerator", "peers.image_data_generator:fit"),
        contender("tf.data", "peers.tf_data:fit"),
    ]
    if bench.plan.variants:
        as_set = {"workers": 2, "use_multiprocessing": True}
        fed.append(contender("ImageDataGenerator, 2 processes", "peers.image_data_generator:fit", **as_set))
    return {"as arrays": arrays, "as fit is fed": fed}


def _rows(results: Results, how: str, images: ImageSet) -> list[Row]:
    peers = {name: turns for name, turns in results.items() if name != PODIUM}
    from_files = {name: turns for name, turns in peers.items() if name != IN_MEMORY}

    def against(among: Results, what: str, target: str, key: str, bound: float | None) -> Row:
        peer = best(among, key)
        mine, theirs = column(results[PODIUM], key), column(among[peer], key)
        return compared(f"{what}, {how}", images.name, target, mine, theirs, peer, at_least=bound)

    later = "later epochs' input rate"
    return [
        against(peers, "first epoch's input rate", "at least the best peer's", "first", 1.0),
        against(from_files, later, "at least 3 times the best peer's", "later", 3.0),
        against({IN_MEMORY: peers[IN_MEMORY]}, f"{later}, the peer's in memory", "–", "later", None),
    ]
