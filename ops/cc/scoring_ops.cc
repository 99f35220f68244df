// The ops that retrieve with a scorer given as a program, with shapes and documentation; their kernels are in scoring_kernels.cc.

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace nann {
namespace {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status SetFound(InferenceContext* context, int batch_input, int top_k_input) {
  DimensionHandle batch, top_k;
  TF_RETURN_IF_ERROR(context->MakeDimForScalarInput(batch_input, &batch));
  TF_RETURN_IF_ERROR(context->MakeDimForScalarInput(top_k_input, &top_k));
  context->set_output(0, context->Matrix(batch, top_k));
  context->set_output(1, context->Matrix(batch, top_k));
  return absl::OkStatus();
}

REGISTER_OP("Nann>BeamSearch")
    .Input("batch: int64")
    .Input("top_k: int64")
    .Input("ef: int64")
    .Input("rounds: int64")
    .Input("enter_points: int64")
    .Input("item_embs: float")
    .Input("neighbor_values: levels * int32")
    .Input("neighbor_row_splits: levels * int64")
    .Input("parameters: num_parameters * float")
    .Attr("program: string")
    .Attr("levels: int >= 0")
    .Attr("num_parameters: int >= 0")
    .Output("positions: int64")
    .Output("scores: float")
    .Output("items_scored: int64")
    .Output("microseconds: int64")
    .SetShapeFn([](InferenceContext* context) -> absl::Status {
      ShapeHandle shape;
      for (int input = 2; input < 5; ++input) TF_RETURN_IF_ERROR(context->WithRank(context->input(input), 1, &shape));
      TF_RETURN_IF_ERROR(context->WithRank(context->input(5), 2, &shape));
      TF_RETURN_IF_ERROR(SetFound(context, 0, 1));
      context->set_output(2, context->Vector(context->Dim(context->output(0), 0)));
      context->set_output(3, context->Vector(2));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Beam retrieval over a graph (NANN, arXiv 2202.10226, section 4) for a batch of users, with the scorer as a program. The walk is that of
StartWalk, ExpandFrontier and MergeTopEf; users are worked on in parallel, or where they are few, the items of each.

batch: [] B, the number of users.
top_k: [] K, at least 1.
ef: [L] per level from level 0 up, at least 1: the frontier is taken from the best `ef` items scored so far.
rounds: [L] per level; levels beyond `levels` are not walked.
enter_points: [P] positions in 0..N - 1.
item_embs: [N, D].
neighbor_values: per level from 0 up, [links] positions.
neighbor_row_splits: per level, [N + 1].
parameters: of the program: [R, k, n], [R, n, k] or [R, w], R being B or 1.
program: see ops/cc/tile_program.h.
positions: [B, K] best first, -1 where fewer than K items were found.
scores: [B, K], -inf there.
items_scored: [B] distinct items scored.
microseconds: [2] spent walking and scoring, of all threads together.
)doc");

REGISTER_OP("Nann>ScanItems")
    .Input("batch: int64")
    .Input("top_k: int64")
    .Input("item_embs: float")
    .Input("parameters: num_parameters * float")
    .Attr("program: string")
    .Attr("num_parameters: int >= 0")
    .Output("positions: int64")
    .Output("scores: float")
    .SetShapeFn([](InferenceContext* context) -> absl::Status {
      ShapeHandle shape;
      TF_RETURN_IF_ERROR(context->WithRank(context->input(2), 2, &shape));
      return SetFound(context, 0, 1);
    })
    .Doc(R"doc(
Scores every item for every user of a batch and returns the best. What does not depend on the user is computed once per item. Of equal
scores the lower position is ahead; NaN never enters. Memory is that of the best items, whatever N is.

batch: [] B, the number of users.
top_k: [] K, at least 1.
item_embs: [N, D].
parameters: of the program: [R, k, n], [R, n, k] or [R, w], R being B or 1.
program: see ops/cc/tile_program.h.
positions: [B, K] best first, -1 where there are fewer than K items.
scores: [B, K], -inf there.
)doc");

}  // namespace
}  // namespace nann
