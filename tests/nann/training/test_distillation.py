import json

import numpy as np
import pytest
import tensorflow as tf

from data_prep.config import ConvertConfig
from nann.artifacts import open_artifact
from nann.config import TrainConfig
from nann.dataset import load_items, load_samples
from nann.errors import ArtifactError
from nann.models import load_model
from nann.steps.convert import convert
from nann.steps.train import train
from nann.training.distillation import Teacher, distillation_loss

SMALL = {
    "memory": "none",
    "emb_dim": 8,
    "num_neg": 32,
    "batch_size": 64,
    "max_length": 10,
    "xla": False,
    "validate_users": 0,
    "log_steps": 5,
}


def test_the_loss_is_the_divergence_from_the_teacher_over_what_is_not_ignored():
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 3, 6)).astype(np.float32)
    log_expected = rng.normal(size=(1, 6)).astype(np.float32)
    ignored = rng.random((3, 6)) < 0.3
    expected = []
    for s, t, out in zip(student - log_expected, teacher - log_expected, ignored, strict=True):
        p, q = (np.exp(x[~out]) / np.exp(x[~out]).sum() for x in (t, s))
        expected.append(np.sum(p * np.log(p / q)))
    np.testing.assert_allclose(distillation_loss(student, teacher, log_expected, ignored), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(distillation_loss(teacher, teacher, log_expected, ignored), 0, atol=1e-6)


@pytest.fixture(scope="module")
def teacher(small_dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "model"
    train(dataset=small_dataset, model=path, config=TrainConfig(scorer="nann", max_steps=300, **SMALL))
    return path


def test_a_teacher_scores_as_its_model_does(small_dataset, teacher):
    items, scorer = load_items(small_dataset), load_model(teacher)
    rows = load_samples(small_dataset, "validate").histories[:4, :10]
    candidates = np.arange(1, 9)[np.newaxis]
    logits = Teacher(teacher, items.category_rows).logits(
        tf.constant(rows), tf.constant(items.category_rows[rows]), tf.constant(candidates)
    )
    assert logits.shape == (4, 8)
    vectors = scorer.encode_item(candidates[0], items.category_rows[candidates[0]].astype(np.int64))
    expected = scorer.score(scorer.encode_user(*scorer.history(rows, items.category_rows[rows])), vectors[tf.newaxis])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_a_student_ranks_more_like_its_teacher_than_without(small_dataset, teacher, tmp_path):
    """Correlation of the logits of all items with the teacher's, mean over users, of students that saw the same batches."""
    items = load_items(small_dataset)
    rows = load_samples(small_dataset, "validate").histories[:50, :10]
    categories, everything = items.category_rows[rows], np.arange(1, len(items.item_ids))[np.newaxis]
    correlation, logits = {}, {}
    for weight in (0.0, 1.0):
        config = TrainConfig(scorer="two-sided", max_steps=400, teacher=teacher, teacher_weight=weight, **SMALL)
        train(dataset=small_dataset, model=tmp_path / str(weight), config=config)
    for path in (teacher, tmp_path / "0.0", tmp_path / "1.0"):
        scores = Teacher(path, items.category_rows)
        logits[path.name] = scores.logits(tf.constant(rows), tf.constant(categories), tf.constant(everything)).numpy()
    for name in ("0.0", "1.0"):
        correlation[name] = np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(logits[name], logits[teacher.name], strict=True)])
    assert correlation["1.0"] > correlation["0.0"] + 0.02
    model = open_artifact(tmp_path / "1.0", step="train")
    assert model.manifest["inputs"]["teacher"] == open_artifact(teacher, step="train").digest
    assert str(tmp_path.parent) not in json.dumps(model.manifest) + (tmp_path / "1.0" / "config.json").read_text()


def test_a_teacher_of_another_dataset_is_refused(small_log, tmp_path, teacher):
    convert(inputs=[small_log], dataset=tmp_path / "other", config=ConvertConfig(shards=1, max_length=20, seed=9))
    with pytest.raises(ArtifactError, match="belongs to dataset"):
        train(dataset=tmp_path / "other", model=tmp_path / "model", config=TrainConfig(teacher=teacher, max_steps=2, **SMALL))
