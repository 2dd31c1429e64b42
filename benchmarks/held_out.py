"""A stratified tenth of the training images, held out from all candidates of `make scores` as their test images.

The other nine tenths have five folds: tools that read folders validate on fold 0.
"""

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path

from sklearn.model_selection import StratifiedKFold

from benchmarks.images import Counts, ImageSet, Source, interleave_classes, write_set

HELD_OUT, FOLDS, SEED = 10, 5, 42


@dataclass(frozen=True)
class HeldOut:
    """The images of all candidates, and the answers of the test images, which no candidate reads."""

    images: ImageSet
    answers: dict[str, str]

    @property
    def test(self) -> Path:
        return self.images.folder / "test_upload"

    def score(self, file: Path) -> float:
        """The accuracy of a CSV with an id and a label in each row."""
        with file.open(newline="") as opened:
            found = {row[0]: row[1] for row in list(csv.reader(opened))[1:]}
        if set(found) != set(self.answers):
            raise ValueError(f"{file} has {len(found)} rows, expected those of the {len(self.answers)} test images")
        return sum(found[name] == label for name, label in self.answers.items()) / len(self.answers)


def hold_out(source: Source, root: Path, limit: int | None = None) -> HeldOut:
    """The same images each time; with a limit only so many, of all classes."""
    with (source.folder / "train.csv").open(newline="") as file:
        rows = interleave_classes([(row["Id"], row["Category"]) for row in csv.DictReader(file)])[:limit]
    nine, tenth = _split(rows, HELD_OUT)[0]
    kept = [rows[place] for place in nine]
    fold_of = {int(row): fold for fold, (_, part) in enumerate(_split(kept, FOLDS)) for row in part}
    answers = dict(rows[place] for place in tenth)
    folder = root / f"held-out-{len(rows)}"
    if not (folder / "competition.yaml").is_file():  # written last
        shutil.rmtree(folder, ignore_errors=True)
        with_folds = [(*row, str(fold_of[place])) for place, row in enumerate(kept)]
        write_set(
            folder, source, with_folds, {name: source.folder / "train" / answers[name] / name for name in answers}
        )
    counts = Counts(sum(fold > 0 for fold in fold_of.values()), list(fold_of.values()).count(0), len(answers))
    return HeldOut(ImageSet(source.name, folder, counts), answers)


def _split(rows: list[tuple[str, str]], parts: int) -> list:
    folds = StratifiedKFold(parts, shuffle=True, random_state=SEED)
    return list(folds.split(rows, [label for _, label in rows]))
