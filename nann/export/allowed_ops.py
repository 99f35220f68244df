"""Which ops a graph from a file may hold before it is run: those that exports are made of, which touch no files, processes or Python.

A graph can hold any op of TensorFlow, some of which read and write files or call what the process has registered. A model of one's own may
need others than these; whoever trusts who made it says so (`--allow-own-models`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import tensorflow as tf

from nann.errors import ArtifactError

OWN_PREFIX = "Nann>"  # of the native library
# Arithmetic, shapes, selection, calls of the graph's own functions, and variables: all without effects outside the graph.
_PURE = """
    Abs AccumulateNV2 Acos Acosh Add AddN AddV2 All Any ApproximateEqual ArgMax ArgMin Asin Asinh Assert AssignVariableOp Atan Atan2
    Atanh AvgPool BatchMatMul BatchMatMulV2 BatchMatMulV3 BiasAdd Bincount Bitcast BitwiseAnd BitwiseOr BitwiseXor BroadcastArgs
    BroadcastTo Bucketize Case Cast Ceil CheckNumerics ClipByValue Complex Concat ConcatV2 Const Conv2D Cos Cosh Cross Cumprod
    Cumsum DenseBincount DepthwiseConv2dNative Dequantize Diag DiagPart Digamma DisableCopyOnRead Div DivNoNan DynamicPartition
    DynamicStitch Einsum Elu Empty EmptyTensorList EnsureShape Enter Equal Erf Erfc Erfinv Exit Exp ExpandDims Expm1 Fill Floor
    FloorDiv FloorMod FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual HistogramFixedWidth Identity IdentityN If
    InTopKV2 InvertPermutation IsFinite IsInf IsNan L2Loss LeakyRelu LeftShift Less LessEqual Lgamma LinSpace Log Log1p LogSoftmax
    LogicalAnd LogicalNot LogicalOr LoopCond LowerBound MatMul MatrixBandPart MatrixDiag MatrixDiagPart MatrixDiagPartV3
    MatrixDiagV3 Max MaxPool Maximum Mean Merge Min Minimum MirrorPad Mod Mul MulNoNan Ndtri Neg NextIteration NoOp NotEqual OneHot
    OnesLike Pack Pad PadV2 ParallelConcat PartitionedCall Placeholder PlaceholderWithDefault Pow PreventGradient Prod
    QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 QuantizeV2 QuantizedMatMul RaggedBincount RaggedGather
    RaggedRange RaggedTensorToTensor Range Rank ReadVariableOp RealDiv Reciprocal Relu Relu6 Reshape ResourceGather ResourceGatherNd
    ReverseSequence ReverseV2 RightShift Rint Roll Round Rsqrt ScatterNd SegmentMax SegmentMean SegmentMin SegmentProd SegmentSum
    Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SparseReshape SparseSegmentMean
    SparseSegmentSqrtN SparseSegmentSum SparseTensorDenseMatMul SparseToDense Split SplitV Sqrt Square SquaredDifference Squeeze
    StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile StaticRegexFullMatch StopGradient StridedSlice StringFormat
    StringJoin StringLength StringLower StringSplitV2 StringStrip StringToHashBucketFast StringToHashBucketStrong StringToNumber
    StringUpper Sub Substr Sum Switch Tan Tanh TensorListConcatV2 TensorListFromTensor TensorListGather TensorListGetItem
    TensorListLength TensorListReserve TensorListResize TensorListSetItem TensorListStack TensorScatterAdd TensorScatterMax
    TensorScatterMin TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate Tile TopK TopKV2 Transpose TruncateDiv
    TruncateMod Unique UniqueV2 UniqueWithCounts UniqueWithCountsV2 Unpack UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd
    UnsortedSegmentSum UpperBound VarHandleOp VarIsInitializedOp VariableShape Where While Xdivy Xlog1py Xlogy ZerosLike
    _FusedMatMul
"""
PURE = frozenset(_PURE.split())
RESTORING = frozenset({"RestoreV2"})
STORING = RESTORING | {"MergeV2Checkpoints", "SaveV2", "ShardedFilename"}  # a saver has them; what is asked for must not reach them
COLLECTIONS = frozenset({"variables", "trainable_variables", "nann_frozen_graph_sha256"})


def require_known_ops(graph_def: tf.compat.v1.GraphDef, path: object, *, allow_own_models: bool) -> None:
    """Refuses a plain graph with an op that is not `PURE`.

    Raises:
        ArtifactError: it holds one; the message names the op.
    """
    if not allow_own_models:
        _refuse_others(_ops(graph_def.node, graph_def), PURE, path)


def require_known_meta(meta: tf.compat.v1.MetaGraphDef, path: object, *, allow_own_models: bool) -> None:
    """Refuses a MetaGraph with an op that is neither `PURE` nor its saver's, or whose answers reach the saver, or whose restoring writes.

    Raises:
        ArtifactError: it does; the message names the op.
    """
    if allow_own_models:
        return
    graph_def = meta.graph_def
    if len(meta.object_graph_def.nodes):
        raise ArtifactError(f"{path} is a SavedModel of objects, which no export of `nann rewrite` is; {_REMEDY}")
    if others := sorted(set(meta.collection_def) - COLLECTIONS):
        raise ArtifactError(f"{path} has the collection {others[0]}, which no export of `nann rewrite` has; {_REMEDY}")
    _refuse_others((node.op for node in graph_def.node if node.op not in _names_of_functions(graph_def)), PURE | STORING, path)
    for function in graph_def.library.function:
        _refuse_others(_ops(function.node_def, graph_def), PURE, path)
    outputs = [tensor.name for signature in meta.signature_def.values() for tensor in signature.outputs.values()]
    _refuse_others(_ops(_behind(graph_def, outputs), graph_def), PURE, path)
    _refuse_others(_ops(_behind(graph_def, [meta.saver_def.restore_op_name]), graph_def), PURE | RESTORING, path)


def require_loadable_meta(meta: tf.compat.v1.MetaGraphDef, path: object, *, allow_own_models: bool) -> None:
    """Refuses a SavedModel of anyone with an op that is neither `PURE` nor a saver's: loading one runs what restores and initializes it.

    Raises:
        ArtifactError: it holds one; the message names the op.
    """
    if not allow_own_models:
        _refuse_others(_ops(meta.graph_def.node, meta.graph_def), PURE | STORING, path)


_REMEDY = "give --allow-own-models if you trust who made it"


def _refuse_others(ops: Iterable[str], allowed: frozenset[str], path: object) -> None:
    if others := sorted({op for op in ops if op not in allowed and not op.startswith(OWN_PREFIX)}):
        raise ArtifactError(f"{path} runs the op {others[0]}, which no export of `nann rewrite` does; {_REMEDY}")


def _names_of_functions(graph_def: tf.compat.v1.GraphDef) -> set[str]:
    return {function.signature.name for function in graph_def.library.function}


def _ops(nodes: Iterable[tf.compat.v1.NodeDef], graph_def: tf.compat.v1.GraphDef) -> Iterator[str]:
    """The ops of some nodes and of all functions of the graph, whoever calls them."""
    functions = _names_of_functions(graph_def)
    yield from (node.op for node in nodes if node.op not in functions)
    for function in graph_def.library.function:
        yield from (node.op for node in function.node_def if node.op not in functions)


def _behind(graph_def: tf.compat.v1.GraphDef, names: Iterable[str]) -> Iterator[tf.compat.v1.NodeDef]:
    """The nodes that running some tensors or nodes runs."""
    nodes = {node.name: node for node in graph_def.node}
    waiting, seen = [name.lstrip("^").partition(":")[0] for name in names], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        yield nodes[name]
        waiting += [source.lstrip("^").partition(":")[0] for source in nodes[name].input]
