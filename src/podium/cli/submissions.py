"""`podium check`: may this CSV be sent?"""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from podium.cli.options import Data, Debug, make_console
from podium.config.competition import Competition
from podium.config.loading import load_competition
from podium.errors import ConfigError, SubmissionError
from podium.paths import configs_folder, data_folder
from podium.workflows.submission import print_problems, submission_problems

CompetitionFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The competition file, or its slug. Else the one whose slug the CSV's name begins with.",
        show_default=False,
    ),
]
SampleFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="The sample submission. Else the one in the competition's data.", show_default=False
    ),
]


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A submission CSV.")],
    competition: CompetitionFile = None,
    sample: SampleFile = None,
    data: Data = None,
    debug: Debug = False,
) -> None:
    """Compare a submission with the sample: columns, ids, answers, repeats. All problems are told at once.

    podium check submissions/podium-demo-cars_demo__20260101-120000.csv
    """
    if not file.is_file():
        raise SubmissionError(f"no file {file} to check; give a submission CSV")
    asked = competition_named(competition) if competition else competition_of(file)
    place = sample or data_folder(asked.slug, data) / asked.submission.sample
    print_problems(file, submission_problems(file, asked, place), make_console())


def competition_named(name: Path) -> Competition:
    """By its file, or by its slug."""
    beside = configs_folder() / "competitions" / f"{name}.yaml"
    return load_competition(beside if not name.exists() and name.suffix == "" and beside.is_file() else name)


def competition_of(file: Path) -> Competition:
    """The competition file whose slug the CSV's name begins with; a broken one of another name does not matter."""
    folder = configs_folder() / "competitions"
    slug = file.name.partition("_")[0]
    if (folder / f"{slug}.yaml").is_file():
        return load_competition(folder / f"{slug}.yaml")
    known = {}
    for path in sorted(folder.glob("*.yaml")):
        with suppress(ConfigError):
            found = load_competition(path)
            known[found.slug] = found
    if slug not in known:
        raise SubmissionError(
            f"{file.name} does not begin with the slug of a competition in {folder} ({', '.join(known)});"
            " name the competition file with --competition"
        )
    return known[slug]
