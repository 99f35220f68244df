// Nann>EmbeddingVariableFind and -Start: what is known of keys, and the start values of rows just given out.

#include "ops/cc/embedding_entries.h"

namespace nann {
namespace {

template <typename Id>
class EmbeddingVariableFindOp : public OpKernel {
 public:
  explicit EmbeddingVariableFindOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("prune", &prune_));
  }

  void Compute(OpKernelContext* context) override {
    using Index = IndexOf<Id>;
    LockedVariables locked;
    OP_REQUIRES_OK(context, locked.Lock(context, {0, 1, 2}, /*exclusive=*/false));
    const Entries at{0, 1, 0, 1, 2};
    OP_REQUIRES_OK(context, at.Check(locked, tensorflow::DataTypeToEnum<typename KeysOf<Id>::Stored>::value));
    const auto held = locked.tensor(2)->flat<int64_t>();
    const int64_t stamp = held(kStamp);
    std::shared_ptr<Index> index = stamp == 0 ? nullptr : IfOfSize(IndexStore<Index>::Get().Share(stamp), held(kEntries));
    if (index == nullptr) {
      index = BuiltIndex<Id>(context, *locked.tensor(0), held(kEntries));
      if (stamp != 0) IndexStore<Index>::Get().Put(stamp, index);
    }
    const Tensor& ids = context->input(3);
    Tensor* found = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, ids.shape(), &found));
    const Widened<Id> widened(ids);
    const auto* const given = widened.data();
    const auto* const keys = locked.tensor(0)->flat<typename KeysOf<Id>::Stored>().data();
    const int64_t* const values = locked.tensor(1)->flat<int64_t>().data();
    auto out = found->flat<int64_t>();
    ParallelOn(context)(ids.NumElements(), 60, [&](int64_t begin, int64_t end) {
      int64_t* const entries = out.data();  // found in place
      for (int64_t i = begin; i < end; ++i) entries[i] = prune_ && IsNegative(given[i]) ? Index::kSkip : Index::kUnknown;
      index->FindMany(given, begin, end, keys, {values}, entries);
      for (int64_t i = begin; i < end; ++i) entries[i] = entries[i] >= 0 ? values[entries[i]] : -1;
    });
  }

 private:
  bool prune_ = false;
};

// Writes the start values of new rows and hands the ids' rows on: what reads rows by them comes after the values by data, which
// no graph optimization takes apart as it may a control dependency.
class EmbeddingVariableStartOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    std::vector<int> numbers;
    OP_REQUIRES_OK(context, InputNumbers(context, "tables", &numbers));
    LockedVariables locked;
    OP_REQUIRES_OK(context, locked.Lock(context, numbers, /*exclusive=*/true));
    const int64_t count = static_cast<int64_t>(numbers.size());
    const Tensor &new_rows = context->input(static_cast<int>(count)), &values = context->input(static_cast<int>(count) + 1);
    const int64_t m = new_rows.NumElements();
    const int64_t* const rows = new_rows.flat<int64_t>().data();
    const size_t row_bytes = m == 0 ? 0 : values.TotalBytes() / m;
    std::vector<char*> parts;
    for (int t = 0; t < count && m > 0; ++t) {
      const Tensor& table = *locked.tensor(t);
      OP_REQUIRES(context,
                  table.dims() == 2 && values.dims() == 2 && values.dim_size(0) == m && values.dim_size(1) == table.dim_size(1) &&
                      values.dtype() == table.dtype(),
                  absl::InvalidArgumentError(absl::StrCat("start values must have shape [", m, ", dim] of the table ",
                                                          table.shape().DebugString(), " and its type, got ",
                                                          values.shape().DebugString())));
    }
    for (int64_t i = 0; i < m; ++i) {  // before any is written
      const int64_t part_rows = rows[i] < 0 ? 0 : locked.tensor(static_cast<int>(rows[i] % count))->dim_size(0);
      OP_REQUIRES(context, rows[i] >= count && rows[i] / count < part_rows,
                  absl::InvalidArgumentError(absl::StrCat("a new row must be at least ", count, " and lie in its part of ",
                                                          part_rows, " rows, one of ", count, ", got ", rows[i])));
    }
    for (int t = 0; t < count && m > 0; ++t) {
      OP_REQUIRES_OK(context, locked.MakeWritable(context, t));
      parts.push_back(const_cast<char*>(locked.tensor(t)->tensor_data().data()));
    }
    for (int64_t i = 0; i < m; ++i) {
      std::memcpy(parts[rows[i] % count] + rows[i] / count * row_bytes, values.tensor_data().data() + i * row_bytes, row_bytes);
    }
    context->set_output(0, context->input(static_cast<int>(count) + 2));
  }
};

#define NANN_REGISTER(Id)                                                                                               \
  REGISTER_KERNEL_BUILDER(Name("Nann>EmbeddingVariableFind").Device(tensorflow::DEVICE_CPU).TypeConstraint<Id>("Tids"), \
                          Guarded<EmbeddingVariableFindOp<Id>>);
NANN_REGISTER(int32_t)
NANN_REGISTER(int64_t)
NANN_REGISTER(tstring)
#undef NANN_REGISTER
REGISTER_KERNEL_BUILDER(Name("Nann>EmbeddingVariableStart").Device(tensorflow::DEVICE_CPU), Guarded<EmbeddingVariableStartOp>);

}  // namespace
}  // namespace nann
