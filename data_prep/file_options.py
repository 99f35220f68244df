"""How the files of a conversion are to be read, from its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from data_prep.columns import USER_BEHAVIOR, WITH_BEHAVIOR, Layout
from data_prep.config import ConvertConfig
from data_prep.csv_format import TextOptions
from data_prep.log_reader import FileOptions
from data_prep.times import TimeOptions


def text_options(config: ConvertConfig) -> TextOptions:
    """How text files are written, the log and those beside it."""
    return TextOptions(config.delimiter, config.quote, config.comment, config.encoding)


def file_options(
    config: ConvertConfig,
    mapping: Mapping[str, str],
    layout: Layout,
    header: Literal["auto", "yes", "no"],
    text_roles: frozenset[str] = frozenset(),
) -> FileOptions:
    """Those of a file beside the log.

    Args:
        config: the options.
        mapping: role -> column name or position; empty for ``layout``.
        layout: the default layout.
        header: whether it starts with a header.
        text_roles: roles that stay text whatever they look like.
    """
    return FileOptions(mapping, layout, header, text_options(config), TimeOptions.of(config), text_roles=text_roles)


def log_options(config: ConvertConfig, *, workers: int, max_rows: int | None = None) -> FileOptions:
    """Those of the log.

    Args:
        config: the options.
        workers: threads.
        max_rows: rows to read at most, in whole batches; None for all.
    """
    layout = WITH_BEHAVIOR if config.behaviors else USER_BEHAVIOR
    if config.time == "order":
        names = {role: name for role, name in layout.names.items() if role != "time"}
        layout = replace(layout, names=names, positions={role: layout.positions[role] for role in names})
    skip = {"category"} if config.items else set()
    if not config.behaviors:
        skip.add("behavior")
    return FileOptions(
        config.columns,
        layout,
        config.header,
        text_options(config),
        TimeOptions.of(config),
        skip=frozenset(skip),
        text_roles=frozenset({"behavior"}),
        item_lists=None if config.item_separator is None else (config.item_separator, config.item_kind_separator),
        workers=workers,
        max_rows=max_rows,
    )
