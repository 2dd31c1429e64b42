"""Another test set for a rehearsal, as Kaggle mounts one in the scoring run of a code competition."""

import csv
import shutil
from pathlib import Path, PurePosixPath

from podium.config.competition import Competition
from podium.config.patterns import ANY_FOLDERS
from podium.errors import DataError, KaggleError
from podium.files import write_table
from podium.paths import sample_file, stays_inside
from podium.workflows.prepare import read_sample

IMAGES = 12


def make_hidden_test(competition: Competition, folder: Path, out: Path) -> None:
    """Write a data folder with only a sample submission of new ids and their images, which are training images."""
    from podium.data.classes import with_classes
    from podium.data.table import read_rows

    competition = with_classes(competition, folder)
    if read_sample(competition, folder) is None:
        raise DataError(f"{folder} has no {competition.submission.sample}; download the competition's data again")
    rows = read_rows(competition, folder)
    paths = rows.paths_of(rows.train)
    count = min(IMAGES, len(paths))
    chosen = [paths[number * len(paths) // count] for number in range(count)]
    shutil.rmtree(out, ignore_errors=True)
    test, form, pattern = competition.test, competition.submission, competition.pattern_of(competition.test.images)
    sample = sample_file(folder, form.sample)
    tables = {sample.relative_to(folder): form.id} | ({Path(test.table): test.id or form.id} if test.table else {})
    first: dict[str, str] = {}
    for table, id_column in tables.items():
        columns, row = _first_row(folder / table, id_column)
        suffix = Path(row[id_column]).suffix
        new = [{**row, id_column: f"hidden{number:03}{suffix}"} for number in range(len(chosen))]
        write_table(out / table, columns, new)
        first |= row
    described = folder / (test.table or form.sample)
    if missing := sorted({*pattern.fields} - {*first, "id"}):
        raise DataError(f"{described}: expected the columns that test.images names, and it has no {missing[0]!r}")
    for number, image in enumerate(chosen):
        values = {**first, "id": f"hidden{number:03}{suffix}"}
        file = next(pattern.fill([[values[name]] for name in pattern.fields])).replace(ANY_FOLDERS, "")
        if not stays_inside(PurePosixPath(file).as_posix()):
            raise DataError(f"{described}: the first row has values that lead outside the data folder: {file!r}")
        place = out / (file + image.suffix * (pattern.ends_with_field and not suffix))
        place.parent.mkdir(parents=True, exist_ok=True)
        reading = competition.reading
        for original, copy in zip(reading.files_of(str(image)), reading.files_of(str(place)), strict=True):
            shutil.copyfile(original, copy)


def _first_row(table: Path, id_column: str) -> tuple[list[str], dict[str, str]]:
    """The columns and the first row."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = filter(None, csv.reader(file))
            columns, values = next(rows, []), next(rows, [])
    except (csv.Error, ValueError) as error:
        raise DataError(f"{table} is not a CSV file ({error}); download the competition's data again") from None
    if id_column not in columns or len(values) != len(columns):
        raise DataError(
            f"{table}: expected a column {id_column!r}, and a first row with as many fields as the header, got"
            f" {columns} and {values}; download the competition's data again"
        )
    return columns, dict(zip(columns, values, strict=True))


def check_ids(submission: Path, folder: Path, competition: Competition) -> int:
    """The number of rows of a submission, which must have exactly the ids of the sample submission in the folder."""
    form = competition.submission
    found, expected = (_ids_in(path, form.id) for path in (submission, sample_file(folder, form.sample)))
    if sorted(found) != sorted(expected):
        raise KaggleError(
            f"{submission} has {len(found)} rows with other ids than the {len(expected)} of the mounted test set"
            f" (first: {found[:2]} and {expected[:2]}): a scoring run would fail"
        )
    return len(found)


def _ids_in(path: Path, column: str) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [row.get(column) or "" for row in csv.DictReader(file)]
