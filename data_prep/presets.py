"""Well-known public logs (`nann convert --format NAME`): their layouts and the options that each asks for, as data.

Weights of kinds are a beginning, not a finding: a purchase counts as a target 1, what shows an intention 0.5, a view 0.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet

from data_prep.columns import Layout, usual_width
from data_prep.config import ConvertConfig
from data_prep.errors import DataError
from data_prep.json_file import inspect_json, is_json
from data_prep.option_values import split_weight
from data_prep.sources import is_parquet
from data_prep.text_stream import sample_text
from ops.csv_text import Dialect, split_records

_ISO = r"\d{4}-\d\d-\d\d[ T].*"


@dataclass(frozen=True)
class LogLayout:
    """One layout in which a public log comes.

    Attributes:
        name: what it is called.
        options: option -> value, as in the configuration.
        names: columns by which it is known, where it has names.
        width: columns, where it has none.
        fields: position -> what the fields look like, where it has no names.
        items_options: options that count where an items file is given.
    """

    name: str
    options: Mapping[str, Any]
    names: tuple[str, ...] = ()
    width: int = 0
    fields: Mapping[int, str] = field(default_factory=dict)
    items_options: Mapping[str, Any] = field(default_factory=dict)


FORMATS: dict[str, tuple[LogLayout, ...]] = {
    "userbehavior": (
        LogLayout(
            "with names",
            {"behaviors": ("pv:0.2", "fav:0.5", "cart:0.5", "buy:1")},
            names=("user_id", "item_id", "behavior_type", "timestamp"),
        ),
        LogLayout(
            "UserBehavior.csv",
            {
                "columns": "user=0,item=1,category=2,behavior=3,time=4",
                "header": "no",
                "behaviors": ("pv:0.2", "fav:0.5", "cart:0.5", "buy:1"),
            },
            width=5,
            fields={4: r"-?\d+"},
        ),
    ),
    "retailrocket": (
        LogLayout(
            "events.csv",
            {
                "columns": "user=visitorid,item=itemid,behavior=event,time=timestamp",
                "behaviors": ("view:0.2", "addtocart:0.5", "transaction:1"),
                "time_unit": "ms",
            },
            names=("timestamp", "visitorid", "event", "itemid"),
        ),
    ),
    "rees46": (
        LogLayout(
            "2019-Oct.csv",
            {
                "columns": "user=user_id,item=product_id,category=category_id,behavior=event_type,time=event_time",
                "behaviors": ("view:0.2", "cart:0.5", "purchase:1"),
            },
            names=("event_time", "event_type", "product_id", "category_id", "user_id"),
        ),
    ),
    "yoochoose": (
        LogLayout(
            "yoochoose-clicks.dat",
            {"columns": "user=0,time=1,item=2,category=3", "header": "no", "missing_category": "0"},
            width=4,
            fields={1: _ISO},
        ),
        LogLayout("yoochoose-buys.dat", {"columns": "user=0,time=1,item=2", "header": "no"}, width=5, fields={1: _ISO}),
    ),
    "movielens": (
        LogLayout(
            "ratings.dat",
            {
                "columns": "user=0,item=1,time=3",
                "header": "no",
                "delimiter": "::",
                "quote": "none",
                "encoding": "latin-1",
                "time_unit": "s",
            },
            width=4,
            fields={3: r"\d+"},
            items_options={"item_columns": "item=0,category=2", "items_header": "no"},
        ),
        LogLayout(
            "ratings.csv",
            {"columns": "user=userId,item=movieId,time=timestamp", "time_unit": "s"},
            names=("userId", "movieId", "rating", "timestamp"),
            items_options={"item_columns": "item=movieId,category=genres"},
        ),
        LogLayout(
            "u.data",
            {"columns": "user=0,item=1,time=3", "header": "no", "delimiter": "\t", "quote": "none", "time_unit": "s"},
            width=4,
            fields={3: r"\d+"},
        ),
    ),
    "amazon": (
        LogLayout(
            "JSON lines of 2014 and 2018",
            {"columns": "user=reviewerID,item=asin,time=unixReviewTime", "id_type": "string"},
            names=("reviewerID", "asin", "unixReviewTime"),
        ),
        LogLayout(
            "JSON lines and CSV of 2023",
            {"columns": "user=user_id,item=parent_asin,time=timestamp", "id_type": "string"},
            names=("user_id", "parent_asin", "timestamp"),
        ),
        LogLayout(
            "ratings of 2018 (item,user,rating,time)",
            {"columns": "user=1,item=0,time=3", "header": "no", "id_type": "string"},
            width=4,
            fields={0: r"[0-9A-Z]{10}", 1: r"A[0-9A-Z]{10,}", 3: r"\d+"},
        ),
        LogLayout(
            "ratings of 2014 (user,item,rating,time)",
            {"columns": "user=0,item=1,time=3", "header": "no", "id_type": "string"},
            width=4,
            fields={0: r"A[0-9A-Z]{10,}", 1: r"[0-9A-Z]{10}", 3: r"\d+"},
        ),
    ),
    "tmall": (
        LogLayout(
            "user_log_format1.csv",
            {
                "columns": "user=user_id,item=item_id,category=cat_id,behavior=action_type,time=time_stamp",
                "time_format": "%m%d",
                "time_year": 2014,
                "behaviors": ("0:0.2", "1:0.5", "3:0.5", "2:1"),
            },
            names=("user_id", "item_id", "cat_id", "time_stamp", "action_type"),
        ),
    ),
    "tenrec": (
        LogLayout(
            "QK-video.csv and the like",
            {"columns": "user=user_id,item=item_id,category=video_category,behavior=click", "time": "order", "behaviors": ("1",)},
            names=("user_id", "item_id", "click", "video_category"),
        ),
        LogLayout(
            "articles",
            {"columns": "user=user_id,item=item_id,behavior=click", "time": "order", "behaviors": ("1",)},
            names=("user_id", "item_id", "click"),
        ),
    ),
    "globo": (
        LogLayout(
            "clicks_hour_*.csv",
            {"columns": "user=user_id,item=click_article_id,time=click_timestamp", "time_unit": "ms"},
            names=("user_id", "click_article_id", "click_timestamp"),
            items_options={"item_columns": "item=article_id,category=category_id"},
        ),
    ),
    "lastfm": (
        LogLayout(
            "1K: userid-timestamp-artid-artname-traid-traname.tsv (items are artists, by name)",
            {"columns": "user=0,time=1,item=3", "header": "no", "delimiter": "\t", "quote": "none"},
            width=6,
            fields={1: _ISO},
        ),
        LogLayout(
            "LFM-1b and LFM-2b: user, artist, album, track, time (items are tracks)",
            {"columns": "user=0,item=3,category=1,time=4", "header": "no", "delimiter": "\t", "quote": "none"},
            width=5,
            fields={4: r"\d+"},
        ),
        LogLayout(
            "HetRec: user_taggedartists-timestamps.dat",
            {"columns": "user=userID,item=artistID,time=timestamp", "delimiter": "\t", "quote": "none", "time_unit": "ms"},
            names=("userID", "artistID", "tagID", "timestamp"),
        ),
        LogLayout(
            "360K: user, artist id, artist, plays (no times; items are artists, by name)",
            {"columns": "user=0,item=2", "header": "no", "delimiter": "\t", "quote": "none", "time": "order"},
            width=4,
            fields={0: r"[0-9a-f]{40}"},
        ),
    ),
    "mind": (
        LogLayout(
            "behaviors.tsv (impressions that were clicked)",
            {
                "columns": "user=1,item=4,time=2",
                "header": "no",
                "delimiter": "\t",
                "quote": "none",
                "time_format": "%m/%d/%Y %I:%M:%S %p",
                "item_separator": " ",
                "item_kind_separator": "-",
                "behaviors": ("1",),
            },
            width=5,
            fields={2: r"\d+/\d+/\d{4} .*"},
            items_options={"item_columns": "item=0,category=1", "items_header": "no"},
        ),
    ),
}


def kinds_of_format(name: str | None) -> frozenset[str]:
    """The kinds of events that a well-known log may have."""
    layouts = FORMATS.get(name or "", ())
    return frozenset(split_weight(kind)[0] for layout in layouts for kind in layout.options.get("behaviors", ()))


def resolve_format(config: ConvertConfig, inputs: Sequence[Path]) -> ConvertConfig:
    """The configuration with the options of its `format`, those that were given excepted.

    Args:
        config: the options.
        inputs: the log files; the first decides about the layout.

    Raises:
        DataError: the log is of none of the layouts.
    """
    if config.format is None or not inputs:
        return config
    layout = find_layout(config.format, inputs[0], config)
    options = {**layout.options, **(layout.items_options if config.items is not None else {})}
    given = config.model_fields_set - {"format"}
    new = {name: value for name, value in options.items() if name not in given}
    values = {name: getattr(config, name) for name in config.model_fields_set}
    return ConvertConfig(**{**values, **new})


def find_layout(name: str, path: Path, config: ConvertConfig) -> LogLayout:
    """The layout of a well-known log that a file has.

    Raises:
        DataError: it has none of them.
    """
    for layout in FORMATS[name]:
        if _fits(layout, path, config):
            return layout
    shown = "; ".join(f"{layout.name}: {', '.join(layout.names) if layout.names else _shown(layout)}" for layout in FORMATS[name])
    raise DataError(f"{path} has none of the layouts of format {name} ({shown}); give --columns and the like without --format")


def _shown(layout: LogLayout) -> str:
    delimiter = str(layout.options.get("delimiter", ",")).replace("\t", "\\t")
    return f"{layout.width} columns, delimiter {delimiter!r}, {layout.options['columns']}"


def _fits(layout: LogLayout, path: Path, config: ConvertConfig) -> bool:
    encoding = config.encoding
    if is_parquet(path):
        known = pyarrow.parquet.read_schema(path).names
    elif is_json(path, encoding):
        known = _keys(path, encoding)
    else:
        delimiter = config.delimiter if "delimiter" in config.model_fields_set else str(layout.options.get("delimiter", ","))
        return _fits_csv(layout, sample_text(path, encoding).removeprefix(b"\xef\xbb\xbf"), delimiter)
    return bool(layout.names) and {name.casefold() for name in layout.names} <= {name.casefold() for name in known}


def _keys(path: Path, encoding: str) -> list[str]:
    form = inspect_json(path, {}, Layout({}, {}), frozenset(), encoding)
    return sorted({key for row in form.rows for key in row})


def _fits_csv(layout: LogLayout, text: bytes, delimiter: str) -> bool:
    quote = b"" if layout.options.get("quote") == "none" else b'"'
    records = split_records(text, Dialect(delimiter.encode(), quote), layout.width)
    rows = [[value.decode("utf-8", errors="replace").strip() for value in record.fields] for record in records]
    if layout.names:
        found = {name.casefold() for row in rows[:10] for name in row}
        return {name.casefold() for name in layout.names} <= found
    if usual_width(rows) != layout.width:
        return False
    body = [row for row in rows if len(row) == layout.width]
    matching = [row for row in body if all(re.fullmatch(pattern, row[place]) for place, pattern in layout.fields.items())]
    return 2 * len(matching) > len(body)
