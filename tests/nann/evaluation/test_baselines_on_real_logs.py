"""The baselines reach on a public log what was measured there independently, with other code and another draw of held-out users."""

from pathlib import Path

import numpy as np

from data_prep.config import ConvertConfig
from nann.dataset import load_histories, load_items, load_samples
from nann.evaluation.metrics import recall
from nann.evaluation.recommenders import ItemCF, KnnSettings, SessionKnn, UserItems, popular_list
from nann.steps.convert import convert

STANDARD_ERROR = {
    50: {"popularity": 0.0023, "item_cf": 0.0058, "vsknn": 0.0062},
    200: {"popularity": 0.0038, "item_cf": 0.0064, "vsknn": 0.0066},
}
MEASURED = {50: {"popularity": 0.022, "item_cf": 0.163, "vsknn": 0.189}, 200: {"popularity": 0.062, "item_cf": 0.203, "vsknn": 0.2265}}


def test_recall_on_buycartfav_is_within_three_standard_errors(shared_data: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    config = ConvertConfig(test_users=4000, validate_users=4000, test_min_length=3)
    convert(inputs=[shared_data / "taobao_userbehavior_buycartfav.csv.gz"], dataset=dataset, config=config)
    items, train, users = load_items(dataset), load_histories(dataset), load_samples(dataset, "validate")
    num_items = len(items.item_ids) - 1
    popular = popular_list(items.train_counts, 200)
    log = UserItems(train.item_rows, train.row_splits, num_items=num_items)
    item_cf, knn = ItemCF(log), SessionKnn(log)
    assert item_cf.bounds == knn.bounds == {}
    settings = KnnSettings(neighbours=500, decay=0.9, damping=0.25, own=1.0)
    lists = {
        "popularity": np.tile(popular, (len(users.targets), 1)),
        "item_cf": item_cf.recommend(users.histories, 200, fill=popular),
        "vsknn": knn.recommend(users.histories, 200, settings, fill=popular),
    }
    assert len(users.targets) == 4000
    for k, measured in MEASURED.items():
        for name, value in measured.items():
            found = recall(lists[name], users.targets[:, None], k).mean()
            # Both figures are samples of 4,000 users, so their difference varies by sqrt(2) standard errors.
            assert abs(found - value) <= 3 * 2**0.5 * STANDARD_ERROR[k][name], (name, k)
