"""Charts of their own as PNGs. Importing this is fast."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_png(figure: "Figure", path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")


def open_style() -> Any:
    """Axes with a grid and without a frame."""
    import matplotlib as mpl

    return mpl.rc_context({"axes.grid": True, "grid.alpha": 0.4, "axes.spines.top": False, "axes.spines.right": False})


def drawable(text: str, font: str = "DejaVu Sans") -> str:
    """Replace characters that the font does not have, such as emoji, for which matplotlib warns."""
    from matplotlib.font_manager import findfont, get_font

    known = get_font(findfont(font)).get_charmap()
    return "".join(letter if ord(letter) in known else "?" for letter in text)
