"""A click model of Keras over an adaptive and a growing table, trained by `model.fit`, saved, loaded and trained on.

    python examples/keras/clicks.py [--by-hand]

Users click on items of their group, and items are named by text, most of them rare. Items met 50 times in training get a row of their
own, the others share 64 rows. `--by-hand` takes the same steps without `fit`, and must print the same losses.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from ops import CounterFilter, EmbeddingVariableOption
from ops.keras import EmbeddingBag

GROUPS, ITEMS, LENGTH, BATCH = 8, 2_000, 12, 128


def clicks(samples: int, seed: int) -> tuple[dict[str, tf.Tensor], np.ndarray]:
    """Histories [samples, LENGTH] of item names, "" where there is none, users, candidates and whether they were clicked."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, 500, samples)
    in_group = np.minimum(rng.zipf(1.4, (samples, LENGTH + 1)) - 1, ITEMS // GROUPS - 1)
    rows = in_group * GROUPS + (users % GROUPS)[:, None]
    clicked = rng.random(samples) < 0.5
    other = rng.integers(0, ITEMS, samples)
    candidates = np.where(clicked, rows[:, -1], other)
    names = np.char.add("item-", rows[:, :-1].astype(str))
    names[np.arange(LENGTH) >= rng.integers(0, LENGTH + 1, samples)[:, None]] = ""
    named = np.char.add("item-", candidates.astype(str))[:, None]
    inputs = {
        "history": tf.constant(names),
        "user": tf.constant(users[:, None]),
        "candidate": tf.constant(named),
    }  # Keras takes text as tensors
    return inputs, clicked.astype(np.float32)[:, None]


def click_model() -> tf.keras.Model:
    """Scores of a candidate for a user with a history; one table for the items of both."""
    tf.keras.utils.set_random_seed(1)
    history = tf.keras.Input((LENGTH,), dtype="string", name="history")
    user = tf.keras.Input((1,), dtype="int64", name="user")
    candidate = tf.keras.Input((1,), dtype="string", name="candidate")
    rare = EmbeddingVariableOption(filter_option=CounterFilter(50))
    items = EmbeddingBag(None, 16, key_dtype="string", mask_zero=True, option=rare, shared_rows=64, name="items")
    users = EmbeddingBag(None, 16, name="users")
    left = tf.keras.layers.Dense(16)(tf.keras.layers.Concatenate()([items(history), users(user)]))
    score = tf.keras.layers.Dot(axes=1)([left, tf.keras.layers.Dense(16)(items(candidate))])
    return tf.keras.Model({"history": history, "user": user, "candidate": candidate}, tf.keras.layers.Activation("sigmoid")(score))


def losses_by_fit(model: tf.keras.Model, inputs: dict[str, tf.Tensor], labels: np.ndarray, epochs: int) -> list[float]:
    model.compile(tf.keras.optimizers.Adam(0.01, clipnorm=1.0), "binary_crossentropy", metrics=["auc"])
    return list(model.fit(inputs, labels, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0).history["loss"])


def losses_by_hand(model: tf.keras.Model, inputs: dict[str, tf.Tensor], labels: np.ndarray, epochs: int) -> list[float]:
    """The same, written out; the model is called with ``training=True``, which lets its tables grow."""
    optimizer = tf.keras.optimizers.Adam(0.01, clipnorm=1.0)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(batch: dict[str, tf.Tensor], wanted: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.keras.losses.binary_crossentropy(wanted, model(batch, training=True)))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    data = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(BATCH, drop_remainder=True)
    losses = [np.mean([float(step(*batch)) for batch in data]) for _ in range(epochs)]
    model.compile(optimizer, "binary_crossentropy", metrics=["auc"])
    return losses


def main(*, by_hand: bool, samples: int = 16_384, epochs: int = 4) -> list[float]:
    model, (inputs, labels) = click_model(), clicks(samples, seed=0)
    losses = (losses_by_hand if by_hand else losses_by_fit)(model, inputs, labels, epochs)
    print("loss by epoch:", " ".join(f"{loss:.4f}" for loss in losses))
    unseen, answers = clicks(4_096, seed=1)
    print(f"AUC on unseen samples: {model.evaluate(unseen, answers, verbose=0, return_dict=True)['auc']:.3f}")
    own = model.get_layer("items").embedding_variable
    print(f"items met: {own.total_count() + own.filtered_count()}, with a row of their own: {own.total_count()}")
    with tempfile.TemporaryDirectory() as directory:
        model.save(Path(directory) / "clicks.keras")
        loaded = tf.keras.models.load_model(Path(directory) / "clicks.keras")
        np.testing.assert_allclose(loaded.predict(unseen, verbose=0), model.predict(unseen, verbose=0), atol=1e-6)
        print("loaded: the same scores; training goes on")
        loaded.fit(inputs, labels, batch_size=BATCH, verbose=0)
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--by-hand", action="store_true")
    main(by_hand=parser.parse_args().by_hand)
