// The kernels of Nann>ScanItems and -Memory: all items for all users, by tiles.

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "ops/cc/best_items.h"
#include "ops/cc/guarded.h"
#include "ops/cc/retrieval_walk.h"
#include "ops/cc/scoring_op.h"

namespace nann {
namespace {

using tile::kTileItems;

class ScanItemsOp : public ScoringOp {
 public:
  using ScoringOp::ScoringOp;

  void Compute(OpKernelContext* context) override {
    int64_t batch = 0, top_k = 0;
    OP_REQUIRES_OK(context, ReadScalar(context, "batch", 0, kMostUsers, &batch));
    OP_REQUIRES_OK(context, ReadScalar(context, "top_k", 1, kNoLimit, &top_k));
    const Tensor& items = context->input(2);
    OP_REQUIRES_OK(context, ReadItems(items));
    const int64_t count = items.dim_size(0), dim = items.dim_size(1);
    const float* const table = items.flat<float>().data();
    OP_REQUIRES_OK(context, CheckTopK(top_k, count));
    Tensor *positions = nullptr, *scores = nullptr;
    OP_REQUIRES_OK(context, AllocateOutput(context, 0, {batch, top_k}, &positions));
    OP_REQUIRES_OK(context, AllocateOutput(context, 1, {batch, top_k}, &scores));
    tile::Scorer scorer;
    OP_REQUIRES_OK(context, Prepare(context, dim, batch, /*shared_items=*/true, &scorer));
    std::optional<UserMemory> memory;
    OP_REQUIRES_OK(context, ReadMemory(context, batch, count, &memory));
    const auto& workers = *context->device()->tensorflow_cpu_worker_threads();
    std::vector<Remembered> remembered;
    if (memory) remembered = ByPosition(*memory, batch, workers);
    const int64_t most = std::min(top_k, count);
    std::vector<Best> best(batch, Best(most));
    absl::Mutex mutex;
    const auto scan = [&](int64_t first, int64_t last) {
      float* const workspace = Workspace(scorer.workspace_size());
      std::vector<Best> own(batch, Best(most));
      std::vector<int64_t> remembered_from =
          memory ? FirstFrom(*memory, remembered, batch, first * kTileItems) : std::vector<int64_t>();
      float adjusted[kTileItems];
      const float* rows[kTileItems];
      for (int64_t number = first; number < last; ++number) {
        const int64_t begin = number * kTileItems, size = std::min(kTileItems, count - begin);
        for (int64_t i = 0; i < size; ++i) rows[i] = table + (begin + i) * dim;
        const char* const next = reinterpret_cast<const char*>(table + (begin + size) * dim);
        const int64_t ahead = std::min(kTileItems, count - begin - size) * dim * static_cast<int64_t>(sizeof(float));
        for (int64_t byte = 0; byte < ahead; byte += 64) __builtin_prefetch(next + byte);
        scorer.Load(rows, size, workspace);
        scorer.RunShared(workspace);
        for (int64_t user = 0; user < batch; ++user) {
          const float* scores = scorer.RunUser(user, workspace);
          if (memory) {
            for (int64_t i = 0; i < size; ++i) adjusted[i] = Adjusted(*memory, begin + i, scores[i]);
            for (int64_t& at = remembered_from[user]; at < memory->row_splits[user + 1] && remembered[at].position < begin + size;
                 ++at) {
              adjusted[remembered[at].position - begin] += remembered[at].value;
            }
            scores = adjusted;
          }
          for (int64_t i = 0; i < size; ++i) own[user].Add(scores[i], begin + i);
        }
      }
      const absl::MutexLock lock(&mutex);
      for (int64_t user = 0; user < batch; ++user) best[user].Add(own[user]);
    };
    const int64_t tiles = (count + kTileItems - 1) / kTileItems;
    if (batch > 0) ShardRanges(workers, tiles, CostPerTile(scorer, batch), scan);
    for (int64_t user = 0; user < batch; ++user) {
      best[user].Write(top_k, positions->flat<int64_t>().data() + user * top_k, scores->flat<float>().data() + user * top_k);
    }
  }

 private:
  struct Remembered {
    int64_t position;
    float value;
  };
  using Workers = tensorflow::DeviceBase::CpuWorkerThreads;

  // The memories with each user's entries in the order of positions, as tiles are.
  static std::vector<Remembered> ByPosition(const UserMemory& memory, int64_t batch, const Workers& workers) {
    std::vector<Remembered> entries(memory.size);
    constexpr int64_t kCyclesPerEntry = 100;  // for the sharder
    const auto sort = [&](int64_t first, int64_t last) {
      const int64_t begin = memory.row_splits[first], end = memory.row_splits[last];
      for (int64_t i = begin; i < end; ++i) entries[i] = {memory.positions[i], memory.values[i]};
      for (int64_t user = first; user < last; ++user) {
        std::sort(entries.begin() + memory.row_splits[user], entries.begin() + memory.row_splits[user + 1],
                  [](const Remembered& a, const Remembered& b) { return a.position < b.position; });
      }
    };
    if (batch > 0) {
      ShardRanges(workers, batch, (memory.size / batch + 1) * kCyclesPerEntry, sort);
    }
    return entries;
  }

  // Per user, where the entries from a position on begin.
  static std::vector<int64_t> FirstFrom(const UserMemory& memory, const std::vector<Remembered>& entries, int64_t batch,
                                        int64_t position) {
    std::vector<int64_t> first(batch);
    for (int64_t user = 0; user < batch; ++user) {
      const auto begin = entries.begin() + memory.row_splits[user], end = entries.begin() + memory.row_splits[user + 1];
      first[user] =
          std::lower_bound(begin, end, position, [](const Remembered& entry, int64_t least) { return entry.position < least; }) -
          entries.begin();
    }
    return first;
  }
};

class ScanItemsMemoryOp : public ScanItemsOp {
 public:
  explicit ScanItemsMemoryOp(OpKernelConstruction* context) : ScanItemsOp(context, /*has_memory=*/true) {}
};

REGISTER_KERNEL_BUILDER(Name("Nann>ScanItems").Device(tensorflow::DEVICE_CPU), Guarded<ScanItemsOp>);
REGISTER_KERNEL_BUILDER(Name("Nann>ScanItemsMemory").Device(tensorflow::DEVICE_CPU), Guarded<ScanItemsMemoryOp>);

}  // namespace
}  // namespace nann
