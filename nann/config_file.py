"""Config files as steps write them: YAML with a section per step, for `--config`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


class _ListsInLine(yaml.SafeDumper):
    """One option a line, lists in brackets."""


_ListsInLine.add_representer(list, lambda dumper, values: dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=True))


def config_text(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of a config file: section -> option -> value, in the order given."""
    content = {name: dict(options) for name, options in sections.items()}
    return yaml.dump(content, Dumper=_ListsInLine, sort_keys=False, allow_unicode=True, width=float("inf"))
