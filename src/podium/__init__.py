"""podium: from a folder of images to a leaderboard score."""

__version__ = "0.1.0"
