"""Header detection and the place of every column."""

import pytest

from data_prep import DataError
from data_prep.columns import ITEM_CATEGORIES, USER_BEHAVIOR, Layout, decide_header, is_number, locate, usual_width
from data_prep.times import TimeOptions

NO_TIME = Layout({"user": "user_id", "item": "item_id"}, {"user": 0, "item": 1})
DATA = ["1", "2", "3", "pv", "1511544070"]
NAMES = ["user_id", "item_id", "category_id", "behavior_type", "timestamp"]


@pytest.mark.parametrize(
    ("first", "mapping", "expected"),
    [
        (DATA, {}, False),
        (NAMES, {}, True),
        (["u", "i", "c", "b", "t"], {}, True),
        (["u1", "i1", "c1", "pv", "1511544070"], {}, False),
        (["1", "2", "3"], {}, False),
        (DATA, {"user": "uid", "item": "1", "time": "4"}, True),
        (DATA, {"user": "0", "item": "1", "time": "4"}, False),
        (["u", "i", "c", "b", "t"], {"user": "0", "item": "1", "time": "4"}, True),
    ],
)
def test_a_header_is_recognised(first: list[str], mapping: dict[str, str], expected: bool) -> None:
    assert decide_header([first, DATA], mapping, "auto", USER_BEHAVIOR) is expected
    assert decide_header([first, DATA], mapping, "yes", USER_BEHAVIOR) is True
    assert decide_header([first, DATA], mapping, "no", USER_BEHAVIOR) is False


def test_the_usual_width_outvotes_a_damaged_first_line() -> None:
    assert usual_width([["1", "2"], DATA, DATA]) == 5


def test_columns_are_found_by_name_or_position() -> None:
    assert locate(None, 5, {}, USER_BEHAVIOR, "log") == {"user": 0, "item": 1, "category": 2, "time": 4}
    assert locate(["timestamp", "item_id", "user_id"], 3, {}, USER_BEHAVIOR, "log") == {"user": 2, "item": 1, "time": 0}
    assert locate(["a", "b", "c"], 3, {"user": "c", "item": "0", "time": "b"}, USER_BEHAVIOR, "log") == {"user": 2, "item": 0, "time": 1}
    assert locate(["7", "0"], 2, {"item": "0", "category": "7"}, ITEM_CATEGORIES, "items") == {"item": 1, "category": 0}


@pytest.mark.parametrize(
    ("names", "width", "mapping", "message"),
    [
        (None, 3, {}, "time should be column 4 .from 0., but the file has 3 columns"),
        (["a", "b", "c"], 3, {}, "user should be column 'user_id', but the columns are a, b, c"),
        (["a", "b", "c"], 3, {"user": "a", "item": "b", "time": "x"}, "time should be column 'x'"),
        (["a", "b", "c"], 3, {"user": "a", "item": "b", "category": "x", "time": "c"}, "category should be column 'x'"),
        (["a", "b", "b"], 3, {"user": "a", "item": "b", "time": "b"}, "names column 'b' twice"),
        (None, 3, {"user": "a", "item": "1", "time": "2"}, "there is no header"),
    ],
)
def test_a_missing_column_is_named(names: list[str] | None, width: int, mapping: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        locate(names, width, mapping, USER_BEHAVIOR, "log")


@pytest.mark.parametrize(("text", "expected"), [("12", True), ("-1.5", True), (" 1e9 ", True), ("", False), ("a1", False), ("1,2", False)])
def test_numbers_are_recognised(text: str, expected: bool) -> None:
    assert is_number(text) is expected


@pytest.mark.parametrize(
    ("rows", "mapping", "layout", "expected"),
    [
        ([["user_id", "item_id"], ["1", "2"]], {}, USER_BEHAVIOR, True),
        ([["u1", "i1", "c", "pv", "2019-10-02 07:08:44"]], {}, USER_BEHAVIOR, False),
        ([["a", "b", "c", "d", "e"], ["u1", "i1", "c", "pv", "2019-10-02"]], {}, USER_BEHAVIOR, True),
        ([["when", "who", "what"], ["2019-10-02", "u1", "i1"]], {"time": "0", "user": "1", "item": "2"}, USER_BEHAVIOR, True),
        ([["2019-10-02", "u1", "i1"]], {"time": "0", "user": "1", "item": "2"}, USER_BEHAVIOR, False),
        ([["who", "what"], *[[f"u{n % 3}", f"i{n % 2}"] for n in range(20)]], {"user": "0", "item": "1"}, NO_TIME, True),
        ([[f"u{n % 3}", f"i{n % 2}"] for n in range(20)], {"user": "0", "item": "1"}, NO_TIME, False),
        ([["who", "what"], ["1", "2"], ["3", "4"]], {"user": "0", "item": "1"}, NO_TIME, True),
        ([["1", "2"], ["3", "4"]], {"user": "0", "item": "1"}, NO_TIME, False),
    ],
)
def test_a_header_is_recognised_where_times_are_text_or_absent(
    rows: list[list[str]], mapping: dict, layout: Layout, expected: bool
) -> None:
    assert decide_header(rows, mapping, "auto", layout, TimeOptions().reads) is expected


def test_names_are_found_in_another_case_if_that_is_unique() -> None:
    assert locate(["User_ID", "ITEM_ID", "TimeStamp"], 3, {}, USER_BEHAVIOR, "log") == {"user": 0, "item": 1, "time": 2}
    assert locate(["a", "A", "b", "c"], 4, {"user": "a", "item": "b", "time": "C"}, USER_BEHAVIOR, "log") == {
        "user": 0,
        "item": 2,
        "time": 3,
    }
    with pytest.raises(DataError, match="names column 'x' twice"):
        locate(["X", "X", "b", "c"], 4, {"user": "x", "item": "b", "time": "c"}, USER_BEHAVIOR, "log")
    with pytest.raises(DataError, match="--time order if the log has none"):
        locate(["user_id", "item_id"], 2, {}, USER_BEHAVIOR, "log")
