// The kernels of Nann>BeamSearch and -Memory: the walk of each user, with the candidates scored by tiles.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <limits>
#include <optional>
#include <vector>

#include "ops/cc/guarded.h"
#include "ops/cc/retrieval_walk.h"
#include "ops/cc/scoring_op.h"

namespace nann {
namespace {

using tile::kTileItems;

constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();

class BeamSearchOp : public ScoringOp {
 public:
  using ScoringOp::ScoringOp;

  void Compute(OpKernelContext* context) override {
    Search search;
    OP_REQUIRES_OK(context, ReadScalar(context, "batch", 0, kMostUsers, &search.batch));
    OP_REQUIRES_OK(context, ReadScalar(context, "top_k", 1, kNoLimit, &search.top_k));
    const Tensor &ef = context->input(2), &rounds = context->input(3), &enter_points = context->input(4),
                 &items = context->input(5);
    OP_REQUIRES_OK(context, ReadItems(items));
    OP_REQUIRES_OK(context, CheckTopK(search.top_k, items.dim_size(0)));
    OP_REQUIRES(context, TensorShapeUtils::IsVector(ef.shape()) && ef.shape() == rounds.shape() && ef.NumElements() >= 1,
                absl::InvalidArgumentError(absl::StrCat("ef and rounds must be vectors of one length, got ",
                                                        ef.shape().DebugString(), " and ", rounds.shape().DebugString())));
    search.num_items = items.dim_size(0);
    search.dim = items.dim_size(1);
    search.item_embs = items.flat<float>().data();
    search.entries = enter_points.flat<int64_t>().data();
    search.num_entries = enter_points.NumElements();
    for (int64_t i = 0; i < search.num_entries; ++i) {
      OP_REQUIRES(context, search.entries[i] >= 0 && search.entries[i] < search.num_items,
                  absl::InvalidArgumentError(
                      absl::StrCat("enter_points must be in 0..", search.num_items - 1, ", got ", search.entries[i])));
    }
    OpInputList values, splits;
    OP_REQUIRES_OK(context, context->input_list("neighbor_values", &values));
    OP_REQUIRES_OK(context, context->input_list("neighbor_row_splits", &splits));
    search.pool_size = search.top_k;
    for (int64_t level = 0; level < ef.NumElements(); ++level) {
      // More than all items are never among the best.
      const int64_t level_ef = std::clamp<int64_t>(ef.flat<int64_t>()(level), 1, search.num_items);
      search.pool_size = std::max(search.pool_size, level_ef);
      if (level >= values.size()) continue;
      OP_REQUIRES(context, splits[level].NumElements() == search.num_items + 1,
                  absl::InvalidArgumentError(absl::StrCat("row splits of level ", level, " must be [", search.num_items + 1,
                                                          "], got ", splits[level].shape().DebugString())));
      search.levels.push_back({{values[level].flat<int32_t>().data(), values[level].NumElements(),
                                splits[level].flat<int64_t>().data(), search.num_items},
                               level_ef,
                               rounds.flat<int64_t>()(level)});
    }
    Tensor *positions = nullptr, *scores = nullptr, *items_scored = nullptr, *microseconds = nullptr;
    OP_REQUIRES_OK(context, AllocateOutput(context, 0, {search.batch, search.top_k}, &positions));
    OP_REQUIRES_OK(context, AllocateOutput(context, 1, {search.batch, search.top_k}, &scores));
    OP_REQUIRES_OK(context, AllocateOutput(context, 2, {search.batch}, &items_scored));
    OP_REQUIRES_OK(context, AllocateOutput(context, 3, {2}, &microseconds));
    OP_REQUIRES_OK(context, ReadMemory(context, search.batch, search.num_items, &search.memory));
    if (has_memory()) OP_REQUIRES_OK(context, ReadScalar(context, "memory_entries", 0, kNoLimit, &search.memory_entries));
    tile::Scorer scorer;
    OP_REQUIRES_OK(context, Prepare(context, search.dim, search.batch, /*shared_items=*/false, &scorer));
    search.scorer = &scorer;
    const auto& workers = *context->device()->tensorflow_cpu_worker_threads();
    // Work is never divided within divided work: a thread that waits for others could keep them waiting.
    const bool by_user = search.batch >= workers.num_threads;
    std::atomic<int64_t> bad_user{-1}, bad_item{0}, walking{0}, scoring{0};
    const auto one = [&](int64_t user) {
      Times times;
      int64_t outside = 0;
      if (!SearchOne(search, user, by_user ? nullptr : &workers, positions->flat<int64_t>().data() + user * search.top_k,
                     scores->flat<float>().data() + user * search.top_k, items_scored->flat<int64_t>().data() + user, &times,
                     &outside)) {
        bad_user = user;
        bad_item = outside;
      }
      walking += times.walking;
      scoring += times.scoring;
    };
    if (by_user) {
      const int64_t cost = CostPerTile(scorer, 1) * (search.pool_size / 4 + 1);
      ShardRanges(workers, search.batch, cost, [&one](int64_t begin, int64_t end) {
        for (int64_t user = begin; user < end; ++user) one(user);
      });
    } else {
      for (int64_t user = 0; user < search.batch; ++user) one(user);
    }
    microseconds->flat<int64_t>()(0) = walking / 1000;
    microseconds->flat<int64_t>()(1) = scoring / 1000;
    OP_REQUIRES(context, bad_user < 0,
                absl::InvalidArgumentError(absl::StrCat("the walk of user ", bad_user.load(), " met item ", bad_item.load(),
                                                        ", which is outside 0..", search.num_items - 1,
                                                        ", or its row splits are not within the neighbour lists")));
  }

 private:
  struct Level {
    NeighborTable table;
    int64_t ef, rounds;
  };
  struct Search {
    int64_t batch, top_k, pool_size, num_items, dim, num_entries;
    int64_t memory_entries = 0;
    std::optional<UserMemory> memory;
    const float* item_embs;
    const int64_t* entries;
    std::vector<Level> levels;
    const tile::Scorer* scorer;
  };
  struct Times {
    int64_t walking = 0, scoring = 0;  // nanoseconds
  };
  using Clock = std::chrono::steady_clock;
  using Workers = tensorflow::DeviceBase::CpuWorkerThreads;

  static int64_t Nanoseconds(Clock::time_point begin) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count();
  }

  static void Prefetch(const Search& search, const int64_t* positions, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const char* const row = reinterpret_cast<const char*>(search.item_embs + positions[i] * search.dim);
      for (int64_t byte = 0; byte < search.dim * static_cast<int64_t>(sizeof(float)); byte += 64) __builtin_prefetch(row + byte);
    }
  }

  // `remembered`: the user's memory as [N], or nullptr for an op without memory.
  static void ScoreTiles(const Search& search, int64_t user, const int64_t* positions, int64_t count, int64_t first, int64_t last,
                         const float* remembered, float* scores) {
    float* const workspace = Workspace(search.scorer->workspace_size());
    const float* rows[kTileItems];
    for (int64_t number = first; number < last; ++number) {
      const int64_t begin = number * kTileItems, size = std::min(kTileItems, count - begin);
      if (number + 1 < last) Prefetch(search, positions + begin + kTileItems, std::min(kTileItems, count - begin - kTileItems));
      for (int64_t i = 0; i < size; ++i) rows[i] = search.item_embs + positions[begin + i] * search.dim;
      search.scorer->Load(rows, size, workspace);
      const float* const logits = search.scorer->RunUser(user, workspace);
      if (remembered == nullptr) {
        std::memcpy(scores + begin, logits, size * sizeof(float));
        continue;
      }
      for (int64_t i = begin; i < begin + size; ++i) {
        scores[i] = Adjusted(*search.memory, positions[i], logits[i - begin]) + remembered[positions[i]];
      }
    }
  }

  static bool SearchOne(const Search& search, int64_t user, const Workers* workers, int64_t* positions_out, float* scores_out,
                        int64_t* items_scored, Times* times, int64_t* outside) {
    const Clock::time_point begin = Clock::now();
    std::vector<uint8_t> bitmap(BitmapBytes(search.num_items), 0);
    std::vector<int64_t> candidates(search.entries, search.entries + search.num_entries), frontier;
    for (const int64_t entry : candidates) Visit(bitmap.data(), entry);
    std::vector<float> scores;
    std::optional<DenseMemory> remembered;
    if (search.memory) remembered.emplace(*search.memory, user, search.num_items);
    std::vector<int64_t> positions[2] = {std::vector<int64_t>(search.pool_size, -1), std::vector<int64_t>(search.pool_size, -1)};
    std::vector<float> best[2] = {std::vector<float>(search.pool_size, kNegativeInfinity),
                                  std::vector<float>(search.pool_size, kNegativeInfinity)};
    int current = 0;
    *items_scored = 0;
    const auto score_and_merge = [&](int64_t ef) {
      const Clock::time_point scoring = Clock::now();
      const int64_t count = static_cast<int64_t>(candidates.size()), tiles = (count + kTileItems - 1) / kTileItems;
      scores.resize(count);
      const auto score = [&](int64_t first, int64_t last) {
        ScoreTiles(search, user, candidates.data(), count, first, last, remembered ? remembered->values() : nullptr,
                   scores.data());
      };
      if (workers == nullptr) {
        score(0, tiles);
      } else {
        ShardRanges(*workers, tiles, CostPerTile(*search.scorer, 1), score);
      }
      times->scoring += Nanoseconds(scoring);
      frontier.clear();
      MergeTopEf({positions[current].data(), best[current].data(), search.pool_size}, candidates.data(), scores.data(), count, ef,
                 {positions[1 - current].data(), best[1 - current].data(), search.pool_size}, &frontier);
      current = 1 - current;
      *items_scored += count;
    };
    score_and_merge(0);
    if (search.memory_entries > 0) {
      candidates.clear();
      const int64_t first = search.memory->row_splits[user], size = search.memory->row_splits[user + 1] - first;
      for (int64_t i = 0; i < std::min(size, search.memory_entries); ++i) {
        const int64_t position = search.memory->positions[first + i];
        if (!Visit(bitmap.data(), position)) candidates.push_back(position);
      }
      score_and_merge(0);
    }
    for (auto level = search.levels.rbegin(); level != search.levels.rend(); ++level) {
      frontier.clear();
      for (int64_t i = 0; i < level->ef && positions[current][i] >= 0; ++i) frontier.push_back(positions[current][i]);
      for (int64_t round = 0; round < level->rounds && !frontier.empty(); ++round) {
        candidates.clear();
        const int64_t size = static_cast<int64_t>(frontier.size());
        if (!ExpandFrontier(level->table, frontier.data(), size, bitmap.data(), &candidates, outside)) return false;
        score_and_merge(level->ef);
      }
    }
    std::copy_n(positions[current].begin(), search.top_k, positions_out);
    std::copy_n(best[current].begin(), search.top_k, scores_out);
    times->walking = Nanoseconds(begin) - times->scoring;
    return true;
  }
};

class BeamSearchMemoryOp : public BeamSearchOp {
 public:
  explicit BeamSearchMemoryOp(OpKernelConstruction* context) : BeamSearchOp(context, /*has_memory=*/true) {}
};

REGISTER_KERNEL_BUILDER(Name("Nann>BeamSearch").Device(tensorflow::DEVICE_CPU), Guarded<BeamSearchOp>);
REGISTER_KERNEL_BUILDER(Name("Nann>BeamSearchMemory").Device(tensorflow::DEVICE_CPU), Guarded<BeamSearchMemoryOp>);

}  // namespace
}  // namespace nann
