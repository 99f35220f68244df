// The kernels of Nann>BeamSearch and -Memory: the walk of each user, with the candidates scored by tiles.

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "ops/cc/guarded.h"
#include "ops/cc/search_op.h"

namespace nann {
namespace {

constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();

class BeamSearchOp : public SearchOp {
 public:
  using SearchOp::SearchOp;

  void Compute(OpKernelContext* context) override {
    Search search;
    OP_REQUIRES_OK(context, ReadSearch(context, &search));
    OP_REQUIRES_OK(
        context, SearchAll(context, &search,
                           [&search](int64_t user, const Workers* workers, const Answer& answer, Times* times, int64_t* outside) {
                             return SearchOne(search, user, workers, answer, times, outside);
                           }));
  }

 private:
  static bool SearchOne(const Search& search, int64_t user, const Workers* workers, const Answer& answer, Times* times,
                        int64_t* outside) {
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
    *answer.items_scored = 0;
    const auto score_and_merge = [&](int64_t ef) {
      const Clock::time_point scoring = Clock::now();
      const int64_t count = static_cast<int64_t>(candidates.size());
      scores.resize(count);
      ScoreItems(search, user, workers, candidates.data(), count, remembered ? remembered->values() : nullptr, scores.data());
      times->scoring += Nanoseconds(scoring);
      frontier.clear();
      MergeTopEf({positions[current].data(), best[current].data(), search.pool_size}, candidates.data(), scores.data(), count, ef,
                 {positions[1 - current].data(), best[1 - current].data(), search.pool_size}, &frontier);
      current = 1 - current;
      *answer.items_scored += count;
    };
    score_and_merge(0);
    if (search.memory_entries > 0) {
      candidates.clear();
      AddMemoryEntries(search, user, bitmap.data(), &candidates);
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
    std::copy_n(positions[current].begin(), search.top_k, answer.positions);
    std::copy_n(best[current].begin(), search.top_k, answer.scores);
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
