"""What a member is trained on beside the rows and labels of its competition."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from podium.config.loading import Member
from podium.files import digest_of

if TYPE_CHECKING:
    from podium.data.labelled import LabelledImages
    from podium.workflows.fold_runs import Prepared


@dataclass(frozen=True)
class MoreRows:
    extra: "list[LabelledImages]"
    """The rows of tables and folders, which every fold trains on."""
    digest: str
    """Changes with every image, label and weight."""

    def of_fold(self, fold: int) -> "list[LabelledImages]":
        return self.extra


def read_more_rows(member: Member, prepared: "Prepared") -> MoreRows | None:
    """The rows that the member's config adds, found and checked; None if it adds none."""
    if not member.settings.extra:
        return None
    from podium.data.catalogue import read_catalogue
    from podium.data.extra import check_images, read_extra
    from podium.data.metadata import Metadata

    competition, rows = prepared.competition, prepared.rows
    metadata = Metadata.of(member.settings, competition)
    own = read_catalogue(rows.paths, competition.slug).digests
    extra, digests = [], []
    for source in member.settings.extra:
        images, contents = check_images(read_extra(source, competition, rows.folder, metadata), own, competition)
        extra.append(images)
        digests.append([contents, _digest_of_labels(images)])
    return MoreRows(extra, digest_of(digests))


def _digest_of_labels(images: "LabelledImages") -> str:
    digest = hashlib.sha256(images.truth.tobytes())
    for part in (images.labels, images.weights, images.metadata):
        digest.update(b"" if part is None else part.tobytes())
    return digest.hexdigest()
