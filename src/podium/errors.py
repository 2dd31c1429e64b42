"""The one tree of expected failures.

    PodiumError
      ConfigError               a YAML file or a --set says something that cannot be
      DataError                 the competition's files: missing, malformed, unreadable
        UnsafeArchiveError      a zip that would write outside its folder
      WeightsError              pretrained weights that cannot be had or do not fit
      TrainingDivergedError     the loss became NaN or infinite
      RunError                  a run folder that lacks what the next step needs
      SubmissionError           a CSV that must not be sent
      MachineError              something on this machine is missing or out of date

Each message says what happened, what was expected and what to do. The command line prints it in one go, without a
traceback, and exits with 1; `--debug` shows where it came from.
"""


class PodiumError(Exception):
    """Something a user can mend."""


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
    """A run folder lacks what the next step needs."""


class SubmissionError(PodiumError):
    """A CSV that must not be sent."""


class MachineError(PodiumError):
    """Something on this machine is missing or out of date."""
