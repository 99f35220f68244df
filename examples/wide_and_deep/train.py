"""A wide-and-deep model (arXiv 1606.07792) as a program for TensorFlow 1 is written: only the first import names this project.

Trains on generated data, evaluates from the checkpoint, exports a SavedModel, loads that and compares. See README.md beside it.
"""

import argparse
import os
import shutil

import numpy as np

from ops.v1 import tf

BATCH = 128
OCCUPATIONS, CITIES, ITEMS = 20, 200, 500


def generate(rows, seed):
    """Columns of a log: people, the item before, the item shown, and whether it was clicked."""
    random = np.random.RandomState(seed)
    hidden = np.random.RandomState(0)  # the same truth for training and evaluation
    taste = hidden.normal(size=(OCCUPATIONS, 4))
    place = hidden.normal(scale=0.7, size=CITIES)
    nature = hidden.normal(size=(ITEMS, 4))
    occupation, city = random.randint(OCCUPATIONS, size=rows), random.zipf(1.3, size=rows) % CITIES
    item, last_item = random.zipf(1.2, size=rows) % ITEMS, random.zipf(1.2, size=rows) % ITEMS
    age = random.normal(40, 12, size=rows).clip(16, 80)
    liking = (taste[occupation] * nature[item]).sum(axis=1) + 0.5 * (nature[last_item] * nature[item]).sum(axis=1)
    score = liking + place[city] + 0.8 * ((age < 30) == (occupation % 2 == 0)) - 0.5
    tags = [f"t{a % 20} t{b % 20}" if a % 3 else "" for a, b in zip(item, last_item, strict=True)]
    return {
        "age": age.astype(np.float32),
        "occupation": np.array([f"job {number}" for number in occupation]),
        "city": np.array([f"city {number}" for number in city]),
        "item": item.astype(np.int64),
        "last_item": last_item.astype(np.int64),
        "tags": np.array(tags),
    }, (random.uniform(size=rows) < 1 / (1 + np.exp(-2 * score))).astype(np.float32)


def input_fn(rows, seed, epochs):
    features, label = generate(rows, seed)
    dataset = tf.data.Dataset.from_tensor_slices((features, label))
    if epochs > 1:
        dataset = dataset.shuffle(4 * BATCH, seed=seed).repeat(epochs)
    features, label = tf.data.make_one_shot_iterator(dataset.batch(BATCH)).get_next()
    features["tags"] = tf.string_split(features["tags"])
    return features, label


def columns():
    """The wide and the deep columns."""
    fc = tf.feature_column
    age = fc.numeric_column("age", normalizer_fn=lambda x: (x - 40.0) / 12.0)
    ages = fc.bucketized_column(fc.numeric_column("age"), boundaries=[20, 25, 30, 35, 40, 45, 50, 60])
    occupation = fc.categorical_column_with_hash_bucket("occupation", 1000)
    city = fc.categorical_column_with_hash_bucket("city", 5000)
    tags = fc.categorical_column_with_vocabulary_list("tags", [f"t{number}" for number in range(20)], num_oov_buckets=1)
    item = fc.categorical_column_with_identity("item", ITEMS)
    last_item = fc.categorical_column_with_identity("last_item", ITEMS)
    wide = [ages, occupation, city, item, fc.crossed_column([ages, "occupation"], 5000)]
    deep = [
        age,
        fc.indicator_column(tags),
        fc.embedding_column(occupation, 8, do_fusion=True),
        fc.embedding_column(city, 8, do_fusion=True),
        fc.embedding_column(tags, 4, combiner="sqrtn", do_fusion=True),
        *fc.shared_embedding_columns([item, last_item], 8, do_fusion=True),
    ]
    return wide, deep


def dense(inputs, units, name, activation=None):
    with tf.variable_scope(name):
        kernel = tf.get_variable("kernel", [inputs.shape[1], units])
        bias = tf.get_variable("bias", [units], initializer=tf.zeros_initializer())
        outputs = tf.matmul(inputs, kernel) + bias
    return outputs if activation is None else activation(outputs)


def model_fn(features):
    """Logits [B]."""
    wide, deep = columns()
    with tf.variable_scope("wide"):
        wide_logits = tf.feature_column.linear_model(features, wide, do_fusion=True)
    with tf.variable_scope("deep"):
        partitioner = tf.min_max_variable_partitioner(max_partitions=4, min_slice_size=4 << 10)
        with tf.variable_scope("input", partitioner=partitioner):
            net = tf.feature_column.input_layer(features, deep)
        for number, units in enumerate((32, 16)):
            net = dense(net, units, f"hidden_{number}", tf.nn.relu)
        deep_logits = dense(net, 1, "logits")
    return tf.squeeze(wide_logits + deep_logits, axis=1)


def train(model_dir, rows, epochs):
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        features, label = input_fn(rows, seed=1, epochs=epochs)
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=model_fn(features)))
        step = tf.train.get_or_create_global_step()
        wide = tf.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES, "wide/")
        deep = tf.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES, "deep/")
        ftrl = tf.train.FtrlOptimizer(0.1, l1_regularization_strength=0.001)
        train_op = tf.group(ftrl.minimize(loss, var_list=wide), tf.train.AdagradOptimizer(0.2).minimize(loss, step, var_list=deep))
        parts = [variable.op.name for variable in deep if "item_last_item_shared_embedding" in variable.op.name]
        print(f"{len(wide)} wide variables, {len(deep)} deep ones; the shared table of items has {len(parts)} parts")
        kinds = [node.op for node in tf.get_default_graph().as_graph_def().node]
        print(
            f"lookups of the model: {kinds.count('Nann>FusedEmbeddingLookupResource')} fused, "
            f"{sum(kind.startswith('SparseSegment') for kind in kinds)} of stock ops"
        )
        losses = []
        with tf.train.MonitoredTrainingSession(checkpoint_dir=model_dir, log_step_count_steps=None) as session:
            while not session.should_stop():
                losses.append(session.run([loss, train_op])[0])
                if len(losses) % 200 == 0:
                    print(f"steps {len(losses) - 199} to {len(losses)}: mean loss {np.mean(losses[-200:]):.3f}")


def evaluate(model_dir, rows):
    with tf.Graph().as_default():
        features, label = input_fn(rows, seed=2, epochs=1)
        probability = tf.sigmoid(model_fn(features))
        (_, update), (_, accurate) = tf.metrics.auc(label, probability), tf.metrics.accuracy(label, tf.round(probability))
        with tf.train.MonitoredSession(tf.train.ChiefSessionCreator(checkpoint_dir=model_dir)) as session:
            while not session.should_stop():
                values = session.run([update, accurate])
        print(f"evaluation: AUC {values[0]:.3f}, accuracy {values[1]:.3f}")


def export(model_dir, export_dir):
    """A SavedModel that takes serialized `tf.Example`s."""
    with tf.Graph().as_default():
        serialized = tf.placeholder(tf.string, [None], "examples")
        wide, deep = columns()
        features = tf.parse_example(serialized, tf.feature_column.make_parse_example_spec(wide + deep))
        probability = tf.sigmoid(model_fn(features))
        with tf.Session() as session:
            tf.train.Saver().restore(session, tf.train.latest_checkpoint(model_dir))
            init = tf.tables_initializer()
            tf.saved_model.simple_save(session, export_dir, {"examples": serialized}, {"probability": probability}, legacy_init_op=init)


def serialize(rows, seed):
    """Examples [rows], and the features they are made of."""
    features, _ = generate(rows, seed)

    def example(row):
        made = tf.train.Example()
        for name, values in features.items():
            value, feature = values[row], made.features.feature[name]
            if name == "tags":
                feature.bytes_list.value.extend(tag.encode() for tag in value.split())
            elif values.dtype == np.int64:
                feature.int64_list.value.append(value)
            elif values.dtype == np.float32:
                feature.float_list.value.append(value)
            else:
                feature.bytes_list.value.append(value.encode())
        return made.SerializeToString()

    return [example(row) for row in range(rows)], features


def predict(export_dir, examples):
    with tf.Graph().as_default(), tf.Session() as session:
        loaded = tf.saved_model.load(session, ["serve"], export_dir)
        signature = loaded.signature_def["serving_default"]
        return session.run(signature.outputs["probability"].name, {signature.inputs["examples"].name: examples})


def from_checkpoint(model_dir, features):
    with tf.Graph().as_default(), tf.Session() as session:
        tensors = {name: tf.constant(values) for name, values in features.items()}
        tensors["tags"] = tf.string_split(tensors["tags"])
        probability = tf.sigmoid(model_fn(tensors))
        tf.train.Saver().restore(session, tf.train.latest_checkpoint(model_dir))
        session.run(tf.tables_initializer())
        return session.run(probability)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-dir", required=True, help="directory for checkpoints and, in export/, the SavedModel; is made anew")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    tf.logging.set_verbosity(tf.logging.ERROR)
    shutil.rmtree(arguments.model_dir, ignore_errors=True)
    export_dir = os.path.join(arguments.model_dir, "export")
    train(arguments.model_dir, arguments.rows, arguments.epochs)
    evaluate(arguments.model_dir, arguments.rows // 5)
    export(arguments.model_dir, export_dir)
    examples, features = serialize(5, seed=3)
    served = predict(export_dir, examples)
    print("from the SavedModel:", " ".join(f"{value:.3f}" for value in served))
    assert np.allclose(served, from_checkpoint(arguments.model_dir, features), atol=1e-6)


if __name__ == "__main__":
    main()
