// Registrations of the grouped and the per-position lookup, their gradients and their updates.

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace nann {
namespace {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// Rows of a feature: one less than its row splits; unknown for sparse indices unless their shape is a constant matrix shape.
absl::Status NumRows(InferenceContext* context, int segments, int dense_shape, DimensionHandle* rows) {
  *rows = context->UnknownDim();
  const ShapeHandle shape = context->input(segments);
  if (!context->RankKnown(shape)) return absl::OkStatus();
  if (context->Rank(shape) == 1) return context->Subtract(context->Dim(shape, 0), 1, rows);
  ShapeHandle dense;
  if (context->MakeShapeFromShapeTensor(dense_shape, &dense).ok() && context->RankKnown(dense) && context->Rank(dense) >= 2) {
    *rows = context->Dim(dense, 0);
    for (int axis = 1; axis + 1 < context->Rank(dense); ++axis) {
      TF_RETURN_IF_ERROR(context->Multiply(*rows, context->Dim(dense, axis), rows));
    }
  }
  return absl::OkStatus();
}

absl::Status LookupShape(InferenceContext* context) {
  int num_features, num_parts;
  bool concat;
  std::vector<int> dims, tables;
  TF_RETURN_IF_ERROR(context->GetAttr("num_features", &num_features));
  TF_RETURN_IF_ERROR(context->GetAttr("num_parts", &num_parts));
  TF_RETURN_IF_ERROR(context->GetAttr("concat", &concat));
  TF_RETURN_IF_ERROR(context->GetAttr("dims", &dims));
  TF_RETURN_IF_ERROR(context->GetAttr("tables_of", &tables));
  const int segments = num_parts + num_features, dense_shapes = num_parts + 2 * num_features;
  DimensionHandle common = context->UnknownDim();
  int64_t width = 0;
  for (int feature = 0; feature < num_features; ++feature) {
    if (feature >= static_cast<int>(tables.size()) || tables[feature] < 0 || tables[feature] >= static_cast<int>(dims.size())) {
      return absl::InvalidArgumentError("tables_of must name a table for every feature");
    }
    DimensionHandle rows;
    TF_RETURN_IF_ERROR(NumRows(context, segments + feature, dense_shapes + feature, &rows));
    const int dim = dims[tables[feature]];
    if (concat) {
      TF_RETURN_IF_ERROR(context->Merge(common, rows, &common));
      width += dim;
    } else {
      context->set_output(feature, context->Matrix(rows, dim));
    }
  }
  if (concat) context->set_output(0, context->Matrix(common, width));
  return absl::OkStatus();
}

absl::Status GradientShape(InferenceContext* context) {
  int num_parts;
  std::vector<int> dims, table_parts;
  TF_RETURN_IF_ERROR(context->GetAttr("num_parts", &num_parts));
  TF_RETURN_IF_ERROR(context->GetAttr("dims", &dims));
  TF_RETURN_IF_ERROR(context->GetAttr("table_parts", &table_parts));
  int part = 0;
  for (size_t table = 0; table < dims.size() && table < table_parts.size(); ++table) {
    for (int i = 0; i < table_parts[table] && part < num_parts; ++i, ++part) {
      const DimensionHandle distinct = context->UnknownDim();
      context->set_output(part, context->Vector(distinct));
      context->set_output(num_parts + part, context->Matrix(distinct, dims[table]));
    }
  }
  return absl::OkStatus();
}

absl::Status WeightsGradShape(InferenceContext* context) {
  std::vector<ShapeHandle> weights;
  TF_RETURN_IF_ERROR(context->input("weights", &weights));
  for (size_t i = 0; i < weights.size(); ++i) context->set_output(static_cast<int>(i), weights[i]);
  return absl::OkStatus();
}

absl::Status PositionsShape(InferenceContext* context) {
  std::vector<int> dims;
  TF_RETURN_IF_ERROR(context->GetAttr("dims", &dims));
  std::vector<ShapeHandle> ids;
  TF_RETURN_IF_ERROR(context->input("ids", &ids));
  ShapeHandle merged = context->UnknownShape();
  for (const ShapeHandle& shape : ids) TF_RETURN_IF_ERROR(context->Merge(merged, shape, &merged));
  int64_t width = 0;
  for (const int dim : dims) width += dim;
  ShapeHandle out;
  TF_RETURN_IF_ERROR(context->Concatenate(merged, context->Vector(width), &out));
  context->set_output(0, out);
  return absl::OkStatus();
}

absl::Status PositionsGradShape(InferenceContext* context) {
  std::vector<int> dims;
  TF_RETURN_IF_ERROR(context->GetAttr("dims", &dims));
  const int num_tables = static_cast<int>(dims.size());
  for (int table = 0; table < num_tables; ++table) {
    const DimensionHandle distinct = context->UnknownDim();
    context->set_output(table, context->Vector(distinct));
    context->set_output(num_tables + table, context->Matrix(distinct, dims[table]));
  }
  return absl::OkStatus();
}

// The weights are a list of any types: from an empty list of T, T could not be inferred. The kernels check that they are of type
// T.
#define NANN_GROUP_INPUTS(TABLES)                  \
  Input("tables: num_parts * " TABLES)             \
      .Input("ids: num_features * Tids")           \
      .Input("segments: num_features * int64")     \
      .Input("dense_shapes: num_features * int64") \
      .Input("weights: Tweights")

#define NANN_GROUP_ATTRS                                            \
  Attr("T: {half, bfloat16, float, double}")                        \
      .Attr("Tids: {int32, int64}")                                 \
      .Attr("num_parts: int >= 1")                                  \
      .Attr("num_features: int >= 1")                               \
      .Attr("Tweights: list({half, bfloat16, float, double}) >= 0") \
      .Attr("num_outputs: int >= 1")                                \
      .Attr("concat: bool")                                         \
      .Attr("dims: list(int)")                                      \
      .Attr("table_parts: list(int)")                               \
      .Attr("strategies: list(string)")                             \
      .Attr("tables_of: list(int)")                                 \
      .Attr("combiners: list(string)")                              \
      .Attr("max_norms: list(float)")                               \
      .Attr("default_ids: list(int)")                               \
      .Attr("prune: list(bool)")                                    \
      .Attr("fill: list(bool)")                                     \
      .Attr("weighted: list(bool)")

constexpr char kLookupDoc[] = R"doc(
Pools embedding rows of F features at once: per feature and row of ids, the combined rows of its table.

The contract is that of tf.nn.safe_embedding_lookup_sparse, feature by feature. Runs on the CPU, on the intra-op pool; the result does not
depend on the number of threads. Ids outside [0, rows of the table) are an error that names the id, negative ones only if not pruned.

tables: the parts of all tables in turn, [rows, dim] each.
ids: [v] per feature.
segments: per feature row splits [B + 1], or sparse indices [v, rank] in any order; rank > 2 counts all but the last axis as rows.
dense_shapes: [rank] per feature; read only beside sparse indices.
weights: [v] for every feature that is weighted, in turn.
concat: one output [B, sum of dims] instead of F outputs [B, dim].
dims: row size per table.
table_parts: parts per table.
strategies: "div" or "mod" per table.
tables_of: table per feature.
combiners: "sum", "mean" or "sqrtn" per feature.
max_norms: L2 limit of a looked-up row per feature; negative for none.
default_ids: id that empty rows take, per feature; negative for zeros.
prune: per feature, whether negative ids, and weights not above 0 unless the combiner is sum, are dropped.
fill: per feature, whether empty rows take the default id.
weighted: per feature.
)doc";

REGISTER_OP("Nann>FusedEmbeddingLookup")
    .NANN_GROUP_INPUTS("T")
    .Output("pooled: num_outputs * T")
    .NANN_GROUP_ATTRS.SetShapeFn(LookupShape)
    .Doc(kLookupDoc);

REGISTER_OP("Nann>FusedEmbeddingLookupResource")
    .NANN_GROUP_INPUTS("resource")
    .Output("pooled: num_outputs * T")
    .NANN_GROUP_ATTRS.SetIsStateful()
    .SetShapeFn(LookupShape)
    .Doc(kLookupDoc);

constexpr char kGradientDoc[] = R"doc(
The gradient of the grouped lookup with regard to its tables: distinct rows per part.

gradients: of the lookup's outputs.
indices: [u] distinct rows of each part.
values: [u, dim] their summed gradients, with the Jacobian of max_norm. No gradient comes from empty rows that were given zeros.
)doc";

REGISTER_OP("Nann>FusedEmbeddingGrad")
    .NANN_GROUP_INPUTS("T")
    .Input("gradients: num_outputs * T")
    .Output("indices: num_parts * Tids")
    .Output("values: num_parts * T")
    .NANN_GROUP_ATTRS.SetShapeFn(GradientShape)
    .Doc(kGradientDoc);

REGISTER_OP("Nann>FusedEmbeddingGradResource")
    .NANN_GROUP_INPUTS("resource")
    .Input("gradients: num_outputs * T")
    .Output("indices: num_parts * Tids")
    .Output("values: num_parts * T")
    .NANN_GROUP_ATTRS.SetIsStateful()
    .SetShapeFn(GradientShape)
    .Doc(kGradientDoc);

constexpr char kWeightsDoc[] = R"doc(
The gradient of the grouped lookup with regard to the weights of its weighted features; 0 where a value was pruned.
)doc";

REGISTER_OP("Nann>FusedEmbeddingWeightsGrad")
    .NANN_GROUP_INPUTS("T")
    .Input("gradients: num_outputs * T")
    .Output("weight_gradients: Tweights")
    .NANN_GROUP_ATTRS.SetShapeFn(WeightsGradShape)
    .Doc(kWeightsDoc);

REGISTER_OP("Nann>FusedEmbeddingWeightsGradResource")
    .NANN_GROUP_INPUTS("resource")
    .Input("gradients: num_outputs * T")
    .Output("weight_gradients: Tweights")
    .NANN_GROUP_ATTRS.SetIsStateful()
    .SetShapeFn(WeightsGradShape)
    .Doc(kWeightsDoc);

REGISTER_OP("Nann>FusedEmbeddingUpdate")
    .NANN_GROUP_INPUTS("resource")
    .Input("gradients: num_outputs * T")
    .Input("slots: num_slots * resource")
    .Input("options: double")
    .NANN_GROUP_ATTRS.Attr("num_slots: int >= 0")
    .Attr("optimizer: {'sgd', 'adagrad', 'adam', 'ftrl'}")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs)
    .Doc(R"doc(
The gradient of the grouped lookup and one optimizer step of the touched rows in one pass.

slots: the first slots of all parts in turn, then the second slots; none for sgd, one per part for adagrad (sum of squares), two for adam
  (first and second moment) and ftrl (sum of squares, linear).
options: [10] learning rate, beta_1, beta_2, epsilon, decay, rate of the decay, l1, l2, learning rate power, 0.
)doc");

REGISTER_OP("Nann>FusedEmbeddingUpdateRows")
    .Input("table: resource")
    .Input("slots: num_slots * resource")
    .Input("indices: Tids")
    .Input("values: T")
    .Input("options: double")
    .Attr("T: {half, bfloat16, float, double}")
    .Attr("Tids: {int32, int64}")
    .Attr("num_slots: int >= 0")
    .Attr("optimizer: {'sgd', 'adagrad', 'adam', 'ftrl'}")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs)
    .Doc(R"doc(
One optimizer step of the rows of a table that have a gradient; repeated rows are summed first.

indices: [n] rows in [0, rows of the table).
values: [n, dim].
)doc");

constexpr char kPositionsDoc[] = R"doc(
One row per id and table, side by side; id 0 gives zeros.

tables: [rows, dim] each.
ids: one per table, of one shape [...], in [0, rows of the table).
embedded: [..., sum of dims].
)doc";

REGISTER_OP("Nann>FusedEmbeddingPositions")
    .Input("tables: num_tables * T")
    .Input("ids: num_tables * Tids")
    .Output("embedded: T")
    .Attr("T: {half, bfloat16, float, double}")
    .Attr("Tids: {int32, int64}")
    .Attr("num_tables: int >= 1")
    .Attr("dims: list(int)")
    .SetShapeFn(PositionsShape)
    .Doc(kPositionsDoc);

REGISTER_OP("Nann>FusedEmbeddingPositionsResource")
    .Input("tables: num_tables * resource")
    .Input("ids: num_tables * Tids")
    .Output("embedded: T")
    .Attr("T: {half, bfloat16, float, double}")
    .Attr("Tids: {int32, int64}")
    .Attr("num_tables: int >= 1")
    .Attr("dims: list(int)")
    .SetIsStateful()
    .SetShapeFn(PositionsShape)
    .Doc(kPositionsDoc);

REGISTER_OP("Nann>FusedEmbeddingPositionsGrad")
    .Input("ids: num_ids * Tids")
    .Input("gradients: num_lookups * T")
    .Output("indices: num_tables * Tids")
    .Output("values: num_tables * T")
    .Attr("T: {half, bfloat16, float, double}")
    .Attr("Tids: {int32, int64}")
    .Attr("num_ids: int >= 1")
    .Attr("num_lookups: int >= 1")
    .Attr("num_tables: int >= 1")
    .Attr("dims: list(int)")
    .SetShapeFn(PositionsGradShape)
    .Doc(R"doc(
The gradient of one or more lookups by position into the same tables: distinct rows per table, without row 0.

ids: those of the first lookup, one per table, then those of the second, ...
gradients: [..., sum of dims] per lookup.
indices: [u] distinct rows per table.
values: [u, dim] their summed gradients.
)doc");

}  // namespace
}  // namespace nann
