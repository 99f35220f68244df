"""Models of Keras with these layers: training, saving, copying, exporting."""

import contextlib
import gc

import numpy as np
import pytest
import tensorflow as tf

from ops import CBFFilter, EmbeddingVariableOption, GlobalStepEvict, InitializerOption
from ops.keras import Embedding, EmbeddingBag

OPTIMIZERS = {
    "sgd": lambda: tf.keras.optimizers.SGD(0.5, momentum=0.9, clipvalue=0.5),
    "adagrad": lambda: tf.keras.optimizers.Adagrad(0.2, global_clipnorm=0.2),
    "adam": lambda: tf.keras.optimizers.Adam(0.01, clipnorm=0.1),
    "ftrl": lambda: tf.keras.optimizers.Ftrl(0.1),
}

SOME_OPTIMIZERS = [pytest.param(name, marks=[] if name in ("adam", "adagrad") else pytest.mark.slow) for name in OPTIMIZERS]
SOME_POLICIES = ["mixed_bfloat16", "bfloat16", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mixed_float16", "float64"))]


def fit(model, ids, labels, **options):
    return model.fit(ids, labels, batch_size=16, shuffle=False, verbose=0, **options).history["loss"]


@pytest.mark.parametrize("name", SOME_OPTIMIZERS)
def test_fit_is_the_step_written_by_hand(kind, name, make, model_of, data):
    ids, labels = data()
    fitted, by_hand = (model_of(make(kind)) for _ in range(2))
    by_hand.set_weights(fitted.get_weights())
    fitted.compile(OPTIMIZERS[name](), "mse")
    losses = fit(fitted, ids, labels, epochs=3)
    optimizer, seen = OPTIMIZERS[name](), []
    for _ in range(3):
        each = []
        for start in range(0, len(ids), 16):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((by_hand(ids[start : start + 16], training=True) - labels[start : start + 16]) ** 2)
            optimizer.apply(tape.gradient(loss, by_hand.trainable_weights), by_hand.trainable_weights)
            each.append(float(loss))
        seen.append(np.mean(each))
    np.testing.assert_allclose(losses, seen, rtol=1e-5)
    np.testing.assert_allclose(fitted.predict(ids, verbose=0), by_hand(ids), atol=1e-5)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", SOME_OPTIMIZERS)
def test_growing_trains_as_a_table_of_fixed_size(name, model_of, data):
    """Every id is admitted at once, so stock Keras on a large enough table with the same start values must do the same."""
    ids, labels = data()
    ids = np.abs(ids)
    grows = EmbeddingBag(None, 4, initial_capacity=2, embeddings_initializer="zeros")
    ours = model_of(grows)
    inputs = tf.keras.Input((ids.shape[1],), dtype="int64")
    share = tf.keras.ops.mean(tf.keras.ops.one_hot(inputs, 64), axis=1)  # a dense gradient: Keras squares those of repeated ids one by one
    embedded = tf.keras.layers.Dense(4, use_bias=False, kernel_initializer="zeros")(share)
    stock = tf.keras.Model(inputs, tf.keras.layers.Dense(1)(embedded))
    dense = ours.layers[-1].get_weights()
    stock.layers[-1].set_weights([dense[0], np.full_like(dense[1], 0.1)])
    ours.layers[-1].set_weights([dense[0], np.full_like(dense[1], 0.1)])
    losses = []
    for model in (ours, stock):
        model.compile(OPTIMIZERS[name](), "mse")
        losses.append(fit(model, ids, labels, epochs=3))
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert grows.embedding_variable.total_count() == len(np.unique(ids))


@pytest.mark.parametrize("name", ["adam", pytest.param("adagrad", marks=pytest.mark.slow)])
def test_a_saved_model_goes_on_as_if_it_had_never_stopped(kind, name, make, model_of, data, tmp_path):
    ids, labels = data(160)
    whole, stopped = (model_of(make(kind)) for _ in range(2))
    stopped.set_weights(whole.get_weights())
    for model in (whole, stopped):
        model.compile(OPTIMIZERS[name](), "mse")
    fit(whole, ids[:80], labels[:80])
    rest = fit(whole, ids[80:], labels[80:])
    fit(stopped, ids[:80], labels[:80])
    stopped.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(fit(loaded, ids[80:], labels[80:]), rest, rtol=1e-5)
    np.testing.assert_allclose(loaded.predict(ids, batch_size=7, verbose=0), whole.predict(ids, verbose=0), atol=1e-6)
    loaded.save_weights(tmp_path / "model.weights.h5")
    fresh = model_of(make(kind))
    fresh.compile(OPTIMIZERS[name](), "mse")
    fresh.fit(ids[:16], labels[:16], verbose=0)  # another capacity, and slots
    fresh.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(fit(fresh, ids, labels), fit(loaded, ids, labels), rtol=1e-5)


def test_saving_in_the_middle_of_fit_and_restoring_the_best(kind, make, model_of, data, tmp_path):
    ids, labels = data(96)
    model = model_of(make(kind))
    model.compile(tf.keras.optimizers.Adam(0.05), "mse")
    callbacks = [
        tf.keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
        tf.keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        tf.keras.callbacks.EarlyStopping("val_loss", patience=0, restore_best_weights=True, start_from_epoch=0),
    ]
    history = model.fit(ids, labels, batch_size=16, epochs=4, verbose=0, validation_data=data(32, seed=9), callbacks=callbacks)
    best = np.argmin(history.history["val_loss"]) + 1
    restored = tf.keras.models.load_model(tmp_path / f"{best}.keras")
    np.testing.assert_allclose(model.predict(ids, verbose=0), restored.predict(ids, verbose=0), atol=1e-6)
    fit(model, ids, labels)  # goes on


def test_clones_and_configs_are_equal_and_apart(kind, make, model_of, data):
    ids, labels = data()
    model = model_of(make(kind, combiner="sqrtn", max_norm=2.0))
    model.compile("adam", "mse")
    fit(model, ids, labels)
    clone = tf.keras.models.clone_model(model)
    assert clone.layers[1].get_config() == model.layers[1].get_config()
    clone.set_weights(model.get_weights())
    before = model.predict(ids, verbose=0)
    np.testing.assert_allclose(clone.predict(ids, verbose=0), before, atol=1e-6)
    clone.compile("adam", "mse")
    fit(clone, ids, labels, epochs=2)
    np.testing.assert_array_equal(model.predict(ids, verbose=0), before)
    again = EmbeddingBag.from_config(model.layers[1].get_config())
    assert again.get_config() == model.layers[1].get_config()


def test_options_survive_a_config(tmp_path):
    option = EmbeddingVariableOption(
        init_option=InitializerOption(tf.keras.initializers.Constant(0.5)),
        filter_option=CBFFilter(2, 100),
        evict_option=GlobalStepEvict(5),
    )
    model = tf.keras.Sequential([tf.keras.Input((2,), dtype="string"), EmbeddingBag(None, 3, key_dtype="string", option=option)])
    names = tf.constant([["ä", "b"], ["ä", ""]])
    model(names, training=True)
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].option.filter_option == option.filter_option
    assert loaded.layers[0].option.evict_option == option.evict_option
    np.testing.assert_array_equal(loaded(names), model(names))
    assert loaded.layers[0].embedding_variable.export().keys.tolist() == ["ä".encode()]
    np.testing.assert_array_equal(loaded(tf.constant([["b", "b"]]), training=True), np.full((1, 3), 0.5))  # was counted once


@pytest.mark.parametrize("initializer", [tf.ones_initializer(), tf.compat.v1.constant_initializer([1.0]), tf.compat.v1.ones_initializer])
def test_initializers_of_tensorflow_are_in_the_file(initializer, tmp_path):
    layer = EmbeddingBag(None, 3, option=EmbeddingVariableOption(init_option=InitializerOption(initializer)))
    tf.keras.Sequential([tf.keras.Input((2,), dtype="int64"), layer]).save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(tf.constant([[5, 6]]), training=True), np.ones((1, 3)))
    assert loaded.layers[0].get_config()["option"] == layer.get_config()["option"]


def test_files_of_another_table_are_refused_and_change_nothing(tmp_path):
    def layer(dim=3, filter_option=None, **options):
        made = EmbeddingBag(None, dim, option=EmbeddingVariableOption(filter_option=filter_option), **options)
        dtype = options.get("key_dtype", "int64")
        return made, tf.keras.Sequential([tf.keras.Input((2,), dtype=dtype), made])

    saved, model = layer()
    saved(tf.constant([[5, 6]]), training=True)
    model.save_weights(tmp_path / "one.weights.h5")
    for options, words in (
        ({"dim": 4}, "output_dim must be 4.*got 3"),
        ({"key_dtype": "string"}, "key_dtype must be string.*got int64"),
        ({"shared_rows": 2}, "shared_rows must be 2.*got None"),
        ({"filter_option": CBFFilter(2, 100)}, "counters of the Bloom filter must be 959.*got 0"),
    ):
        other, model = layer(**options)
        with pytest.raises(ValueError, match=words):
            model.load_weights(tmp_path / "one.weights.h5")
        assert other.embedding_variable.total_count() == 0
        assert other.embedding_variable.table.read_value().shape == (1024, options.get("dim", 3))


def test_adafactor_is_refused_by_tables_that_grow(model_of, data):
    ids, labels = data()
    model = model_of(EmbeddingBag(None, 4))
    model.compile(tf.keras.optimizers.Adafactor(), "mse")
    with pytest.raises(ValueError, match="Adafactor does not train tables that grow"):
        model.fit(ids, labels, verbose=0)


def test_sequential_and_subclassed_models(kind, make, data):
    ids, labels = data()

    class Own(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.bag, self.dense = make(kind), tf.keras.layers.Dense(1)

        def call(self, inputs, training=False):
            return self.dense(self.bag(inputs, training=training))

    sequential = tf.keras.Sequential([tf.keras.Input((None,), dtype="int64"), make(kind), tf.keras.layers.Dense(1)])
    for model in (sequential, Own()):
        model.compile("adam", "mse")
        fit(model, ids, labels)
        assert model.predict(ids[:3], verbose=0).shape == (3, 1)
        assert model.predict(ids[:, :2], batch_size=5, verbose=0).shape == (64, 1)
        if kind != "static":
            assert model.layers[0].embedding_variable.total_count() > 0
    unbuilt = tf.keras.Sequential([make(kind), tf.keras.layers.Dense(1)])
    unbuilt.compile("adam", "mse")
    with pytest.raises(ValueError, match=r"begin the model with keras.Input"):
        fit(unbuilt, ids, labels)


def test_ragged_and_sparse_inputs_train(kind, make):
    ragged = tf.ragged.constant([[1, 2, 3], [], [4], [1, 1]] * 8, tf.int64)
    labels = np.arange(32, dtype=np.float32)[:, None]
    for form, ids in ({"ragged": True}, ragged), ({"sparse": True}, ragged.to_sparse()):
        inputs = tf.keras.Input((None,), dtype="int64", **form)
        model = tf.keras.Model(inputs, tf.keras.layers.Dense(1)(make(kind)(inputs)))
        model.compile("adam", "mse")
        losses = model.fit(tf.data.Dataset.from_tensor_slices((ids, labels)).batch(8), epochs=2, verbose=0).history["loss"]
        assert losses[1] < losses[0]
    inputs = tf.keras.Input((None,), dtype="int64", ragged=True)
    assert make(kind, Embedding)(inputs).ragged


@pytest.mark.slow
def test_jit_compile_is_left_off_for_tables_that_grow_and_stock_ops_for_others(kind, make, model_of, data):
    ids, labels = data()
    model, plain = model_of(make(kind)), model_of(make(kind))
    plain.set_weights(model.get_weights())
    assert all(layer.supports_jit for layer in model.layers) == (kind == "static")
    for each, jit in ((model, True), (plain, False)):
        each.compile(tf.keras.optimizers.Adam(0.01), "mse", jit_compile=jit)
    with pytest.warns(UserWarning, match="jit_compile") if kind != "static" else contextlib.nullcontext():
        model.jit_compile = True
    np.testing.assert_allclose(fit(model, ids, labels, epochs=3), fit(plain, ids, labels, epochs=3), rtol=1e-4)
    model.compile("adam", "mse", jit_compile="auto")
    fit(model, ids, labels)


@pytest.mark.parametrize("policy", SOME_POLICIES)
def test_policies(kind, policy, make, model_of, data, tmp_path):
    tf.keras.config.set_dtype_policy(policy)
    ids, labels = data()
    model = model_of(make(kind))
    model.compile(tf.keras.optimizers.SGD(0.1), "mse")
    losses = fit(model, ids, labels, epochs=3)
    assert losses[2] < losses[0]
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(ids, verbose=0), model.predict(ids, verbose=0))


def test_an_exported_model_serves(kind, make, model_of, data, tmp_path):
    ids, labels = data()
    model = model_of(make(kind))
    model.compile("adam", "mse")
    fit(model, ids, labels)
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    np.testing.assert_allclose(served.serve(tf.constant(ids)), model.predict(ids, verbose=0), atol=1e-6)


def test_a_checkpoint_of_tensorflow_goes_on(kind, make, model_of, data, tmp_path):
    ids, labels = data(160)
    models = [model_of(make(kind)) for _ in range(2)]
    for model in models:
        model.compile(tf.keras.optimizers.Adam(0.01), "mse")
    fit(models[0], ids, labels)
    path = tf.train.Checkpoint(model=models[0]).save(str(tmp_path / "at"))
    models[1].optimizer.build(models[1].trainable_variables)
    tf.train.Checkpoint(model=models[1]).restore(path).assert_existing_objects_matched()
    np.testing.assert_allclose(models[1].predict(ids, verbose=0), models[0].predict(ids, verbose=0), atol=1e-6)
    np.testing.assert_allclose(*(fit(model, ids, labels) for model in models), rtol=1e-5)


def test_masks_come_from_an_embedding_and_end_in_a_pooling():
    inputs = tf.keras.Input((3,), dtype="int64")
    ours, stock = (layer(10, 4, mask_zero=True) for layer in (Embedding, tf.keras.layers.Embedding))
    models = [tf.keras.Model(inputs, tf.keras.layers.LSTM(3, seed=1)(layer(inputs))) for layer in (ours, stock)]
    models[1].set_weights(models[0].get_weights())
    ids = np.array([[1, 2, 0], [0, 0, 0], [4, 5, 6]])
    np.testing.assert_allclose(models[0].predict(ids, verbose=0), models[1].predict(ids, verbose=0), atol=1e-6)


def test_compiling_again_lets_the_old_slots_go(make, model_of, data):
    ids, labels = data()
    layer = make("growing")
    model = model_of(layer)
    for _ in range(3):
        model.compile(tf.keras.optimizers.Adam(0.01), "mse")
        fit(model, ids, labels)
    gc.collect()
    assert len(layer.embedding_variable.slots) == 2


@pytest.mark.slow
def test_ema_and_accumulated_gradients(kind, make, model_of, data):
    ids, labels = data(160)
    for options in ({"use_ema": True, "ema_overwrite_frequency": 3}, {"gradient_accumulation_steps": 2}):
        model = model_of(make(kind))
        model.compile(tf.keras.optimizers.Adam(0.01, **options), "mse")
        losses = fit(model, ids, labels, epochs=3)
        assert losses[2] < losses[0]


def test_text_ids_train_print_save_and_copy(tmp_path):
    layer = EmbeddingBag(None, 4, key_dtype="string", shared_rows=4)
    model = tf.keras.Sequential([tf.keras.Input((2,), dtype="string"), layer, tf.keras.layers.Dense(1)])
    model.compile("adam", "mse")
    names = tf.constant([["a", "b"], ["c", "d"]] * 8)
    fit(model, names, np.ones((16, 1)))
    model.summary(print_fn=lambda *_, **__: None)
    clone = tf.keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    for other in (clone, loaded):
        np.testing.assert_allclose(other.predict(names, verbose=0), model.predict(names, verbose=0), atol=1e-6)


def test_weights_as_a_second_input_and_a_layer_used_twice(make, data, tmp_path):
    ids, labels = data()
    layer = make("adaptive")
    inputs = [tf.keras.Input((6,), dtype="int64"), tf.keras.Input((6,)), tf.keras.Input((3, 6), dtype="int64")]
    parts = [layer(inputs[0], inputs[1]), tf.keras.layers.Flatten()(layer(inputs[2]))]
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(1)(tf.keras.layers.Concatenate()(parts)))
    model.compile("adam", "mse")
    given = [ids, np.random.default_rng(1).random((64, 6), np.float32), np.stack([ids] * 3, axis=1)]
    fit(model, given, labels)
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(given, verbose=0), model.predict(given, verbose=0), atol=1e-6)


def test_eagerly_and_several_steps_at_once_as_one_by_one(make, model_of, data):
    ids, labels = data()
    losses = []
    for options in ({}, {"run_eagerly": True}, {"steps_per_execution": 2}):
        tf.keras.utils.set_random_seed(1)
        model = model_of(make("growing"))
        model.compile(tf.keras.optimizers.Adam(0.01), "mse", **options)
        losses.append(fit(model, ids, labels, epochs=2))
    np.testing.assert_allclose(losses[1:], [losses[0]] * 2, rtol=1e-5)


def test_a_frozen_table_stays_and_an_evicted_one_goes_on(make, model_of, data):
    ids, labels = data()
    layer = make("growing")
    model = model_of(layer)
    model.compile("adam", "mse")
    fit(model, ids, labels)
    layer.trainable = False
    model.compile("adam", "mse")
    before = layer.get_weights()
    fit(model, ids[::-1] + 30, labels)
    for held, now in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(held, now)
    layer.trainable = True
    model.compile("adam", "mse")
    fit(model, ids, labels)
    fit(model, np.full_like(ids[:16], 7), labels[:16])
    assert layer.embedding_variable.evict(GlobalStepEvict(1)) > 0
    fit(model, ids, labels)
