"""`nann check-data`: ordinary windows pass, each of the planted faults is found, what it says and keeps.

`pytest -m slow -s tests/nann/steps/test_check_data.py` prints the numbers of docs/results/retraining.md.
"""

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest
from click.testing import CliRunner

from nann.config import CheckDataConfig
from nann.data_checks.compare import compared_figures
from nann.data_checks.rules import check_window
from nann.data_checks.statistics import WindowContents, window_statistics
from nann.steps.check_data import read_window
from pipelines.cli import main

DAY = 86_400
DAYS = 8  # windows of the generated logs
GENERATED_KINDS = "pv,fav,cart,buy"
GLOBO_BEGIN = 1_506_902_400  # 2017-10-02 00:00 UTC


@dataclass(frozen=True)
class Rows:
    """Rows of a log: users, items, categories (-1: none), kinds (texts) and times in seconds, all [n]."""

    users: np.ndarray
    items: np.ndarray
    categories: np.ndarray
    kinds: np.ndarray
    times: np.ndarray

    def take(self, chosen: np.ndarray) -> "Rows":
        return Rows(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    def write(self, path: Path) -> Path:
        categories = pa.array(self.categories, mask=self.categories < 0)
        columns = [self.users, self.items, categories, pa.array(self.kinds), self.times]
        table = pa.table(columns, names=["user_id", "item_id", "category_id", "behavior", "timestamp"])
        pyarrow.csv.write_csv(table, path, pyarrow.csv.WriteOptions(include_header=False))
        return path

    def days(self, begin: int, count: int) -> list["Rows"]:
        return [self.take((self.times >= begin + day * DAY) & (self.times < begin + (day + 1) * DAY)) for day in range(count)]


def joined(*parts: Rows) -> Rows:
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in Rows.__dataclass_fields__))


def half_a_day_missing(rows: Rows, rng: np.random.Generator) -> Rows:
    hours = rows.times % DAY // 3600
    return rows.take((hours < 6) | (hours >= 18))


def morning_missing(rows: Rows, rng: np.random.Generator) -> Rows:
    return rows.take((rows.times - rows.times.min()) > DAY // 2)


def a_kind_gone(rows: Rows, rng: np.random.Generator) -> Rows:
    """All but a few of the rarest one; where none at all is left, `nann convert` refuses the log itself."""
    kinds, counts = np.unique(rows.kinds, return_counts=True)
    return rows.take((rows.kinds != kinds[np.argmin(counts)]) | (rng.random(len(rows.kinds)) < 0.03))


def ids_renumbered(rows: Rows, rng: np.random.Generator) -> Rows:
    """The same numbers for other items, which keep their categories."""
    known, place = np.unique(rows.items, return_inverse=True)
    return replace(rows, items=rng.permutation(known)[place])


def other_ids(rows: Rows, rng: np.random.Generator) -> Rows:
    return replace(rows, items=rows.items + 10_000_000)


def times_in_ms(rows: Rows, rng: np.random.Generator) -> Rows:
    return replace(rows, times=rows.times * 1000)


def another_zone(rows: Rows, rng: np.random.Generator) -> Rows:
    return replace(rows, times=rows.times + 8 * 3600)


def a_day_later(rows: Rows, rng: np.random.Generator) -> Rows:
    return replace(rows, times=rows.times + DAY)


def the_day_before(rows: Rows, rng: np.random.Generator) -> Rows:
    return replace(rows, times=rows.times - DAY)


def a_robot(rows: Rows, rng: np.random.Generator) -> Rows:
    """One user with a third of all events."""
    its = rows.take(rng.choice(len(rows.users), len(rows.users) // 2, replace=False))
    return joined(rows, replace(its, users=np.full_like(its.users, 99_999_999)))


def rows_twice(rows: Rows, rng: np.random.Generator) -> Rows:
    return joined(rows, rows)


def no_categories(rows: Rows, rng: np.random.Generator) -> Rows:
    return replace(rows, categories=np.full_like(rows.categories, -1))


def categories_permuted(rows: Rows, rng: np.random.Generator) -> Rows:
    return replace(rows, categories=rng.permutation(rows.categories))


def a_tenth(rows: Rows, rng: np.random.Generator) -> Rows:
    return rows.take(rng.random(len(rows.users)) < 0.1)


def items_shuffled(rows: Rows, rng: np.random.Generator) -> Rows:
    """Every event is of any item: nothing is popular."""
    known, first = np.unique(rows.items, return_index=True)
    place = rng.integers(len(known), size=len(rows.items))
    return replace(rows, items=known[place], categories=rows.categories[first][place])


def all_users_new(rows: Rows, rng: np.random.Generator) -> Rows:
    """A user id per event, but for a tenth of the users: where there is no other user, `nann convert` refuses the log itself."""
    return replace(rows, users=np.where(rows.users % 10, 20_000_000 + np.arange(len(rows.users)), rows.users))


# Fault -> figures of which one at least must be refused.
FAULTS: dict[Callable[[Rows, np.random.Generator], Rows], set[str]] = {
    half_a_day_missing: {"gap_hours"},
    morning_missing: {"span_hours", "lead_hours"},
    a_kind_gone: {"kinds_gone"},
    ids_renumbered: {"changed_categories", "popularity_correlation"},
    other_ids: {"new_items"},
    times_in_ms: {"types_changed"},
    another_zone: {"lead_hours"},
    a_day_later: {"lead_hours"},
    the_day_before: {"lead_hours"},
    a_robot: {"busiest_share"},
    rows_twice: {"equal_rows_share"},
    no_categories: {"no_category_share"},
    categories_permuted: {"changed_categories"},
    a_tenth: {"rows"},
    items_shuffled: {"popularity_distance", "popularity_correlation"},
    all_users_new: {"new_users", "activity_distance"},
}


def nann(*words: object) -> str:
    result = CliRunner().invoke(main, [*map(str, words), "--quiet"])
    assert result.exit_code == 0, result.output
    return result.output


def check(rows: Rows, root: Path, kinds: str, earlier: Path | None, *options: object) -> dict:
    """The verdict on a window that is put down under ``root``."""
    root.mkdir(parents=True)
    log = rows.write(root / "log.csv")
    nann("convert", "--input", log, "--output-root", root, "--shards", 1, "--behaviors", kinds, "--keep-behaviors")
    nann("check-data", "--output-root", root, *(["--earlier", earlier] if earlier else []), "--on-refusal", "continue", *options)
    return json.loads((root / "data_check" / "verdict.json").read_text())


def walk(windows: list[Rows], root: Path, kinds: str) -> list[dict]:
    """Verdicts on windows one after the other, each compared with those before it."""
    verdicts: list[dict] = []
    for number, rows in enumerate(windows):
        earlier = root / str(number - 1) / "data_check" if number else None
        verdicts.append(check(rows, root / str(number), kinds, earlier))
    return verdicts


def generated(root: Path, seed: int) -> list[Rows]:
    log = root / f"log-{seed}.csv"
    # The first days of a generated log are those in which its users begin.
    nann("generate", "--output", log, "--users", 1500, "--items", 1000, "--categories", 25, "--days", DAYS + 4, "--seed", seed)
    table = pyarrow.csv.read_csv(log, pyarrow.csv.ReadOptions(autogenerate_column_names=True))
    rows = Rows(*(column.to_numpy(zero_copy_only=False) for column in table.columns))
    return rows.days(int(rows.times.min()) // DAY * DAY + 3 * DAY, DAYS)


def globo(shared_data: Path) -> list[Rows]:
    """15 days of clicks; the device stands for the kind of an event."""
    table = pyarrow.csv.read_csv(shared_data / "globo_clicks.csv.gz")
    articles = pyarrow.csv.read_csv(shared_data / "globo_articles.csv.gz")
    category = np.zeros(pc.max(articles["article_id"]).as_py() + 1, np.int64)
    category[articles["article_id"].to_numpy()] = articles["category_id"].to_numpy()
    items = table["click_article_id"].to_numpy()
    device = table["click_deviceGroup"].to_numpy()
    kinds = np.where(device == 1, "desktop", np.where(device == 3, "mobile", "other"))
    rows = Rows(table["user_id"].to_numpy(), items, category[items], kinds, table["click_timestamp"].to_numpy() // 1000)
    return rows.days(GLOBO_BEGIN, 15)


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory) -> tuple[list[Rows], Path, list[dict]]:
    """Windows of a generated log, where their checks lie, and the verdicts."""
    root = tmp_path_factory.mktemp("ordinary")
    windows = generated(root, seed=1)
    return windows, root, walk(windows, root, GENERATED_KINDS)


def refused(verdicts: list[dict]) -> list[list[str]]:
    return [verdict["refused"] for verdict in verdicts]


def test_ordinary_windows_pass(ordinary):
    _, _, verdicts = ordinary
    assert refused(verdicts) == [[]] * DAYS
    assert [verdict["windows_before"] for verdict in verdicts] == list(range(DAYS))
    assert [verdict["compared"] for verdict in verdicts] == [False, False] + [True] * (DAYS - 2)
    assert len(verdicts[-1]["checks"]) > len(verdicts[0]["checks"])


def test_a_window_of_several_days_passes_after_windows_of_one(ordinary, tmp_path):
    """As after a pause, and after candidates that were refused: the next window begins where the version in service ends."""
    windows, root, _ = ordinary
    verdict = check(joined(*windows[-3:]), tmp_path / "long", GENERATED_KINDS, root / str(DAYS - 4) / "data_check")
    assert verdict["refused"] == []
    only = [*("--max-windows", 1), "--on-refusal", "continue", "--earlier", root / str(DAYS - 4) / "data_check"]
    nann("check-data", "--dataset", tmp_path / "long" / "dataset", "--data-check", tmp_path / "short", *only)
    assert "span_hours" in json.loads((tmp_path / "short" / "verdict.json").read_text())["refused"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_found(fault, ordinary, tmp_path):
    windows, root, _ = ordinary
    bad = fault(windows[-1], np.random.default_rng(1))
    verdict = check(bad, tmp_path / "bad", GENERATED_KINDS, root / str(DAYS - 2) / "data_check")
    assert not verdict["passed"]
    assert FAULTS[fault] & set(verdict["refused"]), verdict["refused"]


# Of these a conversion that goes on from an earlier dataset might hide something: it keeps rows, categories and the unit of times.
OF_IDS_AND_TIMES = (ids_renumbered, other_ids, no_categories, categories_permuted, times_in_ms, the_day_before)


@pytest.mark.parametrize(
    "fault",
    [fault if fault in OF_IDS_AND_TIMES else pytest.param(fault, marks=pytest.mark.slow) for fault in FAULTS],
    ids=lambda fault: fault.__name__,
)
def test_a_fault_is_found_in_a_window_that_goes_on_from_another(fault, ordinary, tmp_path):
    """As in the retraining pipeline: the dataset was converted with the one in service as its base."""
    windows, root, _ = ordinary
    before = root / str(DAYS - 2)
    log = fault(windows[-1], np.random.default_rng(1)).write(tmp_path / "log.csv")
    words = ["--output-root", tmp_path, "--shards", 1, "--behaviors", GENERATED_KINDS, "--keep-behaviors", "--base", before / "dataset"]
    result = CliRunner().invoke(main, [*map(str, ["convert", "--input", log, *words]), "--quiet"])
    if fault is the_day_before:  # all of it is in service already
        assert result.exit_code == 1
        return
    assert result.exit_code == 0, result.output
    nann("check-data", "--output-root", tmp_path, "--earlier", before / "data_check", "--on-refusal", "continue")
    verdict = json.loads((tmp_path / "data_check" / "verdict.json").read_text())
    assert FAULTS[fault] & set(verdict["refused"]), verdict["refused"]


def checks_of(root: Path) -> dict[str, dict]:
    """The checks in ``root`` by figure; of one with several bounds, the broken one or the last."""
    checks = json.loads((root / "data_check" / "verdict.json").read_text())["checks"]
    return {check["name"]: check for check in sorted(checks, key=lambda check: not check["passed"])[::-1]}


def test_a_refusal_names_the_figure_its_past_and_causes(ordinary, tmp_path):
    windows, root, _ = ordinary
    earlier = root / str(DAYS - 2) / "data_check"
    check(a_robot(windows[-1], np.random.default_rng(1)), tmp_path / "bad", GENERATED_KINDS, earlier)
    words = ["check-data", "--dataset", tmp_path / "bad" / "dataset", "--data-check", tmp_path / "again", "--earlier", earlier]
    for _ in range(2):  # the second time its artifact is there
        result = CliRunner().invoke(main, [*map(str, words), "--quiet"])
        assert result.exit_code == 1
        line = result.output.splitlines()[-1]
        assert line.startswith("error: the window is refused: share of the busiest user's events (busiest_share) 0.33")
        assert ", allowed at most 0.2, in the past 0.01" in line
        assert "perhaps a robot, or a default user id stands for all who are not signed in; see " in line
    assert "Refused" in (tmp_path / "again" / "report.html").read_text()
    page = (tmp_path / "bad" / "data_check" / "report.html").read_text()
    assert "Refused" in page
    assert "a default user id stands for all who are not signed in" in page
    assert page.count("<svg") == 2
    found = checks_of(tmp_path / "bad")["rows"]
    assert found["past"][0] <= found["value"] / 1.3 <= found["past"][1] * 1.5


def test_a_refused_window_is_not_in_the_series_and_an_accepted_one_is(ordinary, tmp_path):
    windows, root, _ = ordinary
    earlier = root / str(DAYS - 2) / "data_check" / "series.json"
    bad = tmp_path / "bad"
    verdict = check(rows_twice(windows[-1], np.random.default_rng(1)), bad, GENERATED_KINDS, earlier)
    assert json.loads((bad / "data_check" / "series.json").read_text()) == json.loads(earlier.read_text())
    names = ",".join(verdict["refused"])
    nann("check-data", "--dataset", bad / "dataset", "--data-check", tmp_path / "accepted", "--earlier", earlier, "--accept", names)
    assert json.loads((tmp_path / "accepted" / "verdict.json").read_text())["passed"]
    assert len(json.loads((tmp_path / "accepted" / "series.json").read_text())["windows"]) == DAYS
    # The window itself is no window before it.
    both = ["--earlier", tmp_path / "accepted", "--earlier", earlier, "--on-refusal", "continue"]
    nann("check-data", "--dataset", bad / "dataset", "--data-check", tmp_path / "again", *both, "--keep", 3)
    verdict = json.loads((tmp_path / "again" / "verdict.json").read_text())
    assert (verdict["windows_before"], verdict["passed"]) == (DAYS - 1, False)
    assert len(json.loads((tmp_path / "again" / "series.json").read_text())["windows"]) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--accept", "lines"], "accept names 'lines', which is no figure; give some of rows, users"),
        (["--earlier", "absent"], "absent does not exist; run `nann check-data` first"),
        (["--earlier", __file__], "is not a series of windows"),
    ],
)
def test_what_cannot_be_compared_is_refused(options, message, small_dataset, tmp_path):
    words = ["check-data", "--dataset", str(small_dataset), "--data-check", str(tmp_path / "check"), *options]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert message in result.output


@pytest.fixture(scope="module")
def series(small_dataset, tmp_path_factory) -> bytes:
    """A series of one window that is not the one of `small_dataset`."""
    root = tmp_path_factory.mktemp("series")
    nann("check-data", "--dataset", small_dataset, "--data-check", root / "check")
    kept = json.loads((root / "check" / "series.json").read_text())
    kept["windows"][0]["dataset"] = "0" * 64
    return json.dumps(kept).encode()


@pytest.fixture
def complaints(small_dataset, damage, tmp_path) -> Callable[[list[tuple[str, bytes]]], dict[str, str]]:
    """What is wrong with how a check ended, by damage of the series that it is compared with."""
    numbers = itertools.count()

    def complaints_of(damages: list[tuple[str, bytes]]) -> dict[str, str]:
        found = {}
        for number, (name, content) in zip(numbers, damages, strict=False):
            path = tmp_path / f"{number}.json"
            path.write_bytes(content)
            paths = ["--dataset", str(small_dataset), "--earlier", str(path), "--data-check", str(tmp_path / str(number))]
            if why := damage.complaint_about(CliRunner().invoke(main, ["check-data", "--quiet", *paths])):
                found[name] = why
        return found

    return complaints_of


@pytest.fixture
def damages_of_a_series(series, damage) -> list[tuple[str, bytes]]:
    return [*damage.damages_of_bytes(series), *damage.damages_of_json(series, depth=7)]


def test_a_series_is_read_and_a_damaged_one_is_told_in_one_line(series, complaints, damages_of_a_series, tmp_path):
    assert complaints([("whole", series)]) == {}
    assert json.loads((tmp_path / "0" / "verdict.json").read_text())["windows_before"] == 1
    assert complaints(random.Random(1).sample(damages_of_a_series, 40)) == {}


@pytest.mark.slow
def test_all_damages_of_a_series(complaints, damages_of_a_series):
    assert complaints(damages_of_a_series) == {}


@pytest.mark.slow
def test_no_alarm_in_generated_logs(tmp_path):
    """More logs, windows and bounds than the ordinary test has."""
    verdicts = []
    for seed in range(2, 7):
        verdicts += walk(generated(tmp_path, seed), tmp_path / str(seed), GENERATED_KINDS)
    print(f"\n{sum(not verdict['passed'] for verdict in verdicts)} alarms in {len(verdicts)} generated windows: {refused(verdicts)}")
    assert all(verdict["passed"] for verdict in verdicts)


@pytest.mark.slow
def test_fifteen_days_of_clicks(shared_data, tmp_path):
    """No alarm on ordinary days, and each fault found on the last one."""
    windows = globo(shared_data)
    kinds = ",".join(sorted({str(kind) for rows in windows for kind in np.unique(rows.kinds)}))
    verdicts = walk(windows, tmp_path, kinds)
    figures = [json.loads((tmp_path / str(day) / "data_check" / "statistics.json").read_text())["figures"] for day in range(15)]
    for name in figures[-1]:
        print(f"{name:22}", *(f"{'-' if day[name] is None else format(day[name], '.4g'):>8}" for day in figures))
    print("alarms on ordinary days:", refused(verdicts))
    found = {}
    for fault in FAULTS:
        bad = fault(windows[-1], np.random.default_rng(1))
        found[fault.__name__] = check(bad, tmp_path / fault.__name__, kinds, tmp_path / "13" / "data_check")["refused"]
        print(f"{fault.__name__:22}", ", ".join(found[fault.__name__]) or "MISSED")
    assert refused(verdicts) == [[]] * 15
    assert all(FAULTS[fault] & set(found[fault.__name__]) for fault in FAULTS)


def contents(rows: Rows) -> WindowContents:
    """What `read_window` finds in the dataset of a window from which no users are held out, without making one."""
    unit = "ms" if rows.times.max() > 10**11 else "s"
    rows = replace(rows, times=rows.times // (1000 if unit == "ms" else 1))
    rows = rows.take(np.lexsort((rows.times, rows.users)))
    items, place, counts = np.unique(rows.items, return_inverse=True, return_counts=True)
    by_count = np.lexsort((items, -counts))
    row_of = np.empty(len(items), np.int64)
    row_of[by_count] = np.arange(1, len(items) + 1)
    categories = np.full(len(items), -1, np.int64)
    order = np.argsort(rows.times, kind="stable")
    categories[place[order]] = rows.categories[order]  # the latest counts
    used = np.unique(categories[categories >= 0])
    category_rows = np.where(categories >= 0, np.searchsorted(used, categories) + 1, 0) if len(used) else np.zeros(len(items), int)
    users, firsts = np.unique(rows.users, return_index=True)
    kinds, kind_rows = np.unique(rows.kinds, return_inverse=True)
    mixed = sum(
        np.uint64(factor) * values.astype(np.uint64) for factor, values in ((3**39, rows.users), (5**27, rows.items), (7, rows.times))
    )
    equal = len(np.unique(mixed))  # rows by a hash
    meta = {
        **{"num_rows": len(rows.users), "num_events": len(rows.users), "num_users": len(users)},
        **{"duplicate_events": len(rows.users) - equal, "dropped_rows": {}, "filtered_rows": {}, "notes": {}, "split_time": None},
        **{"time_range": [int(rows.times.min()), int(rows.times.max())], "time_unit": unit, "test_min_length": 3},
        **{"num_users_per_split": {"train": len(users)}, "user_id_type": "int64", "item_id_type": "int64", "category_id_type": "int64"},
    }
    return WindowContents(
        meta=meta,
        item_rows=row_of[place].astype(np.int32),
        row_splits=np.append(firsts, len(rows.users)).astype(np.int64),
        times=rows.times,
        kinds=kind_rows.astype(np.int32) + 1,
        kind_names=tuple(map(str, kinds)),
        user_ids=users,
        item_ids=np.concatenate([[0], items[by_count]]),
        item_counts=np.concatenate([[0], counts[by_count]]),
        category_rows=np.concatenate([[0], category_rows[by_count]]).astype(np.int32),
        category_ids=np.concatenate([[0], np.maximum(categories[by_count], 0)]),
    )


def test_contents_of_rows_are_those_of_their_dataset(ordinary, tmp_path):
    windows, _, _ = ordinary
    log = windows[-1].write(tmp_path / "log.csv")
    words = ["--input", log, "--output-root", tmp_path, "--shards", 1, "--behaviors", GENERATED_KINDS, "--keep-behaviors"]
    nann("convert", *words, "--test-users", 0, "--validate-users", 0)
    expected, found = (window_statistics(each) for each in (read_window(tmp_path / "dataset"), contents(windows[-1])))
    assert found == expected


def test_the_long_log_that_a_service_began_with_does_not_widen_the_bounds(ordinary):
    windows, _, _ = ordinary
    series: list[dict] = []
    for rows in (joined(*windows[:4]), *windows[4:7]):
        series.append(window_statistics(contents(rows)))
        series[-1]["figures"] |= compared_figures(series[-1], series[:-1])
    last = windows[7]
    more = joined(last, *(replace(last, times=last.times + 60 * part, users=last.users + 10_000 * part) for part in (1, 2)))
    for rows, refused in ((last, set()), (more, {"rows", "users"})):
        statistics = window_statistics(contents(rows))
        statistics["figures"] |= compared_figures(statistics, series)
        found = {check.name for check in check_window(statistics, series, CheckDataConfig()) if not check.passed}
        assert refused <= found, found
        assert found or not refused
        assert refused or not found


SETS = 500


def resampled(windows: list[Rows], share: float) -> tuple[Counter, dict[str, Counter]]:
    """Verdicts on random sets of users of the windows after the third: alarms by figure without a fault, and by fault what was refused."""
    config, rng = CheckDataConfig(), np.random.default_rng(1)
    series: list[dict] = []
    for rows in windows:
        statistics = window_statistics(contents(rows))
        statistics["figures"] |= compared_figures(statistics, series)
        series.append(statistics)

    def verdict(rows: Rows, number: int) -> set[str]:
        statistics = window_statistics(contents(rows))
        statistics["figures"] |= compared_figures(statistics, series[:number])
        return {check.name for check in check_window(statistics, series[:number], config) if not check.passed}

    def draw() -> tuple[Rows, int]:
        number = int(rng.integers(3, len(windows)))
        users = np.unique(windows[number].users)
        return windows[number].take(np.isin(windows[number].users, users[rng.random(len(users)) < share])), number

    alarms: Counter = Counter()
    for _ in range(SETS):
        rows, number = draw()
        refused = verdict(rows, number)
        alarms.update([*refused, *(["any"] if refused else [])])
    found: dict[str, Counter] = {}
    for fault in FAULTS:
        found[fault.__name__] = Counter()
        for _ in range(SETS // len(FAULTS) + 1):
            rows, number = draw()
            refused = verdict(fault(rows, rng), number)
            found[fault.__name__].update([*refused, "sets", *([] if refused else ["missed"])])
    return alarms, found


@pytest.mark.slow
@pytest.mark.parametrize("log", ["generated", "globo"])
def test_resampled_sets_of_users(log, request, tmp_path):
    """False alarms on 500 random sets of four fifths of a day's users, misses on as many with a fault planted, all faults alike often."""
    windows = globo(request.getfixturevalue("shared_data")) if log == "globo" else generated(tmp_path, seed=1)
    alarms, found = resampled(windows, share=0.8)
    sets = sum(counts["sets"] for counts in found.values())
    missed = sum(counts["missed"] for counts in found.values())
    print(f"\n{log}: {alarms['any']} alarms in {SETS} sets {dict(alarms)}; {missed} of {sets} faults missed")
    for name, counts in found.items():
        figures = ", ".join(f"{figure} {count}" for figure, count in counts.most_common() if figure not in ("sets", "missed"))
        print(f"| {name} | {counts['missed']} of {counts['sets']} | {figures} |")
    assert alarms["any"] <= SETS // 20
    assert missed <= sets // 20
