// The stages of a lookup as ops of their own, with documentation; the kernels are in embedding_stages.cc.

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"

namespace nann {
namespace {

using tensorflow::shape_inference::UnknownShape;

REGISTER_OP("Nann>FusedEmbeddingPruneInvalidAndFillEmptyRows")
    .Input("ids: Tids")
    .Input("segments: int64")
    .Input("dense_shape: int64")
    .Input("weights: T")
    .Output("kept_ids: Tids")
    .Output("row_splits: int64")
    .Output("kept_weights: T")
    .Output("row_is_empty: bool")
    .Output("kept_positions: int64")
    .Attr("T: {half, bfloat16, float, double}")
    .Attr("Tids: {int32, int64}")
    .Attr("combiner: string")
    .Attr("default_id: int")
    .Attr("prune: bool")
    .Attr("fill: bool")
    .SetShapeFn(UnknownShape)
    .Doc(
        "Drops invalid ids and weights and fills empty rows, as Nann>FusedEmbeddingLookup does; row_is_empty is true for filled "
        "rows, too; kept_positions are the places of the kept ids among the given ones, -1 for a filled one.");
REGISTER_OP("Nann>FusedEmbeddingUniqueWithCounts")
    .Input("ids: Tids")
    .Output("unique_ids: Tids")
    .Output("positions: int64")
    .Output("counts: int64")
    .Attr("Tids: {int32, int64}")
    .SetShapeFn(UnknownShape)
    .Doc("Distinct ids in the order of their first appearance, the place of every id among them, and how often each appears.");
REGISTER_OP("Nann>FusedEmbeddingPartitionWithPermutation")
    .Input("ids: Tids")
    .Input("part_rows: int64")
    .Output("rows: num_parts * Tids")
    .Output("permutation: int64")
    .Attr("Tids: {int32, int64}")
    .Attr("num_parts: int >= 1")
    .Attr("strategy: {'div', 'mod'}")
    .SetShapeFn(UnknownShape)
    .Doc("Rows of ids within the parts of a table, and the place of every id among the rows of all parts in turn.");
REGISTER_OP("Nann>FusedEmbeddingPostLookup")
    .Input("gathered: num_parts * T")
    .Input("permutation: int64")
    .Input("positions: int64")
    .Input("row_splits: int64")
    .Input("weights: T")
    .Output("pooled: T")
    .Attr("T: {half, bfloat16, float, double}")
    .Attr("num_parts: int >= 1")
    .Attr("combiner: string")
    .Attr("max_norm: float")
    .SetShapeFn(UnknownShape)
    .Doc("Clips and combines the rows gathered from all parts.");
REGISTER_OP("Nann>FusedEmbeddingPostLookupGrad")
    .Input("gathered: num_parts * T")
    .Input("permutation: int64")
    .Input("positions: int64")
    .Input("row_splits: int64")
    .Input("weights: T")
    .Input("gradient: T")
    .Output("gathered_gradients: num_parts * T")
    .Attr("T: {half, bfloat16, float, double}")
    .Attr("num_parts: int >= 1")
    .Attr("combiner: string")
    .Attr("max_norm: float")
    .SetShapeFn(UnknownShape)
    .Doc("The gradient of Nann>FusedEmbeddingPostLookup with regard to the gathered rows.");
REGISTER_OP("Nann>FusedEmbeddingPostLookupWeightsGrad")
    .Input("gathered: num_parts * T")
    .Input("permutation: int64")
    .Input("positions: int64")
    .Input("row_splits: int64")
    .Input("weights: T")
    .Input("gradient: T")
    .Output("weights_gradient: T")
    .Attr("T: {half, bfloat16, float, double}")
    .Attr("num_parts: int >= 1")
    .Attr("combiner: string")
    .Attr("max_norm: float")
    .SetShapeFn(UnknownShape)
    .Doc("The gradient of Nann>FusedEmbeddingPostLookup with regard to the weights.");

}  // namespace
}  // namespace nann
