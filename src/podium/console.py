"""Where podium prints: a terminal, a log or a notebook."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def make_console() -> "Console":
    """A console as wide as the terminal; in a log or a notebook, lines are never wrapped."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, soft_wrap=True, width=160, force_jupyter=False)
