"""The page all reports share: headline numbers, then sections of text, pictures and tables.

Everything that reaches the template is escaped; only pictures made by `figures` are marked as markup. A page is one file
without scripts or links to anything outside itself, so it can be mailed, archived, or shown in a isolated frame.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import jinja2
from markupsafe import Markup, escape

import nann
from nann.reporting import svg

PAGE_NAME = "report.html"


@dataclass(frozen=True)
class Card:
    """One headline number: what it is, its value as text, and a short note (uncertainty, unit, comparison)."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class PageTable:
    """A table of texts; all columns but the first ``text_columns`` are aligned right, as numbers are.

    The lines of a cell after its first one, such as an interval below a value, are smaller. On screens that are too narrow for its columns
    the rows stand one below the other, each cell with its column's name.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    text_columns: int = 1


@dataclass(frozen=True)
class Section:
    """One part of a page, in this order: lead text, pictures, explanation below them, tables, folded tables.

    Attributes:
        anchor: id within the page, for the contents line.
        title: heading.
        lead: plain text before the pictures.
        pictures: ``<svg>`` elements from `figures`.
        explanation: plain text under the pictures: what they show and how to read them.
        tables: shown.
        folded: shown when opened; each has its caption as title.
    """

    anchor: str
    title: str
    lead: str = ""
    pictures: Sequence[str] = ()
    explanation: str = ""
    tables: Sequence[PageTable] = ()
    folded: Sequence[PageTable] = ()


@dataclass(frozen=True)
class Page:
    """A whole report: title, facts about what it is of, the verdict (pairs of what is judged and a sentence), then all else.

    Attributes:
        title: heading.
        subtitle: one line below it.
        facts: pairs of a word and what it stands for, such as the data (see `nann.reporting.frame`).
        verdict: pairs of what is judged and a sentence; words in backticks are commands.
        cards: headline numbers.
        sections: the parts.
    """

    title: str
    subtitle: str
    facts: Sequence[tuple[str, str]] = ()
    verdict: Sequence[tuple[str, str]] = ()
    cards: Sequence[Card] = field(default_factory=tuple)
    sections: Sequence[Section] = field(default_factory=tuple)


def render(page: Page) -> str:
    """The page as HTML text; equal pages give equal bytes."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nann.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(picture=Markup, breakable=_breakable, commands=_commands)
    colors = [(svg.color_variable(light), light, dark) for light, dark in svg.DARK.items()]
    return environment.get_template("page.html.j2").render(page=page, version=nann.__version__, colors=colors)


def _breakable(text: str) -> Markup:
    """A text whose lines may end after an underscore or a comma, too."""
    return Markup(re.sub(r"([_,])(?=\w)", r"\1<wbr>", str(escape(text))))


def _commands(text: str) -> Markup:
    """A text whose words in backticks are code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
