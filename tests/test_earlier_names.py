"""What earlier versions' pages told to import is still there; what has another place warns and names it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Of the pages of 0.1.0: imports of their Python blocks, and dotted names in their text. `ops.v1` has a test of its own with graph mode.
DOCUMENTED = """
    nann.export.hoisting nann.export.load_corpus nann.export.load_frozen_scorer nann.export.lower_frozen nann.export.open_graph
    nann.export.open_linked nann.export.open_native nann.export.open_portable nann.index nann.models.Scorer nann.models.layers.Dense
    nann.models.load_model nann.models.rows.RowScorer nann.retrieval.BeamRetriever nann.retrieval.ExactRetriever
    nann.retrieval.HistoryScorer nann.steps.convert.convert data_prep.generate_large
    ops.CBFFilter ops.CounterFilter ops.EmbeddingVariable ops.EmbeddingVariableOption ops.GlobalStepEvict ops.InitializerOption
    ops.L2WeightEvict ops.StorageOption ops.adaptive.adaptive_lookup ops.embedding.Feature ops.embedding.graph.defuse
    ops.embedding.graph.freeze ops.embedding.graph.fuse ops.embedding.grouped_lookup ops.embedding.stages
    ops.embedding.update.FusedAdagrad ops.embedding.update.FusedFtrl ops.embedding.update.FusedLazyAdamW ops.embedding.update.FusedSgd
    ops.feature_column.categorical_column_with_adaptive_embedding ops.feature_column.categorical_column_with_embedding
    ops.feature_column.embedding_column ops.feature_column.input_from_feature_columns ops.feature_column.input_layer
    ops.feature_column.sparse_column_with_embedding ops.fused_embedding_lookup_sparse ops.fused_embedding_lookup_sparse_v2
    ops.fused_safe_embedding_lookup_sparse ops.graph_optimizer.apply ops.graph_optimizer.compressed ops.graph_passes
    ops.lookup.lookup_positions ops.lookup.stock_ops ops.native.load_library ops.optimizers.LazyAdamW
    nann.retrieval.FusedScorer
"""
MOVED = {
    "nann.samples": (
        "nann.dataset",
        "Histories Items Samples load_histories load_items load_meta load_samples times_before times_of_steps",
    ),
    "nann.inputs": (
        "nann.dataset.inputs",
        "BEHAVIOR TIME FeatureLists Features RequestInput UserFeatures",
    ),
}
CODE = f"""
import importlib, pkgutil, warnings
warnings.simplefilter("error", DeprecationWarning)
for name in {DOCUMENTED.split()!r}:
    pkgutil.resolve_name(name)
for earlier, (now, names) in {MOVED!r}.items():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        old = importlib.import_module(earlier)
    [message] = [str(warning.message) for warning in seen if warning.category is DeprecationWarning]
    assert message == f"{{earlier}} is deprecated; import from {{now}} instead", message
    for name in names.split():
        assert getattr(old, name) is getattr(importlib.import_module(now), name), name
from nann.inputs import choose_inputs, describe_inputs, load_features, request_names
"""


def test_documented_names_can_be_imported_and_those_that_moved_say_so() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr.splitlines()[-1]


def test_nothing_of_ours_imports_from_an_earlier_place() -> None:
    sources = [path for package in ("pipelines", "components", "nann", "tests", "benchmarks") for path in (ROOT / package).rglob("*.py")]
    for earlier in MOVED:
        assert not [path for path in sources if path != Path(__file__) and f"from {earlier} import" in path.read_text()]
