// The kernels of Nann>FilterItems, ListItems and MergeFiltered: bitmaps of the items that pass, and the merging that reads them.

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <vector>

#include "ops/cc/guarded.h"
#include "ops/cc/ragged.h"
#include "ops/cc/retrieval_walk.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace nann {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::TensorShapeUtils;

constexpr int64_t kCyclesPerItem = 4, kCyclesPerScore = 12;  // for the sharder
constexpr int64_t kMostItems = std::numeric_limits<int32_t>::max();

absl::Status CheckBitmaps(const Tensor& passing, int64_t batch, int64_t num_items) {
  if (num_items < 0 || num_items > kMostItems) {
    return absl::InvalidArgumentError(absl::StrCat("num_items must be in 0..", kMostItems, ", got ", num_items));
  }
  const int64_t bytes = BitmapBytes(num_items);
  if (passing.shape() == TensorShape({batch, bytes})) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("passing must be [", batch, ", ", bytes, "], got ", passing.shape().DebugString()));
}

// Bools as bits, the first one lowest.
void PackBits(const bool* values, int64_t count, uint8_t* bits) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    uint64_t eight;
    std::memcpy(&eight, values + i, sizeof(eight));
    // byte k of the word goes to bit 56 + k of the product
    bits[i >> 3] = ((eight & 0x0101010101010101ULL) * 0x0102040810204080ULL) >> 56;
  }
  if (i < count) bits[i >> 3] = 0;
  for (; i < count; ++i) bits[i >> 3] |= static_cast<uint8_t>(values[i]) << (i & 7);
}

class FilterItemsOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &excluded = context->input(0), &categories = context->input(1), &available = context->input(2),
                 &items = context->input(3), &row_splits = context->input(4);
    OP_REQUIRES(
        context,
        TensorShapeUtils::IsMatrix(excluded.shape()) && TensorShapeUtils::IsMatrix(categories.shape()) &&
            excluded.dim_size(0) == categories.dim_size(0),
        absl::InvalidArgumentError(absl::StrCat("excluded and categories must be matrices with a row per user, got ",
                                                excluded.shape().DebugString(), " and ", categories.shape().DebugString())));
    OP_REQUIRES(context, TensorShapeUtils::IsVector(available.shape()) && TensorShapeUtils::IsVector(items.shape()),
                absl::InvalidArgumentError(absl::StrCat("available and category_items must be vectors, got ",
                                                        available.shape().DebugString(), " and ", items.shape().DebugString())));
    const int64_t num_items = available.NumElements(), batch = excluded.dim_size(0);
    OP_REQUIRES(context, batch <= kMostUsers && num_items <= kMostItems,
                absl::InvalidArgumentError(absl::StrCat("there may be at most ", kMostUsers, " users and ", kMostItems,
                                                        " items, got ", batch, " and ", num_items)));
    OP_REQUIRES_OK(context, CheckCategories(items, row_splits));
    const int64_t bytes = BitmapBytes(num_items);
    Tensor *passing = nullptr, *counts = nullptr;
    OP_REQUIRES_OK(context, AllocateOutput(context, 0, {batch, bytes}, &passing));
    OP_REQUIRES_OK(context, AllocateOutput(context, 1, {batch}, &counts));
    if (batch == 0) return;
    std::vector<uint8_t> all(bytes);
    PackBits(available.flat<bool>().data(), num_items, all.data());
    const Table table{items.flat<int32_t>().data(), row_splits.flat<int64_t>().data(), row_splits.NumElements() - 1, num_items};
    std::atomic<bool> outside{false};
    const int64_t most_excluded = excluded.dim_size(1), most_categories = categories.dim_size(1);
    ForUsers(context, batch, kCyclesPerItem * (bytes + num_items / 8 + most_excluded) + 1000, [&](int64_t user) {
      uint8_t* const bits = passing->flat<uint8_t>().data() + user * bytes;
      if (!Allow(table, categories.flat<int64_t>().data() + user * most_categories, most_categories, all, bits)) outside = true;
      const int64_t* const own = excluded.flat<int64_t>().data() + user * most_excluded;
      for (int64_t i = 0; i < most_excluded; ++i) {
        if (own[i] >= 0 && own[i] < num_items) bits[own[i] >> 3] &= static_cast<uint8_t>(~(1u << (own[i] & 7)));
      }
      counts->flat<int64_t>()(user) = CountItems(bits, num_items);
    });
    OP_REQUIRES(context, !outside, absl::InvalidArgumentError(absl::StrCat("category_items must be in 0..", num_items - 1)));
  }

 private:
  struct Table {
    const int32_t* items;
    const int64_t* row_splits;
    int64_t num_categories;  // category 0 among them
    int64_t num_items;
  };

  // What a list names is looked at when it is read.
  static absl::Status CheckCategories(const Tensor& items, const Tensor& row_splits) {
    if (!TensorShapeUtils::IsVector(row_splits.shape()) || row_splits.NumElements() < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("category_row_splits must be [categories + 2], got ", row_splits.shape().DebugString()));
    }
    const auto splits = row_splits.flat<int64_t>();
    const int64_t last = row_splits.NumElements() - 1;
    bool ascending = splits(0) == 0 && splits(last) == items.NumElements();
    for (int64_t i = 0; i < last && ascending; ++i) ascending = splits(i) <= splits(i + 1);
    if (!ascending) {
      return absl::InvalidArgumentError(absl::StrCat("category_row_splits must ascend from 0 to ", items.NumElements(), ", got ",
                                                     splits(0), " to ", splits(last)));
    }
    return absl::OkStatus();
  }

  // Returns false where a list names what is no item.
  static bool Allow(const Table& table, const int64_t* categories, int64_t count, const std::vector<uint8_t>& all,
                    uint8_t* bits) {
    if (std::all_of(categories, categories + count, [](int64_t category) { return category == 0; })) {
      std::copy(all.begin(), all.end(), bits);
      return true;
    }
    std::memset(bits, 0, all.size());
    for (int64_t i = 0; i < count; ++i) {
      if (categories[i] <= 0 || categories[i] >= table.num_categories) continue;
      for (int64_t at = table.row_splits[categories[i]]; at < table.row_splits[categories[i] + 1]; ++at) {
        if (table.items[at] < 0 || table.items[at] >= table.num_items) return false;
        Visit(bits, table.items[at]);
      }
    }
    for (size_t byte = 0; byte < all.size(); ++byte) bits[byte] &= all[byte];
    return true;
  }
};

class ListItemsOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& passing = context->input(0);
    OP_REQUIRES(context, TensorShapeUtils::IsMatrix(passing.shape()) && TensorShapeUtils::IsScalar(context->input(1).shape()),
                absl::InvalidArgumentError(absl::StrCat("passing must be a matrix and num_items a scalar, got ",
                                                        passing.shape().DebugString(), " and ",
                                                        context->input(1).shape().DebugString())));
    const int64_t batch = passing.dim_size(0), num_items = context->input(1).scalar<int64_t>()();
    OP_REQUIRES_OK(context, CheckBitmaps(passing, batch, num_items));
    OP_REQUIRES(context, batch <= kMostUsers,
                absl::InvalidArgumentError(absl::StrCat("there may be at most ", kMostUsers, " users, got ", batch)));
    const int64_t bytes = passing.dim_size(1);
    std::vector<std::vector<int64_t>> lists(batch);
    if (batch > 0) {
      ForUsers(context, batch, kCyclesPerItem * bytes + 100, [&](int64_t user) {
        const uint8_t* const bits = passing.flat<uint8_t>().data() + user * bytes;
        lists[user].reserve(CountItems(bits, num_items));
        AppendItems(bits, num_items, &lists[user]);
      });
    }
    OP_REQUIRES_OK(context, OutputRagged(context, 0, lists));
  }
};

class MergeFilteredOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &candidates = context->input(4), &splits = context->input(5), &new_scores = context->input(6);
    const Tensor &passing = context->input(7), &others_ef = context->input(10);
    OP_REQUIRES_OK(context, CheckRagged("candidates", candidates, splits));
    const int64_t batch = splits.NumElements() - 1;
    OP_REQUIRES(context,
                TensorShapeUtils::IsScalar(context->input(8).shape()) && TensorShapeUtils::IsScalar(context->input(9).shape()),
                absl::InvalidArgumentError("num_items and ef must be scalars"));
    const int64_t num_items = context->input(8).scalar<int64_t>()(), ef = context->input(9).scalar<int64_t>()();
    OP_REQUIRES_OK(context, CheckBitmaps(passing, batch, num_items));
    OP_REQUIRES(context, ef >= 1, absl::InvalidArgumentError(absl::StrCat("ef must be at least 1, got ", ef)));
    OP_REQUIRES(
        context, others_ef.shape() == TensorShape({batch}),
        absl::InvalidArgumentError(absl::StrCat("others_ef must be [", batch, "], got ", others_ef.shape().DebugString())));
    for (const int pool : {0, 2}) {
      const Tensor &positions = context->input(pool), &scores = context->input(pool + 1);
      OP_REQUIRES(
          context,
          TensorShapeUtils::IsMatrix(positions.shape()) && positions.shape() == scores.shape() && positions.dim_size(0) == batch,
          absl::InvalidArgumentError(absl::StrCat("positions and scores of a pool must be [", batch, ", places], got ",
                                                  positions.shape().DebugString(), " and ", scores.shape().DebugString())));
    }
    OP_REQUIRES(
        context, TensorShapeUtils::IsMatrix(new_scores.shape()) && new_scores.dim_size(0) == batch,
        absl::InvalidArgumentError(absl::StrCat("scores must be [", batch, ", W], got ", new_scores.shape().DebugString())));
    const int64_t width = new_scores.dim_size(1);
    const auto offsets = splits.flat<int64_t>(), items = candidates.flat<int64_t>();
    for (int64_t user = 0; user < batch; ++user) {
      OP_REQUIRES(context, offsets(user + 1) - offsets(user) <= width,
                  absl::InvalidArgumentError(absl::StrCat("user ", user, " has ", offsets(user + 1) - offsets(user),
                                                          " candidates, but scores are given for ", width)));
    }
    for (int64_t i = 0; i < items.size(); ++i) {
      OP_REQUIRES(context, items(i) >= 0 && items(i) < num_items,
                  absl::InvalidArgumentError(absl::StrCat("candidates must be in 0..", num_items - 1, ", got ", items(i))));
    }
    Tensor* merged[4];
    for (int output = 0; output < 4; ++output) {
      OP_REQUIRES_OK(context, context->allocate_output(output, context->input(output).shape(), &merged[output]));
    }
    // Pools are read only; the struct is shared with the one that is written.
    const auto pool_of = [](const Tensor& positions, const Tensor& scores, int64_t user) {
      const int64_t size = positions.dim_size(1);
      return Pool{const_cast<int64_t*>(positions.flat<int64_t>().data()) + user * size,
                  const_cast<float*>(scores.flat<float>().data()) + user * size, size};
    };
    const int64_t places = context->input(0).dim_size(1) + context->input(2).dim_size(1), bytes = passing.dim_size(1);
    std::vector<std::vector<int64_t>> frontier(batch);
    if (batch > 0) {
      ForUsers(context, batch, kCyclesPerScore * (width + places), [&](int64_t user) {
        MergeFiltered({pool_of(context->input(0), context->input(1), user), pool_of(context->input(2), context->input(3), user)},
                      items.data() + offsets(user), new_scores.flat<float>().data() + user * width,
                      offsets(user + 1) - offsets(user), passing.flat<uint8_t>().data() + user * bytes, ef,
                      others_ef.flat<int64_t>()(user),
                      {pool_of(*merged[0], *merged[1], user), pool_of(*merged[2], *merged[3], user)}, &frontier[user]);
      });
    }
    OP_REQUIRES_OK(context, OutputRagged(context, 4, frontier));
  }
};

REGISTER_KERNEL_BUILDER(Name("Nann>FilterItems").Device(tensorflow::DEVICE_CPU), Guarded<FilterItemsOp>);
REGISTER_KERNEL_BUILDER(Name("Nann>ListItems").Device(tensorflow::DEVICE_CPU), Guarded<ListItemsOp>);
REGISTER_KERNEL_BUILDER(Name("Nann>MergeFiltered").Device(tensorflow::DEVICE_CPU), Guarded<MergeFilteredOp>);

}  // namespace
}  // namespace nann
