"""Kinds and times of events and features of users, embedded: against plain loops, for every family."""

from bisect import bisect_right

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from nann.config import TrainConfig
from nann.dataset.inputs import FeatureLists, RequestInput
from nann.errors import ModelError
from nann.models import build_model, load_model, save_model
from nann.models.classes import require_features
from nann.models.layers import Seeds
from nann.models.request_inputs import EVENT_DIM, SPANS, RequestEmbedding, span_rows
from ops.lookup import stock_ops

SCORERS = ["nann", "two-sided"]
INPUTS = {
    "behavior": RequestInput("history", 3),
    "time": RequestInput("history"),
    "age": RequestInput("user", 4),
    "tags": RequestInput("user", 6),
}


def make(kind, **more):
    config = TrainConfig(scorer=kind, emb_dim=4, inputs=tuple(INPUTS), **more)
    return config, build_model(config, num_items=30, num_categories=5, features=INPUTS)


def request(seed=0, users=5, length=6):
    """Histories padded at the end, and values in and out of range."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, 31, (users, length)) * (np.arange(length) < rng.integers(0, length + 1, users)[:, np.newaxis])
    times = 1_500_000_000 + np.cumsum(rng.integers(0, 10 ** rng.integers(1, 7, (users, length))), axis=1)
    inputs = {
        "behavior": rng.integers(-1, 6, rows.shape),
        "time": times * (rng.random(rows.shape) < 0.8),
        "age": rng.integers(-1, 7, (users, 1)),
        "tags": rng.integers(-2, 9, (users, 3)),
    }
    return rows, inputs


@given(st.integers(-10, 2**33))
def test_spans_are_half_octaves(seconds):
    row = int(span_rows(tf.constant([[seconds]], tf.int64))[0, 0])
    assert row == 1 + bisect_right(SPANS, max(seconds, 0))
    assert 1 <= row <= len(SPANS) + 1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_embeddings_are_those_of_a_loop(seed, stock):
    embedding = RequestEmbedding(INPUTS, 4, Seeds(1))
    kinds, to_newest, to_next, ages, tags = (table.numpy() for table in embedding.tables)
    rows, inputs = request(seed)
    given_values = {name: tf.constant(value) for name, value in inputs.items()}
    if stock:
        with stock_ops():
            events, user = tf.function(lambda: (embedding.events(tf.constant(rows), given_values), embedding.user(given_values)))()
    else:
        events, user = embedding.events(tf.constant(rows), given_values), embedding.user(given_values)
    for b, line in enumerate(rows):
        present = np.flatnonzero(line)
        times = [int(inputs["time"][b, p]) for p in present]
        for place in range(len(line)):
            parts = [np.zeros(EVENT_DIM, np.float32)] * 3
            if line[place]:
                if 1 <= inputs["behavior"][b, place] <= 3:
                    parts[0] = kinds[inputs["behavior"][b, place]]
                if times[place]:
                    parts[1] = to_newest[1 + bisect_right(SPANS, max(times) - times[place])]
                    if place + 1 < len(times) and times[place + 1]:
                        parts[2] = to_next[1 + bisect_right(SPANS, times[place + 1] - times[place])]
            np.testing.assert_allclose(events[b, place], np.concatenate(parts), rtol=1e-6)
        means = []
        for values, table, count in ((inputs["age"][b], ages, 4), (inputs["tags"][b], tags, 6)):
            known = [table[value] for value in values if 1 <= value <= count]
            means.append(np.mean(known, axis=0) if known else np.zeros(4))
        np.testing.assert_allclose(user[b], np.concatenate(means), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", SCORERS)
def test_every_family_reads_them_and_a_saved_model_holds_them(kind, tmp_path):
    config, scorer = make(kind)
    assert scorer.embedded_dim == 8
    assert scorer.history_dim == 8 + 3 * EVENT_DIM + 8
    assert not {variable.ref() for variable in scorer.network_variables} & {table.ref() for table in scorer.item_embedding.tables}
    # what they are added to begins as 0: a value for each, so that the test sees them
    for module in scorer.submodules:
        if getattr(module, "of_event", None) is not None and isinstance(module.of_event, tf.Variable):
            module.of_event.assign(tf.random.stateless_normal(module.of_event.shape, [1, 2]))
    save_model(scorer, tmp_path, config=config, max_length=6)
    loaded = load_model(tmp_path)
    rows, inputs = request(3)
    vectors = scorer.encode_item(tf.constant([4, 7, 30]), tf.constant([1, 2, 1]))[tf.newaxis]

    def scores(model, **changed):
        values = {name: tf.constant(value) for name, value in {**inputs, **changed}.items()}
        return model.score(model.encode_user(*model.history(tf.constant(rows), tf.constant(rows % 5), **values)), vectors).numpy()

    first = scores(scorer)
    np.testing.assert_array_equal(first, scores(loaded))
    # only differences of times count, only what is known and where an item stands
    np.testing.assert_allclose(scores(scorer, time=np.where(inputs["time"], inputs["time"] + 12345, 0)), first, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(scores(scorer, behavior=np.where(rows == 0, 2, inputs["behavior"])), first)
    np.testing.assert_array_equal(scores(scorer, tags=np.where(inputs["tags"] > 6, 0, inputs["tags"])), first)
    np.testing.assert_allclose(scores(scorer, tags=inputs["tags"][:, ::-1]), first, rtol=1e-5, atol=1e-6)
    filled = (rows > 0).sum(axis=1) > 1
    for name, other in (("behavior", inputs["behavior"] % 3 + 1), ("time", inputs["time"] * 3), ("age", inputs["age"] % 4 + 1)):
        assert (np.abs(scores(scorer, **{name: other}) - first)[filled] > 1e-6).any(), name
    # a user without history still has features
    assert (np.abs(scores(scorer, age=inputs["age"] % 4 + 1) - first)[~filled] > 1e-6).any()


def test_a_missing_input_is_named():
    _, scorer = make("two-sided")
    with pytest.raises(ValueError, match="the model reads the input 'behavior', which is not given"):
        scorer.history(tf.constant([[1]]), tf.constant([[1]]))


def test_without_inputs_a_sequence_is_what_items_are():
    scorer = build_model(TrainConfig(emb_dim=4), num_items=30, num_categories=5)
    assert scorer.history_dim == scorer.embedded_dim == 2 * 8  # of two encoders
    assert not scorer.request_inputs
    assert not scorer.item_embedding.small_tables
    mixed = build_model(
        TrainConfig(scorer="nann", emb_dim=4),
        num_items=30,
        num_categories=5,
        features={"brand": FeatureLists(np.ones(30, np.int32), np.concatenate([[0], np.arange(31)]), 1), **INPUTS},
    )
    assert (mixed.embedded_dim, mixed.history_dim) == (12, 12 + 3 * EVENT_DIM + 8)


def test_what_cannot_read_them_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="nann-rows reads items and categories alone, it takes no --inputs; leave them out"):
        require_features("nann-rows")
    source = """
import tensorflow as tf
from nann.models import Scorer
from nann.models.layers import Dense

class Own(Scorer):
    def __init__(self, *, num_items, num_categories, emb_dim, seed, features=None):
        super().__init__(num_items=num_items, num_categories=num_categories, emb_dim=emb_dim, seed=seed, name="own", features=features)
        self.projection = Dense(self.{size}, self.item_dim, self.seeds)

    def encode_user(self, sequence, mask):
        return (tf.reduce_mean(self.projection(sequence), axis=1),)

    def score(self, user_state, items, training=False):
        return tf.linalg.matvec(items, user_state[0])
"""
    monkeypatch.syspath_prepend(tmp_path)
    for size in ("embedded_dim", "history_dim"):
        (tmp_path / f"own_of_{size}.py").write_text(source.format(size=size))
    make("own_of_history_dim:Own")
    with pytest.raises(ModelError, match=r"encode_user cannot read sequences \[B, L, 40\] of a model with the inputs behavior, time, age"):
        make("own_of_embedded_dim:Own")
