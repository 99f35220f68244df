"""Logs in the shapes that people have, through the command line: what is in them, and what is said where something is wrong.

Every shape is written by `log_shapes`; where a directory of such logs lies beside the repository its files are tried too.
"""

import importlib.util
import json
import os
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from pipelines.cli import main

FIRST, LAST = 1570000124, 1570777081
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Case:
    """A log and what is right about it; types are those of user, item and category ids."""

    name: str
    options: str = ""
    users: int = 150
    items: int = 120
    rows: int = 2400
    dropped: dict[str, int] = field(default_factory=dict)
    types: tuple[str, str] = ("int64", "int64")
    category_type: str = "int64"
    categories: int | None = 0
    times: tuple[int, int] | None = (FIRST, LAST)
    unit: str = "s"

    @property
    def events(self) -> int:
        return self.rows - sum(self.dropped.values())


TEXT = ("string", "string")
CASES = [
    Case("cat_text_one_empty.csv", category_type="string", categories=7),
    Case("cat_null.parquet", category_type="string", categories=7),
    Case("cat_int_empty.csv", "--id-type string", types=TEXT, category_type="string", categories=7),
    Case("item_nan.parquet", dropped={"item_missing": 1}),
    Case("nan_bigfloat.parquet", dropped={"user_missing": 48}, times=None),
    Case("q_onebreak.csv"),
    Case("q_lone.csv", dropped={"wrong_number_of_columns": 1}),
    Case("blankfirst_quoted.csv"),
    Case("amazon_zero.csv", "--columns user=1,item=0,time=3", types=TEXT),
    Case("kinds.csv", "--behaviors view,cart,purchase", categories=7),
    Case("lone_samerow.tsv", "--delimiter \\t --columns user=0,item=2,time=1", types=TEXT),
    Case("lone_samerow.tsv", "--delimiter \\t --quote none --columns user=0,item=2,time=1", types=TEXT),
    Case("maxint_onebad.csv", dropped={"time_not_a_number": 1}, categories=7),
    Case("latin1.csv"),
    Case("latin1.csv", "--encoding latin-1"),
    Case("nul.csv"),
    Case("rees46.csv", "--columns user=user_id,item=product_id,category=category_id,time=event_time", categories=9),
    Case("yoochoose.dat", "--columns user=0,item=2,category=3,time=1", category_type="string", categories=None, unit="ms"),
    Case("iso_str.parquet"),
    Case("globo_us_int.csv", "--columns user=user,item=item_id,time=event_timestamp", unit="us"),
    Case(
        "tmall.csv",
        "--columns user=user_id,item=item_id,category=cat_id,time=time_stamp --time-format %m%d --time-year 2014",
        categories=7,
        times=(1412208000, 1412985600),
    ),
    Case("date32.parquet", times=(1569974400, 1570752000)),
    Case("tenrec.csv", "--time order", times=(0, 2399)),
    Case("ml1m.dat", "--delimiter :: --columns user=0,item=1,time=3"),
    Case("amazon.json", "--columns user=reviewerID,item=asin,time=unixReviewTime", types=TEXT),
    Case("dec.parquet"),
    Case("binary.parquet", types=("string", "int64")),
    Case("nested.parquet", "--columns user=user.id,item=item_id,time=timestamp"),
    Case("uint64.csv", types=TEXT),
    Case("mixedfloatids.csv", categories=7),
    Case("plain.csv", "--items items_float.csv", categories=7),
    Case("hive", "--behaviors buy,pv"),
    Case("UserBehavior.csv.zip", categories=7),
    Case("nullwords.csv", dropped={"user_missing": 370}, types=("string", "int64"), categories=None, times=None),
    Case("upper_header.csv", categories=7),
    Case("comment.csv"),
    Case("comment.csv", "--comment #"),
    Case("retailrocket.csv", "--format retailrocket", unit="ms"),
    Case("rees46.csv", "--format rees46", categories=9),
    Case("yoochoose.dat", "--format yoochoose", category_type="string", categories=None, unit="ms"),
    Case("amazon.json", "--format amazon", types=TEXT, category_type="int64"),
    Case("amazon_zero.csv", "--format amazon", types=TEXT, category_type="int64"),
    Case("ml1m.dat", "--format movielens"),
    Case("tmall.csv", "--format tmall", categories=7, times=(1412208000, 1412985600)),
    Case("tenrec.csv", "--format tenrec", categories=None, times=(0, 2399)),
    Case("plain.csv", "--format userbehavior", categories=7),
]
PACKED = [Case(f"plain.csv.{suffix}", categories=7) for suffix in ("gz", "bz2", "xz", "zst")]


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The written shapes."""
    spec = importlib.util.spec_from_file_location("log_shapes", Path(__file__).with_name("log_shapes.py"))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    sys.modules["log_shapes"] = module
    spec.loader.exec_module(module)
    directory = tmp_path_factory.mktemp("shapes")
    module.write_shapes(directory)
    return directory


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """Directory of logs made by hand; the test is skipped where they are not."""
    data = Path(os.environ.get("NANN_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    directory = data.parent / "cases" / "logs"
    if not directory.is_dir():
        pytest.skip(f"logs made by hand are not here: no directory {directory} (NANN_SHARED_DATA names the one beside it)")
    return directory


def convert(log: Path, out: Path, *options: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["convert", "--input", str(log), "--dataset", str(out), "--quiet", *options], input=stdin)


def check(case: Case, directory: Path, out: Path) -> None:
    options = [str(directory / word) if word == "items_float.csv" else word for word in case.options.split()]
    done = convert(directory / case.name, out, *options)
    assert done.exit_code == 0, done.output
    meta: dict[str, Any] = json.loads((out / "meta.json").read_text())
    assert (meta["num_rows"], meta["num_events"], meta["dropped_rows"]) == (case.rows, case.events, case.dropped)
    assert (meta["num_users"], meta["num_items"]) == (case.users, case.items)
    assert (meta["user_id_type"], meta["item_id_type"], meta["category_id_type"]) == (*case.types, case.category_type)
    assert meta["time_unit"] == case.unit
    if case.categories is not None:
        assert meta["num_categories"] == case.categories
    if case.times is not None:
        assert tuple(meta["time_range"]) == case.times


@pytest.mark.parametrize("case", [*CASES, *PACKED], ids=lambda case: f"{case.name} {case.options}".strip())
def test_a_log_of_this_shape_is_read_whole(case: Case, shapes: Path, tmp_path: Path) -> None:
    check(case, shapes, tmp_path / "dataset")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} {case.options}".strip())
def test_the_log_made_by_hand_is_read_whole(case: Case, shared_cases: Path, tmp_path: Path) -> None:
    check(case, shared_cases, tmp_path / "dataset")


def test_floats_with_nan_give_exact_integers(shapes: Path, tmp_path: Path) -> None:
    assert convert(shapes / "item_nan.parquet", tmp_path / "dataset").exit_code == 0
    ids = pq.read_table(tmp_path / "dataset" / "items.parquet")["item_id"].to_pylist()
    assert set(ids) == set(range(2053013555631882, 2053013555631882 + 120))


def test_ids_of_several_files_are_one_column_whichever_has_the_nan(tmp_path: Path) -> None:
    rows = {"user_id": [user for user in range(20) for _ in range(8)], "item_id": [item % 9 for item in range(160)]}
    table = pa.table({**rows, "timestamp": list(range(1570000000, 1570000160))})
    floats = table.set_column(1, "item_id", pa.array([None, *table["item_id"].to_pylist()[1:]], pa.float64()))
    found = []
    for name, order in (("first", (floats, table)), ("last", (table, floats))):
        for number, part in enumerate(order):
            (tmp_path / name).mkdir(exist_ok=True)
            pq.write_table(part, tmp_path / name / f"{number}.parquet")
        assert convert(tmp_path / name, tmp_path / f"{name}-dataset").exit_code == 0
        meta = json.loads((tmp_path / f"{name}-dataset" / "meta.json").read_text())
        found.append((meta["item_id_type"], meta["num_items"], meta["dropped_rows"]))
    assert found[0] == found[1] == ("int64", 9, {"item_missing": 1})


def test_zeros_in_front_are_kept_and_said(shapes: Path, tmp_path: Path) -> None:
    arguments = ["convert", "--input", str(shapes / "amazon_zero.csv"), "--columns", "user=1,item=0,time=3"]
    done = CliRunner().invoke(main, [*arguments, "--dataset", str(tmp_path / "dataset")])
    assert "begin with a zero that an integer would lose" in done.stderr
    ids = pq.read_table(tmp_path / "dataset" / "items.parquet")["item_id"].to_pylist()
    assert "0000001703" in ids


@pytest.mark.parametrize("wanted", ["4.0,4.5,5.0", "4,4.5,5", "4.00,4.50,5"])
def test_kinds_that_are_numbers_compare_as_numbers(wanted: str, shapes: Path, tmp_path: Path) -> None:
    ratings = pq.read_table(shapes / "rating.parquet")["rating"].to_pylist()
    log = shapes / "rating.parquet"
    columns = "user=user_id,item=item_id,time=timestamp,behavior=rating"
    assert convert(log, tmp_path / "a", "--columns", columns, "--behaviors", wanted).exit_code == 0
    assert json.loads((tmp_path / "a" / "meta.json").read_text())["num_events"] == sum(rating >= 4 for rating in ratings) > 0
    pyarrow.csv.write_csv(pq.read_table(log), tmp_path / "rating.csv")
    assert convert(tmp_path / "rating.csv", tmp_path / "b", "--columns", columns, "--behaviors", wanted).exit_code == 0
    assert (tmp_path / "a" / "items.parquet").read_bytes() == (tmp_path / "b" / "items.parquet").read_bytes()


def test_a_log_is_read_from_a_pipe(shapes: Path, tmp_path: Path) -> None:
    assert convert(shapes / "plain.csv", tmp_path / "file").exit_code == 0
    for name in ("plain.csv", "plain.csv.xz", "item_nan.parquet"):
        done = convert(Path("-"), tmp_path / name, stdin=(shapes / name).read_bytes())
        assert done.exit_code == 0, done.output
    assert (tmp_path / "plain.csv" / "items.parquet").read_bytes() == (tmp_path / "file" / "items.parquet").read_bytes()
    assert "log:stdin" in json.loads((tmp_path / "plain.csv" / "manifest.json").read_text())["inputs"]
    assert not list(tmp_path.glob(".*stdin*"))


def test_the_copy_of_standard_input_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    left, foreign = tmp_path / ".dataset.stdin-abc", tmp_path / ".dataset.stdin-thesis"
    for directory, name in ((left, "stdin"), (foreign, "thesis.txt")):
        directory.mkdir()
        (directory / name).write_text("text")
    rows = "".join(f"{user},{item},1,pv,{1511544070 + item}\n" for user in range(1, 9) for item in range(1, 6))
    done = convert(Path("-"), tmp_path / "dataset", stdin=rows.encode())
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == [".dataset.stdin-thesis", "dataset"]


SEMICOLONS = "user_id;item_id;timestamp\n" + "".join(f"{n % 9};{n % 5};{1570000000 + n}\n" for n in range(60))
NAMES = "user_id,item_id,timestamp\n"
COMMAS = SEMICOLONS.replace(";", ",")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (SEMICOLONS, "", "give --delimiter ';'"),
        (SEMICOLONS.replace(";", "\t"), "", "give --delimiter '\\t'"),
        (SEMICOLONS.replace(";", "::"), "", "give --delimiter '::'"),
        (SEMICOLONS.replace(";", ",").replace("15700000", "31/12/2019 08:"), "", "give --time-format, for example '%d/%m/%Y %H:%M'"),
        (SEMICOLONS.replace(";", ",").replace("1570000", "x"), "--time-format %Y", "the time 'x000' is not of the format '%Y'"),
        (
            SEMICOLONS.replace(";", ","),
            "--behaviors buy --columns user=0,item=1,time=2,behavior=1",
            "'buy' never occurs; the log has 0",
        ),
        (SEMICOLONS.replace(";", ",").encode("utf-16"), "", "give --encoding utf-16"),
        ('[{"user_id": 1}]', "", "write one object per line"),
        ('{"user": 1}\n', "", "user should be column 'user_id', but the columns are user"),
        (SEMICOLONS.replace(";", ","), "--format rees46", "none of the layouts of format rees46"),
        (b"PK\x05\x06" + bytes(18), "", "must hold one file, but holds 0"),
        (SEMICOLONS.replace(";", "\x01"), "", "give --delimiter '\\x01'"),
        (SEMICOLONS.replace(";", "||"), "", "give --delimiter '||'"),
        (COMMAS.replace("15700000", "02/30/2019 08:"), "", "give --time-format with the directives of strptime"),
        (COMMAS.replace("15700000", "Oct 31 2019 08:"), "", "give --time-format, for example '%b %d %Y %H:%M'"),
        (NAMES + "1,2,20190115\n" * 40, "--max-bad-rows 5", "for the time 20190115 give --time-format '%Y%m%d' if these are dates"),
        (NAMES + "1,2,20190115083000\n" * 40, "--max-bad-rows 5", "give --time-format '%Y%m%d%H%M%S' if these are dates"),
        ("sep=;\n" + SEMICOLONS, "", "give --delimiter ';'"),
        (NAMES + "\udcff1,2,1570000000\n" * 40, "--max-bad-rows 5", "--id-type and --encoding, or raise"),
        (COMMAS + "1,2,1570000000,\n" * 40, "--max-bad-rows 5", "--id-type, --delimiter and --quote, or raise"),
        ('{"user_id": {"id": 1}, "item_id": 2, "timestamp": 1570000000}\n', "", "'user_id' (user) holds objects; name a key in them"),
        ('{"user_id": 1, "item_id": [2, 3], "timestamp": 1570000000}\n', "", "'item_id' (item) holds lists; write one line per value"),
        ("user_id,item_id,timestamp\n1,2.5e18,1570000000\n1,3.5e18,1570000001\n", "", "floats above 2^53, which lost digits"),
    ],
)
def test_errors_name_the_remedy(content: str | bytes, options: str, message: str, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogateescape"))
    done = convert(log, tmp_path / "dataset", *options.split())
    assert done.exit_code == 1
    assert message in done.output
    assert not (tmp_path / "dataset").exists()


@pytest.mark.parametrize("role", ["user", "category"])
def test_ids_that_lost_digits_as_floats_are_warned_of(role: str, tmp_path: Path) -> None:
    numbers = np.arange(2400)
    columns = {"user_id": numbers % 150, "item_id": numbers % 120, "category_id": numbers % 9, "timestamp": 1570000000 + numbers}
    columns[f"{role}_id"] = columns[f"{role}_id"] * 1e6 + 2053013555631882655.0
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    done = convert(tmp_path / "log.parquet", tmp_path / "dataset")
    assert done.exit_code == 0, done.output
    assert f"2,400 {role} ids are floats above 2^53, which lost digits" in done.output


def test_floats_of_32_bits_that_lost_digits_are_refused(tmp_path: Path) -> None:
    numbers = np.arange(2400)
    columns = {"user_id": numbers % 150, "item_id": (numbers % 120).astype(np.float32), "timestamp": 1570000000 + numbers}
    columns["item_id"][[7, 8]] = np.nan, np.inf
    pq.write_table(pa.table(columns), tmp_path / "small.parquet")
    assert convert(tmp_path / "small.parquet", tmp_path / "small").exit_code == 0
    for column, role in (("user_id", "user"), ("item_id", "item"), ("timestamp", "time")):
        large = (16777300 + numbers % 90).astype(np.float32)
        pq.write_table(pa.table({**columns, column: large}), tmp_path / "large.parquet")
        done = convert(tmp_path / "large.parquet", tmp_path / "large")
        assert done.exit_code == 1
        assert f"column {column!r} ({role}) holds floats of 32 bits above 2^24, which lost digits" in done.output


def test_the_delimiter_that_a_spreadsheet_writes_in_front_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("sep=;\r\n" + SEMICOLONS.replace("\n", "\r\n"))
    assert convert(tmp_path / "log.csv", tmp_path / "dataset", "--delimiter", ";").exit_code == 0
    meta = json.loads((tmp_path / "dataset" / "meta.json").read_text())
    assert (meta["num_events"], meta["headers"], meta["dropped_rows"]) == (60, [True], {})


@pytest.mark.parametrize("options", ["", "--behaviors buy,view"])
def test_kind_and_day_in_the_names_of_directories_are_read(options: str, tmp_path: Path) -> None:
    for day, kind in ((2, "buy"), (3, "view")):
        directory = tmp_path / f"day=2019-10-{day:02d}" / f"kind={kind}"
        directory.mkdir(parents=True)
        (directory / "part.csv").write_text("user_id,item_id\n" + "".join(f"{n % 9},{n % 5}\n" for n in range(60)))
    columns = "user=user_id,item=item_id,time=day,behavior=kind"
    done = convert(tmp_path, tmp_path / "dataset", "--columns", columns, *options.split())
    assert done.exit_code == 0, done.output
    meta = json.loads((tmp_path / "dataset" / "meta.json").read_text())
    assert (meta["num_events"], meta["time_range"]) == (120, [1569974400, 1570060800])


def test_a_control_character_separates_columns(tmp_path: Path) -> None:
    for name, delimiter in (("hive.txt", "\x01"), ("log.csv", ",")):
        (tmp_path / name).write_text(SEMICOLONS.replace(";", delimiter))
    assert convert(tmp_path / "hive.txt", tmp_path / "hive", "--delimiter", "\\x01").exit_code == 0
    assert convert(tmp_path / "log.csv", tmp_path / "log").exit_code == 0
    assert (tmp_path / "hive" / "items.parquet").read_bytes() == (tmp_path / "log" / "items.parquet").read_bytes()
    done = convert(tmp_path / "hive.txt", tmp_path / "dry", "--delimiter", "\\x01", "--dry-run")
    assert "--delimiter '\\x01'" in done.output


@pytest.mark.parametrize("place", ["user", "item", "title"])
def test_a_nul_in_an_id_is_a_bad_row_wherever_it_stands(place: str, tmp_path: Path) -> None:
    rows = [{"user": f"u{n % 9}", "item": f"i{n % 5}", "title": "abc", "time": str(1570000000 + n)} for n in range(90)]
    rows[40][place] = "a\0c"
    (tmp_path / "log.csv").write_text("\n".join(",".join(row.values()) for row in rows) + "\n")
    assert convert(tmp_path / "log.csv", tmp_path / "dataset", "--columns", "user=0,item=1,time=3").exit_code == 0
    meta = json.loads((tmp_path / "dataset" / "meta.json").read_text())
    assert meta["dropped_rows"] == ({} if place == "title" else {f"{place}_not_utf8": 1})


DRY = [
    ("rees46.csv", "--format rees46"),
    ("hive", "--behaviors buy,pv"),
    ("lone_samerow.tsv", "--delimiter \\t --columns user=0,item=2,time=1"),
    ("tmall.csv", "--format tmall"),
    ("tenrec.csv", "--time order"),
    ("amazon_zero.csv", "--format amazon"),
    ("binary.parquet", ""),
    ("nested.parquet", "--columns user=user.id,item=item_id,time=timestamp"),
    ("upper_header.csv", "--shards 2"),
    ("globo_us_int.csv", "--columns user=user,item=item_id,time=event_timestamp"),
]


@pytest.mark.parametrize(("name", "options"), DRY)
def test_the_command_of_a_dry_run_makes_the_same_dataset(name: str, options: str, shapes: Path, tmp_path: Path) -> None:
    check_dry_run(shapes / name, tmp_path, *options.split())


@pytest.mark.parametrize("options", ["", "--id-type string", "--id-type category=string"])
def test_the_command_of_a_dry_run_leaves_the_categories_of_an_items_file_their_type(options: str, shapes: Path, tmp_path: Path) -> None:
    categories = "".join(f"{item},{f'0{item % 5}' if options else f'kind {item % 5}'}\n" for item in range(120))
    (tmp_path / "items.csv").write_text("item_id,category_id\n" + categories)
    check_dry_run(shapes / "plain.csv", tmp_path, "--items", str(tmp_path / "items.csv"), *options.split())


def test_the_command_of_a_dry_run_holds_where_kinds_of_a_format_do_not_occur(tmp_path: Path) -> None:
    rows = "".join(f"{1570000000 + n}873,{n % 150},view,{n % 120},\n" for n in range(2400))
    (tmp_path / "events.csv").write_text("timestamp,visitorid,event,itemid,transactionid\n" + rows)
    check_dry_run(tmp_path / "events.csv", tmp_path, "--format", "retailrocket")


def check_dry_run(log: Path, out: Path, *options: str) -> None:
    dry = CliRunner().invoke(main, ["convert", "--dry-run", "--quiet", "--input", str(log), *options])
    assert dry.exit_code == 0, dry.output
    assert dry.stdout.startswith("2,400 rows read, nothing written")
    assert convert(log, out / "one", *options).exit_code == 0
    command = shlex.split(dry.stdout.splitlines()[-1])
    assert command[:2] == ["nann", "convert"]
    command[command.index("DATASET")] = str(out / "two")
    again = CliRunner().invoke(main, [*command[1:], "--quiet"])
    assert again.exit_code == 0, again.output
    one, two = ({path.name: path.read_bytes() for path in (out / name).iterdir()} for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(one[file] == two[file] for file in one if file != "manifest.json")


def test_a_dry_run_says_what_is_wrong_without_an_end(shapes: Path, tmp_path: Path) -> None:
    rows = "user_id,item_id,behavior_type,timestamp\n1,2,pv,1570000000\nx,2,pv,1570000000\n1,,pv,1570000000\n1,2\n3,4,buy,12\n"
    (tmp_path / "log.csv").write_text(rows)
    arguments = ["convert", "--dry-run", "--quiet", "--input", str(tmp_path / "log.csv"), "--behaviors", "pv,sold", "--dataset", "out dir"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    for text in ("user_not_an_integer 1 (first: 'x')", "item_missing 1", "wrong_number_of_columns 1 (first: '1,2')"):
        assert text in done.stdout
    assert "behaviors: pv (3), buy (1)" in done.stdout
    assert "do not occur in these rows: sold" in done.stdout
    assert "--dataset 'out dir'" in done.stdout
    assert not list(tmp_path.glob("*dataset*"))
