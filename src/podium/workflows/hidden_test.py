"""Another test set for a rehearsal, as Kaggle mounts one in the scoring run of a code competition."""

import csv
import shutil
from pathlib import Path

from podium.config.competition import Competition
from podium.errors import DataError, KaggleError
from podium.files import write_table
from podium.workflows.fold_runs import read_sample

IMAGES = 12


def make_hidden_test(competition: Competition, folder: Path, out: Path) -> None:
    """Write a data folder with only a sample submission of new ids and their images, which are training images."""
    from podium.data.table import read_rows

    if read_sample(competition, folder) is None:
        raise DataError(f"{folder} has no {competition.submission.sample}; download the competition's data again")
    rows = read_rows(competition, folder)
    paths = rows.paths_of(rows.train)
    count = min(IMAGES, len(paths))
    chosen = [paths[number * len(paths) // count] for number in range(count)]
    shutil.rmtree(out, ignore_errors=True)
    id_column, pattern = competition.submission.id, competition.test.images
    with (folder / competition.submission.sample).open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns, first = list(reader.fieldnames or ()), next(reader)
    suffix = Path(first[id_column]).suffix
    rows_out = []
    for number, image in enumerate(chosen):
        row = {**first, id_column: f"hidden{number:03}{suffix}"}
        place = out / pattern.format(id=row[id_column])
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, place)
        rows_out.append(row)
    write_table(out / competition.submission.sample, columns, rows_out)


def check_ids(submission: Path, folder: Path, competition: Competition) -> int:
    """The number of rows of a submission, which must have exactly the ids of the sample submission in the folder."""
    form = competition.submission
    found, expected = (_ids_in(path, form.id) for path in (submission, folder / form.sample))
    if sorted(found) != sorted(expected):
        raise KaggleError(
            f"{submission} has {len(found)} rows with other ids than the {len(expected)} of the mounted test set"
            f" (first: {found[:2]} and {expected[:2]}): a scoring run would fail"
        )
    return len(found)


def _ids_in(path: Path, column: str) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [row[column] for row in csv.DictReader(file)]
