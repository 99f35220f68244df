import numpy as np
import pytest
import tensorflow as tf

from nann.config import TrainConfig
from nann.dataset.inputs import RequestInput
from nann.errors import ArtifactError
from nann.models import build_model, load_model, save_model

SCORERS = ["nann", "two-sided"]


def make(kind, seed=1, **kwargs):
    scorer = build_model(TrainConfig(scorer=kind, emb_dim=4, seed=seed, **kwargs), num_items=30, num_categories=5)
    rng = np.random.default_rng(3)
    for variable in scorer.variables:  # initial biases are zero and averages trivial: move everything
        variable.assign_add(0.1 * np.abs(rng.normal(size=variable.shape)).astype(np.float32))
    return scorer


def histories():
    rng = np.random.default_rng(0)
    items = rng.integers(1, 31, size=(3, 6))
    items[1, 3:] = 0
    return items, np.where(items, items % 5 + 1, 0)


@pytest.mark.parametrize("kind", SCORERS)
def test_shared_candidates_score_as_repeated_ones(kind):
    scorer = make(kind)
    state = scorer.encode_user(*scorer.history(*histories()))
    rows = np.arange(1, 9)
    items = scorer.encode_item(rows, rows % 5 + 1)
    shared = scorer.score(state, items[tf.newaxis])
    repeated = scorer.score(state, tf.tile(items[tf.newaxis], [3, 1, 1]))
    assert shared.shape == (3, 8)
    np.testing.assert_allclose(shared, repeated, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", SCORERS)
def test_padding_anywhere_changes_nothing(kind):
    scorer = make(kind)
    item_rows, cate_rows = histories()
    padded_items = np.zeros((3, 9), int)
    padded_cates = np.zeros((3, 9), int)
    for columns, source in (([0, 2, 3, 5, 6, 8], slice(None)),):
        padded_items[:, columns], padded_cates[:, columns] = item_rows[:, source], cate_rows[:, source]
    candidates = scorer.encode_item(np.array([4, 7]), np.array([1, 2]))[tf.newaxis]
    plain = scorer.score(scorer.encode_user(*scorer.history(item_rows, cate_rows)), candidates)
    padded = scorer.score(scorer.encode_user(*scorer.history(padded_items, padded_cates)), candidates)
    np.testing.assert_allclose(plain, padded, rtol=1e-5, atol=1e-5)


def test_attention_equals_the_unfolded_form():
    """Keys folded with the second query layer, values with the first score layer: the same numbers as the paper's order of products."""
    scorer = make("nann")
    sequence, mask = scorer.history(*histories())
    items = scorer.encode_item(np.arange(1, 5), np.arange(1, 5))
    folded = scorer.score(scorer.encode_user(sequence, mask), items[tf.newaxis]).numpy()

    sequence, mask, items = sequence.numpy(), mask.numpy(), items.numpy()
    keys = scorer.key_network(sequence).numpy()
    recency = scorer.recency(sequence, mask).numpy()
    user = scorer.interest(sequence, mask).numpy()
    contexts = scorer.match.scale.numpy() * (scorer.item_skip(sequence) + scorer.match.mlp(sequence)).numpy()
    match_recency = scorer.match.recency(sequence, mask).numpy()
    for b in range(3):
        for n in range(4):
            query = scorer.query_second(scorer.query_activation(scorer.query_first(items[n : n + 1]))).numpy()[0]
            logits = np.where(mask[b], keys[b] @ query / 16.0 + recency[b], -np.inf)
            weights = np.exp(logits - logits.max())
            attended = (weights / weights.sum()) @ (sequence[b] * mask[b][:, None])
            first = attended @ scorer.value_first.kernel.numpy() + scorer.value_first.bias.numpy()
            first = first + items[n] @ scorer.item_first.kernel.numpy()
            logit = scorer.score_network(tf.constant(first[None, None], tf.float32), False).numpy()[0, 0] + user[b] @ items[n]
            logit += np.logaddexp.reduce([0.0, *(contexts[b] @ items[n] + match_recency[b])[mask[b]]])
            assert folded[b, n] == pytest.approx(logit, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("kind", SCORERS)
def test_an_empty_history_scores_finite(kind):
    scorer = make(kind)
    nothing = np.zeros((2, 4), int)
    candidates = scorer.encode_item(np.array([4, 7]), np.array([1, 2]))[tf.newaxis]
    assert np.isfinite(scorer.score(scorer.encode_user(*scorer.history(nothing, nothing)), candidates)).all()


def test_equal_seeds_give_equal_models_and_others_do_not():
    one, two, other = (build_model(TrainConfig(emb_dim=4, seed=seed), num_items=9, num_categories=3) for seed in (1, 1, 2))
    for a, b in zip(one.variables, two.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(one.item_embedding.tables[0].numpy() != other.item_embedding.tables[0].numpy())


@pytest.mark.parametrize("kind", SCORERS)
def test_saved_and_loaded_is_the_same_model(kind, tmp_path):
    scorer = make(kind)
    save_model(scorer, tmp_path, config=TrainConfig(scorer=kind, emb_dim=4), max_length=6)
    loaded = load_model(tmp_path)
    candidates = np.array([4, 7]), np.array([1, 2])
    for model in (scorer, loaded):
        model.result = model.score(model.encode_user(*model.history(*histories())), model.encode_item(*candidates)[tf.newaxis])
    np.testing.assert_array_equal(scorer.result, loaded.result)


def test_a_directory_without_a_model_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="is not the description of a model"):
        load_model(tmp_path)


@pytest.mark.parametrize("embedding", ["static", "ev"])
def test_a_checkpoint_names_the_tables_as_it_did_before_the_embedding_was_a_part(embedding, tmp_path):
    config = TrainConfig(scorer="two-sided", emb_dim=4, embedding=embedding)
    scorer = build_model(config, num_items=30, num_categories=5, features={"time": RequestInput("history"), "age": RequestInput("user", 3)})
    save_model(scorer, tmp_path, config=config, max_length=5)
    paths = {name.split("/")[1] for name, _ in tf.train.list_variables(str(tmp_path / "weights")) if name.startswith("scorer/")}
    tables = {"item_table", "category_table", "request", *(() if embedding == "static" else ("table_step",))}
    assert paths == {*tables, "interest", "item_mlp", "item_skip"}
