// Kernel of the op of the memory of pairs.

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "ops/cc/guarded.h"
#include "ops/cc/pair_memory.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace nann {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::TensorShapeUtils;

// For the sharder: a place of the history leads to some hundred entries.
constexpr int64_t kCyclesPerPlace = 20000, kCyclesPerCopiedUser = 10000;

// `kCategoryTerm`: whether the op has the three numbers of categories.
template <bool kCategoryTerm>
class PairMemoryOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    PairTable table;
    MemoryRule rule;
    OP_REQUIRES_OK(context, ReadTable(context, &table));
    OP_REQUIRES_OK(context, ReadRule(context, &rule));
    const Tensor &items = context->input(0), &categories = context->input(1), &positions = context->input(2);
    OP_REQUIRES(
        context,
        TensorShapeUtils::IsMatrix(items.shape()) && items.shape() == categories.shape() && items.shape() == positions.shape(),
        absl::InvalidArgumentError(absl::StrCat("item_sources, category_sources and item_positions must be [B, W], got ",
                                                items.shape().DebugString(), ", ", categories.shape().DebugString(), " and ",
                                                positions.shape().DebugString())));
    const int64_t batch = items.dim_size(0), width = items.dim_size(1);
    std::vector<std::vector<uint64_t>> entries(batch);
    std::vector<std::string> problems(batch);
    ForUsers(context, batch, width * kCyclesPerPlace + 1, [&](int64_t user) {
      const int64_t first = user * width;
      const History history = {items.flat<int64_t>().data() + first, categories.flat<int64_t>().data() + first,
                               positions.flat<int64_t>().data() + first, width};
      problems[user] = Remember(table, rule, history, &entries[user]);
    });
    for (int64_t user = 0; user < batch; ++user) {
      OP_REQUIRES(context, problems[user].empty(),
                  absl::InvalidArgumentError(absl::StrCat(problems[user], " (user ", user, ")")));
    }
    OP_REQUIRES_OK(context, Write(context, entries));
  }

 private:
  template <typename Function>
  static void ForUsers(OpKernelContext* context, int64_t batch, int64_t cycles, const Function& function) {
    if (batch == 0) return;
    ShardRanges(*context->device()->tensorflow_cpu_worker_threads(), batch, cycles, [&function](int64_t begin, int64_t end) {
      for (int64_t user = begin; user < end; ++user) function(user);
    });
  }

  static absl::Status ReadTable(OpKernelContext* context, PairTable* table) {
    const Tensor &splits = context->input(3), &positions = context->input(4), &values = context->input(5);
    if (!TensorShapeUtils::IsVector(splits.shape()) || splits.NumElements() < 2) {
      return absl::InvalidArgumentError(
          absl::StrCat("table_row_splits must be [S + 1] with S at least 1, got ", splits.shape().DebugString()));
    }
    if (!TensorShapeUtils::IsVector(positions.shape()) || positions.shape() != values.shape()) {
      return absl::InvalidArgumentError(absl::StrCat("table_positions and table_values must be vectors of one length, got ",
                                                     positions.shape().DebugString(), " and ", values.shape().DebugString()));
    }
    *table = {splits.flat<int64_t>().data(), splits.NumElements() - 1, positions.flat<int32_t>().data(),
              values.flat<float>().data(), positions.NumElements()};
    return absl::OkStatus();
  }

  static absl::Status ReadRule(OpKernelContext* context, MemoryRule* rule) {
    constexpr const char* kNames[] = {"decay", "rule_scale", "category_weight", "category_scale", "category_gain"};
    constexpr int kScalars = kCategoryTerm ? 5 : 2, kFirst = 6;
    float numbers[] = {0, 0, 1, 0, 0};
    for (int place = 0; place < kScalars; ++place) {
      const Tensor& number = context->input(kFirst + place);
      if (!TensorShapeUtils::IsScalar(number.shape())) {
        return absl::InvalidArgumentError(
            absl::StrCat(kNames[place], " must be a scalar, got shape ", number.shape().DebugString()));
      }
      numbers[place] = number.scalar<float>()();
      const bool scale = place < 4;  // the others may lower scores
      if (place > 0 && (!std::isfinite(numbers[place]) || (scale && numbers[place] < 0))) {
        return absl::InvalidArgumentError(
            absl::StrCat(kNames[place], " must be ", scale ? "at least 0 and " : "", "finite, got ", numbers[place]));
      }
    }
    const Tensor &own = context->input(kFirst + kScalars), &gain = context->input(kFirst + kScalars + 1);
    if (!TensorShapeUtils::IsVector(own.shape()) || own.NumElements() < 1) {
      return absl::InvalidArgumentError(absl::StrCat("own must be [R] with R at least 1, got ", own.shape().DebugString()));
    }
    if (!TensorShapeUtils::IsVector(gain.shape()) || gain.NumElements() > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError(absl::StrCat("gain must be [N] with N below 2^31, got ", gain.shape().DebugString()));
    }
    *rule = {numbers[0],        numbers[1],
             numbers[2],        numbers[3],
             numbers[4],        own.flat<float>().data(),
             own.NumElements(), gain.flat<float>().data(),
             gain.NumElements()};
    if (!(rule->decay > 0 && rule->decay <= 1)) {
      return absl::InvalidArgumentError(absl::StrCat("decay must be above 0 and at most 1, got ", rule->decay));
    }
    return absl::OkStatus();
  }

  static absl::Status Write(OpKernelContext* context, const std::vector<std::vector<uint64_t>>& entries) {
    const int64_t batch = static_cast<int64_t>(entries.size());
    Tensor *splits = nullptr, *positions = nullptr, *values = nullptr;
    TF_RETURN_IF_ERROR(context->allocate_output(0, TensorShape({batch + 1}), &splits));
    auto split = splits->flat<int64_t>();
    split(0) = 0;
    for (int64_t user = 0; user < batch; ++user) split(user + 1) = split(user) + static_cast<int64_t>(entries[user].size());
    TF_RETURN_IF_ERROR(context->allocate_output(1, TensorShape({split(batch)}), &positions));
    TF_RETURN_IF_ERROR(context->allocate_output(2, TensorShape({split(batch)}), &values));
    ForUsers(context, batch, kCyclesPerCopiedUser, [&](int64_t user) {
      int64_t* position = positions->flat<int64_t>().data() + split(user);
      float* value = values->flat<float>().data() + split(user);
      for (const uint64_t entry : entries[user]) {
        *position++ = EntryPosition(entry);
        *value++ = EntryValue(entry);
      }
    });
    return absl::OkStatus();
  }
};

REGISTER_KERNEL_BUILDER(Name("Nann>PairMemory").Device(tensorflow::DEVICE_CPU), Guarded<PairMemoryOp<false>>);
REGISTER_KERNEL_BUILDER(Name("Nann>PairAndCategoryMemory").Device(tensorflow::DEVICE_CPU), Guarded<PairMemoryOp<true>>);

}  // namespace
}  // namespace nann
