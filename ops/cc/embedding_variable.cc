// Nann>EmbeddingVariableRows: rows of arbitrary ids in a table that grows.
//
// The state lives in ordinary variables (keys: id per row; state: rows in use and a stamp), so checkpoints need nothing special.
// The index from id to row is derived from the keys and kept between calls under the stamp: a new random one with every
// insertion, so an index can never be taken for keys it was not built from, whatever was restored in between.

#include <list>
#include <random>
#include <unordered_map>

#include "ops/cc/embedding_context.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace nann {
namespace {

using Index = std::unordered_map<int64_t, int64_t>;

// Indexes by stamp; the one in use is out of the store, so that no two variables ever share one.
class IndexStore {
 public:
  static IndexStore& Get() {
    static IndexStore* const store = new IndexStore;
    return *store;
  }
  std::unique_ptr<Index> Take(int64_t stamp) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      if (it->first != stamp) continue;
      std::unique_ptr<Index> found = std::move(it->second);
      entries_.erase(it);
      return found;
    }
    return nullptr;
  }
  void Put(int64_t stamp, std::unique_ptr<Index> index) {
    const std::lock_guard<std::mutex> lock(mutex_);
    entries_.emplace_front(stamp, std::move(index));
    if (entries_.size() > kMost) entries_.pop_back();
  }
  int64_t NewStamp() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return static_cast<int64_t>(random_() >> 1) | 1;
  }

 private:
  static constexpr size_t kMost = 256;
  std::mutex mutex_;
  std::mt19937_64 random_{std::random_device{}()};
  std::list<std::pair<int64_t, std::unique_ptr<Index>>> entries_;
};

// A tensor of `rows` rows: the old ones, then copies of the last old row, which is never handed out and so is as it was
// initialized.
absl::Status Grow(OpKernelContext* context, int64_t rows, Tensor* tensor) {
  TensorShape shape = tensor->shape();
  const int64_t old_rows = shape.dim_size(0);
  shape.set_dim(0, rows);
  Tensor grown;
  TF_RETURN_IF_ERROR(context->allocate_temp(tensor->dtype(), shape, &grown));
  const size_t row_bytes = tensor->TotalBytes() / old_rows;
  char* const to = const_cast<char*>(grown.tensor_data().data());
  const char* const from = tensor->tensor_data().data();
  std::memcpy(to, from, tensor->TotalBytes());
  for (int64_t row = old_rows; row < rows; ++row) std::memcpy(to + row * row_bytes, from + (old_rows - 1) * row_bytes, row_bytes);
  *tensor = grown;
  return absl::OkStatus();
}

template <typename Id>
class EmbeddingVariableRowsOp : public OpKernel {
 public:
  explicit EmbeddingVariableRowsOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("insert", &insert_));
    OP_REQUIRES_OK(context, context->GetAttr("slot_names", &slot_names_));
  }

  void Compute(OpKernelContext* context) override { OP_REQUIRES_OK(context, Run(context)); }

 private:
  absl::Status Run(OpKernelContext* context) {
    std::vector<int> numbers;
    for (const char* name : {"table", "keys", "state", "slots"}) TF_RETURN_IF_ERROR(InputNumbers(context, name, &numbers));
    const Tensor* ids = nullptr;
    TF_RETURN_IF_ERROR(context->input("ids", &ids));
    LockedVariables locked;
    TF_RETURN_IF_ERROR(locked.Lock(context, numbers, /*exclusive=*/true));
    Tensor* const table = locked.tensor(0);
    Tensor* const keys = locked.tensor(1);
    if (locked.tensor(2)->NumElements() != 2 || keys->dims() != 1 || table->dims() != 2 ||
        keys->dim_size(0) != table->dim_size(0) || keys->dim_size(0) < 1) {
      return absl::InvalidArgumentError(absl::StrCat("keys [capacity] must fit the table [capacity, dim], got ",
                                                     keys->shape().DebugString(), " and ", table->shape().DebugString()));
    }
    const int64_t used = locked.tensor(2)->flat<int64_t>()(0), stamp = locked.tensor(2)->flat<int64_t>()(1);
    if (used < 0 || used >= keys->dim_size(0)) {
      return absl::DataLossError(absl::StrCat("the state says ", used, " rows of ", keys->dim_size(0),
                                              " are in use; restore all "
                                              "variables of an EmbeddingVariable together"));
    }
    std::unique_ptr<Index> index = stamp == 0 ? nullptr : IndexStore::Get().Take(stamp);
    if (index == nullptr) {
      index = std::make_unique<Index>();
      for (int64_t row = 0; row < used; ++row) index->emplace(keys->flat<int64_t>()(row), row);
    }
    Tensor* rows = nullptr;
    TF_RETURN_IF_ERROR(context->allocate_output(0, ids->shape(), &rows));
    std::vector<int64_t> added;
    const auto given = ids->flat<Id>();
    auto found = rows->flat<Id>();
    for (int64_t k = 0; k < given.size(); ++k) {
      const int64_t id = given(k);
      if (id < 0) {
        found(k) = -1;
        continue;
      }
      const auto it = index->find(id);
      if (it != index->end()) {
        found(k) = static_cast<Id>(it->second);
      } else if (!insert_) {
        found(k) = -1;
      } else {
        const int64_t row = used + static_cast<int64_t>(added.size());
        index->emplace(id, row);
        added.push_back(id);
        found(k) = static_cast<Id>(row);
      }
    }
    Tensor* new_rows = nullptr;
    TF_RETURN_IF_ERROR(context->allocate_output(1, TensorShape({static_cast<int64_t>(added.size())}), &new_rows));
    for (size_t i = 0; i < added.size(); ++i) new_rows->flat<int64_t>()(i) = used + static_cast<int64_t>(i);
    int64_t new_stamp = stamp;
    if (!added.empty()) {
      const int64_t in_use = used + static_cast<int64_t>(added.size());
      if (in_use >= keys->dim_size(0)) {
        const int64_t capacity = std::max<int64_t>(2 * keys->dim_size(0), in_use + 1);
        for (size_t i = 0; i < numbers.size(); ++i) {
          if (i != 2) TF_RETURN_IF_ERROR(Grow(context, capacity, locked.tensor(static_cast<int>(i))));
        }
        TF_RETURN_IF_ERROR(GrowNamedSlots(context, capacity));
      }
      TF_RETURN_IF_ERROR(locked.MakeWritable(context, 1));
      TF_RETURN_IF_ERROR(locked.MakeWritable(context, 2));
      for (size_t i = 0; i < added.size(); ++i) keys->flat<int64_t>()(used + static_cast<int64_t>(i)) = added[i];
      new_stamp = IndexStore::Get().NewStamp();
      locked.tensor(2)->flat<int64_t>()(0) = in_use;
      locked.tensor(2)->flat<int64_t>()(1) = new_stamp;
    }
    if (new_stamp != 0) IndexStore::Get().Put(new_stamp, std::move(index));
    return absl::OkStatus();
  }

  // Slots that optimizers of TF1 graphs made after this op was; they may not be there, in a graph that does not train.
  absl::Status GrowNamedSlots(OpKernelContext* context, int64_t capacity) const {
    for (const std::string& name : slot_names_) {
      Var* found = nullptr;
      const auto* manager = context->resource_manager();
      if (!manager->Lookup<Var>(manager->default_container(), name, &found).ok()) continue;
      const tensorflow::core::RefCountPtr<Var> slot(found);
      tensorflow::mutex_lock lock(*slot->mu());
      if (slot->tensor()->IsInitialized() && slot->tensor()->dims() == 2 && slot->tensor()->dim_size(0) > 0 &&
          slot->tensor()->dim_size(0) < capacity) {
        TF_RETURN_IF_ERROR(Grow(context, capacity, slot->tensor()));
      }
    }
    return absl::OkStatus();
  }

  bool insert_ = true;
  std::vector<std::string> slot_names_;
};

// Writes the start values of new rows and hands the ids' rows on: what reads rows by them comes after the values by data, which
// no graph optimization takes apart as it may a control dependency.
template <typename Id>
class EmbeddingVariableStartOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    LockedVariables locked;
    OP_REQUIRES_OK(context, locked.Lock(context, {0}, /*exclusive=*/true));
    const Tensor &new_rows = context->input(1), &values = context->input(2);
    Tensor* const table = locked.tensor(0);
    OP_REQUIRES(context,
                table->dims() == 2 && values.dims() == 2 && values.dim_size(0) == new_rows.NumElements() &&
                    values.dim_size(1) == table->dim_size(1) && values.dtype() == table->dtype(),
                absl::InvalidArgumentError(absl::StrCat("start values must have shape [", new_rows.NumElements(),
                                                        ", dim] of the table ", table->shape().DebugString(),
                                                        " and its type, got ", values.shape().DebugString())));
    if (new_rows.NumElements() > 0) {
      OP_REQUIRES_OK(context, locked.MakeWritable(context, 0));
      const size_t row_bytes = values.TotalBytes() / new_rows.NumElements();
      char* const to = const_cast<char*>(table->tensor_data().data());
      for (int64_t i = 0; i < new_rows.NumElements(); ++i) {
        const int64_t row = new_rows.flat<int64_t>()(i);
        OP_REQUIRES(context, row >= 0 && row < table->dim_size(0),
                    absl::InvalidArgumentError(absl::StrCat("a new row must lie in [0, ", table->dim_size(0), "), got ", row)));
        std::memcpy(to + row * row_bytes, values.tensor_data().data() + i * row_bytes, row_bytes);
      }
    }
    context->set_output(0, context->input(3));
  }
};

REGISTER_OP("Nann>EmbeddingVariableStart")
    .Input("table: resource")
    .Input("new_rows: int64")
    .Input("values: T")
    .Input("rows: Tids")
    .Output("same_rows: Tids")
    .Attr("T: {half, bfloat16, float, double}")
    .Attr("Tids: {int32, int64}")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      context->set_output(0, context->input(3));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Writes start values [m, dim] to new rows [m] of a table, and hands `rows` on once that is done.
)doc");

REGISTER_KERNEL_BUILDER(Name("Nann>EmbeddingVariableStart").Device(tensorflow::DEVICE_CPU).TypeConstraint<int32_t>("Tids"),
                        EmbeddingVariableStartOp<int32_t>);
REGISTER_KERNEL_BUILDER(Name("Nann>EmbeddingVariableStart").Device(tensorflow::DEVICE_CPU).TypeConstraint<int64_t>("Tids"),
                        EmbeddingVariableStartOp<int64_t>);

REGISTER_OP("Nann>EmbeddingVariableRows")
    .Input("table: resource")
    .Input("keys: resource")
    .Input("state: resource")
    .Input("slots: num_slots * resource")
    .Input("ids: Tids")
    .Output("rows: Tids")
    .Output("new_rows: int64")
    .Attr("Tids: {int32, int64}")
    .Attr("num_slots: int >= 0")
    .Attr("insert: bool")
    .Attr("slot_names: list(string) = []")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      context->set_output(0, context->input(context->num_inputs() - 1));
      context->set_output(1, context->Vector(context->UnknownDim()));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Rows of ids in a table that grows: ids not seen before get the next rows; table, keys and slots are doubled when they are full.

keys: [capacity] int64, the id of every row in use.
state: [2] int64, rows in use and a stamp of the keys.
ids: any shape; negative ones have row -1.
rows: of the ids; -1 for unknown ids if not inserting.
new_rows: [m] rows given out by this call, for the caller to initialize.
slot_names: shared names of further slots that grow along.
)doc");

REGISTER_KERNEL_BUILDER(Name("Nann>EmbeddingVariableRows").Device(tensorflow::DEVICE_CPU).TypeConstraint<int32_t>("Tids"),
                        EmbeddingVariableRowsOp<int32_t>);
REGISTER_KERNEL_BUILDER(Name("Nann>EmbeddingVariableRows").Device(tensorflow::DEVICE_CPU).TypeConstraint<int64_t>("Tids"),
                        EmbeddingVariableRowsOp<int64_t>);

}  // namespace
}  // namespace nann
