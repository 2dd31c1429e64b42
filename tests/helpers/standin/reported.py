"""What the real service is reported to do, against its documentation or a client's expectation.

Each is a switch, off in a new stand-in: `standin.reported.unknown_is_forbidden = True`. Numbers are issues of the
official client's repository.
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
