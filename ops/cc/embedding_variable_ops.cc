// The ops of tables that grow, rows of arbitrary keys, with shapes and documentation; the kernels are in embedding_variable_*.cc.

#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace nann {
namespace {

REGISTER_OP("Nann>EmbeddingVariableFind")
    .Input("keys: resource")
    .Input("values: resource")
    .Input("state: resource")
    .Input("ids: Tids")
    .Output("found: int64")
    .Attr("Tids: {int32, int64, string}")
    .Attr("prune: bool")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      context->set_output(0, context->input(3));
      return absl::OkStatus();
    })
    .Doc(R"doc(
What is known of ids, of any shape; -1 for those never met. Changes and counts nothing.

values: [entries] int64, one per entry: the rows, frequencies or versions of Nann>EmbeddingVariableRows.
keys, state, prune: as there.
)doc");

REGISTER_OP("Nann>EmbeddingVariableRows")
    .Input("tables: num_tables * resource")
    .Input("keys: resource")
    .Input("rows: resource")
    .Input("frequencies: resource")
    .Input("versions: resource")
    .Input("state: resource")
    .Input("bloom: num_bloom * resource")
    .Input("slots: num_slots * resource")
    .Input("ids: Tids")
    .Input("mask: num_masks * int32")
    .Input("step: int64")
    .Output("found: int64")
    .Output("new_rows: int64")
    .Output("positions: int64")
    .Attr("Tids: {int32, int64, string}")
    .Attr("num_tables: int >= 1")
    .Attr("num_bloom: int >= 0")
    .Attr("num_slots: int >= 0")
    .Attr("num_masks: int >= 0")
    .Attr("filter_frequency: int = 0")
    .Attr("hashes: int >= 1 = 1")
    .Attr("prune: bool")
    .Attr("slot_names: list(string) = []")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      std::vector<tensorflow::shape_inference::ShapeHandle> ids;
      TF_RETURN_IF_ERROR(context->input("ids", &ids));
      context->set_output(0, ids[0]);
      const auto added = context->Vector(context->UnknownDim());
      context->set_output(1, added);
      context->set_output(2, added);
      return absl::OkStatus();
    })
    .Doc(R"doc(
Rows of ids in a table that grows. An id not met before gets an entry, every id is counted, and one whose count has then
reached filter_frequency gets the next row; entries, tables and slots are doubled when they are full.

tables: the parts of the table; row r is row r / num_tables of part r % num_tables. Row 0 of every part is never handed out.
keys: [entries] int64 or string.
rows: [entries] int64, -1 for keys without a row.
frequencies: [entries] int64, how often each key was met.
versions: [entries] int64, the step at which each last was.
state: [6] int64: entries and rows in use, a stamp of the keys, rows ever given out, rows ever evicted, calls of this op.
bloom: [m] int32, counters of a Bloom filter; if it is there, keys have no entry before they are admitted.
ids: any shape.
mask: 0 or 1 per id; ids with 0 are neither counted nor looked up.
step: scalar, the step now; below 0 the number of calls of this op so far.
found: the ids' rows; -1 for those that have none.
new_rows: [m] rows given out by this call, for the caller to initialize.
positions: [m] where in the flattened ids the keys of the new rows first occur.
hashes: hash functions of the Bloom filter.
prune: negative ids have no row and are not counted; otherwise they are ordinary.
slot_names: shared names of further slots that grow along.
)doc");

REGISTER_OP("Nann>EmbeddingVariableStart")
    .Input("tables: num_tables * resource")
    .Input("new_rows: int64")
    .Input("values: T")
    .Input("rows: int64")
    .Output("same_rows: int64")
    .Attr("num_tables: int >= 1")
    .Attr("T: {half, bfloat16, float, double}")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      context->set_output(0, context->input(context->num_inputs() - 1));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Writes start values [m, dim] to new rows [m] of a table, and hands `rows` on once that is done.

tables: the parts of the table; row r is row r / num_tables of part r % num_tables.
)doc");

}  // namespace
}  // namespace nann
