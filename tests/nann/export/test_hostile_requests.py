"""Requests that no client should send, to every exported form: an error Status, or the same answer from all of them, never a signal."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

FORMS = ("portable", "native", "fused", "meta", "alone")
SEARCH = {"ef": (30, 20, 20), "rounds": (3, 1, 1), "top_k": 15, "start_level": -1}
ROWS, CATES = np.array([[3, 7, 12], [5, 0, 0]]), np.array([[1, 2, 3], [5, 0, 0]])


def request(rows: Any = ROWS, cates: Any = CATES, **search: Any) -> tuple[str, dict[str, np.ndarray]]:
    inputs = {"item_ids": np.asarray(rows, np.int64), "cate_ids": np.asarray(cates, np.int64)}
    if not search:
        return "debug", inputs
    return "search", inputs | {name: np.asarray(value, np.int64) for name, value in (SEARCH | search).items()}


def filtered(**filters: Any) -> tuple[str, dict[str, np.ndarray]]:
    nothing = {"exclude_item_ids": np.zeros((2, 0), np.int64), "category_ids": np.zeros((2, 0), np.int64), "exclude_history": [True, False]}
    given = {name: np.asarray(value, bool if name == "exclude_history" else np.int64) for name, value in (nothing | filters).items()}
    return "filtered", {"item_ids": ROWS, "cate_ids": CATES, **given}


def of_shape(*shape: int) -> tuple[str, dict[str, np.ndarray]]:
    return request(np.zeros(shape), np.zeros(shape))


HUGE, LEAST = 2**62, -(2**63)
REQUESTS = {
    "ef of 2^40": request(ef=(2**40, 60, 60)),
    "ef of 2^62": request(ef=(HUGE, HUGE, HUGE)),
    "ef of 0": request(ef=(0, 0, 0)),
    "negative ef": request(ef=(LEAST, -1, 1)),
    "fewer ef": request(ef=(30,)),
    "no ef": request(ef=()),
    "more ef": request(ef=(30, 20, 20, 20)),
    "ef of rank 2": request(ef=((30, 20, 20),)),
    "rounds of 2^62": request(rounds=(HUGE, HUGE, HUGE)),
    "negative rounds": request(rounds=(LEAST, -1, 0)),
    "fewer rounds": request(rounds=(1,)),
    "top_k of 2^62": request(top_k=HUGE),
    "top_k of 0": request(top_k=0),
    "negative top_k": request(top_k=LEAST),
    "top_k of rank 1": request(top_k=(5, 5)),
    "start level of 2^62": request(start_level=HUGE),
    "least start level": request(start_level=LEAST),
    "item rows below 0": request(-ROWS),
    "item rows out of range": request(ROWS + 10**6),
    "item rows of 2^62": request(np.full((2, 3), HUGE)),
    "least item rows": request(np.full((2, 3), LEAST)),
    "category rows below 0": request(cates=-CATES),
    "category rows of 2^62": request(cates=np.full((2, 3), HUGE)),
    "histories of nothing": request(np.zeros((2, 3)), np.zeros((2, 3))),
    "no users": of_shape(0, 3),
    "no history": of_shape(2, 0),
    "nothing": of_shape(0, 0),
    "rank 0": of_shape(),
    "rank 1": of_shape(3),
    "rank 3": of_shape(2, 3, 1),
    "categories of other users": request(cates=CATES[:1]),
    "categories of other lengths": request(cates=CATES[:, :2]),
    "excluded rows out of range": filtered(exclude_item_ids=[[HUGE, LEAST, -1], [301, 300, 0]]),
    "all rows excluded": filtered(exclude_item_ids=np.tile(np.arange(-5, 400), (2, 3))),
    "30,000 excluded rows": filtered(exclude_item_ids=np.zeros((2, 30_000))),
    "excluded rows of other users": filtered(exclude_item_ids=[[1, 2]]),
    "excluded rows of more users": filtered(exclude_item_ids=[[1], [2], [3]]),
    "excluded rows of rank 1": filtered(exclude_item_ids=[1, 2]),
    "excluded rows of rank 3": filtered(exclude_item_ids=np.zeros((2, 1, 1))),
    "wild categories": filtered(category_ids=[[HUGE, LEAST], [-1, 10]]),
    "all categories, many times": filtered(category_ids=np.tile(np.arange(10), (2, 500))),
    "categories asked for other users": filtered(category_ids=[[1, 2]]),
    "histories excluded of other users": filtered(exclude_history=[True]),
    "histories excluded of more users": filtered(exclude_history=[True] * 3),
    "a history of 30,000": request(np.tile(ROWS, (1, 10_000)), np.tile(CATES, (1, 10_000))),
}


def outcomes(forms: dict[str, Any], signature: str, inputs: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray] | None]:
    """The answer of each form, None for an error; without those whose client sees by the shapes that it need not ask."""
    found: dict[str, dict[str, np.ndarray] | None] = {}
    for form, retrieval in forms.items():
        try:
            found[form] = retrieval.run(signature, **inputs)
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError, tf.errors.ResourceExhaustedError):
            found[form] = None
        except ValueError:
            if form not in ("meta", "alone"):
                raise
    return found


@pytest.fixture(scope="module")
def forms(exported: Any) -> dict[str, Any]:
    return {form: exported.opened(form) for form in FORMS}


@pytest.mark.parametrize("name", REQUESTS)
def test_all_forms_refuse_or_all_answer_alike(forms: dict[str, Any], name: str) -> None:
    answers = outcomes(forms, *REQUESTS[name])
    refused = [form for form, answer in answers.items() if answer is None]
    assert refused in ([], list(answers)), f"{refused} refuse, the others answer"
    if refused:
        return
    for form, answer in answers.items():
        np.testing.assert_array_equal(answer["top_k_item_ids"], answers["portable"]["top_k_item_ids"], form)
        np.testing.assert_array_equal(answer["items_scored"], answers["portable"]["items_scored"], form)
        np.testing.assert_allclose(answer["top_k_scores"], answers["portable"]["top_k_scores"], atol=1e-5, err_msg=form)
        assert answer["top_k_item_ids"].min(initial=0) >= 0


@pytest.mark.parametrize("ids", [[[2**62, -(2**63)]], [[]], [], [[1], [2]]])
def test_catalogue_ids_that_nobody_has(forms: dict[str, Any], ids: list[Any]) -> None:
    answers = outcomes(forms, "catalogue_rows", {"item_ids": np.array(ids, np.int64)})
    assert len({answer is None for answer in answers.values()}) == 1
    for answer in answers.values():
        if answer is not None:
            assert answer["item_rows"].min(initial=0) >= 0
            np.testing.assert_array_equal(answer["item_rows"], answers["portable"]["item_rows"])
