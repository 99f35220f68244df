"""Layers of every kind of table, and models over them."""

import numpy as np
import pytest
import tensorflow as tf

from ops import CounterFilter, EmbeddingVariableOption
from ops.keras import EmbeddingBag

KINDS = ("static", "growing", "adaptive")
ROWS, DIM, LENGTH = 50, 4, 6


def make(kind, layer=EmbeddingBag, *, promote_after=2, seed=3, **options):
    """A layer over a table of the kind; ids are below ROWS, negative ones are padding."""
    if kind == "static":
        return layer(ROWS, DIM, seed=seed, **options)
    option = EmbeddingVariableOption(filter_option=CounterFilter(promote_after))
    return layer(None, DIM, option=option, seed=seed, initial_capacity=4, shared_rows=8 if kind == "adaptive" else None, **options)


def model_of(layer, dtype="int64"):
    ids = tf.keras.Input((LENGTH,), dtype=dtype)
    return tf.keras.Model(ids, tf.keras.layers.Dense(1)(layer(ids)))


def data(count=64, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(-2, ROWS, (count, LENGTH))
    ids[0] = -1  # an empty bag
    return ids, rng.normal(size=(count, 1)).astype(np.float32)


@pytest.fixture(name="make")
def fixture_make():
    return make


@pytest.fixture(name="model_of")
def fixture_model_of():
    return model_of


@pytest.fixture(name="data")
def fixture_data():
    return data


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(autouse=True)
def plain_policy():
    tf.keras.utils.set_random_seed(5)
    yield
    tf.keras.config.set_dtype_policy("float32")
