// The op of the memory of pairs, now and before, with shapes and documentation; its kernel is in memory_kernels.cc.

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace nann {
namespace {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// Histories [B, W], a table, `scalars` numbers and two vectors in; ragged positions and values out.
absl::Status MemoryShapes(InferenceContext* context, int scalars) {
  const int first_vector = 6 + scalars;
  ShapeHandle history = context->Matrix(InferenceContext::kUnknownDim, InferenceContext::kUnknownDim), shape;
  for (int input = 0; input < 3; ++input) TF_RETURN_IF_ERROR(context->Merge(history, context->input(input), &history));
  for (int input = 3; input < 6; ++input) TF_RETURN_IF_ERROR(context->WithRank(context->input(input), 1, &shape));
  for (int input = 6; input < first_vector; ++input) TF_RETURN_IF_ERROR(context->WithRank(context->input(input), 0, &shape));
  for (int input = first_vector; input < first_vector + 2; ++input) {
    TF_RETURN_IF_ERROR(context->WithRank(context->input(input), 1, &shape));
  }
  TF_RETURN_IF_ERROR(context->Merge(context->input(4), context->input(5), &shape));
  DimensionHandle splits;
  TF_RETURN_IF_ERROR(context->Add(context->Dim(history, 0), 1, &splits));
  const ShapeHandle entries = context->Vector(context->UnknownDim());
  context->set_output(0, context->Vector(splits));
  context->set_output(1, entries);
  context->set_output(2, entries);
  return absl::OkStatus();
}

REGISTER_OP("Nann>PairMemory")
    .Input("item_sources: int64")
    .Input("category_sources: int64")
    .Input("item_positions: int64")
    .Input("table_row_splits: int64")
    .Input("table_positions: int32")
    .Input("table_values: float")
    .Input("decay: float")
    .Input("rule_scale: float")
    .Input("own: float")
    .Input("gain: float")
    .Output("memory_row_splits: int64")
    .Output("memory_positions: int64")
    .Output("memory_values: float")
    .SetShapeFn([](InferenceContext* context) { return MemoryShapes(context, 2); })
    .Doc(R"doc(
Nann>PairAndCategoryMemory with a category_weight of 1 and a category_gain of 0, for graphs that were exported before there were any.
)doc");

REGISTER_OP("Nann>PairAndCategoryMemory")
    .Input("item_sources: int64")
    .Input("category_sources: int64")
    .Input("item_positions: int64")
    .Input("table_row_splits: int64")
    .Input("table_positions: int32")
    .Input("table_values: float")
    .Input("decay: float")
    .Input("rule_scale: float")
    .Input("category_weight: float")
    .Input("category_scale: float")
    .Input("category_gain: float")
    .Input("own: float")
    .Input("gain: float")
    .Output("memory_row_splits: int64")
    .Output("memory_positions: int64")
    .Output("memory_values: float")
    .SetShapeFn([](InferenceContext* context) { return MemoryShapes(context, 5); })
    .Doc(R"doc(
The memory of pairs: per user the items that the history leads to by a table, and its own items, with values to add to their scores.

The present places of a history are those with an item source; the age of one is the number of present places after it, its weight
w = decay^age over the sum of decay^age. What reaches item p is r[p], the sum of w times the table's values at p in the rows of the places'
items, and of w category_weight times those in the rows of their categories, in float32, oldest place first and the item's row before the
category's. k[p] is the mean over the present places of the values at p in the rows of their categories. The memory of p is
gain[p] log1p(rule_scale r[p]) + category_gain log1p(category_scale k[p]), for every p that one of these rows names, plus
own[min(age, R - 1)] where p stands in the history itself, at its newest place there.

Users are worked on in parallel; the result does not depend on the number of threads. What is out of range is an error that names the value;
of the table only the rows of the histories are read and checked. Row 0 of the table is never read.

item_sources: [B, W] oldest first, row of the table in 1..S - 1; 0 where nothing stands, anywhere.
category_sources: [B, W] row of the table, 0 for none; not read where nothing stands, nor are the positions.
item_positions: [B, W] position in 0..N - 1 of the item itself, -1 where it is not in the corpus.
table_row_splits: [S + 1] row s is entries table_row_splits[s] up to table_row_splits[s + 1].
table_positions: [T] in 0..N - 1.
table_values: [T].
decay: [] above 0, at most 1.
rule_scale: [] at least 0.
category_weight: [] at least 0.
category_scale: [] at least 0.
category_gain: [] finite.
own: [R], R at least 1: what an own item gets, by the age of its newest place; the last one for all greater ages.
gain: [N], N below 2^31.
memory_row_splits: [B + 1] user b owns the entries memory_row_splits[b] up to memory_row_splits[b + 1].
memory_positions: [M] distinct within a user; best first, of equal values the lower position first.
memory_values: [M] finite.
)doc");

}  // namespace
}  // namespace nann
