"""Reading in blocks, and damage at awkward places."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from data_prep import DataError, csv_file, text_stream
from data_prep.bad_rows import BadRows
from data_prep.columns import USER_BEHAVIOR
from data_prep.log_reader import FileOptions, RawTable, read_tables
from data_prep.parsing import parse_ids

ROWS = [f"{user},{user % 37 + 1},{user % 5},pv,{1511544070 + user}" for user in range(2000)]


def read(tmp_path: Path, lines: list[str], bad: BadRows | None = None) -> RawTable:
    path = tmp_path / "log.csv"
    path.write_text("\n".join(lines) + "\n")
    return read_tables([path], FileOptions({}, USER_BEHAVIOR), bad or BadRows(100, 1.0))


def users(table: RawTable) -> list[int]:
    column = parse_ids(table.columns["user"], "auto")
    return column.values[~column.bad & ~column.missing].tolist()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 2048)
    monkeypatch.setattr(text_stream, "SAMPLE_BYTES", 512)
    monkeypatch.setattr(csv_file, "PIECE_BYTES", 256)


def test_a_file_of_many_blocks_is_read_whole(tmp_path: Path) -> None:
    table = read(tmp_path, ROWS)
    assert len(table.columns["user"]) > 10
    assert users(table) == list(range(2000))
    assert table.num_rows == 2000


def test_one_bad_value_turns_only_its_block_to_text(tmp_path: Path) -> None:
    table = read(tmp_path, [*ROWS[:1000], "x,1,1,pv,1511544070", *ROWS[1000:]])
    assert [str(chunk.type) for chunk in table.columns["user"]].count("string") == 1
    assert users(table) == list(range(2000))
    assert table.num_rows == 2001


def test_rows_of_the_wrong_width_are_counted_in_every_block(tmp_path: Path) -> None:
    lines = [line for place, row in enumerate(ROWS) for line in ([row, "1,2", "1,2,3,4,5,6,7"] if place % 100 == 99 else [row])]
    bad = BadRows(100, 1.0)
    table = read(tmp_path, lines, bad)
    assert users(table) == list(range(2000))
    assert bad.by_reason == {"wrong_number_of_columns": 40}
    assert table.num_rows == 2040
    with pytest.raises(DataError, match="more than max_bad_rows 5"):
        read(tmp_path, lines, BadRows(5, 1.0))


@pytest.mark.parametrize("place", [0, 1, 500, 1999])
@pytest.mark.parametrize("text", ['"7,1,1,pv,1511544070', '7,"1,1,pv,1511544070', '7,1,1,"pv,1511544070', '7,1,1,pv,1511544070"'])
@pytest.mark.parametrize("quoted", [False, True])
def test_a_lone_quote_costs_at_most_its_own_row(place: int, text: str, quoted: bool, tmp_path: Path) -> None:
    lines = [*ROWS[:place], text, *ROWS[place:]]
    if quoted:  # the sample then shows quotes, so that the file is first read with quoting
        lines = ['5000,1,1,"pv",1511544070', *lines]
    table = read(tmp_path, lines)
    found = [user for user in users(table) if user not in (7, 5000)]
    assert found == [user for user in range(2000) if user != 7]


def test_rows_that_are_not_utf8_cost_only_themselves(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    lines = [row.encode() for row in ROWS]
    damaged = [b"1,\xff,2", b"\xff\xfe,1,1,pv,1511544070", b"7,1,1,p\xe9v,1511544070"]  # too few fields; a bad id; a column not read
    path.write_bytes(b"\n".join([*lines[:700], *damaged, *lines[700:]]))
    bad = BadRows(100, 1.0)
    table = read_tables([path], FileOptions({}, USER_BEHAVIOR), bad)
    assert users(table) == [*range(700), 7, *range(700, 2000)]
    assert bad.by_reason == {"wrong_number_of_columns": 1}
    assert table.num_rows == 2003


def test_quoted_fields_are_read(tmp_path: Path) -> None:
    table = read(tmp_path, [",".join(f'"{field}"' for field in row.split(",")) for row in ROWS])
    assert users(table) == list(range(2000))
    table = read(tmp_path, [row.replace("pv", '"page, view"') for row in ROWS])
    assert users(table) == list(range(2000))


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("text", ['"one\ntwo, ""too""\nthree"', '"\n\n1,2"'])
def test_line_breaks_in_every_quoted_field_are_read(text: str, header: bool, tmp_path: Path) -> None:
    bad = BadRows(100, 1.0)
    names = ["user_id,item_id,category_id,behavior_type,timestamp"] * header
    table = read(tmp_path, [*names, *(row.replace("pv", text) for row in ROWS)], bad)
    assert users(table) == list(range(2000))
    assert not bad.by_reason


@pytest.mark.parametrize("header", [True, False])
def test_lone_quotes_do_not_turn_quoting_off_where_fields_hold_delimiters(header: bool, tmp_path: Path) -> None:
    bad = BadRows(100, 1.0)
    names = ["user_id,item_id,category_id,behavior_type,timestamp"] * header
    rows = [row.replace("pv", '"page, view' if place in (3, 500) else '"page, view"') for place, row in enumerate(ROWS)]
    assert users(read(tmp_path, [*names, *rows], bad)) == [user for user in range(2000) if user not in (3, 500)]
    assert bad.by_reason == {"wrong_number_of_columns": 2}


def test_a_cut_or_flipped_gzip_file_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress("\n".join(ROWS).encode())
    path = tmp_path / "log.csv.gz"
    flipped = bytearray(packed)
    flipped[-6] ^= 1  # within the checksum
    for content in (packed[: len(packed) // 2], packed[:-4], bytes(flipped), packed + b"junk"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"log\.csv\.gz is damaged"):
            read_tables([path], FileOptions({}, USER_BEHAVIOR), BadRows(0, 0))


def test_any_bytes_end_in_a_data_error_or_a_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    good = "\n".join(ROWS[:100]).encode()
    path = tmp_path / "log.csv"
    for _ in range(60):
        damaged = bytearray(good)
        for place in rng.integers(0, len(good), rng.integers(1, 40)):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(bytes(damaged))
        try:
            table = read_tables([path], FileOptions({}, USER_BEHAVIOR), BadRows(1000, 1.0))
        except DataError:
            continue
        assert {len(chunk) for chunks in table.columns.values() for chunk in chunks[:1]} != set()
