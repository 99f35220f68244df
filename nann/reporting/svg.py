"""Drawing: one style for all pictures, and SVG text that can stand inside an HTML page.

Figures are made with matplotlib's object interface, never pyplot: no global state, no display, safe in threads. Equal data give equal
bytes: no dates, no random ids.
"""

from __future__ import annotations

import html
import io
import re
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE = "#1f5fa8"
LIGHT_BLUE = "#8fb8e0"
ORANGE = "#d9772b"
GREEN = "#3d8b5f"
PURPLE = "#7a5aa6"
GREY = "#9aa3ad"
LIGHT_GREY = "#cfd5db"
INK = "#24303c"
GRID = "#e6eaee"
SAGE = "#b9c9b0"
LILAC = "#c9b8cf"
SAND = "#d8c3a5"
MOSS = "#8fa58a"
BRONZE = "#a98f6a"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, GREY)
# Colour -> the one that takes its place on a dark ground.
DARK = {
    BLUE: "#5b9fe8",
    LIGHT_BLUE: "#b3d1ee",
    ORANGE: "#ea9655",
    GREEN: "#62b98a",
    PURPLE: "#ab8fd6",
    GREY: "#8a95a0",
    LIGHT_GREY: "#5c6670",
    INK: "#dfe6ec",
    GRID: "#333d47",
    SAGE: "#76866d",
    LILAC: "#84718b",
    SAND: "#94805f",
    MOSS: "#64805e",
    BRONZE: "#8f744c",
}

_STYLE: Any = {  # matplotlib types its keys as a literal; a wrong one fails when it is applied
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Segoe UI", "Helvetica", "Arial", "sans-serif"],
    "font.size": 8.5,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "nann",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


def style() -> Any:
    """Context manager that applies the common style; draw and call `to_svg` inside it."""
    return matplotlib.rc_context(_STYLE)


def new_figure(width: float = 9.0, height: float = 3.4, *, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of ``width`` x ``height`` inches with ``columns`` axes side by side."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def to_svg(figure: Figure, *, name: str, label: str) -> str:
    """The figure as one ``<svg>`` element that scales to the width of what holds it.

    Args:
        figure: a finished figure.
        name: unique within the page; prefixes all ids, so that two pictures never refer to each other's parts.
        label: what the picture shows, for those who cannot see it.

    Returns:
        the element, without XML prolog, metadata or fixed size. The page chooses its colours (`color_variable`); alone it is light.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"(fill|stroke): (#[0-9a-f]{6})", _themed, text)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'\bhref="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    opening = text[: text.index(">") + 1]
    sized = re.sub(r'\s(width|height)="[^"]*"', "", opening)
    sized = sized.replace("<svg", f'<svg role="img" aria-label="{html.escape(label, quote=True)}"', 1)
    return sized + text[len(opening) :]


def color_variable(color: str) -> str:
    """The CSS variable that holds a colour of `DARK`."""
    return f"--c{color.removeprefix('#')}"


def _themed(found: re.Match[str]) -> str:
    name, color = found.groups()
    return f"{name}: var({color_variable(color)}, {color})" if color in DARK else found.group()
