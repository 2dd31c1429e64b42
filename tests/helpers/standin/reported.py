"""What the real service is reported to do, against its documentation or a client's expectation.

Each is a switch, off in a new stand-in: `standin.reported.unknown_is_forbidden = True`. `as_reported()` has all of them
at once. Numbers are issues of the official client's repository.
"""

from dataclasses import dataclass


@dataclass
class Reported:
    unknown_is_forbidden: bool = False
    """What does not exist, or not any more, is denied with 403 instead of not found (#488, #530)."""
    late_listings: int = 0
    """So often the output of a finished version is listed as empty first."""
    partial_listings: int = 0
    """So often, after that, half of its files have no URL."""
    no_sizes: bool = False
    """The list with the sizes of output files is empty (kaggle-sdk-python #51)."""
    no_quota: bool = False
    """Nothing is known of the GPU quota."""
    no_stream: bool = False
    """The log of a running session is not streamed (#653)."""
    zero_limits: bool = False
    """Who has not joined a competition gets zeros for its submission limits, as the client's types say."""
    listed_files: int | None = None
    """So many files of a competition are listed at most (#308, #458, #511)."""
    calls_per_limit: int | None = None
    """After so many calls one is refused with 429, and a Retry-After that is not true (#931, #938)."""
    calls_per_token: int | None = None
    """After so many calls the access token of a login has expired."""
    downloads_per_link: int | None = None
    """After so many downloads no signed address works any more."""
    lost_sources: int = 0
    """So many versions start without the kernels and datasets that they attach (#1140)."""
    late_datasets: int = 0
    """So many requests do not see a new version of a dataset yet (#890)."""


def as_reported() -> Reported:
    return Reported(
        unknown_is_forbidden=True, late_listings=1, partial_listings=1, no_sizes=True, no_quota=True, no_stream=True,
        zero_limits=True, listed_files=5, calls_per_limit=7, calls_per_token=19, downloads_per_link=5, lost_sources=1,
        late_datasets=3,
    )  # fmt: skip
