// Kernels of the walk: checks of input, sharding over users, and assembly of ragged results. The walk itself is in
// retrieval_walk.cc.

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <optional>
#include <type_traits>
#include <vector>

#include "ops/cc/guarded.h"
#include "ops/cc/ragged.h"
#include "ops/cc/retrieval_walk.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace nann {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::TensorShapeUtils;

// Cycles per item or link, for the sharder: enough that a few hundred stay on one thread.
constexpr int64_t kCyclesPerLink = 20;
constexpr int64_t kCyclesPerScore = 10;
constexpr int64_t kCyclesPerRow = 40;

class StartWalkOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& enter_points = context->input(0);
    OP_REQUIRES(context,
                TensorShapeUtils::IsScalar(context->input(1).shape()) && TensorShapeUtils::IsScalar(context->input(2).shape()),
                absl::InvalidArgumentError("batch and num_items must be scalars"));
    const int64_t batch = context->input(1).scalar<int64_t>()(), num_items = context->input(2).scalar<int64_t>()();
    constexpr int64_t kMostItems = std::numeric_limits<int32_t>::max();  // neighbours are int32
    OP_REQUIRES(context, batch >= 0 && batch <= kMostUsers && num_items >= 1 && num_items <= kMostItems,
                absl::InvalidArgumentError(absl::StrCat("needs batch in 0..", kMostUsers, " and num_items in 1..", kMostItems,
                                                        ", got ", batch, " and ", num_items)));
    const int64_t bytes = BitmapBytes(num_items);
    Tensor* visited = nullptr;
    OP_REQUIRES_OK(context, AllocateOutput(context, 0, {batch, bytes}, &visited));
    const auto points = enter_points.flat<int64_t>();
    for (int64_t i = 0; i < points.size(); ++i) {
      OP_REQUIRES(context, points(i) >= 0 && points(i) < num_items,
                  absl::InvalidArgumentError(absl::StrCat("enter_points must be in 0..", num_items - 1, ", got ", points(i))));
    }
    uint8_t* const base = visited->flat<uint8_t>().data();
    ForUsers(context, batch, bytes / 16 + 2 * points.size(), [&](int64_t user) {
      std::memset(base + user * bytes, 0, bytes);
      for (int64_t i = 0; i < points.size(); ++i) Visit(base + user * bytes, points(i));
    });
  }
};

class ExpandFrontierOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &visited = context->input(0), &frontier = context->input(1), &splits = context->input(2);
    const Tensor &values = context->input(3), &row_splits = context->input(4);
    OP_REQUIRES_OK(context, CheckRagged("frontier", frontier, splits));
    OP_REQUIRES(
        context, TensorShapeUtils::IsVector(row_splits.shape()) && row_splits.NumElements() >= 1,
        absl::InvalidArgumentError(absl::StrCat("neighbor_row_splits must be [N + 1], got ", row_splits.shape().DebugString())));
    const int64_t batch = splits.NumElements() - 1;
    const NeighborTable table{values.flat<int32_t>().data(), values.NumElements(), row_splits.flat<int64_t>().data(),
                              row_splits.NumElements() - 1};
    const int64_t bytes = BitmapBytes(table.num_items);
    OP_REQUIRES(context, visited.shape() == TensorShape({batch, bytes}),
                absl::InvalidArgumentError(absl::StrCat("visited must be [", batch, ", ", bytes, "] for ", batch, " users and ",
                                                        table.num_items, " items, got ", visited.shape().DebugString())));
    Tensor* after = nullptr;
    int forwarded = -1;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, visited.shape(), &after, &forwarded));
    uint8_t* const base = after->flat<uint8_t>().data();
    if (forwarded < 0) std::memcpy(base, visited.flat<uint8_t>().data(), batch * bytes);

    const auto offsets = splits.flat<int64_t>();
    const int64_t* const items = frontier.flat<int64_t>().data();
    std::vector<std::vector<int64_t>> candidates(batch);
    std::vector<std::optional<int64_t>> bad(batch);
    std::atomic<bool> failed{false};
    const int64_t degree = table.num_values / std::max<int64_t>(table.num_items, 1) + 1;
    const int64_t mean_size = frontier.NumElements() / std::max<int64_t>(batch, 1) + 1;
    ForUsers(context, batch, kCyclesPerLink * degree * mean_size, [&](int64_t user) {
      const int64_t size = offsets(user + 1) - offsets(user);
      const bool dense = degree > table.num_items / std::max<int64_t>(size, 1);
      candidates[user].reserve(dense ? table.num_items : size * degree);
      int64_t outside = 0;
      if (!ExpandFrontier(table, items + offsets(user), size, base + user * bytes, &candidates[user], &outside)) {
        bad[user] = outside;
        failed = true;
      }
    });
    for (int64_t user = 0; failed && user < batch; ++user) {
      OP_REQUIRES(
          context, !bad[user].has_value(),
          absl::InvalidArgumentError(absl::StrCat("item ", *bad[user], " of user ", user, " is outside 0..", table.num_items - 1,
                                                  ", or its row splits are not within the neighbour lists")));
    }
    OP_REQUIRES_OK(context, OutputRagged(context, 1, candidates));
  }
};

// Rows of a table in any of its types, as float.
inline void DecodeRow(const float* from, float, int64_t dim, float* to) { std::memcpy(to, from, dim * sizeof(float)); }

template <typename T>
void DecodeRow(const T* from, float scale, int64_t dim, float* to) {
  for (int64_t i = 0; i < dim; ++i) to[i] = static_cast<float>(from[i]) * scale;
}

template <typename T>
class GatherCandidatesOp : public OpKernel {
 public:
  explicit GatherCandidatesOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("widths", &widths_));
    OP_REQUIRES(context, std::is_sorted(widths_.begin(), widths_.end()) && widths_.front() >= 1,
                absl::InvalidArgumentError(absl::StrCat("widths must ascend from at least 1, the first is ", widths_.front())));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &item_embs = context->input(0), &scales = context->input(1);
    const Tensor &candidates = context->input(2), &splits = context->input(3);
    OP_REQUIRES_OK(context, CheckRagged("candidates", candidates, splits));
    OP_REQUIRES(context, TensorShapeUtils::IsMatrix(item_embs.shape()),
                absl::InvalidArgumentError(absl::StrCat("item_embs must be [N, D], got ", item_embs.shape().DebugString())));
    constexpr bool kScaled = std::is_same<T, int8_t>::value;
    OP_REQUIRES(context, scales.dims() == 1 && scales.dim_size(0) == (kScaled ? item_embs.dim_size(0) : 0),
                absl::InvalidArgumentError(absl::StrCat("scales must be [", kScaled ? item_embs.dim_size(0) : 0,
                                                        "] for this type, got ", scales.shape().DebugString())));
    const int64_t num_items = item_embs.dim_size(0), dim = item_embs.dim_size(1), batch = splits.NumElements() - 1;
    const auto positions = candidates.flat<int64_t>();
    const auto offsets = splits.flat<int64_t>();
    for (int64_t i = 0; i < positions.size(); ++i) {
      OP_REQUIRES(context, positions(i) >= 0 && positions(i) < num_items,
                  absl::InvalidArgumentError(absl::StrCat("candidates must be in 0..", num_items - 1, ", got ", positions(i))));
    }
    int64_t longest = 0;
    for (int64_t user = 0; user < batch; ++user) longest = std::max<int64_t>(longest, offsets(user + 1) - offsets(user));
    const int64_t width = PaddedWidth(longest);
    Tensor* items = nullptr;
    OP_REQUIRES_OK(context, AllocateOutput(context, 0, {batch, width, dim}, &items));
    if (items->NumElements() == 0) return;
    const T* const table = item_embs.flat<T>().data();
    const float* const row_scales = scales.flat<float>().data();
    float* const out = items->flat<float>().data();
    ShardRanges(*context->device()->tensorflow_cpu_worker_threads(), batch * width, kCyclesPerRow + dim / 4,
                [&](int64_t begin, int64_t end) {
                  for (int64_t row = begin; row < end; ++row) {
                    const int64_t user = row / width, at = offsets(user) + row % width;
                    if (at < offsets(user + 1)) {
                      const int64_t position = positions(at);
                      DecodeRow(table + position * dim, kScaled ? row_scales[position] : 1.0f, dim, out + row * dim);
                    } else {
                      std::memset(out + row * dim, 0, dim * sizeof(float));
                    }
                  }
                });
  }

 private:
  int64_t PaddedWidth(int64_t longest) const {
    if (longest == 0) return 0;
    const auto fitting = std::lower_bound(widths_.begin(), widths_.end(), longest);
    if (fitting != widths_.end()) return *fitting;
    const int64_t step = widths_.back();
    return (longest + step - 1) / step * step;
  }

  std::vector<int64_t> widths_;
};

class MergeTopEfOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &positions = context->input(0), &scores = context->input(1), &candidates = context->input(2);
    const Tensor &splits = context->input(3), &new_scores = context->input(4);
    OP_REQUIRES_OK(context, CheckRagged("candidates", candidates, splits));
    const int64_t batch = splits.NumElements() - 1;
    OP_REQUIRES(
        context,
        TensorShapeUtils::IsMatrix(positions.shape()) && positions.shape() == scores.shape() && positions.dim_size(0) == batch,
        absl::InvalidArgumentError(absl::StrCat("pool_positions and pool_scores must be [", batch, ", S], got ",
                                                positions.shape().DebugString(), " and ", scores.shape().DebugString())));
    OP_REQUIRES(
        context, TensorShapeUtils::IsMatrix(new_scores.shape()) && new_scores.dim_size(0) == batch,
        absl::InvalidArgumentError(absl::StrCat("scores must be [", batch, ", W], got ", new_scores.shape().DebugString())));
    OP_REQUIRES(context, TensorShapeUtils::IsScalar(context->input(5).shape()),
                absl::InvalidArgumentError("ef must be a scalar"));
    const int64_t size = positions.dim_size(1), width = new_scores.dim_size(1), ef = context->input(5).scalar<int64_t>()();
    const auto offsets = splits.flat<int64_t>();
    for (int64_t user = 0; user < batch; ++user) {
      OP_REQUIRES(context, offsets(user + 1) - offsets(user) <= width,
                  absl::InvalidArgumentError(absl::StrCat("user ", user, " has ", offsets(user + 1) - offsets(user),
                                                          " candidates, but scores are given for ", width)));
    }
    Tensor *merged_positions = nullptr, *merged_scores = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, positions.shape(), &merged_positions));
    OP_REQUIRES_OK(context, context->allocate_output(1, scores.shape(), &merged_scores));
    // Pools are read only; the struct is shared with the one that is written.
    int64_t* const old_positions = const_cast<int64_t*>(positions.flat<int64_t>().data());
    float* const old_scores = const_cast<float*>(scores.flat<float>().data());
    std::vector<std::vector<int64_t>> frontier(batch);
    ForUsers(context, batch, kCyclesPerScore * (width + size), [&](int64_t user) {
      MergeTopEf(
          {old_positions + user * size, old_scores + user * size, size}, candidates.flat<int64_t>().data() + offsets(user),
          new_scores.flat<float>().data() + user * width, offsets(user + 1) - offsets(user), ef,
          {merged_positions->flat<int64_t>().data() + user * size, merged_scores->flat<float>().data() + user * size, size},
          &frontier[user]);
    });
    OP_REQUIRES_OK(context, OutputRagged(context, 2, frontier));
  }
};

REGISTER_KERNEL_BUILDER(Name("Nann>StartWalk").Device(tensorflow::DEVICE_CPU), Guarded<StartWalkOp>);
REGISTER_KERNEL_BUILDER(Name("Nann>ExpandFrontier").Device(tensorflow::DEVICE_CPU), Guarded<ExpandFrontierOp>);
#define NANN_REGISTER_GATHER(type)                                                                                \
  REGISTER_KERNEL_BUILDER(Name("Nann>GatherCandidates").Device(tensorflow::DEVICE_CPU).TypeConstraint<type>("T"), \
                          Guarded<GatherCandidatesOp<type>>)
NANN_REGISTER_GATHER(float);
NANN_REGISTER_GATHER(Eigen::half);
NANN_REGISTER_GATHER(tensorflow::bfloat16);
NANN_REGISTER_GATHER(int8_t);
#undef NANN_REGISTER_GATHER
REGISTER_KERNEL_BUILDER(Name("Nann>MergeTopEf").Device(tensorflow::DEVICE_CPU), Guarded<MergeTopEfOp>);

}  // namespace
}  // namespace nann
