// The ops that retrieve with a scorer given as a program, with shapes and documentation; their kernels: beam_search_kernel.cc,
// scan_items_kernel.cc.

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

// The users' memories: row splits, positions, values, item scale and item prior, from an input on.
absl::Status CheckMemory(InferenceContext* context, int first) {
  ShapeHandle shape;
  for (int input = first; input < first + 5; ++input) TF_RETURN_IF_ERROR(context->WithRank(context->input(input), 1, &shape));
  TF_RETURN_IF_ERROR(context->Merge(context->input(first + 1), context->input(first + 2), &shape));
  return context->Merge(context->input(first + 3), context->input(first + 4), &shape);
}

absl::Status SetSearch(InferenceContext* context) {
  ShapeHandle shape;
  for (int input = 2; input < 5; ++input) TF_RETURN_IF_ERROR(context->WithRank(context->input(input), 1, &shape));
  TF_RETURN_IF_ERROR(context->WithRank(context->input(5), 2, &shape));
  TF_RETURN_IF_ERROR(SetFound(context, 0, 1));
  context->set_output(2, context->Vector(context->Dim(context->output(0), 0)));
  context->set_output(3, context->Vector(2));
  return absl::OkStatus();
}

absl::Status SetScan(InferenceContext* context) {
  ShapeHandle shape;
  TF_RETURN_IF_ERROR(context->WithRank(context->input(2), 2, &shape));
  return SetFound(context, 0, 1);
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
    .SetShapeFn(SetSearch)
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
    .SetShapeFn(SetScan)
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

REGISTER_OP("Nann>BeamSearchMemory")
    .Input("batch: int64")
    .Input("top_k: int64")
    .Input("ef: int64")
    .Input("rounds: int64")
    .Input("enter_points: int64")
    .Input("item_embs: float")
    .Input("neighbor_values: levels * int32")
    .Input("neighbor_row_splits: levels * int64")
    .Input("parameters: num_parameters * float")
    .Input("memory_row_splits: int64")
    .Input("memory_positions: int64")
    .Input("memory_values: float")
    .Input("item_scale: float")
    .Input("item_prior: float")
    .Input("memory_entries: int64")
    .Attr("program: string")
    .Attr("levels: int >= 0")
    .Attr("num_parameters: int >= 0")
    .Output("positions: int64")
    .Output("scores: float")
    .Output("items_scored: int64")
    .Output("microseconds: int64")
    .SetShapeFn([](InferenceContext* context) -> absl::Status {
      ShapeHandle shape;
      TF_RETURN_IF_ERROR(CheckMemory(context, context->num_inputs() - 6));
      TF_RETURN_IF_ERROR(context->WithRank(context->input(context->num_inputs() - 1), 0, &shape));
      return SetSearch(context);
    })
    .Doc(R"doc(
Nann>BeamSearch with the users' memories beside the scorer: the score of item v is item_scale[v] s(v) + item_prior[v] + M(v), s being the
program's and M the user's memory, 0 where it has no entry. By it items are ordered, and it is what is returned. NaN never enters.

Inputs and outputs are those of Nann>BeamSearch, and:

memory_row_splits: [B + 1] user b owns the entries memory_row_splits[b] up to memory_row_splits[b + 1], all M in the end.
memory_positions: [M] in 0..N - 1, distinct within a user, best first; see Nann>PairMemory. M may be 0.
memory_values: [M].
item_scale: [N].
item_prior: [N].
memory_entries: [] at least 0: after the entry points those of the user's first `memory_entries` entries that are no entry points are scored
  and merged into the pool, before the top level is walked.
)doc");

REGISTER_OP("Nann>ScanItemsMemory")
    .Input("batch: int64")
    .Input("top_k: int64")
    .Input("item_embs: float")
    .Input("parameters: num_parameters * float")
    .Input("memory_row_splits: int64")
    .Input("memory_positions: int64")
    .Input("memory_values: float")
    .Input("item_scale: float")
    .Input("item_prior: float")
    .Attr("program: string")
    .Attr("num_parameters: int >= 0")
    .Output("positions: int64")
    .Output("scores: float")
    .SetShapeFn([](InferenceContext* context) -> absl::Status {
      TF_RETURN_IF_ERROR(CheckMemory(context, context->num_inputs() - 5));
      return SetScan(context);
    })
    .Doc(R"doc(
Nann>ScanItems with the users' memories beside the scorer, with the scores of Nann>BeamSearchMemory and its inputs of the memory, whose
entries may be in any order. Inputs and outputs are those of Nann>ScanItems beside.
)doc");

}  // namespace
}  // namespace nann
