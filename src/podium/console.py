"""Where podium prints: a terminal, a log or a notebook. Texts from outside are shown as they are, never obeyed."""

import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

LONGEST_LINE = 1_500
"""Of an error message, in characters; more is left out in the middle."""
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls that a terminal obeys, those that reorder text, and halves of characters."""


def printable(text: str) -> str:
    """The text with controls written out, as in `\\x1b[2J`."""
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def message_text(text: str) -> str:
    """An error message for the terminal. It may quote texts of any length."""
    half = LONGEST_LINE // 2
    lines = [f"{line[:half]} … {line[-half:]}" if len(line) > LONGEST_LINE else line for line in text.split("\n")]
    return printable("\n".join(lines))


def make_console() -> "Console":
    """A console as wide as the terminal; in a log or a notebook, lines are never wrapped."""
    from rich.console import Console
    from rich.segment import Segment
    from rich.text import Text

    class PlainConsole(Console):
        """Prints texts without markup: titles, labels and ids come from outside."""

        def render(self, *arguments: Any, **options: Any) -> Iterator[Segment]:
            for segment in super().render(*arguments, **options):
                yield segment if segment.control else Segment(printable(segment.text), segment.style)

        def status(self, status: Any, **options: Any) -> Any:
            return super().status(Text(status) if isinstance(status, str) else status, **options)

    always: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    if is_notebook():  # its output claims to be a terminal, but cannot move the cursor
        return PlainConsole(**always, soft_wrap=True, width=160, force_terminal=False, force_jupyter=False)
    if sys.stdout.isatty():
        return PlainConsole(**always)
    return PlainConsole(**always, soft_wrap=True, width=160)


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None
