"""Any memory limit, number of partitions, threads and block size give the same bytes, and those of the straightforward converter."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import DataError, budget, csv_file, id_tables
from data_prep.config import ConvertConfig
from data_prep.convert import convert_log
from data_prep.counting import Counts
from data_prep.partitions import Partitions, cut_partitions, load_partition, sort_keys, store_partition

LINE = st.tuples(st.integers(-3, 12), st.integers(0, 9), st.integers(0, 4), st.sampled_from(["pv", "buy"]), st.integers(0, 60))


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def converted(log: Path, out: Path, **options) -> dict[str, bytes] | str:
    """The files, or the message of the error."""
    out.mkdir()
    try:
        convert_log([log], out, ConvertConfig(**options))
    except DataError as error:
        return str(error)
    return contents(out)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(LINE, min_size=1, max_size=120),
    partitions=st.integers(1, 40),
    threads=st.integers(1, 3),
    block=st.sampled_from([64, 500, 1 << 24]),
    options=st.fixed_dictionaries(
        {},
        optional={
            "layout": st.just("sample"),
            "duplicates": st.just("drop"),
            "shards": st.integers(1, 9),
            "train_min_length": st.integers(1, 3),
            "behaviors": st.just(("buy",)),
            "since": st.just("1511544080"),
            "min_item_events": st.integers(1, 3),
            "min_user_events": st.integers(1, 4),
            "id_type": st.just("string"),
            "missing_category": st.just("2"),
        },
    ),
)
def test_resources_change_no_byte(
    lines: list, partitions: int, threads: int, block: int, options: dict, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("log")
    log = directory / "log.csv"
    log.write_text("".join(f"{u},{i * 1_000_003},{c},{b},{1_511_544_070 + t}\n" for u, i, c, b, t in lines))
    expected = converted(log, directory / "one", partitions=1, threads=1, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_file, "BLOCK_BYTES", block)
        patch.setattr(id_tables, "DENSE_RANGE", 4 if threads == 2 else id_tables.DENSE_RANGE)
        patch.setattr(id_tables, "_MERGE_ROWS", 3)
        assert converted(log, directory / "many", partitions=partitions, threads=threads, **options) == expected


def test_the_memory_limit_decides_the_partitions_and_is_kept() -> None:
    counts = Counts(np.arange(10), np.full(10, 10_000_000), np.arange(100), np.full(100, 1), np.arange(0), (0, 1))
    few = budget.partition_events(ConvertConfig(memory_limit="300MiB"), counts, 2)
    many = budget.partition_events(ConvertConfig(memory_limit=4), counts, 2)
    assert few < many <= budget.MAX_PARTITION_EVENTS
    crowd = Counts(np.arange(10**7), np.ones(10**7, np.int64), np.arange(100), np.full(100, 1), np.arange(0), (0, 1))
    with pytest.raises(DataError, match=r"10,000,000 users and 100 items need about .* memory_limit is 1 GiB; raise it"):
        budget.partition_events(ConvertConfig(memory_limit=1), crowd, 2)


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    events=st.integers(1, 50),
    bits=st.integers(0, 62),
    boundaries=st.sets(st.integers(0, 30)),
)
def test_partitions_cover_all_users_once(lengths: list[int], events: int, bits: int, boundaries: set[int]) -> None:
    ends = sorted(boundary for boundary in boundaries if boundary <= len(lengths))
    counts = Counts(np.arange(len(lengths)), np.array(lengths), np.arange(1), np.ones(1), np.arange(0), (5, 5 + (1 << bits) - 1))
    partitions = cut_partitions(counts, events, np.array(ends, np.int64))
    sizes = np.diff(partitions.firsts)
    assert partitions.firsts[0] == 0
    assert partitions.firsts[-1] == len(lengths)
    assert (sizes > 0).all()
    assert set(ends) <= set(partitions.firsts.tolist())
    assert (int(sizes.max()) - 1).bit_length() + partitions.time_bits <= 63


@settings(deadline=None)
@given(keys=st.lists(st.integers(0, 5) | st.integers(0, 2**63 - 1), max_size=40))
def test_keys_are_sorted_stably(keys: list[int]) -> None:
    ordered, order = sort_keys(np.array(keys, np.uint64))
    assert order.tolist() == sorted(range(len(keys)), key=lambda place: keys[place])
    assert ordered.tolist() == sorted(keys)


def test_a_stored_partition_is_read_back(tmp_path: Path) -> None:
    partitions = Partitions(np.array([3, 6]), time_bits=4, first_time=-7)
    np.array([0 << 4 | 9, 2 << 4 | 1, 0 << 4 | 2, 2 << 4 | 1], np.uint64).tofile(tmp_path / "part-00000.keys")
    np.array([5, 6, 7, 8], np.int32).tofile(tmp_path / "part-00000.items")
    for _ in range(2):
        events = load_partition(tmp_path, partitions, 0)
        assert events.first_user == 3
        assert events.user_codes.tolist() == [0, 0, 2, 2]
        assert events.item_codes.tolist() == [7, 5, 6, 8]
        assert events.times.tolist() == [-5, 2, -6, -6]
        store_partition(tmp_path, partitions, 0, events)
