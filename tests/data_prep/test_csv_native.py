"""A file reads the same with and without the native library."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import csv_file
from data_prep.bad_rows import BadRows
from data_prep.columns import USER_BEHAVIOR
from data_prep.log_reader import FileOptions, read_tables

GOOD = st.tuples(st.integers(-3, 99), st.integers(0, 10**12), st.integers(0, 9), st.integers(0, 60)).map(
    lambda v: f"{v[0]},{v[1]},{v[2]},pv,{1_511_544_070 + v[3]}"
)
ODD = st.sampled_from(
    ["", "1,2", "x,1,1,pv,1511544070", "1,,1,pv,1511544070", '1,1,1,"pv",1511544070', "1,1,1,p\rv,15", "1,+2,3,pv,1511544070"]
)


@settings(deadline=None, max_examples=60)
@given(first=GOOD, lines=st.lists(GOOD | GOOD | GOOD | ODD, max_size=60), end=st.sampled_from(["\n", "\r\n"]), header=st.booleans())
def test_equal_without_the_library(first: str, lines: list[str], end: str, header: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    path: Path = tmp_path_factory.mktemp("log") / "log.csv"
    names = ["user_id,item_id,category_id,behavior_type,timestamp"] if header else []
    path.write_bytes(end.join([*names, *[first] * (len(lines) + 1), *lines]).encode())
    outcomes = []
    for library in (True, False):
        bad = BadRows(1000, 1.0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(csv_file, "BLOCK_BYTES", 200)
            patch.setattr(csv_file, "PIECE_BYTES", 64)
            if not library:
                patch.setattr(csv_file, "csv_integers", lambda *_, **__: None)
            table = read_tables([path], FileOptions({}, USER_BEHAVIOR), bad)
        columns = {
            role: [None if v is None else str(v) for chunk in chunks for v in chunk.to_pylist()] for role, chunks in table.columns.items()
        }
        outcomes.append((columns, table.num_rows, bad.by_reason))
    assert outcomes[0] == outcomes[1]
