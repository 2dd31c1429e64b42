"""How fast pictures come: decoded, resized, augmented with one list of Albumentations, in batches.

The rows compare like with like: batches as arrays in a consumer, and, with the drawn pictures, as Keras's fit is fed.
"""

from typing import Any

from benchmarks.figures import Outcome, Row, best, column, compared, details, not_measured
from benchmarks.pictures import PictureSet
from benchmarks.plan import Bench
from benchmarks.rounds import Contender, Machine, Results

PODIUM = "podium"
FIGURES = (
    ("first epoch's input rate", "at least the best peer's", "first", 1.0),
    ("later epochs' input rate", "at least 3 times the best peer's", "later", 3.0),
)
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
    for pictures in bench.sets(bench.plan.input):
        one = _measure(bench, machine, pictures)
        rows, lines, raw = rows + one.rows, lines + one.details, {**raw, pictures.name: one.raw}
    return Outcome(rows, lines, raw)


def _measure(bench: Bench, machine: Machine, pictures: PictureSet) -> Outcome:
    rows: list[Row] = []
    lines: list[str] = []
    raw = {}
    for how, contenders in _ways(bench, pictures).items():
        results = machine.in_turns(contenders, bench.plan.turns, f"input, {pictures.name}, {how}")
        rows += [_row(results, f"{what}, {how}", pictures, target, key, bound) for what, target, key, bound in FIGURES]
        lines += details(
            f"Input, {pictures.name}, {how}: {pictures.counts.training:,} pictures an epoch", results, COLUMNS
        )
        raw[how] = results
    if not bench.torch:
        rows.append(not_measured("input rate of torch's DataLoader", pictures.name, "–", "torch is not installed"))
    return Outcome(rows, lines, raw)


def _ways(bench: Bench, pictures: PictureSet) -> dict[str, list[Contender]]:
    given = {"folder": str(pictures.training), "pictures": pictures.counts.training}

    def contender(name: str, call: str, **settings: Any) -> Contender:
        return Contender(name, f"benchmarks.{call}", given | settings)

    arrays = [
        contender(PODIUM, "podium_side:arrays"),
        contender("ImageDataGenerator", "peers.image_data_generator:arrays"),
        contender("tf.data", "peers.tf_data:arrays"),
    ]
    if bench.torch:
        arrays.append(contender("torch", "peers.torch_loader:arrays"))
    if pictures.name != bench.sources[0].name:
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


def _row(results: Results, what: str, pictures: PictureSet, target: str, key: str, bound: float) -> Row:
    peers = {name: turns for name, turns in results.items() if name != PODIUM}
    peer = best(peers, key)
    mine, theirs = column(results[PODIUM], key), column(peers[peer], key)
    return compared(what, pictures.name, target, mine, theirs, peer, at_least=bound)
