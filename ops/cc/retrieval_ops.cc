// The ops of the walk of beam retrieval, with shapes and documentation; their kernels are in retrieval_kernels.cc.

#include "ops/cc/shape_checks.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace nann {
namespace {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

void SetRagged(InferenceContext* context, int output) {
  context->set_output(output, context->Vector(context->UnknownDim()));
  context->set_output(output + 1, context->Vector(context->UnknownDim()));
}

REGISTER_OP("Nann>StartWalk")
    .Input("enter_points: int64")
    .Input("batch: int64")
    .Input("num_items: int64")
    .Output("visited: uint8")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* context) -> absl::Status {
      TF_RETURN_IF_ERROR(RequireRanks(context, {1, 0, 0}));
      context->set_output(0, context->Matrix(context->UnknownDim(), context->UnknownDim()));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Makes the bitmaps of visited items of a batch of users, with the entry points marked. Stateful only so that it is never folded into a
constant or shared between calls: the ops that follow write into its output.

enter_points: [P] positions in 0..num_items - 1.
batch: [] B, the number of users.
num_items: [] N.
visited: [B, ceil(N / 8)]. Bit p mod 8 of byte p div 8 is set where item p was visited.
)doc");

REGISTER_OP("Nann>ExpandFrontier")
    .Input("visited: uint8")
    .Input("frontier: int64")
    .Input("frontier_splits: int64")
    .Input("neighbor_values: int32")
    .Input("neighbor_row_splits: int64")
    .Output("visited_after: uint8")
    .Output("candidates: int64")
    .Output("candidate_splits: int64")
    .SetShapeFn([](InferenceContext* context) -> absl::Status {
      TF_RETURN_IF_ERROR(RequireRanks(context, {2, 1, 1, 1, 1}));
      context->set_output(0, context->input(0));
      SetRagged(context, 1);
      context->set_output(2, context->input(2));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Collects the neighbours of each user's frontier that this user has not visited, and marks them visited.

Users are worked on in parallel, on the threads of the intra-op pool; the result does not depend on their number. The bitmaps are changed in
place where nothing else reads them. An id outside its table is an error that names it.

visited: [B, ceil(N / 8)] bitmaps, see Nann>StartWalk.
frontier: [F] positions, user by user.
frontier_splits: [B + 1] user b owns frontier[frontier_splits[b]] up to frontier[frontier_splits[b + 1]].
neighbor_values: [links] positions.
neighbor_row_splits: [N + 1] the neighbours of p are neighbor_values[neighbor_row_splits[p]] up to [neighbor_row_splits[p + 1]].
visited_after: [B, ceil(N / 8)] the bitmaps with the candidates marked.
candidates: [C] distinct per user; in the order of the frontier, then of the neighbour lists.
candidate_splits: [B + 1] as frontier_splits.
)doc");

REGISTER_OP("Nann>GatherCandidates")
    .Input("item_embs: T")
    .Input("scales: float")
    .Input("candidates: int64")
    .Input("candidate_splits: int64")
    .Attr("T: {float, half, bfloat16, int8} = DT_FLOAT")
    .Attr("widths: list(int) >= 1")
    .Output("items: float")
    .SetShapeFn([](InferenceContext* context) -> absl::Status {
      TF_RETURN_IF_ERROR(RequireRanks(context, {2, 1, 1, 1}));
      DimensionHandle batch = context->Dim(context->input(3), 0);
      TF_RETURN_IF_ERROR(context->Subtract(batch, 1, &batch));
      context->set_output(0, context->MakeShape({batch, context->UnknownDim(), context->Dim(context->input(0), 1)}));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Reads the vectors of each user's candidates into one dense block for scoring.

item_embs: [N, D].
scales: [N] what the rows of an int8 table are multiplied by; [0] for the other types.
candidates: [C] positions in 0..N - 1, user by user.
candidate_splits: [B + 1] row splits of the candidates.
widths: ascending, at least 1 each: allowed widths of the block, see `items`.
items: [B, W, D], zeros after a user's last candidate. W is the smallest of `widths` that holds the longest list, beyond the last one the next
  multiple of it, and 0 where there are no candidates: kernels and compilers keep code per shape, so shapes must be few.
)doc");

REGISTER_OP("Nann>MergeTopEf")
    .Input("pool_positions: int64")
    .Input("pool_scores: float")
    .Input("candidates: int64")
    .Input("candidate_splits: int64")
    .Input("scores: float")
    .Input("ef: int64")
    .Output("merged_positions: int64")
    .Output("merged_scores: float")
    .Output("frontier: int64")
    .Output("frontier_splits: int64")
    .SetShapeFn([](InferenceContext* context) -> absl::Status {
      TF_RETURN_IF_ERROR(RequireRanks(context, {2, 2, 1, 1, 2, 0}));
      ShapeHandle pool;
      TF_RETURN_IF_ERROR(context->Merge(context->input(0), context->input(1), &pool));
      context->set_output(0, pool);
      context->set_output(1, pool);
      SetRagged(context, 2);
      context->set_output(3, context->input(3));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Merges newly scored candidates into each user's pool of best items, and yields the next frontier.

Of equal scores the one in the pool is ahead, then the earlier candidate. NaN never enters. Users are worked on in parallel.

pool_positions: [B, S] best first; -1 in empty places.
pool_scores: [B, S] not ascending; -inf in empty places.
candidates: [C] positions, user by user.
candidate_splits: [B + 1] row splits of the candidates.
scores: [B, W] score of a user's j-th candidate at [b, j]; what comes after the last candidate is not read.
ef: [] the frontier is taken from the first ef places.
merged_positions: [B, S].
merged_scores: [B, S].
frontier: [F] candidates that are now among the first ef, user by user, best first.
frontier_splits: [B + 1] row splits of the frontier.
)doc");

}  // namespace
}  // namespace nann
