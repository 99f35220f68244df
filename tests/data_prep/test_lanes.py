"""The same rows through every lane and format give the same dataset, byte for byte."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import csv_file, csv_format, file_options
from data_prep.config import ConvertConfig
from data_prep.convert import convert_log
from ops import csv_integers, csv_text, string_table, text_values

NAMES = ("user_id", "item_id", "category_id", "timestamp")
Row = tuple[str | None, str | None, str | None, str | None]
Write = Callable[[Path, list[Row]], None]

INTEGERS = st.integers(-3, 12).map(str) | st.sampled_from(["9223372036854775807", "-9223372036854775808", "4503599627370497"])
KINDS = {
    "integers": INTEGERS,
    "damaged": INTEGERS | st.sampled_from(["x", "61.0", "1.5", "9223372036854775808000"]),
    "zeros": INTEGERS | st.sampled_from(["07", "007"]),
    "wide": INTEGERS | st.sampled_from(["9223372036854775808", "18446744073709551615"]),
    "text": st.text(alphabet="ab ,;\"'é:\t\n", min_size=1, max_size=5).map(str.strip),
}
# Enough good rows for a dataset, in every kind of column.
GOOD: list[Row] = [(str(1 + n % 6), str(1 + n % 5), str(n % 5 % 2), str(1_570_000_000 + 7 * n)) for n in range(90)]


def csv(delimiter: str, *, quoted: bool = False, end: str = "\n") -> Write:
    def field(text: str | None) -> str:
        text = text or ""
        needed = quoted or set(delimiter + '"\n') & set(text)  # a colon before :: would belong to either
        return '"' + text.replace('"', '""') + '"' if needed else text

    def write(path: Path, rows: list[Row]) -> None:
        path.write_bytes("".join(delimiter.join(map(field, row)) + end for row in [NAMES, *rows]).encode())

    return write


def packed(path: Path, rows: list[Row]) -> None:
    csv(",")(path, rows)
    path.write_bytes(gzip.compress(path.read_bytes()))


def json_lines(*, numbers: bool) -> Write:
    def value(text: str | None) -> str | int | None:
        return int(text) if numbers and text is not None and is_plain(text) else text

    def write(path: Path, rows: list[Row]) -> None:
        path.write_text("".join(json.dumps(dict(zip(NAMES, map(value, row), strict=True))) + "\n" for row in rows))

    return write


def is_plain(text: str) -> bool:
    return text.lstrip("-").isdecimal() and text.isascii() and str(int(text)) == text


def parquet(kind: pa.DataType | None, size: int = 1 << 20) -> Write:
    """Text columns, or columns of a type where all values fit it."""

    def column(texts: list[str | None]) -> pa.Array:
        plain = all(text is None or is_plain(text) for text in texts)
        if kind is None or not plain:
            return pa.array(texts, pa.string())
        numbers = [None if text is None else int(text) for text in texts]
        if pa.types.is_decimal(kind):
            return pa.array([None if number is None else Decimal(number) for number in numbers], kind)
        fits = all(number is None or abs(number) < 1 << 53 for number in numbers)
        return pa.array(numbers, kind if fits or not pa.types.is_floating(kind) else pa.string()) if fits else pa.array(texts, pa.string())

    def write(path: Path, rows: list[Row]) -> None:
        columns = zip(*rows, strict=True)
        table = pa.table(dict(zip(NAMES, (column(list(texts)) for texts in columns), strict=True)))
        pq.write_table(table, path, row_group_size=size)

    return write


FORMATS: dict[str, tuple[Write, dict]] = {
    "csv": (csv(","), {}),
    "quoted": (csv(",", quoted=True, end="\r\n"), {}),
    "tabs": (csv("\t"), {"delimiter": "\t"}),
    "colons": (csv("::"), {"delimiter": "::"}),
    "gzip": (packed, {}),
    "json": (json_lines(numbers=True), {}),
    "json-text": (json_lines(numbers=False), {}),
    "parquet-text": (parquet(None), {}),
    "parquet-integers": (parquet(pa.int64(), size=16), {}),
    "parquet-floats": (parquet(pa.float64()), {}),
    "parquet-decimals": (parquet(pa.decimal128(38, 0)), {}),
}


def dataset(path: Path, options: dict) -> dict[str, bytes | dict]:
    out = path.with_name(f"{path.name}-dataset")
    out.mkdir()
    convert_log([path], out, ConvertConfig(test_users=1, validate_users=1, max_bad_share=1.0, shards=1, threads=1, **options))
    found: dict[str, bytes | dict] = {file.name: file.read_bytes() for file in out.iterdir()}
    meta = json.loads(found["meta.json"])
    del meta["headers"]
    return found | {"meta.json": meta}


@st.composite
def logs(draw: st.DrawFn) -> list[Row]:
    """Rows of columns of one kind each, with values missing."""
    kinds = [KINDS[draw(st.sampled_from(sorted(KINDS)))] for _ in range(3)]
    time = st.integers(1_570_000_000, 1_570_000_900).map(str) | st.sampled_from(["oops", "12", "1570000003.5"])
    row = st.tuples(*(kind | st.none() if place else kind for place, kind in enumerate(kinds)), time | st.none())
    rows = draw(st.lists(row.map(lambda values: tuple(value or None for value in values)), max_size=25))
    place = draw(st.integers(0, len(GOOD)))
    return [*GOOD[:place], *rows, *GOOD[place:]]


@settings(deadline=None, max_examples=12)
@given(rows=logs(), names=st.sets(st.sampled_from(sorted(FORMATS)), min_size=2, max_size=3), block=st.sampled_from([200, 1 << 22]))
def test_the_same_rows_give_the_same_dataset(
    rows: list[Row], names: set[str], block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("lanes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_file, "BLOCK_BYTES", block)
        patch.setattr(csv_file, "PIECE_BYTES", 64)
        found = {}
        for name in sorted(names):
            write, options = FORMATS[name]
            write(directory / name, rows)
            found[name] = dataset(directory / name, options)
    first, *others = found
    for name in others:
        assert found[name] == found[first], f"{name} against {first}"


@settings(deadline=None, max_examples=6)
@given(rows=logs(), name=st.sampled_from(["csv", "quoted", "colons", "json", "parquet-text"]))
def test_the_same_rows_give_the_same_dataset_without_the_native_library(
    rows: list[Row], name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("lanes")
    write, options = FORMATS[name]
    write(directory / "native", rows)
    write(directory / "plain", rows)
    with pytest.MonkeyPatch.context() as patch:
        for module in (csv_integers, csv_text, string_table, text_values):
            patch.setattr(module, "load_data_library", lambda: None)
        plain = dataset(directory / "plain", options)
    assert plain == dataset(directory / "native", options)


def test_times_of_every_form_give_the_same_dataset(tmp_path: Path) -> None:
    """Numbers of every unit, ISO 8601, another format, timestamps and dates of every unit."""
    times = [86_400 * (18_000 + n) for n in range(len(GOOD))]
    rows = [row[:3] for row in GOOD]

    def as_csv(name: str, text: Callable[[int], str]) -> Path:
        csv(",")(tmp_path / name, [(*row, text(time)) for row, time in zip(rows, times, strict=True)])
        return tmp_path / name

    def as_parquet(name: str, column: pa.Array) -> Path:
        columns = dict(zip(NAMES, (pa.array(list(texts)) for texts in zip(*rows, strict=True)), strict=False))
        pq.write_table(pa.table({**columns, "timestamp": column}), tmp_path / name)
        return tmp_path / name

    def moment(time: int) -> datetime:
        return datetime.fromtimestamp(time, UTC)

    logs = [(as_csv(f"{unit}.csv", lambda time, zeros=zeros: f"{time}{zeros}"), {}) for unit, zeros in (("s", ""), ("d", ".25"))]
    logs += [(as_csv("iso.csv", lambda time: moment(time).isoformat(" ")), {})]
    logs += [(as_csv("zone.csv", lambda time: f"{moment(time + 3600):%Y-%m-%dT%H:%M:%S}+01:00"), {})]
    logs += [(as_csv("local.csv", lambda time: f"{moment(time + 28_800):%Y-%m-%d %H:%M:%S}"), {"time_zone": "Asia/Shanghai"})]
    logs += [(as_csv("form.csv", lambda time: f"{moment(time):%d.%m.%Y}"), {"time_format": "%d.%m.%Y"})]
    seconds = pa.array(times, pa.int64()).cast(pa.timestamp("s"))
    logs += [(as_parquet(f"{unit}.parquet", seconds.cast(pa.timestamp(unit))), {}) for unit in ("s", "ms", "us", "ns")]
    logs += [(as_parquet(f"{kind}.parquet", seconds.cast(kind)), {}) for kind in (pa.date32(), pa.date64())]
    expected = dataset(*logs[0])
    for path, options in logs[1:]:
        assert dataset(path, options) == expected, path.name
    for unit, zeros in (("ms", "000"), ("us", "000000")):  # ordered in a finer unit, and otherwise the same
        found = dataset(as_csv(f"{unit}.csv", lambda time, zeros=zeros: f"{time}{zeros}"), {})
        assert found.pop("meta.json")["time_unit"] == unit
        assert found == {name: content for name, content in expected.items() if name != "meta.json"}


def test_the_options_of_a_log_reach_its_reader() -> None:
    config = ConvertConfig(delimiter="::", quote="none", comment="#", encoding="latin-1")
    assert file_options.text_options(config) == csv_format.TextOptions("::", "none", "#", "latin-1")
