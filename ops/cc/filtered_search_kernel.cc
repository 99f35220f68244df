// The kernel of Nann>FilteredSearch: a walk that returns only items that pass, or a scan of these, for each user.

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "ops/cc/best_items.h"
#include "ops/cc/guarded.h"
#include "ops/cc/search_op.h"

namespace nann {
namespace {

constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();

bool WithMemory(OpKernelConstruction* context) {
  bool with_memory = false;
  context->SetStatus(context->GetAttr("with_memory", &with_memory));
  return with_memory;
}

class FilteredSearchOp : public SearchOp {
 public:
  explicit FilteredSearchOp(OpKernelConstruction* context) : SearchOp(context, WithMemory(context)) {}

  void Compute(OpKernelContext* context) override {
    Search search;
    OP_REQUIRES_OK(context, ReadSearch(context, &search));
    const Tensor *passing = nullptr, *prior = nullptr;
    OP_REQUIRES_OK(context, context->input("passing", &passing));
    OP_REQUIRES_OK(context, context->input("prior", &prior));
    const int64_t bytes = BitmapBytes(search.num_items);
    OP_REQUIRES(context, passing->shape() == TensorShape({search.batch, bytes}),
                absl::InvalidArgumentError(
                    absl::StrCat("passing must be [", search.batch, ", ", bytes, "], got ", passing->shape().DebugString())));
    OP_REQUIRES(
        context, prior->shape() == TensorShape({search.num_items}),
        absl::InvalidArgumentError(absl::StrCat("prior must be [", search.num_items, "], got ", prior->shape().DebugString())));
    Filter filter{passing->flat<uint8_t>().data(), prior->flat<float>().data(), 0};
    OP_REQUIRES_OK(context,
                   ReadScalar(context, "exact_limit", std::numeric_limits<int64_t>::min(), kNoLimit, &filter.exact_limit));
    OP_REQUIRES_OK(context,
                   SearchAll(context, &search,
                             [&](int64_t user, const Workers* workers, const Answer& answer, Times* times, int64_t* outside) {
                               return SearchOne(search, filter, user, workers, answer, times, outside);
                             }));
  }

 private:
  struct Filter {
    const uint8_t* passing;  // [B, ceil(N / 8)]
    const float* prior;      // [N]
    int64_t exact_limit;
  };
  // Both pools of a walk, twice: before a merge, and after.
  class TwoPools {
   public:
    TwoPools(int64_t passing, int64_t others) {
      for (Memory* memory : {&passing_[0], &passing_[1]}) memory->Fill(passing);
      for (Memory* memory : {&others_[0], &others_[1]}) memory->Fill(others);
    }
    Pools now() { return {passing_[current_].pool(), others_[current_].pool()}; }
    Pools next() { return {passing_[1 - current_].pool(), others_[1 - current_].pool()}; }
    void Switch() { current_ = 1 - current_; }

   private:
    struct Memory {
      std::vector<int64_t> positions;
      std::vector<float> scores;
      void Fill(int64_t size) {
        positions.assign(size, -1);
        scores.assign(size, kNegativeInfinity);
      }
      Pool pool() { return {positions.data(), scores.data(), static_cast<int64_t>(positions.size())}; }
    };
    Memory passing_[2], others_[2];
    int current_ = 0;
  };

  static bool SearchOne(const Search& search, const Filter& filter, int64_t user, const Workers* workers, const Answer& answer,
                        Times* times, int64_t* outside) {
    const Clock::time_point begin = Clock::now();
    const uint8_t* const passing = filter.passing + user * BitmapBytes(search.num_items);
    const int64_t count = CountItems(passing, search.num_items);
    std::optional<DenseMemory> remembered;
    if (search.memory) remembered.emplace(*search.memory, user, search.num_items);
    *answer.items_scored = 0;
    const auto score = [&](const std::vector<int64_t>& items, std::vector<float>* scores) {
      const Clock::time_point scoring = Clock::now();
      scores->resize(items.size());
      ScoreItems(search, user, workers, items.data(), items.size(), remembered ? remembered->values() : nullptr, scores->data());
      for (size_t i = 0; i < items.size(); ++i) (*scores)[i] += filter.prior[items[i]];
      times->scoring += Nanoseconds(scoring);
      *answer.items_scored += items.size();
    };
    bool found = false;
    if (count > filter.exact_limit) {
      if (!Walk(search, passing, count, user, score, answer, outside)) return false;
      const int64_t wanted = std::min(search.top_k, count);
      found = wanted == 0 || answer.positions[wanted - 1] >= 0;
    }
    if (!found) Scan(search, passing, count, score, answer);
    times->walking = Nanoseconds(begin) - times->scoring;
    return true;
  }

  template <typename Score>
  static void Scan(const Search& search, const uint8_t* passing, int64_t count, const Score& score, const Answer& answer) {
    std::vector<int64_t> items;
    items.reserve(count);
    AppendItems(passing, search.num_items, &items);
    std::vector<float> scores;
    score(items, &scores);
    Best best(std::min(search.top_k, count));
    for (size_t i = 0; i < items.size(); ++i) best.Add(scores[i], items[i]);
    best.Write(search.top_k, answer.positions, answer.scores);
  }

  template <typename Score>
  static bool Walk(const Search& search, const uint8_t* passing, int64_t count, int64_t user, const Score& score,
                   const Answer& answer, int64_t* outside) {
    std::vector<uint8_t> visited(BitmapBytes(search.num_items), 0);
    std::vector<int64_t> candidates(search.entries, search.entries + search.num_entries), frontier;
    for (const int64_t entry : candidates) Visit(visited.data(), entry);
    int64_t most_others = 1;
    for (const Level& level : search.levels) most_others = std::max(most_others, OthersEf(level.ef, count, search.num_items));
    TwoPools pools(search.pool_size, most_others);
    std::vector<float> scores;
    const auto score_and_merge = [&](int64_t ef, int64_t others_ef) {
      score(candidates, &scores);
      frontier.clear();
      MergeFiltered(pools.now(), candidates.data(), scores.data(), candidates.size(), passing, ef, others_ef, pools.next(),
                    &frontier);
      pools.Switch();
    };
    score_and_merge(1, 0);
    if (search.memory_entries > 0) {
      candidates.clear();
      AddMemoryEntries(search, user, visited.data(), &candidates);
      score_and_merge(1, 0);
    }
    for (auto level = search.levels.rbegin(); level != search.levels.rend(); ++level) {
      const int64_t others_ef = OthersEf(level->ef, count, search.num_items);
      frontier.clear();
      LeadingItems(pools.now(), level->ef, others_ef, &frontier);
      for (int64_t round = 0; round < level->rounds && !frontier.empty(); ++round) {
        candidates.clear();
        const int64_t size = static_cast<int64_t>(frontier.size());
        if (!ExpandFrontier(level->table, frontier.data(), size, visited.data(), &candidates, outside)) return false;
        score_and_merge(level->ef, others_ef);
      }
    }
    const Pool best = pools.now().passing;
    std::copy_n(best.positions, search.top_k, answer.positions);
    std::copy_n(best.scores, search.top_k, answer.scores);
    return true;
  }
};

REGISTER_KERNEL_BUILDER(Name("Nann>FilteredSearch").Device(tensorflow::DEVICE_CPU), Guarded<FilteredSearchOp>);

}  // namespace
}  // namespace nann
