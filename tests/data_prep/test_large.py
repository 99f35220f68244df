"""Logs of ten million rows: malformed lines found one by one, memory kept, the same bytes at the smallest limit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep.config import ConvertConfig
from data_prep.convert import convert_log
from data_prep.generate_large import write_large_log

ROOT = Path(__file__).parents[2]
ROWS = int(os.environ.get("NANN_LARGE_ROWS", 10_000_000))
MALFORMED = {
    b"x,1,1,pv,1511600000": "user_not_an_integer",
    b",1,1,pv,1511600000": "user_missing",
    b"1,1.5,1,pv,1511600000": "item_not_an_integer",
    b"1,1,blue,pv,1511600000": "category_not_an_integer",
    b"1,1,1,pv,yesterday": "time_not_a_number",
    b"1,1,1,pv,-5": "time_out_of_range",
    b"1,1,1": "wrong_number_of_columns",
    b"1,1,1,pv,1511600000,6": "wrong_number_of_columns",
    b'"1,1,1,pv,1511600000': "user_not_an_integer",
    b"\xff\xfe,1,1,pv,1511600000": "user_not_an_integer",
    b"0x1f,1,1,pv,1511600000": "user_not_an_integer",
}


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "log.csv"
    write_large_log(path, ROWS)
    return path


@pytest.mark.slow
def test_malformed_lines_in_a_large_file(log: Path, tmp_path: Path) -> None:
    places = [ROWS // 7 * step + 13 for step in range(1, 7)]
    with log.open("rb") as source, (tmp_path / "damaged.csv").open("wb") as target:
        for number, line in enumerate(source):
            target.write(line)
            if number in places:
                target.write(b"".join(kind + b"\n" for kind in MALFORMED))
    for name in ("clean", "damaged"):
        (tmp_path / name).mkdir()
    convert_log([log], tmp_path / "clean", ConvertConfig())
    report = convert_log([tmp_path / "damaged.csv"], tmp_path / "damaged", ConvertConfig())
    expected = {reason: len(places) * list(MALFORMED.values()).count(reason) for reason in MALFORMED.values()}
    assert report.dropped_rows == expected
    clean, damaged = contents(tmp_path / "clean"), contents(tmp_path / "damaged")
    assert json.loads(clean.pop("meta.json"))["num_rows"] == report.num_rows - sum(expected.values())
    del damaged["meta.json"]
    assert clean == damaged


@pytest.mark.slow
def test_memory_stays_within_the_limit(log: Path, tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from data_prep.config import ConvertConfig
from data_prep.convert import convert_log
Path(sys.argv[2]).mkdir()
convert_log([Path(sys.argv[1])], Path(sys.argv[2]), ConvertConfig(memory_limit=float(sys.argv[3]), threads=2))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""
    for limit in ("0.35", "4"):
        arguments = [sys.executable, "-c", program, str(log), str(tmp_path / limit), limit]
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
        assert float(done.stdout.splitlines()[-1]) < float(limit)
    assert contents(tmp_path / "0.35") == contents(tmp_path / "4")
