"""Reading of logs that are not plain integers: rows per second of each lane, beside what pyarrow, DuckDB and polars take for the same file.

    python benchmarks/log_lanes.py --rows 1000000 --rounds 3
    python benchmarks/log_lanes.py --readers-python OTHER/bin/python   (an environment with pyarrow, duckdb and polars)

The bare readers bring the four wanted columns into memory and decide nothing: no verdict on a row, no times out of text. "read" is
the first stage of a conversion in memory, "convert" the whole of it. Processes of their own in turn, imports apart; medians.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
COLUMNS = ["user_id", "item_id", "category_id", "timestamp"]
OPTIONS = {"colons.dat": {"delimiter": "::", "columns": "user=0,item=1,category=2,time=4"}}
IMPORTS = {
    "read": ("data_prep.log_reader", "data_prep.file_options"),
    "convert": ("nann.steps.convert", "data_prep.convert"),
    "pyarrow": ("pyarrow.csv", "pyarrow.json", "pyarrow.parquet"),
    "duckdb": ("duckdb", "pyarrow"),
    "polars": ("polars",),
}
FILES = ("integers.csv", "text_ids.csv", "iso_times.csv", "quoted_titles.csv", "colons.dat", "lines.json", "text_ids.parquet")


def write_files(directory: Path, rows: int) -> None:
    """The same log in every form."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    from data_prep.generate_large import write_large_log

    write_large_log(directory / "integers.csv", rows)
    names = ["user_id", "item_id", "category_id", "behavior_type", "timestamp"]
    table = csv.read_csv(directory / "integers.csv", csv.ReadOptions(column_names=names))

    def prefixed(column: str, prefix: str) -> pa.Array:
        return pc.binary_join_element_wise(prefix, table[column].cast(pa.string()), "")

    text = table.set_column(0, "user_id", prefixed("user_id", "u")).set_column(1, "item_id", prefixed("item_id", "item-"))
    csv.write_csv(text, directory / "text_ids.csv")
    pq.write_table(text, directory / "text_ids.parquet")
    iso = pc.strftime(table["timestamp"].cast(pa.timestamp("s")), format="%Y-%m-%d %H:%M:%S UTC")
    csv.write_csv(table.set_column(4, "timestamp", iso), directory / "iso_times.csv")
    csv.write_csv(table.append_column("title", prefixed("item_id", "Film, no ")), directory / "quoted_titles.csv")
    (directory / "colons.dat").write_bytes((directory / "integers.csv").read_bytes().replace(b",", b"::"))
    with (directory / "lines.json").open("w") as file:
        for batch in table.to_batches(1 << 16):
            file.writelines(json.dumps(row) + "\n" for row in batch.to_pylist())


def read_bare(reader: str, path: Path) -> int:
    """Rows that one of the readers brings into memory."""
    plain = path.name == "integers.csv"
    if reader == "pyarrow":
        import pyarrow as pa
        import pyarrow.csv as csv
        import pyarrow.json
        import pyarrow.parquet

        if path.suffix == ".json":
            return pa.json.read_json(path).num_rows
        if path.suffix == ".parquet":
            return pa.parquet.read_table(path, columns=COLUMNS).num_rows
        names = [*COLUMNS[:3], "behavior_type", COLUMNS[3]] if plain else None
        types = {"timestamp": pa.string()} if path.name == "iso_times.csv" else None
        convert = csv.ConvertOptions(include_columns=COLUMNS, column_types=types)
        return csv.read_csv(path, csv.ReadOptions(column_names=names), convert_options=convert).num_rows
    if reader == "duckdb":
        import duckdb

        read = {".json": "read_json", ".parquet": "read_parquet"}.get(path.suffix, "read_csv")
        columns = "column0, column1, column2, column4" if plain else ", ".join(COLUMNS)
        query = f"select {columns} from {read}('{path}'{', header = false' if plain else ''})"
        return duckdb.connect(config={"threads": 2}).sql(query).to_arrow_table().num_rows
    import polars

    if path.suffix == ".json":
        return polars.read_ndjson(path).select(COLUMNS).height
    if path.suffix == ".parquet":
        return polars.read_parquet(path, columns=COLUMNS).height
    return polars.read_csv(path, has_header=not plain, columns=[0, 1, 2, 4] if plain else COLUMNS).height


def read_ours(path: Path) -> int:
    """Rows that the first stage of a conversion reads, ids and times decided."""
    from data_prep.bad_rows import BadRows
    from data_prep.config import ConvertConfig
    from data_prep.file_options import log_options
    from data_prep.log_reader import LogReader

    options = log_options(ConvertConfig(**OPTIONS.get(path.name, {})), workers=2)
    return sum(LogReader([path], options, BadRows(0, 0), lambda batch: len(batch["user"])))


def convert(path: Path) -> int:
    """Rows of a whole conversion."""
    from data_prep.config import ConvertConfig
    from nann.steps.convert import convert as convert_step

    with tempfile.TemporaryDirectory(dir=path.parent) as out:
        done = convert_step(inputs=[path], dataset=Path(out) / "dataset", config=ConvertConfig(**OPTIONS.get(path.name, {})))
        return int(done.metrics["num_events"])


def measure(contender: str, path: Path) -> None:
    """Prints rows, seconds and processor seconds of one contender."""
    work = {"read": lambda: read_ours(path), "convert": lambda: convert(path)}.get(contender, lambda: read_bare(contender, path))
    for module in IMPORTS[contender]:
        importlib.import_module(module)
    start, cpu = time.perf_counter(), time.process_time()
    rows = work()
    print(json.dumps({"rows": rows, "seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--readers-python", default="", help="interpreter with duckdb and polars; without it pyarrow alone is beside ours")
    parser.add_argument("--measure", nargs=2, metavar=("CONTENDER", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure[0], Path(options.measure[1]))
        return
    others = {"duckdb": options.readers_python, "polars": options.readers_python} if options.readers_python else {}
    contenders = {"read": sys.executable, "convert": sys.executable, "pyarrow": options.readers_python or sys.executable, **others}
    with tempfile.TemporaryDirectory() as directory:
        write_files(Path(directory), options.rows)
        print(f"| file | {' | '.join(f'{name}: rows/s (processor s)' for name in contenders)} |")
        print(f"|---|{'---|' * len(contenders)}")
        for name in FILES:
            results: dict[str, list[dict]] = {contender: [] for contender in contenders}
            for _ in range(options.rounds):
                for contender, python in contenders.items():
                    if name == "colons.dat" and contender not in ("read", "convert"):
                        continue  # two of them know no delimiter of two characters
                    command = [python, __file__, "--measure", contender, str(Path(directory) / name)]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    results[contender].append(json.loads(done.stdout.splitlines()[-1]))
            cells = []
            for found in results.values():
                rate = statistics.median(one["rows"] / one["seconds"] for one in found) if found else 0
                cpu = statistics.median(one["cpu_seconds"] for one in found) if found else 0
                cells.append(f"{rate:,.0f} ({cpu:.2f})" if found else "")
            print(f"| `{name}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
