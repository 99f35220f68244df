"""Configuration of `nann convert` and `nann generate`: frozen pydantic models, from which the command line takes names, types,
defaults and help texts (as from `nann.config`)."""

from __future__ import annotations

import math
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from data_prep.option_values import (
    check_delimiter,
    check_encoding,
    check_quote,
    check_time_format,
    check_time_zone,
    memory_gib,
    parse_mapping,
    split_weight,
    unix_seconds,
)

MemoryGiB = Annotated[float, BeforeValidator(memory_gib)]
FormatName = Literal[
    "userbehavior", "retailrocket", "rees46", "yoochoose", "movielens", "amazon", "tmall", "tenrec", "globo", "lastfm", "mind"
]
IdType = Literal["auto", "int", "string"]
LOG_ROLES = ("user", "item", "category", "time", "behavior")
ID_ROLES = ("user", "item", "category")
ITEM_ROLES = ("item", "category")
# Names of inputs that come with the log or have their place in a request, and so cannot be names of side features.
RESERVED_INPUTS = ("behavior", "time", "item_ids", "cate_ids", "item_rows", "cate_rows", "ef", "rounds", "top_k", "start_level")
MAX_BEHAVIORS = 255  # one byte per event
LONGEST_WINDOW = 1 << 37  # seconds; some 4,000 years, so that times in ms leave room for users in a 63-bit sort key
# Fields that change how the work is done and no byte of the outcome.
RESOURCE_FIELDS = frozenset({"memory_limit", "partitions", "threads"})
# Fields that say how users are held out, as `data_prep.splits.draw_splits` takes them.
SPLIT_FIELDS = frozenset({"train_min_length", "test_min_length", "test_users", "validate_users", "seed"})


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ConvertConfig(_Config):
    """Options of `nann convert`."""

    input_format: Literal["log", "tfrecord"] = Field(
        "log",
        description="log: CSV, JSON lines or Parquet; tfrecord: a directory of ready-made records of the sample layout, checked and kept",
    )
    format: FormatName | None = Field(
        None,
        description="well-known public log, whose columns, kinds of events and the like are then known (docs/data.md lists them); "
        "options that are given still count",
    )
    layout: Literal["user", "sample"] = Field("user", description="training records: one per user, or one per sample")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="where user, item, time and (optional) category and behavior lie: ROLE=COLUMN,... by name (also in another "
        "case, and with a dot for a field of a field), or by position from 0; default: the UserBehavior layout "
        "user_id,item_id,category_id,behavior_type,timestamp",
    )
    header: Literal["auto", "yes", "no"] = Field("auto", description="whether a CSV file starts with column names")
    delimiter: str = Field(
        ",",
        description="one or more characters between the columns of a CSV file, such as ; or ::, \\t for a tabulator, \\x01 as Hive has",
    )
    quote: str = Field(
        "auto", description='character around quoted CSV fields, or none; auto: ", unless the file shows that it is plain text'
    )
    comment: str = Field("", description="what a line of a CSV file that is no row begins with; # before the header is found by itself")
    encoding: str = Field("utf-8", description="of text files: latin-1, cp1252, utf-16, gb18030, ...")
    null_values: tuple[str, ...] = Field(
        ("NULL", "null", "\\N", "None", "NaN", "nan", "<NA>"), description="texts that mean 'missing', beside the empty one"
    )
    time: Literal["column", "order"] = Field("column", description="order: the log has no time, its rows are in the order of time")
    time_unit: Literal["auto", "s", "ms", "us", "ns"] = Field("auto", description="unit of times that are numbers; auto: by their median")
    time_format: str | None = Field(
        None, description="how times are written, as of strptime: '%m/%d/%Y %I:%M:%S %p', '%Y%m%d'; default: numbers, ISO 8601 and RFC 3339"
    )
    time_year: int | None = Field(None, ge=1970, le=2100, description="year of times whose --time-format has none, such as '%m%d'")
    time_zone: str = Field("UTC", description="of times written without one: Asia/Shanghai, +08:00, ...")
    item_separator: str | None = Field(
        None, min_length=1, description="the item column lists items, separated by this (a blank: ' '); every one is an event"
    )
    item_kind_separator: str | None = Field(
        None, min_length=1, description="a listed item ends in this and its kind, which is the behavior: with - N123-1 is item N123, kind 1"
    )
    id_type: str = Field(
        "auto",
        description="type of the ids: int, string, or per column user=string,item=int,category=string; auto: per column integers if most "
        "values are and none would lose zeros or digits, else strings",
    )
    items: Path | None = Field(None, description="second file with the items' categories; replaces a category column of the log")
    item_columns: dict[str, str] = Field(
        default_factory=dict, description="where item and category lie in the items file: ROLE=COLUMN,...; default: item_id, category_id"
    )
    item_features: dict[str, str] = Field(
        default_factory=dict,
        description="further columns of the items file that models may read: FEATURE=COLUMN,...; text, with any number of values per item",
    )
    feature_separator: str = Field("|", min_length=1, description="between two values of an item feature or a user feature")
    items_header: Literal["auto", "yes", "no"] = Field("auto", description="whether a CSV items file starts with column names")
    users: Path | None = Field(None, description="table about the users, with a header or Parquet; becomes users.parquet, by their ids")
    user_columns: dict[str, str] = Field(
        default_factory=dict,
        description="columns of the users table: user=COLUMN,NAME=COLUMN,...; default: user_id, and all others under their names",
    )
    user_features: dict[str, str] = Field(
        default_factory=dict,
        description="columns of the users table that models may read: FEATURE=COLUMN,...; text, with any number of values per user",
    )
    base: Path | None = Field(
        None,
        description="earlier dataset whose item and category rows are kept; events up to its last are left out unless --since is given",
    )
    missing_category: str | None = Field(None, description="category id that means 'no category', for example 0; default: none does")
    max_length: int = Field(50, ge=1, description="history items in front of a held-out or sample-layout target")
    train_min_length: int = Field(1, ge=1, description="a training target has at least this many events before it")
    test_min_length: int = Field(3, ge=1, description="test and validation users have more events than this")
    test_users: int = Field(-1, ge=-1, description="users held out for the test; -1: a tenth of those eligible, at most 10,000")
    validate_users: int = Field(-1, ge=-1, description="users held out for validation; -1: a tenth of those eligible, at most 10,000")
    split_time: str | None = Field(
        None,
        description="split by time instead of by users: train on all events before this time (given as --since), test on the first event "
        "from then on of users with at least --test-min-length events before it; default: by users",
    )
    duplicates: Literal["keep", "drop"] = Field("keep", description="what to do with events of equal user, item and time")
    min_time: int = Field(946_684_800, description="events before this time (unix seconds; default 2000-01-01) are bad rows")
    max_time: int = Field(4_102_444_800, description="events from this time on (unix seconds; default 2100-01-01) are bad rows")
    max_bad_rows: int = Field(1000, ge=0, description="give up if more rows than this are bad")
    max_bad_share: float = Field(0.1, ge=0, le=1, description="give up if a larger share of the rows than this is bad")
    behaviors: tuple[str, ...] = Field(
        (),
        description="kinds of events to take, as in the behavior column, such as pv,buy; with weights of training targets pv:0.2,buy:1; "
        "default: all",
    )
    keep_behaviors: bool = Field(
        False,
        description="keep the kind of every event in the records, as the input behavior of models; the kinds are those of --behaviors",
    )
    since: str | None = Field(None, description="take events from this time on: unix seconds, or ISO 8601 (UTC unless it says otherwise)")
    until: str | None = Field(None, description="take events before this time; as --since")
    min_item_events: int = Field(1, ge=1, description="leave out items with fewer events than this")
    min_user_events: int = Field(1, ge=1, description="leave out users with fewer events than this (counted after --min-item-events)")
    shards: int = Field(4, ge=1, le=99_999, description="files of the training split")
    compression: Literal["none", "gzip"] = Field("none", description="of the record files; TensorFlow reads no zstd records")
    memory_limit: MemoryGiB = Field(
        4, ge=0.25, description="memory that the conversion stays in, as 4, 4GiB or 2500MiB (a number alone is GiB); changes no byte"
    )
    partitions: int = Field(0, ge=0, le=256, description="ranges of users sorted one by one; 0: as the memory limit asks; changes no byte")
    threads: int = Field(0, ge=0, description="worker threads; 0: one per core; changes no byte")
    seed: int = Field(1, ge=0, description="seed of the draw of test and validation users")

    @field_validator("columns", mode="before")
    @classmethod
    def _log_columns(cls, value: Any) -> Any:
        value = parse_mapping(value, LOG_ROLES)
        if isinstance(value, dict) and value:
            for role in ("user", "item"):
                if role not in value:
                    raise ValueError(f"the mapping names no column for {role!r}; add {role}=COLUMN")
        return value

    @field_validator("item_columns", mode="before")
    @classmethod
    def _item_columns(cls, value: Any) -> Any:
        value = parse_mapping(value, ITEM_ROLES)
        if isinstance(value, dict) and value:
            for role in ITEM_ROLES:
                if role not in value:
                    raise ValueError(f"the mapping names no column for {role!r}; add {role}=COLUMN")
        return value

    @field_validator("user_columns", mode="before")
    @classmethod
    def _user_columns(cls, value: Any) -> Any:
        names = value if isinstance(value, dict) else [part.partition("=")[0].strip() for part in str(value).split(",")]
        return parse_mapping(value, ("user", *names))

    @field_validator("item_features", "user_features", mode="before")
    @classmethod
    def _features(cls, value: Any, info: ValidationInfo) -> Any:
        names = value if isinstance(value, dict) else [part.partition("=")[0].strip() for part in str(value).split(",")]
        kind = "an item feature" if info.field_name == "item_features" else "a user feature"
        for name in names:
            if name and not name.isidentifier():
                raise ValueError(f"{name!r} is no name for {kind}; take letters, digits and _")
            if name in RESERVED_INPUTS:
                raise ValueError(f"{name!r} is no name for {kind}; models and requests have it already; take another")
        return parse_mapping(value, tuple(names))

    @field_validator("id_type")
    @classmethod
    def _id_types(cls, value: str) -> str:
        types = parse_mapping(value, ID_ROLES) if "=" in value else {"": value}
        for given in types.values():
            if given not in ("auto", "int", "string"):
                raise ValueError(f"the type of ids {given!r} must be auto, int or string")
        return value

    @field_validator("missing_category", mode="before")
    @classmethod
    def _number_as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @field_validator("since", "until", "split_time", mode="before")
    @classmethod
    def _time_as_text(cls, value: Any) -> Any:
        if value is None:
            return value
        text = value.isoformat() if isinstance(value, (date, datetime)) else str(value)
        unix_seconds(text)
        return text

    @field_validator("compression", mode="before")
    @classmethod
    def _readable_compression(cls, value: Any) -> Any:
        if value == "zstd":
            raise ValueError("zstd is not there: tf.data reads TFRecord files plain, gzip or zlib only; use gzip, or none")
        return value

    @field_validator("behaviors")
    @classmethod
    def _distinct_and_positive(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        kinds = [split_weight(text) for text in value]
        if len({name for name, _ in kinds}) < len(kinds):
            raise ValueError(f"behaviors {','.join(value)} names a kind twice; give every kind once")
        for name, weight in kinds:
            if weight is not None and not 0 < weight < math.inf:
                raise ValueError(f"the weight of behavior {name!r} is {weight:g}; it must be above 0 (do not list kinds to leave out)")
        if len(kinds) > MAX_BEHAVIORS:
            raise ValueError(f"{len(kinds)} behaviors are given; there can be {MAX_BEHAVIORS}")
        return value

    @field_validator("delimiter", "quote", "encoding", "time_zone", "time_format")
    @classmethod
    def _as_typed(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return value
        checks = {"delimiter": check_delimiter, "quote": check_quote, "encoding": check_encoding, "time_zone": check_time_zone}
        return (checks | {"time_format": check_time_format})[str(info.field_name)](value)

    @model_validator(mode="after")
    def _consistent(self) -> ConvertConfig:
        for name in ("item_columns", "item_features"):
            if getattr(self, name) and self.items is None:
                raise ValueError(f"{name} is given without an items file; give items too")
        for name in ("user_columns", "user_features"):
            if getattr(self, name) and self.users is None:
                raise ValueError(f"{name} is given without a users file; give users too")
        self._check_times()
        if self.item_kind_separator is not None and self.item_separator is None:
            raise ValueError("item_kind_separator is given without item_separator; give what separates the listed items, such as ' '")
        if both := sorted(set(self.item_features) & set(self.user_features)):
            raise ValueError(f"{both[0]!r} names an item feature and a user feature; give one of them another name")
        if self.keep_behaviors and not self.behaviors:
            raise ValueError("keep_behaviors is given without behaviors; list the kinds of events to take and keep, such as pv,buy")
        if self.keep_behaviors and self.input_format == "tfrecord":
            raise ValueError("keep_behaviors is given, but ready-made records are kept as they are; leave it out")
        if self.min_time >= self.max_time:
            raise ValueError(f"min_time {self.min_time} is not before max_time {self.max_time}")
        if self.max_time - self.min_time > LONGEST_WINDOW:
            raise ValueError(f"min_time {self.min_time} and max_time {self.max_time} are more than {LONGEST_WINDOW} seconds apart")
        if self.since is not None and self.until is not None and unix_seconds(self.since) >= unix_seconds(self.until):
            raise ValueError(f"since {self.since} is not before until {self.until}")
        if self.split_time is not None and self.input_format == "tfrecord":
            raise ValueError("split_time is given, but ready-made records are split already; leave it out")
        return self

    def _check_times(self) -> None:
        if self.time == "order":
            for name in ("since", "until", "split_time", "time_format"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is given, but with time order the log has no times; leave one of them out")
            if "time" in self.columns:
                raise ValueError("columns name a time, but with time order the log has none; leave one of them out")
        elif self.columns and "time" not in self.columns and self.format is None:
            raise ValueError("the mapping names no column for 'time'; add time=COLUMN, or give time order if the log has none")
        if self.time_format is not None:
            with_year = any(directive in self.time_format.replace("%%", "") for directive in ("%Y", "%y", "%s"))
            if not with_year and self.time_year is None:
                raise ValueError(f"time_format {self.time_format!r} has no year; give time_year too")
        elif self.time_year is not None:
            raise ValueError("time_year is given without time_format; give the format of the times, such as '%m%d'")

    def id_type_of(self, role: str) -> IdType:
        """The type that is asked for the ids of a role: "auto", "int" or "string"."""
        types: dict[str, IdType] = parse_mapping(self.id_type if "=" in self.id_type else f"{role}={self.id_type}", ID_ROLES)
        return types.get(role, "auto")

    @property
    def behavior_names(self) -> tuple[str, ...]:
        """The kinds of events to take, without their weights."""
        return tuple(split_weight(text)[0] for text in self.behaviors)

    @property
    def reads_behaviors(self) -> bool:
        """Whether the records say the kind of an event: as a weight of targets, as an input, or both."""
        return self.keep_behaviors or bool(self.behavior_weights)

    @property
    def behavior_weights(self) -> tuple[float, ...]:
        """Weight per kind, 1 where none is given; empty if none has one."""
        weights = [split_weight(text)[1] for text in self.behaviors]
        if all(weight is None for weight in weights):
            return ()
        return tuple(1.0 if weight is None else weight for weight in weights)


class GenerateConfig(_Config):
    """Options of `nann generate`."""

    users: int = Field(4000, ge=10, description="users")
    items: int = Field(4000, ge=20, description="items in the catalogue")
    categories: int = Field(80, ge=2, description="categories; an item has one")
    events_per_user: float = Field(30, ge=2, description="mean events per user; the lengths vary")
    interests: int = Field(3, ge=1, description="categories a user is interested in at a time")
    days: int = Field(9, ge=1, description="length of the window, which starts at 2017-11-25 00:00 UTC+8")
    follow: float = Field(0.5, ge=0, le=1, description="probability that an event follows from the one before it")
    noise: float = Field(0.2, ge=0, le=1, description="probability that an event that follows from none is any item at all")
    zipf: float = Field(1.0, ge=0, description="exponent of the popularity of the items of a category")
    drift: float = Field(0.5, ge=0, le=1, description="share of the users who change an interest within the window")
    seed: int = Field(1, ge=0, description="seed of everything drawn")
