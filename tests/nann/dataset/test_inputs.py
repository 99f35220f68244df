"""Inputs of the log and of users as training and evaluation read them, against the log itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.config import ConvertConfig
from nann.dataset import Dataset, load_histories, load_items, load_samples
from nann.dataset.inputs import FeatureLists, RequestInput
from nann.errors import ArtifactError
from nann.steps.convert import convert

KINDS = ("buy", "fav")
INPUTS = ("behavior", "time", "tags")


def tags_of(user):
    return [f"t{value}" for value in range(user % 4)] if user % 5 else []


@pytest.fixture(scope="module", params=["user", "sample"])
def layout(request):
    return request.param


@pytest.fixture(scope="module", params=["", "u"])
def dataset(request, layout, tmp_path_factory):
    """80 users; of every event its item tells user and place, and so everything else."""
    root, prefix = tmp_path_factory.mktemp("inputs"), request.param
    rng = np.random.default_rng(1)
    with (root / "log.csv").open("w") as log:
        for user in range(80):
            for place in range(3 + user % 6):
                time = 1_511_600_000 + 1000 * user + place**3
                log.write(f"{prefix}{user},{100 * user + place},1,{KINDS[(user + place) % 2]},{time}\n")
    lines = [f"{prefix}{user},{'|'.join(tags_of(user))}\n" for user in rng.permutation(70)]  # ten users are not there
    (root / "users.csv").write_text("user_id,tags\n" + "".join(lines))
    config = ConvertConfig(
        layout=layout,
        behaviors=KINDS,
        keep_behaviors=True,
        users=root / "users.csv",
        user_features={"tags": "tags"},
        max_length=4,
        train_min_length=1,
        test_min_length=1,
        test_users=12,
        validate_users=12,
        shards=2,
    )
    convert(inputs=[root / "log.csv"], dataset=root / "dataset", config=config)
    return root / "dataset", prefix


def expected(item_id):
    user, place = divmod(int(item_id), 100)
    return (user + place) % 2 + 1, 1_511_600_000 + 1000 * user + place**3


def test_training_events_have_their_kind_and_time_and_users_their_values(dataset):
    path, _ = dataset
    items, histories = load_items(path), load_histories(path, inputs=INPUTS)
    ids = items.item_ids[histories.item_rows]
    assert [*zip(histories.behaviors.tolist(), histories.times.tolist(), strict=True)] == [expected(item_id) for item_id in ids]
    users = ids[histories.row_splits[:-1]] // 100
    assert len(users) > 40
    values = histories.user_features["tags"].dense(histories.user_rows)
    for user, found in zip(users.tolist(), values, strict=True):
        assert (found > 0).sum() == (len(tags_of(user)) if user < 70 else 0)
    assert load_histories(path).behaviors is None
    assert load_histories(path).user_rows is None


@pytest.mark.parametrize("split", ["validate", "test"])
def test_held_out_histories_have_them(dataset, split):
    path, prefix = dataset
    items, samples = load_items(path), load_samples(path, split, inputs=INPUTS)
    assert set(samples.inputs) == set(INPUTS)
    for row, history in enumerate(samples.histories):
        for place, item_row in enumerate(history):
            wanted = expected(items.item_ids[item_row]) if item_row else (0, 0)
            assert (samples.inputs["behavior"][row, place], samples.inputs["time"][row, place]) == wanted
        user = int(str(samples.user_ids[row]).removeprefix(prefix))
        assert (samples.inputs["tags"][row] > 0).sum() == (len(tags_of(user)) if user < 70 else 0)
    taken = samples.take(np.array([5, 2]))
    np.testing.assert_array_equal(taken.inputs["time"], samples.inputs["time"][[5, 2]])
    assert load_samples(path, split).inputs == {}


def test_the_dataset_describes_them(dataset):
    path, _ = dataset
    assert list(Dataset(path).inputs) == ["behavior", "tags", "time"]
    features = Dataset(path).features(INPUTS)
    assert features == {"behavior": RequestInput("history", 2), "time": RequestInput("history"), "tags": RequestInput("user", 3)}


def test_what_is_not_there_is_refused(small_dataset):
    with pytest.raises(
        ArtifactError, match="has no input 'behavior', it has time; run `nann convert` with --behaviors and --keep-behaviors"
    ):
        load_samples(small_dataset, "test", inputs=("behavior",))
    with pytest.raises(ArtifactError, match="has no input 'age', it has time; run `nann convert` with --item-features or --user-features"):
        load_histories(small_dataset, inputs=("time", "age"))


def test_ready_made_records_have_no_times(small_log, tmp_path):
    convert(inputs=[small_log], dataset=tmp_path / "converted", config=ConvertConfig(layout="sample"))
    convert(inputs=[tmp_path / "converted"], dataset=tmp_path / "adopted", config=ConvertConfig(input_format="tfrecord"))
    with pytest.raises(ArtifactError, match="has no input 'time', it has none; its records have no times"):
        load_samples(tmp_path / "adopted", "test", inputs=("time",))


@given(st.lists(st.lists(st.integers(1, 9), max_size=4), min_size=1, max_size=8), st.data())
def test_lists_as_a_matrix(lists, data):
    splits = np.concatenate([[0, 0], np.cumsum([len(each) for each in lists])]).astype(np.int64)
    features = FeatureLists(np.array([value for each in lists for value in each], np.int32), splits, 9)
    rows = np.array(data.draw(st.lists(st.integers(0, len(lists)), max_size=6)), np.int64)
    found = features.dense(rows)
    assert [line[line > 0].tolist() for line in found] == [lists[row - 1] if row else [] for row in rows]
    assert found.shape[1] >= 1
