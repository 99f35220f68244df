// What the ops that walk a graph with a scorer given as a program have in common: their inputs, and the scoring of candidates.

#ifndef NANN_OPS_CC_SEARCH_OP_H_
#define NANN_OPS_CC_SEARCH_OP_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "ops/cc/retrieval_walk.h"
#include "ops/cc/scoring_op.h"

namespace nann {

class SearchOp : public ScoringOp {
 public:
  using ScoringOp::ScoringOp;

 protected:
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
  // Where a search of one user writes.
  struct Answer {
    int64_t* positions;
    float* scores;
    int64_t* items_scored;
  };
  struct Times {
    int64_t walking = 0, scoring = 0;  // nanoseconds
  };
  using Clock = std::chrono::steady_clock;
  using Workers = tensorflow::DeviceBase::CpuWorkerThreads;

  static int64_t Nanoseconds(Clock::time_point begin) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count();
  }

  // All but the memory and the scorer, from the inputs that all these ops begin with.
  absl::Status ReadSearch(OpKernelContext* context, Search* search) const;

  // Searches for each user of a batch, in parallel, or one after the other with the workers; `one` returns whether all it met was
  // within its table, or else what was not.
  using One = std::function<bool(int64_t user, const Workers* workers, const Answer& answer, Times* times, int64_t* outside)>;
  absl::Status SearchAll(OpKernelContext* context, Search* search, const One& one) const;

  // Appends the first entries of the user's memory that were not visited, and marks them visited.
  static void AddMemoryEntries(const Search& search, int64_t user, uint8_t* visited, std::vector<int64_t>* candidates);

  // Scores of candidates. `remembered`: the user's memory as [N], or nullptr for none; `workers`: those
  // that share the work, or nullptr.
  static void ScoreItems(const Search& search, int64_t user, const Workers* workers, const int64_t* positions, int64_t count,
                         const float* remembered, float* scores);

 private:
  static void ScoreTiles(const Search& search, int64_t user, const int64_t* positions, int64_t count, int64_t first, int64_t last,
                         const float* remembered, float* scores);
};

}  // namespace nann

#endif  // NANN_OPS_CC_SEARCH_OP_H_
