"""Which ops of the served graphs have no kernel for GPUs, so that a server with one runs them on its processors."""

import pytest
from tensorflow.core.protobuf import saved_model_pb2

from nann.export.load import SAVED_MODELS
from ops import native

LOADING = {"RestoreV2", "SaveV2"}
ON_THE_HOST = {
    "portable": {"RaggedGather", "RaggedTensorToTensor"},
    "native": {
        *("Nann>ExpandFrontier", "Nann>FilterItems", "Nann>GatherCandidates", "Nann>ListItems", "Nann>MergeFiltered", "Nann>MergeTopEf"),
        *("Nann>StartWalk", "RaggedTensorToTensor"),
    },
    "fused": {"Nann>BeamSearch", "Nann>FilterItems", "Nann>FilteredSearch"},
}


def ops_of(directory):
    model = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    graphs = [meta.graph_def for meta in model.meta_graphs]
    return {node.op for graph in graphs for nodes in [graph.node, *(f.node_def for f in graph.library.function)] for node in nodes}


@pytest.mark.parametrize("form", list(ON_THE_HOST))
def test_what_the_served_graphs_do_on_the_host(exported, host_ops, form):
    if form != "portable" and native.load_library() is None:
        pytest.skip("the native library is not built; run `make install`")
    assert host_ops(ops_of(exported.directory / SAVED_MODELS[form])) == LOADING | ON_THE_HOST[form]
