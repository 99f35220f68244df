"""A dataset artifact in memory: training histories, held-out samples, the items, and what else models read of it.

Every loader takes the artifact's directory. `nann.dataset.inputs` describes what a model may read beside items and categories;
`nann.dataset.ready_made` makes a dataset of records that exist already.
"""

from nann.dataset.histories import Histories, load_histories
from nann.dataset.inputs import load_features, request_names
from nann.dataset.items import Items, load_items
from nann.dataset.meta import load_meta
from nann.dataset.samples import Samples, load_samples
from nann.dataset.times import times_before, times_of_steps

__all__ = [
    "Histories",
    "Items",
    "Samples",
    "load_features",
    "load_histories",
    "load_items",
    "load_meta",
    "load_samples",
    "request_names",
    "times_before",
    "times_of_steps",
]
