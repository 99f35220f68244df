"""The baselines reach on a public log what was measured there independently, with other code and another draw of test users."""

from pathlib import Path

import numpy as np

from data_prep.config import ConvertConfig
from nann.evaluation.metrics import recall
from nann.evaluation.recommenders import ItemCF, popular_list
from nann.samples import load_histories, load_items, load_samples
from nann.steps.convert import convert

STANDARD_ERROR = {50: {"popularity": 0.0023, "item_cf": 0.0058}, 200: {"popularity": 0.0038, "item_cf": 0.0064}}
MEASURED = {50: {"popularity": 0.022, "item_cf": 0.163}, 200: {"popularity": 0.062, "item_cf": 0.203}}


def test_recall_on_buycartfav_is_within_three_standard_errors(shared_data: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    config = ConvertConfig(test_users=4000, validate_users=4000, test_min_length=3)
    convert(inputs=[shared_data / "taobao_userbehavior_buycartfav.csv.gz"], dataset=dataset, config=config)
    items, train, test = load_items(dataset), load_histories(dataset), load_samples(dataset, "test")
    popular = popular_list(items.train_counts, 200)
    lists = {
        "popularity": np.tile(popular, (len(test.targets), 1)),
        "item_cf": ItemCF(train.item_rows, train.row_splits, num_items=len(items.item_ids) - 1).recommend(
            test.histories, 200, fill=popular
        ),
    }
    assert len(test.targets) == 4000
    for k, measured in MEASURED.items():
        for name, value in measured.items():
            found = recall(lists[name], test.targets[:, None], k).mean()
            # Both figures are samples of 4,000 users, so their difference varies by sqrt(2) standard errors.
            assert abs(found - value) <= 3 * 2**0.5 * STANDARD_ERROR[k][name], (name, k)
