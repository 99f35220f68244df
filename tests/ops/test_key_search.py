import numpy as np
import pytest
import tensorflow as tf

from ops import key_search
from ops.key_search import KeySearch


def found(keys, wanted):
    """Per wanted key its place among the keys, -1 where it is not there."""
    search = KeySearch(keys)
    at = search.order[search.places_of(tf.constant(wanted)).numpy()]
    return np.where(keys[at] == wanted, at, -1)


@pytest.mark.parametrize("kind", ["numbers", "texts"])
def test_keys_are_found_where_they_are(kind):
    numbers = np.random.default_rng(0).permutation(np.array([0, -1, 2**63 - 1, -(2**63), *range(5, 90, 7)]))
    others = np.array([1, 4, -2, 90])
    keys, unknown = (
        array if kind == "numbers" else np.array([b"\x00\xff%d" % key for key in array], object) for array in (numbers, others)
    )
    np.testing.assert_array_equal(found(keys, keys), np.arange(len(keys)))
    np.testing.assert_array_equal(found(keys, unknown), -1)


def test_a_hash_key_under_which_keys_collide_is_not_taken(monkeypatch):
    hashed = tf.strings.to_hash_bucket_strong
    tried = []

    def colliding(keys, buckets, hash_key):
        tried.append(hash_key)
        return hashed(keys, 2 if len(tried) < 3 else buckets, hash_key)

    monkeypatch.setattr(key_search.tf.strings, "to_hash_bucket_strong", colliding)
    keys = np.array([b"a", b"b", b"c"], object)
    np.testing.assert_array_equal(found(keys, keys[::-1]), [2, 1, 0])
    assert tried[-2:] == [[2, 5], [2, 5]], "the search uses the hash key it found"


@pytest.mark.parametrize("keys", [np.array([3, 1, 3]), np.array([b"x", b"y", b"x"], object)])
def test_keys_that_are_there_twice_are_refused(keys):
    with pytest.raises(ValueError, match="the 3 keys are not distinct"):
        KeySearch(keys)
