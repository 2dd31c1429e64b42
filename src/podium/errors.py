"""The exceptions of podium.

    PodiumError
      ConfigError               an invalid YAML file or --set
      DataError                 the competition's files are missing, malformed or unreadable
        ImageError              a file that cannot be read as an image
        RowsError               rows of a table that cannot be used
        DamagedArchiveError       a zip that is not complete
        UnsafeArchiveError      a zip that would write outside its folder
      WeightsError              pretrained weights that are missing or do not fit
      TrainingDivergedError     the loss became NaN or infinite
      RunError                  a run folder that is incomplete or in use
        InUseError              another process uses it
        ConfigChangedError      (kaggle.fleet) the fleet was started with other configs
      SubmissionError           a CSV that must not be submitted
      MachineError              something on this machine is missing or outdated
        DiskFullError           the disk is full; saved checkpoints are intact
        MemoryFullError         a batch does not fit into memory; saved checkpoints are intact
      KaggleError               Kaggle refused a request, a kernel failed, or a service does not respond
        CredentialsError        no API key, or an invalid one (401)
        ForbiddenError          not allowed (403): rules not accepted, another user's resource, ...
        NotFoundError           no such resource: it never existed, or was deleted
          UploadExpiredError    (kaggle.uploads) an upload that has to be started again
        IncompleteOutputError   Kaggle does not list all of a kernel's output, or not yet
        UnreachableError        Kaggle or a Ray cluster gave no complete response; the request may have succeeded
          CoordinatorEndedError (cluster.ray_cluster) the jobs were stopped by another process
          RateLimitedError      status 429 for longer than a command waits; nothing was done
      BundleError               a script that must not be pushed: too large, contains a secret, lacks a file
    StoppedError                not a failure: stopped on request, with everything saved (exit 75)

A message states what happened, what was expected and what to do. The command line prints it without a traceback and
exits with 1; `--debug` shows the traceback.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path


class _OneLineError(Exception):
    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class PodiumError(_OneLineError):
    """An expected failure, which the user can fix."""


class ConfigError(PodiumError):
    """A YAML file or a --set is invalid."""


class DataError(PodiumError):
    """The competition's files are missing, malformed or unreadable."""


class ImageError(DataError):
    """A file cannot be read as an image."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path} is not a readable image: {reason}; replace it, or set on_bad_image: skip")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type["ImageError"], tuple[object, str]]:
        """Worker processes send it to the main process."""
        return type(self), (self.path, self.reason)


class RowsError(DataError):
    """Some rows of a table cannot be used, for the same reason."""

    def __init__(self, message: str, table: Path, reason: str, rows: Mapping[int, str]) -> None:
        """`rows` has the position of each row, and what is wrong with it."""
        super().__init__(message)
        self.table, self.reason, self.rows = table, reason, dict(rows)


class DamagedArchiveError(DataError):
    """A zip is not complete."""


class UnsafeArchiveError(DataError):
    """A zip would write outside the folder it is unpacked into."""


class WeightsError(PodiumError):
    """Pretrained weights are missing or do not fit the backbone."""


class TrainingDivergedError(PodiumError):
    """The loss became NaN or infinite."""


class RunError(PodiumError):
    """A run folder lacks what the next step needs, or another process uses it."""


class InUseError(RunError):
    """Another process holds the lock of a folder."""


class SubmissionError(PodiumError):
    """A CSV must not be submitted."""


class MachineError(PodiumError):
    """Something on this machine is missing or outdated."""


class DiskFullError(MachineError):
    """The disk is full. Saved checkpoints are intact."""


class MemoryFullError(MachineError):
    """A batch does not fit into the memory of the GPU or the machine. Saved checkpoints are intact."""


class KaggleError(PodiumError):
    """Kaggle refused a request, a kernel or its rehearsal failed, or a service does not respond."""


class CredentialsError(KaggleError):
    """There is no API key, or Kaggle does not accept it."""


class ForbiddenError(KaggleError):
    """Kaggle responded with status 403."""


class NotFoundError(KaggleError):
    """There is no such resource, or not any more. Kaggle responds with status 404, or with 403."""


class IncompleteOutputError(KaggleError):
    """Kaggle does not list the report of a kernel, or not all files of its results. It may list them later."""


class UnreachableError(KaggleError):
    """No complete response of Kaggle or of a Ray cluster after several attempts. The request may have succeeded."""


class RateLimitedError(UnreachableError):
    """Kaggle rate-limited the request (429) for longer than a command waits. Nothing was done."""

    def __init__(self, message: str, seconds: float = 60.0) -> None:
        """`seconds` is how long to wait before the next request. The limit may last longer than Kaggle says."""
        super().__init__(message)
        self.seconds = seconds


class BundleError(PodiumError):
    """A script must not be pushed."""


class StoppedError(_OneLineError):
    """Stopped by a signal or a time limit, with everything saved. The message has the command to resume with."""


MOST_LISTED = 10
"""Names in one message."""


def listed(names: Sequence[str]) -> str:
    """For a message: the first names, and how many more there are."""
    more = f" and {len(names) - MOST_LISTED:,} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more


def shortened(text: str, longest: int = 60) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
