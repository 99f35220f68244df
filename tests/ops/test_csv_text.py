"""Rows of delimited text: against Python's csv module where the text is well-formed, and natively as without the library."""

import csv
import io
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import csv_text as module
from ops.csv_text import Dialect, TextColumns, csv_text

FIELD = st.text(alphabet='ab1 ,"\n\r;:', max_size=6)


def values(found: TextColumns) -> list[list[str]]:
    columns = []
    for offsets, data in zip(found.offsets, found.data, strict=True):
        text = data.tobytes()
        columns.append([text[begin:end].decode() for begin, end in itertools.pairwise(offsets)])
    return [list(row) for row in zip(*columns, strict=True)]


@settings(deadline=None, max_examples=200)
@given(rows=st.lists(st.lists(FIELD, min_size=3, max_size=3), max_size=8), end=st.sampled_from(["\n", "\r\n"]))
def test_well_formed_text_reads_as_by_the_csv_module(rows: list[list[str]], end: str) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    found = csv_text(text.getvalue().encode(), Dialect(), width=3, columns=[0, 1, 2])
    assert values(found) == [[field.strip(" \n\r") for field in row] for row in rows]
    assert found.wrong_width == 0


@settings(deadline=None, max_examples=400)
@given(
    text=st.text(alphabet='a1,";:# \n\r', max_size=60),
    delimiter=st.sampled_from([",", "::", ";"]),
    quote=st.sampled_from(['"', "", "'"]),
    comment=st.sampled_from(["", "#"]),
    width=st.integers(1, 4),
    max_quoted=st.sampled_from([5, 1000]),
    at_end=st.booleans(),
)
def test_equal_without_the_library(text: str, delimiter: str, quote: str, comment: str, width: int, max_quoted: int, at_end: bool) -> None:
    dialect = Dialect(delimiter.encode(), quote.encode(), comment.encode(), max_quoted)
    native = csv_text(text.encode(), dialect, width=width, columns=range(width), at_end=at_end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_data_library", lambda: None)
        plain = csv_text(text.encode(), dialect, width=width, columns=range(width), at_end=at_end)
    assert values(native) == values(plain)
    for name in ("num_rows", "wrong_width", "example", "num_bytes"):
        assert getattr(native, name) == getattr(plain, name)


@pytest.mark.parametrize(
    ("text", "rows", "wrong"),
    [
        ('1,"a\nb",2\n3,c,4\n', [["1", "a\nb", "2"], ["3", "c", "4"]], 0),
        ('1,"a, b,2\n3,"c, d",4\n5,"e",6\n', [["3", "c, d", "4"], ["5", "e", "6"]], 1),
        ('1,"a,2\n3,"c, d",4\n', [["1", '"a', "2"], ["3", "c, d", "4"]], 0),
        ('1,"a "b" c",2\n', [["1", 'a "b" c', "2"]], 0),
        ('1,"a",2,"\n3,c,4\n', [["3", "c", "4"]], 1),
        ('1, "a, b" ,2\n', [["1", "a, b", "2"]], 0),
        ('1,"a""b",2\n', [["1", 'a"b', "2"]], 0),
        ('1,"2,3"\n4,5,6\n', [["4", "5", "6"]], 1),
        ("\n\r\n1,2,3\n\n4,5,6", [["1", "2", "3"], ["4", "5", "6"]], 0),
    ],
)
def test_a_quote_costs_only_its_own_line(text: str, rows: list[list[str]], wrong: int) -> None:
    found = csv_text(text.encode(), Dialect(), width=3, columns=[0, 1, 2])
    assert (values(found), found.wrong_width) == (rows, wrong)


def test_a_record_that_may_go_on_is_left_to_the_next_block() -> None:
    text = b'1,a,2\n3,"b\n'
    found = csv_text(text, Dialect(), width=3, columns=[0], at_end=False)
    assert (found.num_rows, found.num_bytes) == (1, 6)
    assert csv_text(text, Dialect(), width=3, columns=[0]).num_bytes == len(text)
