// The ops of retrieval of some of the items, with shapes and documentation; their kernels: filter_kernels.cc,
// filtered_search_kernel.cc.

#include "ops/cc/shape_checks.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace nann {
namespace {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

REGISTER_OP("Nann>FilterItems")
    .Input("excluded: int64")
    .Input("categories: int64")
    .Input("available: bool")
    .Input("category_items: int32")
    .Input("category_row_splits: int64")
    .Output("passing: uint8")
    .Output("counts: int64")
    .SetShapeFn([](InferenceContext* context) -> absl::Status {
      TF_RETURN_IF_ERROR(RequireRanks(context, {2, 2, 1, 1, 1}));
      DimensionHandle batch;
      TF_RETURN_IF_ERROR(context->Merge(context->Dim(context->input(0), 0), context->Dim(context->input(1), 0), &batch));
      context->set_output(0, context->Matrix(batch, context->UnknownDim()));
      context->set_output(1, context->Vector(batch));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Which items may be returned to each user of a batch: the available ones that are not excluded and, where categories are named, are of one of them.

excluded: [B, E] positions; a number outside 0..N - 1 excludes nothing.
categories: [B, C] category rows; 0 names none, a number above the number of categories, or below 0, one without items. A user who names none allows
  all items, those of category 0 included, which no name allows.
available: [N].
category_items: [N] positions, category by category.
category_row_splits: [categories + 2] the items of category c are category_items[category_row_splits[c]] up to [category_row_splits[c + 1]], c
  from 0 up.
passing: [B, ceil(N / 8)] bit p mod 8 of byte p div 8 is set where item p passes; bits beyond N are not set.
counts: [B] how many items pass.
)doc");

REGISTER_OP("Nann>ListItems")
    .Input("passing: uint8")
    .Input("num_items: int64")
    .Output("items: int64")
    .Output("item_splits: int64")
    .SetShapeFn([](InferenceContext* context) -> absl::Status {
      TF_RETURN_IF_ERROR(RequireRanks(context, {2, 0}));
      context->set_output(0, context->Vector(context->UnknownDim()));
      context->set_output(1, context->Vector(context->UnknownDim()));
      return absl::OkStatus();
    })
    .Doc(R"doc(
The items of bitmaps.

passing: [B, ceil(N / 8)] bitmaps, see Nann>FilterItems; bits beyond N count for nothing.
num_items: [] N.
items: [I] positions, user by user, ascending.
item_splits: [B + 1] row splits of the items.
)doc");

REGISTER_OP("Nann>MergeFiltered")
    .Input("pool_positions: int64")
    .Input("pool_scores: float")
    .Input("other_positions: int64")
    .Input("other_scores: float")
    .Input("candidates: int64")
    .Input("candidate_splits: int64")
    .Input("scores: float")
    .Input("passing: uint8")
    .Input("num_items: int64")
    .Input("ef: int64")
    .Input("others_ef: int64")
    .Output("merged_positions: int64")
    .Output("merged_scores: float")
    .Output("merged_other_positions: int64")
    .Output("merged_other_scores: float")
    .Output("frontier: int64")
    .Output("frontier_splits: int64")
    .SetShapeFn([](InferenceContext* context) -> absl::Status {
      TF_RETURN_IF_ERROR(RequireRanks(context, {2, 2, 2, 2, 1, 1, 2, 2, 0, 0, 1}));
      for (const int pool : {0, 2}) {
        ShapeHandle shape;
        TF_RETURN_IF_ERROR(context->Merge(context->input(pool), context->input(pool + 1), &shape));
        context->set_output(pool, shape);
        context->set_output(pool + 1, shape);
      }
      context->set_output(4, context->Vector(context->UnknownDim()));
      context->set_output(5, context->input(5));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Nann>MergeTopEf for a walk that returns only items that pass: newly scored candidates go into the pool of these, or of the others.

The frontier has the candidates that pass and are now among the first ef of their pool, then the others that are now among the first others_ef
of theirs and score more than the passing item at place ef, or than the -inf of an empty place. Ties are as in Nann>MergeTopEf.

pool_positions: [B, S] of items that pass, best first; -1 in empty places.
pool_scores: [B, S] not ascending; -inf in empty places.
other_positions: [B, T] of the others.
other_scores: [B, T].
candidates: [C] positions in 0..N - 1, user by user.
candidate_splits: [B + 1] row splits of the candidates.
scores: [B, W] score of a user's j-th candidate at [b, j]; what comes after the last candidate is not read.
passing: [B, ceil(N / 8)] bitmaps, see Nann>FilterItems.
num_items: [] N.
ef: [] at least 1.
others_ef: [B].
merged_positions: [B, S].
merged_scores: [B, S].
merged_other_positions: [B, T].
merged_other_scores: [B, T].
frontier: [F] user by user.
frontier_splits: [B + 1] row splits of the frontier.
)doc");

REGISTER_OP("Nann>FilteredSearch")
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
    .Input("passing: uint8")
    .Input("prior: float")
    .Input("exact_limit: int64")
    .Attr("program: string")
    .Attr("levels: int >= 0")
    .Attr("num_parameters: int >= 0")
    .Attr("with_memory: bool")
    .Output("positions: int64")
    .Output("scores: float")
    .Output("items_scored: int64")
    .Output("microseconds: int64")
    .SetShapeFn([](InferenceContext* context) -> absl::Status {
      ShapeHandle shape;
      const int inputs = context->num_inputs();
      for (int input = 2; input < 5; ++input) TF_RETURN_IF_ERROR(context->WithRank(context->input(input), 1, &shape));
      TF_RETURN_IF_ERROR(context->WithRank(context->input(5), 2, &shape));
      for (const int input : {9, 8, 7, 6, 5, 2}) TF_RETURN_IF_ERROR(context->WithRank(context->input(inputs - input), 1, &shape));
      for (const int input : {4, 1}) TF_RETURN_IF_ERROR(context->WithRank(context->input(inputs - input), 0, &shape));
      TF_RETURN_IF_ERROR(context->WithRank(context->input(inputs - 3), 2, &shape));
      DimensionHandle batch, top_k;
      TF_RETURN_IF_ERROR(context->MakeDimForScalarInput(0, &batch));
      TF_RETURN_IF_ERROR(context->MakeDimForScalarInput(1, &top_k));
      for (const int output : {0, 1}) context->set_output(output, context->Matrix(batch, top_k));
      context->set_output(2, context->Vector(batch));
      context->set_output(3, context->Vector(2));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Nann>BeamSearch, or with_memory Nann>BeamSearchMemory, for items that pass a filter, with a prior added to every score.

A walk has the two pools of Nann>MergeFiltered, with others_ef = min(ef / 4 + ef (N - n) / (4 n), N - n) where n of N items pass, in whole numbers.
A user for whom at most exact_limit items pass, or whose walk found fewer than top_k of them and fewer than pass, is answered by scoring all that
pass; of equal scores the lower position is then ahead.

Inputs and outputs are those of Nann>BeamSearchMemory, and without memory its five tensors are not read; and:

passing: [B, ceil(N / 8)] bitmaps, see Nann>FilterItems; bits beyond N count for nothing.
prior: [N] added to the scores.
exact_limit: [].
items_scored: [B] items scored, twice where a scan followed a walk.
)doc");

}  // namespace
}  // namespace nann
