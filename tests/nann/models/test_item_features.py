"""Side features of items: embedded as the mean of their values, trained, saved, and served from the tables the graph holds."""

import numpy as np
import pytest
import tensorflow as tf

from nann.config import TrainConfig
from nann.dataset.inputs import FeatureLists
from nann.errors import ModelError
from nann.models import build_model, load_model, save_model
from nann.models.classes import require_features
from ops.lookup import stock_ops

SCORERS = ["nann", "two-sided"]


def make_features(seed=0, num_items=30):
    rng = np.random.default_rng(seed)
    lengths = np.concatenate([[0], rng.integers(0, 4, num_items)])
    splits = np.concatenate([[0], np.cumsum(lengths)])
    tags = FeatureLists(rng.integers(1, 8, splits[-1]).astype(np.int32), splits.astype(np.int64), 7)
    brands = FeatureLists(rng.integers(1, 4, num_items).astype(np.int32), np.concatenate([[0, 0], np.arange(1, num_items + 1)]), 3)
    return {"tags": tags, "brand": brands}


def make(kind, **more):
    config = TrainConfig(scorer=kind, emb_dim=4, inputs=("tags", "brand"), **more)
    return config, build_model(config, num_items=30, num_categories=5, features=make_features())


def embedded_by_loop(scorer, row, category):
    def mean(feature, lists):
        rows = lists.values[lists.row_splits[row] : lists.row_splits[row + 1]]
        return np.mean([feature.table.numpy()[value] for value in rows], axis=0) if len(rows) else np.zeros(4, np.float32)

    features = make_features()
    own = scorer.item_embedding.tables[0].numpy()[row] if row else np.zeros(4, np.float32)
    of_category = scorer.item_embedding.tables[1].numpy()[category] if category else np.zeros(4, np.float32)
    parts = [mean(feature, lists) for feature, lists in zip(scorer.item_embedding.features, features.values(), strict=True)]
    return np.concatenate([own, of_category, *parts])


@pytest.mark.parametrize("stock", [False, True])
def test_items_are_embedded_with_the_mean_of_their_values(stock):
    _, scorer = make("two-sided")
    assert scorer.embedded_dim == 16
    rows = np.array([[1, 0, 30], [7, 7, 12]])
    categories = np.where(rows, rows % 5 + 1, 0)
    if stock:
        with stock_ops():
            found = tf.function(scorer.embed_items)(tf.constant(rows), tf.constant(categories))
    else:
        found = scorer.embed_items(tf.constant(rows), tf.constant(categories))
    expected = [[embedded_by_loop(scorer, *pair) for pair in zip(*line, strict=True)] for line in zip(rows, categories, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_tables_get_the_gradient_of_what_was_looked_up():
    _, scorer = make("two-sided")
    rows = tf.constant([3, 3, 12, 0])
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(scorer.item_embedding.small_tables)
        embedded = scorer.embed_items(rows, rows % 5)
    wanted = np.random.default_rng(1).normal(size=embedded.shape).astype(np.float32)
    gradients = tape.gradient(embedded, scorer.item_embedding.small_tables, output_gradients=tf.constant(wanted))
    for number, (lists, gradient) in enumerate(zip(make_features().values(), gradients, strict=True)):
        expected = np.zeros((lists.num_values + 1, 4), np.float32)
        for row, part in zip(rows.numpy(), wanted[:, 8 + 4 * number : 12 + 4 * number], strict=True):
            values = lists.values[lists.row_splits[row] : lists.row_splits[row + 1]]
            for value in values:
                expected[value] += part / len(values)
        np.testing.assert_allclose(tf.convert_to_tensor(gradient), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", SCORERS)
def test_every_family_reads_them_and_a_saved_model_holds_them(kind, tmp_path):
    config, scorer = make(kind)
    assert len(scorer.item_embedding.tables) == 4
    assert not {variable.ref() for variable in scorer.network_variables} & {table.ref() for table in scorer.item_embedding.tables}
    save_model(scorer, tmp_path, config=config, max_length=6)
    loaded = load_model(tmp_path)
    rows = np.array([[1, 2, 0], [9, 30, 4]])
    for model in (scorer, loaded):
        items = model.encode_item(tf.constant([4, 7, 30]), tf.constant([1, 2, 1]))
        model.result = model.score(model.encode_user(*model.history(tf.constant(rows), tf.constant(rows % 5))), items[tf.newaxis])
    assert scorer.result.shape == (2, 3)
    np.testing.assert_array_equal(scorer.result, loaded.result)


def test_a_class_that_takes_none_is_refused(tmp_path, monkeypatch):
    source = "from nann.models import Scorer\n\n\nclass Own(Scorer):\n"
    source += "    def __init__(self, *, num_items, num_categories, emb_dim, seed):\n        pass\n\n    encode_user = score = print\n"
    (tmp_path / "scorer_without_features.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match="cannot be made with the arguments num_items, num_categories, emb_dim, seed, features"):
        require_features("scorer_without_features:Own")


def test_without_an_id_the_features_stay():
    _, scorer = make("sequence", encoders=1)
    rows, categories = np.array([3, 7, 12]), np.array([1, 5, 2])
    found = scorer.item_embedding.items(rows, categories, id_rows=np.array([0, 7, 0])).numpy()
    expected = np.stack([embedded_by_loop(scorer, *pair) for pair in zip(rows, categories, strict=True)])
    expected[[0, 2], :4] = 0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
