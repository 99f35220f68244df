"""The configs refuse what cannot work, and read mappings as typed on a command line."""

import datetime

import pytest
from pydantic import ValidationError

from data_prep.config import ConvertConfig, GenerateConfig
from data_prep.option_values import unix_seconds


def test_a_mapping_is_read_from_text() -> None:
    config = ConvertConfig(columns="user=user_id, item=click_article_id,time=5")
    assert config.columns == {"user": "user_id", "item": "click_article_id", "time": "5"}
    assert config == ConvertConfig(columns=config.columns)
    assert ConvertConfig.model_validate_json(config.model_dump_json()) == config


def test_numbers_are_read_where_text_is_meant() -> None:
    config = ConvertConfig(columns={"user": 0, "item": 1, "time": 4}, missing_category=0)
    assert config.columns["time"] == "4"
    assert config.missing_category == "0"
    assert ConvertConfig(delimiter="\\t").delimiter == "\t"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"columns": "user=a,item=b"}, "no column for 'time'"),
        ({"columns": "user=a,item=b,time=c,color=d"}, "unknown role 'color'; the roles are user, item, category, time"),
        ({"columns": "user=a,user=b"}, "'user' is given twice"),
        ({"columns": "user"}, "no ROLE=COLUMN pair"),
        ({"columns": "user=,item=b,time=c"}, "role 'user' names no column"),
        ({"item_columns": "item=a,category=b"}, "without an items file"),
        ({"items": "x.csv", "item_columns": "item=a"}, "no column for 'category'"),
        ({"delimiter": ""}, "must be one or more characters"),
        ({"min_time": 10, "max_time": 10}, "min_time 10 is not before max_time 10"),
        ({"test_users": -2}, "greater than or equal to -1"),
        ({"layout": "item"}, "'user' or 'sample'"),
        ({"since": "yesterday"}, "no time; write unix seconds, or for example 2017-11-25"),
        ({"since": "2017-11-26", "until": "2017-11-25"}, "since 2017-11-26 is not before until 2017-11-25"),
        ({"compression": "zstd"}, "tf.data reads TFRecord files plain, gzip or zlib only"),
        ({"memory_limit": 0.1}, "greater than or equal to 0.25"),
        ({"memory_limit": "100MiB"}, "greater than or equal to 0.25"),
        ({"memory_limit": "4GB"}, "'4GB' is no amount of memory; write for example 2500MiB or 4GiB"),
        ({"min_time": 0, "max_time": 1 << 40}, "seconds apart"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_impossible_values_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ConvertConfig(**values)


@pytest.mark.parametrize(("text", "gib"), [("4", 4), ("1.5", 1.5), ("2GiB", 2), (" 2 g ", 2), ("2560MiB", 2.5), ("512m", 0.5), (3, 3)])
def test_an_amount_of_memory_has_a_unit(text: object, gib: float) -> None:
    assert ConvertConfig(memory_limit=text).memory_limit == gib


def test_points_in_time() -> None:
    assert unix_seconds("1511539200") == unix_seconds("2017-11-25T00:00:00+08:00") == unix_seconds("2017-11-24T16:00:00")
    assert ConvertConfig(since=1511539200).since == "1511539200"
    assert unix_seconds(ConvertConfig(until=datetime.date(1970, 1, 2)).until) == 86_400


@pytest.mark.parametrize("model", [ConvertConfig, GenerateConfig])
def test_every_field_has_a_default_and_a_description(model: type) -> None:
    model()
    assert all(field.description for field in model.model_fields.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time_format": "%Q"}, "%Q in '%Q' is not known"),
        ({"time_format": "ISO"}, "has no directive"),
        ({"time_format": "%m%d"}, "has no year; give time_year too"),
        ({"time_year": 2014}, "time_year is given without time_format"),
        ({"time_zone": "Mars/Olympus"}, "there is no time zone 'Mars/Olympus'"),
        ({"encoding": "utf-9"}, "there is no encoding 'utf-9'"),
        ({"quote": "ab"}, "must be auto, none, or one ASCII character"),
        ({"delimiter": '"'}, "without line end and quote"),
        ({"columns": "user=0,item=1"}, "give time order if the log has none"),
        ({"time": "order", "since": "2020-01-01"}, "since is given, but with time order"),
        ({"time": "order", "columns": "user=0,item=1,time=2"}, "columns name a time, but with time order"),
        ({"item_kind_separator": "-"}, "without item_separator"),
    ],
)
def test_options_of_logs_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ConvertConfig(**options)


def test_options_of_logs_are_taken_as_typed() -> None:
    config = ConvertConfig(delimiter="\\t", time_format="%d%%%m %Y", time_zone="+05:30", encoding="cp1252", quote="'")
    assert (config.delimiter, config.quote) == ("\t", "'")
