"""A progress bar in the output of a notebook cell, without ipywidgets."""

import time
from importlib import import_module
from io import StringIO
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn

_SECONDS_BETWEEN_UPDATES = 0.2


class NotebookProgress(Progress):
    """rich's bar as plain text in one output of the cell, which is updated in place and removed at the end."""

    def __init__(self, *columns: ProgressColumn) -> None:
        super().__init__(*columns, console=_plain_console(), auto_refresh=False)
        self._output: Any = None
        self._updated_at = 0.0

    def start(self) -> None:
        display: Any = import_module("IPython.display").display
        self._output = display(self._content(), display_id=True, raw=True)

    def update(self, *arguments: Any, **options: Any) -> None:
        super().update(*arguments, **options)
        if self._output and time.monotonic() - self._updated_at >= _SECONDS_BETWEEN_UPDATES:
            self._updated_at = time.monotonic()
            self._output.update(self._content(), raw=True)

    def stop(self) -> None:
        if self._output:
            self._output.update({"text/plain": ""}, raw=True)
            self._output = None

    def _content(self) -> dict[str, str]:
        with self.console.capture() as text:
            self.console.print(self.get_renderable())
        return {"text/plain": text.get().rstrip()}


def _plain_console() -> Console:
    return Console(file=StringIO(), width=100, force_jupyter=False, force_terminal=False, color_system=None)
