"""A causal scorer: what it says after an event depends on that user's events up to it, in packed rows as in serving."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from nann.config import TrainConfig
from nann.dataset.inputs import RequestInput
from nann.models import build_model, load_model, save_model
from nann.models.causal import CausalScorer

ITEMS, CATEGORIES = 30, 5
INPUTS = {"time": RequestInput("history"), "behavior": RequestInput("history", 3), "age": RequestInput("user", 4)}


def model_of(inputs: tuple[str, ...] = (), encoders: int = 1) -> CausalScorer:
    config = TrainConfig(scorer="sequence", emb_dim=8, inputs=inputs, encoders=encoders)
    scorer = build_model(config, num_items=ITEMS, num_categories=CATEGORIES, features={name: INPUTS[name] for name in inputs})
    assert isinstance(scorer, CausalScorer)
    generator = np.random.default_rng(1)
    for variable in scorer.trainable_variables:  # the initial values are small: what should differ would differ by little
        variable.assign(generator.normal(0, 0.3, variable.shape))
    return scorer


def request(length: int, seed: int, inputs: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    items = rng.integers(1, ITEMS + 1, length)
    values = {
        "time": np.cumsum(rng.integers(1, 10_000, length)) + 10**9,
        "behavior": rng.integers(1, 4, length),
        "age": rng.integers(1, 5, 2),
    }
    return items, items % CATEGORIES + 1, {name: values[name] for name in inputs}


@pytest.mark.parametrize(("inputs", "encoders"), [((), 1), (("time", "behavior", "age"), 1), (("time", "behavior", "age"), 3)])
def test_every_position_of_a_packed_row_is_what_serving_says_of_that_prefix(inputs: tuple[str, ...], encoders: int) -> None:
    scorer = model_of(inputs, encoders)
    users = [request(length, seed, inputs) for seed, length in enumerate((4, 1, 7))]
    items, categories = (np.concatenate([user[part] for user in users])[np.newaxis] for part in (0, 1))
    segments = np.repeat([3, 1, 2], [4, 1, 7]).astype(np.int32)[np.newaxis]
    values = {}
    for name in inputs:
        parts = [user[2][name] if name != "age" else np.tile(user[2][name], (len(user[0]), 1)) for user in users]
        values[name] = np.concatenate(parts)[np.newaxis]
    pad = [[0, 0], [0, 4]]
    segments, items, categories = (np.pad(part, pad) for part in (segments, items, categories))
    values = {name: np.pad(part, pad + [[0, 0]] * (part.ndim - 2)) for name, part in values.items()}
    sequence, _ = scorer.item_embedding.history(tf.constant(items), tf.constant(categories), segments=tf.constant(segments), **values)
    packed = scorer.encode_positions(sequence, tf.constant(segments)).numpy()[0]
    place = 0
    for rows, cates, given in users:
        for end in range(1, len(rows) + 1):
            prefix = {name: (value if name == "age" else value[:end])[np.newaxis] for name, value in given.items()}
            (vector,) = scorer.encode_user(
                *scorer.history(tf.constant(rows[np.newaxis, :end]), tf.constant(cates[np.newaxis, :end]), **prefix)
            )
            np.testing.assert_allclose(packed[place], vector[0], rtol=1e-4, atol=1e-5)
            place += 1


def test_padding_and_later_users_change_nothing() -> None:
    scorer = model_of()
    items, categories, _ = request(5, 1, ())
    alone = scorer.encode_user(*scorer.history(items[np.newaxis], categories[np.newaxis]))[0]
    padded = scorer.encode_user(*scorer.history(np.pad(items, (0, 3))[np.newaxis], np.pad(categories, (0, 3))[np.newaxis]))[0]
    np.testing.assert_allclose(alone, padded, rtol=1e-4, atol=1e-5)


def test_an_empty_history_has_finite_scores() -> None:
    scorer = model_of()
    state = scorer.encode_user(*scorer.history(np.zeros((2, 3), np.int64), np.zeros((2, 3), np.int64)))
    assert np.all(np.isfinite(scorer.score(state, scorer.encode_item(np.arange(1, 6), np.arange(5))[tf.newaxis])))


def test_dropout_is_decided_by_the_seed() -> None:
    scorer = model_of()
    items, categories, _ = request(6, 2, ())
    sequence, mask = scorer.history(items[np.newaxis], categories[np.newaxis])
    segments = tf.cast(mask, tf.int32)

    def vectors(*seed: int) -> np.ndarray:
        return scorer.encode_positions(sequence, segments, dropout=0.3, seed=tf.constant(seed, tf.int32)).numpy()

    np.testing.assert_array_equal(vectors(1, 2), vectors(1, 2))
    assert np.any(vectors(1, 2) != vectors(1, 3))
    assert np.any(vectors(1, 2) != scorer.encode_positions(sequence, segments).numpy())


def test_an_event_whose_item_is_left_out_keeps_its_time_and_kind() -> None:
    scorer = model_of(("time", "behavior"))
    items, categories, values = request(6, 3, ("time", "behavior"))
    segments = np.ones((1, 6), np.int32)
    batch = {name: value[np.newaxis] for name, value in values.items()}
    kept = np.where(np.arange(6) == 2, 0, items)
    whole, dropped = (
        scorer.item_embedding.history(rows[np.newaxis], categories[np.newaxis], segments=segments, **batch)[0] for rows in (items, kept)
    )
    np.testing.assert_array_equal(scorer.parts.of_event(whole), scorer.parts.of_event(dropped))
    assert np.any(scorer.parts.of_item(whole)[0, 2] != scorer.parts.of_item(dropped)[0, 2])


def test_each_of_several_encoders_is_a_model_of_its_own() -> None:
    """Its score is that of a model with one encoder and its part of the tables; the mean of them is the score."""
    scorer = model_of(("time",), encoders=3)
    items, categories, values = request(6, 4, ("time",))
    history = items[np.newaxis], categories[np.newaxis]
    time = {name: value[np.newaxis] for name, value in values.items()}
    candidates = np.arange(1, ITEMS + 1), np.arange(ITEMS) % CATEGORIES + 1
    state = scorer.encode_user(*scorer.history(*history, **time))
    vectors = scorer.encode_item(*candidates)[tf.newaxis]
    each = scorer.training_scores(state, vectors)
    np.testing.assert_allclose(scorer.score(state, vectors), np.mean(each, axis=0), rtol=1e-4, atol=1e-5)
    assert vectors.shape[-1] == scorer.item_dim == 3 * 64
    for number, encoder in enumerate(scorer.encoders):
        alone = model_of(("time",))
        for own, of_several in zip(alone.encoder.variables, encoder.variables, strict=True):
            own.assign(of_several)
        for name in ("item_table", "category_table"):
            (own,), (of_several,) = (getattr(model.item_embedding, name).levels for model in (alone, scorer))
            own.assign(of_several[:, 8 * number : 8 * number + 8])
        for own, of_several in zip(alone.item_embedding.request.tables, scorer.item_embedding.request.tables, strict=True):
            own.assign(of_several[..., : own.shape[-1]])
        found = alone.score(alone.encode_user(*alone.history(*history, **time)), alone.encode_item(*candidates)[tf.newaxis])
        np.testing.assert_allclose(each[number], found, rtol=1e-4, atol=1e-5)


def test_an_encoder_learns_from_its_own_score_alone() -> None:
    scorer = model_of(encoders=2)
    items, categories, _ = request(6, 4, ())
    own, others = scorer.encoders[1].variables, scorer.encoders[0].variables
    with tf.GradientTape() as tape:
        state = scorer.encode_user(*scorer.history(items[np.newaxis], categories[np.newaxis]))
        score = scorer.training_scores(state, scorer.encode_item(np.arange(1, 6), np.ones(5, np.int64))[tf.newaxis])[1]
        loss = tf.reduce_logsumexp(score)
    table = scorer.item_embedding.item_table.levels[0]
    gradients = tape.gradient(loss, [*own, *others, table], unconnected_gradients=tf.UnconnectedGradients.ZERO)
    assert all(np.any(gradient) for gradient in gradients[: len(own)])
    assert not any(np.any(gradient) for gradient in gradients[len(own) : -1])
    of_rows = tf.convert_to_tensor(gradients[-1]).numpy()
    assert np.any(of_rows[:, 8:])
    assert not np.any(of_rows[:, :8])


def test_a_model_of_one_encoder_is_read_as_it_was_written_before_there_were_several(tmp_path: Path) -> None:
    """Its variables have the names they had, and its description says nothing of encoders."""
    config = TrainConfig(scorer="sequence", emb_dim=8, encoders=1)
    scorer = model_of()
    save_model(scorer, tmp_path, config=config, max_length=5)
    paths = {name.split("/")[1] for name, _ in tf.train.list_variables(str(tmp_path / "weights")) if name.startswith("scorer/")}
    assert paths == {"item_table", "category_table", "item_mlp", "item_skip", "first", "blocks", "norm", "last"}
    description = json.loads((tmp_path / "config.json").read_text())
    del description["train"]["encoders"]
    (tmp_path / "config.json").write_text(json.dumps(description))
    loaded = load_model(tmp_path)
    np.testing.assert_array_equal(scorer.encode_item(np.arange(1, 6), np.ones(5)), loaded.encode_item(np.arange(1, 6), np.ones(5)))
