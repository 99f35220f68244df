"""Catalogue ids to rows and back."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from nann.export import Catalogue
from nann.export.catalogue import CatalogueLookup


def lookup_of(ids: list) -> CatalogueLookup:
    neutral = "" if ids and isinstance(ids[0], str) else 0
    item_ids = np.array([neutral, *ids], object if neutral == "" else np.int64)
    lookup = CatalogueLookup(Catalogue(item_ids=item_ids, category_rows=np.arange(len(ids) + 1), num_categories=len(ids)))
    lookup.create(lambda name, value: tf.constant(value, tf.string) if value.dtype == object else tf.constant(value))
    return lookup


@settings(max_examples=30, deadline=None)
@given(
    st.one_of(
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30, unique=True),
        st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=30, unique=True),
    ),
    st.data(),
)
def test_every_id_finds_its_row_and_no_other_does(ids: list, data: st.DataObject) -> None:
    lookup = lookup_of(ids)
    asked = data.draw(st.lists(st.sampled_from(ids), max_size=8)) + ([0, 1, -1] if isinstance(ids[0], int) else ["", "a", "zz"])
    wanted = tf.constant([[i.encode("utf-8", "surrogatepass") if isinstance(i, str) else i for i in asked]], lookup.id_type)
    rows = lookup.rows_of(wanted).numpy()[0].tolist()
    assert rows == [ids.index(i) + 1 if i in ids else 0 for i in asked]


def test_zero_is_an_ordinary_id() -> None:
    lookup = lookup_of([5, 0])
    assert lookup.rows_of(tf.constant([[0, 5, 7]], tf.int64)).numpy().tolist() == [[2, 1, 0]]
    assert lookup.ids_of(tf.constant([2, 0], tf.int64)).numpy().tolist() == [0, 0]


def test_categories_of_wild_rows_are_missing() -> None:
    assert lookup_of([5, 6]).categories_of(tf.constant([[1, 2, 3, 0, -1]], tf.int64)).numpy().tolist() == [[1, 2, 0, 0, 0]]


@pytest.mark.parametrize("ids", [[3, 3], ["x", "x"]])
def test_ids_that_are_not_distinct_are_refused(ids: list) -> None:
    with pytest.raises(ValueError, match="the 2 catalogue ids are not distinct"):
        lookup_of(ids)
