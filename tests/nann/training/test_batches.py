import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nann.config import TrainConfig
from nann.dataset import Histories
from nann.dataset.inputs import FeatureLists
from nann.training.batches import BatchSource, NoiseSampler


def make_source(lengths, *, first_target=1, max_length=4, **config):
    rng = np.random.default_rng(0)
    histories = Histories(
        rng.integers(1, 20, size=sum(lengths)).astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), first_target
    )
    sampler = NoiseSampler(np.concatenate([[0], np.arange(1, 20)]))
    source = BatchSource(histories, max_length=max_length, sampler=sampler, config=TrainConfig(num_neg=5, **config))
    return histories, source


def samples_by_loop(histories, max_length):
    samples = []
    for first, last in zip(histories.row_splits[:-1], histories.row_splits[1:], strict=True):
        events = histories.item_rows[first:last].tolist()
        for position in range(histories.first_target, len(events)):
            history = events[max(0, position - max_length) : position]
            samples.append((tuple(history + [0] * (max_length - len(history))), events[position]))
    return sorted(samples)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12).filter(lambda lengths: max(lengths) > 2),
    first_target=st.integers(1, 2),
    max_length=st.integers(1, 6),
)
def test_an_epoch_is_every_window_once(lengths, first_target, max_length):
    histories, source = make_source(lengths, first_target=first_target, max_length=max_length, batch_size=1, epochs=1)
    assert source.steps == source.num_samples
    batches = [source.batch(step) for step in range(source.steps)]
    found = sorted((tuple(batch.histories[0].tolist()), int(batch.targets[0])) for batch in batches)
    assert found == samples_by_loop(histories, max_length)


def test_a_batch_depends_on_its_step_alone():
    _, source = make_source([5, 9, 7], batch_size=8)
    _, again = make_source([5, 9, 7], batch_size=8)
    for step in (11, 0, 5):  # in any order, from any instance
        one, two = source.batch(step), again.batch(step)
        for name in ("histories", "targets", "negatives"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert np.any(source.batch(0).negatives != source.batch(1).negatives)


def test_batches_are_full_across_the_end_of_an_epoch():
    _, source = make_source([6, 6], batch_size=7, epochs=2)
    assert source.num_samples == 10
    assert source.steps == 3
    assert all(source.batch(step).histories.shape == (7, 4) for step in range(3))


@pytest.mark.parametrize(("negatives", "shape"), [("shared", (1, 5)), ("per-sample", (8, 5))])
def test_shape_of_negatives(negatives, shape):
    _, source = make_source([5, 9, 7], batch_size=8, negatives=negatives)
    assert source.batch(0).negatives.shape == shape


def test_noise_follows_the_counts_and_never_draws_row_zero():
    counts = np.array([0, 10, 0, 30, 60])
    sampler = NoiseSampler(counts)
    drawn = np.bincount(sampler.sample(np.random.default_rng(0), (100_000,)), minlength=5) / 100_000
    np.testing.assert_allclose(drawn, counts / 100, atol=0.005)
    assert drawn[0] == drawn[2] == 0
    np.testing.assert_allclose(np.exp(sampler.log_probability[[1, 3, 4]]), [0.1, 0.3, 0.6], rtol=1e-6)


def test_nothing_to_train_on_is_refused():
    with pytest.raises(ValueError, match="more than 1 events"):
        make_source([1, 1], batch_size=2)
    with pytest.raises(ValueError, match="at least one training event"):
        NoiseSampler(np.zeros(4, int))


def test_weighted_targets_occur_in_proportion():
    rng = np.random.default_rng(3)
    lengths, weights = [40, 60], rng.choice(np.array([0.2, 1.0, 2.5], np.float32), 100)
    plain, _ = make_source(lengths)
    histories = Histories(np.arange(1, 101, dtype=np.int32), plain.row_splits, 1, weights=weights)
    sampler = NoiseSampler(np.concatenate([[0], np.ones(100, np.int64)]))
    config = TrainConfig(num_neg=5, batch_size=1, epochs=300)
    source = BatchSource(histories, max_length=4, sampler=sampler, config=config)
    targets = np.delete(np.arange(100), [0, 40])
    assert source.num_samples == round(weights[targets].sum())
    counts = np.stack([np.bincount(source._epoch(np.random.default_rng([7, epoch])), minlength=100) for epoch in range(2000)])
    assert (counts[:, [0, 40]] == 0).all()
    expected = weights[targets].astype(np.float64) * source.num_samples / weights[targets].sum(dtype=np.float64)
    assert (counts[:, targets] >= np.floor(expected)).all()
    assert (counts[:, targets] <= np.ceil(expected)).all()
    np.testing.assert_allclose(counts[:, targets].mean(axis=0), expected, atol=0.06)  # five standard errors of a coin
    one, two = source.batch(5), source.batch(5)
    np.testing.assert_array_equal(one.targets, two.targets)


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=2, max_size=10).filter(lambda lengths: max(lengths) > 2),
    max_length=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
def test_inputs_stand_beside_the_items_they_belong_to(lengths, max_length, seed):
    """Every value is made of its event's place, and so tells whether it stands where its item does."""
    rng = np.random.default_rng(seed)
    rows = np.arange(1, sum(lengths) + 1, dtype=np.int32)  # each event an item of its own
    values = [rng.integers(1, 9, rng.integers(0, 4)).astype(np.int32) for _ in range(len(lengths))]
    splits = np.concatenate([[0, 0], np.cumsum([len(each) for each in values])]).astype(np.int64)
    order = rng.permutation(len(lengths))
    histories = Histories(
        rows,
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        1,
        times=1_500_000_000 + rows.astype(np.int64),
        behaviors=rows % 3 + 1,
        user_features={"tags": FeatureLists(np.concatenate([np.zeros(0, np.int32), *values]), splits, 8)},
        user_rows=order + 1,
    )
    sampler = NoiseSampler(np.concatenate([[0], np.ones(len(rows), np.int64)]))
    source = BatchSource(
        histories,
        max_length=max_length,
        sampler=sampler,
        config=TrainConfig(num_neg=2, batch_size=4, seed=seed),
        inputs=("behavior", "time", "tags"),
    )
    for step in range(3):
        batch = source.batch(step)
        present = batch.histories > 0
        np.testing.assert_array_equal(batch.inputs["time"], np.where(present, 1_500_000_000 + batch.histories, 0))
        np.testing.assert_array_equal(batch.inputs["behavior"], np.where(present, batch.histories % 3 + 1, 0))
        owners = np.searchsorted(histories.row_splits, batch.targets - 1, side="right") - 1
        for found, owner in zip(batch.inputs["tags"], owners, strict=True):
            assert found[found > 0].tolist() == values[order[owner]].tolist()


def test_inputs_change_nothing_of_the_samples():
    histories, plain = make_source([5, 3, 8], batch_size=4)
    timed = Histories(histories.item_rows, histories.row_splits, 1, times=np.arange(16))
    sampler = NoiseSampler(np.concatenate([[0], np.arange(1, 20)]))
    more = BatchSource(timed, max_length=4, sampler=sampler, config=TrainConfig(num_neg=5, batch_size=4), inputs=("time",))
    for step in range(5):
        for name in ("histories", "targets", "negatives"):
            np.testing.assert_array_equal(getattr(plain.batch(step), name), getattr(more.batch(step), name))
    with pytest.raises(ValueError, match="read without the input 'behavior'"):
        BatchSource(timed, max_length=4, sampler=sampler, config=TrainConfig(), inputs=("behavior",)).batch(0)
