#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace nann {
namespace {

using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

absl::Status EncodeExamplesShape(InferenceContext* context) {
  for (int input = 0; input < context->num_inputs(); ++input) {
    ShapeHandle vector;
    TF_RETURN_IF_ERROR(context->WithRank(context->input(input), 1, &vector));
  }
  std::vector<ShapeHandle> row_splits;
  TF_RETURN_IF_ERROR(context->input("row_splits", &row_splits));
  ShapeHandle merged = context->UnknownShapeOfRank(1);
  for (const ShapeHandle& splits : row_splits) TF_RETURN_IF_ERROR(context->Merge(merged, splits, &merged));
  context->set_output(0, context->Vector(context->UnknownDim()));
  return absl::OkStatus();
}

REGISTER_OP("Nann>EncodeExamples")
    .Input("int64_values: num_int64 * int64")
    .Input("float_values: num_float * float")
    .Input("bytes_values: num_bytes * string")
    .Input("row_splits: num_features * int64")
    .Output("records: uint8")
    .Attr("num_int64: int >= 0")
    .Attr("num_float: int >= 0")
    .Attr("num_bytes: int >= 0")
    .Attr("num_features: int >= 1")
    .Attr("names: list(string)")
    .SetShapeFn(EncodeExamplesShape)
    .Doc(R"doc(
Encodes n records of flat features as framed tf.train.Example records, the bytes of a TFRecord file.

The features are the int64 ones, then the float ones, then the bytes ones; `names` and `row_splits` go in this order. Record i of a
feature owns its values [row_splits[i], row_splits[i + 1]). In every record the features are in ascending order of their names' bytes, so
equal input gives equal bytes. Runs on the CPU, on all threads of the intra-op pool.

int64_values: [v] per feature.
float_values: [v] per feature.
bytes_values: [v] per feature.
row_splits: [n + 1] per feature; from 0 to v, not descending.
records: [size_bytes]. Per record: length uint64, masked CRC32C of it, payload, masked CRC32C of the payload, little-endian.
names: one distinct name per feature.
)doc");

}  // namespace
}  // namespace nann
