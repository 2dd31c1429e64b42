"""podium: from a folder of pictures to a leaderboard score."""

__version__ = "0.1.0"
