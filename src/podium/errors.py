"""The one tree of expected failures.

    PodiumError
      ConfigError               a YAML file or a --set says something that cannot be
      DataError                 the competition's files: missing, malformed, unreadable
        UnsafeArchiveError      a zip that would write outside its folder
      WeightsError              pretrained weights that cannot be had or do not fit
      TrainingDivergedError     the loss became NaN or infinite
      RunError                  a run folder that lacks what the next step needs, or is in use
      SubmissionError           a CSV that must not be sent
      MachineError              something on this machine is missing or out of date
        DiskFullError           no room to save; what was saved before holds
        MemoryFullError         a batch that does not fit; what was saved before holds
      KaggleError               what Kaggle refused, or that it does not answer
        CredentialsError        no key, or one that Kaggle does not take (401)
        ForbiddenError          Kaggle says 403: rules not accepted, somebody else's, …
        NotFoundError           Kaggle says 404
        UnreachableError        no whole answer after several tries: whether the call had its effect is not known
      BundleError               a script that must not be pushed: too large, a secret in it, a file missing
    StoppedError                no failure: stopped as asked, and saved (exit 75)

Each message says what happened, what was expected and what to do. The command line prints it in one go, without a
traceback, and exits with 1; `--debug` shows where it came from.
"""


class _OneLineError(Exception):
    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class PodiumError(_OneLineError):
    """Something a user can fix."""


class ConfigError(PodiumError):
    """A YAML file or a --set says something that cannot be."""


class DataError(PodiumError):
    """The competition's files are missing, malformed or unreadable."""


class UnsafeArchiveError(DataError):
    """A zip that would write outside the folder it is unpacked into."""


class WeightsError(PodiumError):
    """Pretrained weights that cannot be had or do not fit the backbone."""


class TrainingDivergedError(PodiumError):
    """The loss became NaN or infinite."""


class RunError(PodiumError):
    """A run folder lacks what the next step needs, or another process works on it."""


class SubmissionError(PodiumError):
    """A CSV that must not be sent."""


class MachineError(PodiumError):
    """Something on this machine is missing or out of date."""


class DiskFullError(MachineError):
    """No room to save; what was saved before holds."""


class MemoryFullError(MachineError):
    """A batch does not fit into the memory of the GPU, or of the machine; what was saved before holds."""


class KaggleError(PodiumError):
    """What Kaggle refused, or that it does not answer."""


class CredentialsError(KaggleError):
    """No key, or one that Kaggle does not take."""


class ForbiddenError(KaggleError):
    """Kaggle says 403."""


class NotFoundError(KaggleError):
    """Kaggle says 404."""


class UnreachableError(KaggleError):
    """No whole answer after several tries. Whether the call had its effect is not known."""


class BundleError(PodiumError):
    """A script that must not be pushed."""


class StoppedError(_OneLineError):
    """Stopped as asked, by a signal or a time limit, with all saved: says how to go on."""
