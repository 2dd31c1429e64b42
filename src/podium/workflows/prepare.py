"""The inputs that all members of a competition share: its rows, its folds and its images."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from podium.config.competition import Competition
from podium.config.dry_run import as_dry_run
from podium.config.loading import Member
from podium.config.member import MemberSettings
from podium.errors import listed
from podium.models.preset_places import is_at_hand, print_preset_of_dry_run
from podium.options import RunOptions
from podium.paths import data_folder, sample_file
from podium.submission.spec import Sample, SubmissionSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from podium.data.folds import Folds
    from podium.data.image_paths import ImagePaths
    from podium.data.images import Scaling
    from podium.data.table import CompetitionRows
    from podium.data.unlabelled import UnlabelledImages


@dataclass(frozen=True)
class Prepared:
    """The labelled rows and folds of a competition, and its test set, which is read when it is needed.

    Weights depend on what is trained on and nothing else, so a training does not read the test set.
    """

    competition: Competition
    rows: "CompetitionRows"
    folds: "Folds"
    read_test: "Callable[[], UnlabelledImages]"
    contents: str = ""
    """A digest of the bytes of all images to train on."""

    @property
    def sample(self) -> Path:
        """The sample submission."""
        return sample_file(self.rows.folder, self.competition.submission.sample)

    @cached_property
    def prior(self) -> "NDArray[np.float64]":
        """The prediction for an image that cannot be read, from the training rows."""
        from podium.data.targets import target_of

        target = target_of(self.competition)
        return target.prior(target.truth(self.rows.train))

    @cached_property
    def metadata_digest(self) -> list[str]:
        """Changes with the metadata of the labelled rows; empty if there is none."""
        from podium.data.metadata import columns_of
        from podium.data.table import digest_of_columns

        columns = columns_of(self.competition, self.rows.train)
        return [] if columns is None else [digest_of_columns(columns[name] for name in columns)]

    @cached_property
    def test(self) -> "UnlabelledImages":
        """The images of the test set, all of them found and checked."""
        return self.read_test()


def prepare(
    competition: Competition, options: RunOptions, console: Console, to_train: Sequence[Member] = ()
) -> Prepared:
    """Read the tables, check the sample submission, find and check the labelled images, and split the rows into folds.

    With `to_train`, new images are decoded and cached in the sizes that these members need, so that each file is read
    only once.
    """
    from podium.data.catalogue import read_catalogue
    from podium.data.folds import make_folds
    from podium.data.table import describe_unreadable, drop_unreadable
    from podium.data.targets import target_of
    from podium.data.unlabelled import read_test_set

    are_listed = competition.has_classes
    competition, rows, sample = read_tables(competition, options.data)
    for member in to_train if options.dry_run else ():
        small = as_dry_run(member, is_at_hand)
        print_preset_of_dry_run(member.settings.backbone, small.settings.backbone, console)
    members = [] if options.dry_run or options.limit else to_train
    _cache_new(members, scalings_for_training, rows.paths, console)
    known = read_catalogue(rows.paths, competition.slug, console)
    rows = drop_unreadable(rows, known.readable, competition)
    folds = make_folds(competition, rows, options.runs)
    console.print(
        f"{competition.title or competition.slug}: {len(rows.train):,} images to train on"
        + (f", {len(rows.extra):,} extra" if len(rows.extra) else "")
        + (
            f", {len(sample.ids):,} to predict"
            if sample
            else f", no {competition.submission.sample}, which predicting needs"
        )
        + f", {target_of(competition).description}; folds in {folds.path}"
    )
    if not are_listed:
        console.print(f"  classes read from the data: {listed(competition.labels)}", highlight=False)
    ignored = [f"{len(competition.ignore):,} images are not trained on (ignore)"] if competition.ignore else []
    for note in [*rows.notes, *known.notes, *ignored]:
        console.print(f"  {note}", highlight=False)
    if not known.readable.all():
        console.print(f"  left out (on_bad_image: skip): {describe_unreadable(rows.paths[~known.readable])}")
    members = [] if options.limit_test else members
    cache = partial(_cache_new, members, scalings_for_test, console=console)
    read_test = partial(read_test_set, competition, rows.folder, console, cache)
    return Prepared(competition, rows, folds, read_test, known.digest)


def read_tables(competition: Competition, data: Path | None) -> "tuple[Competition, CompetitionRows, Sample | None]":
    """The competition with the classes and categories of its data, its labelled rows, and its sample submission."""
    from podium.data.classes import with_classes
    from podium.data.metadata import with_categories
    from podium.data.table import read_rows

    folder = data_folder(competition.slug, data, competition.kaggle_source)
    competition = with_classes(competition, folder)
    rows = read_rows(competition, folder)
    competition = with_categories(competition, [rows.train, rows.extra])
    return competition, rows, read_sample(competition, folder)


def read_sample(competition: Competition, folder: Path) -> Sample | None:
    """The sample submission, checked against the competition file; None if there is none, as training needs none."""
    path = sample_file(folder, competition.submission.sample)
    return SubmissionSpec.of(competition, path).read_sample() if path.is_file() else None


def _cache_new(
    members: Sequence[Member],
    scalings_of: "Callable[[MemberSettings], Iterable[Scaling]]",
    paths: "ImagePaths",
    console: Console,
) -> None:
    """Decode and cache the images that no catalogue has read before, in the sizes that these members need."""
    from podium.data.catalogue import ImageSource
    from podium.data.image_cache import Cache

    if members:
        scalings = {scaling for member in members for scaling in scalings_of(member.settings)}
        cache = Cache(members[0].competition.slug, max(member.settings.cache_gb for member in members), console)
        ImageSource(paths, cache).cache_images(scalings, only_new=True)


def scalings_for_training(settings: MemberSettings) -> "Iterable[Scaling]":
    from podium.data.images import Scaling

    sizes = {size for stage in settings.stages for size in (stage.image_size, settings.size_to_augment(stage))}
    return {Scaling(size, settings.resize) for size in sizes}


def scalings_for_test(settings: MemberSettings) -> "Iterable[Scaling]":
    from podium.data.images import zoomed_scaling
    from podium.inference.tta import make_views

    sizes, views = settings.tta.image_sizes or [settings.stages[-1].image_size], make_views(settings.tta)
    return {zoomed_scaling(size, settings.resize, view.zoom) for size in sizes for view in views}
