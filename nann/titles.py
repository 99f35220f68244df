"""Titles of items, for people."""

from __future__ import annotations

import csv
from pathlib import Path

from nann.errors import NannError


def read_titles(path: Path) -> dict[str, str]:
    """Titles by catalogue id, of a CSV file with an id and a title in a line; further columns are left alone.

    Raises:
        NannError: a line has one column only, or the file is no UTF-8 text.
    """
    titles = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(csv.reader(file), 1):
                if line and len(line) < 2:
                    raise NannError(f"{path}: line {number} has one column; give id,title in each")
                if line:
                    titles[line[0].strip()] = " ".join(line[1].split())
    except (UnicodeDecodeError, csv.Error) as error:
        raise NannError(f"{path} is no CSV file in UTF-8 ({error}); write id,title lines") from error
    return titles
