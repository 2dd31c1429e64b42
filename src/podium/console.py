"""Where podium prints: a terminal, a log or a notebook."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def make_console() -> "Console":
    """A console as wide as the terminal; in a log or a notebook, lines are never wrapped."""
    from rich.console import Console

    if is_notebook():  # its output claims to be a terminal, but cannot move the cursor
        return Console(highlight=False, soft_wrap=True, width=160, force_terminal=False, force_jupyter=False)
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, soft_wrap=True, width=160)


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None
