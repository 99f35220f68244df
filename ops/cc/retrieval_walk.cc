#include "ops/cc/retrieval_walk.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace nann {
namespace {

// Rows are read this many frontier items ahead: neighbour lists lie anywhere in memory.
constexpr int64_t kPrefetchDistance = 4;
constexpr int64_t kPrefetchedLinks = 64, kLinksPerLine = 16;

struct Scored {
  float score;
  int32_t order;
};

bool Better(const Scored& a, const Scored& b) { return a.score > b.score || (a.score == b.score && a.order < b.order); }

}  // namespace

bool ExpandFrontier(const NeighborTable& table, const int64_t* frontier, int64_t frontier_size, uint8_t* bitmap,
                    std::vector<int64_t>* candidates, int64_t* outside) {
  const auto refuse = [outside](int64_t item) {
    *outside = item;
    return false;
  };
  const auto in_range = [&table](int64_t item) { return item >= 0 && item < table.num_items; };
  for (int64_t i = 0; i < frontier_size; ++i) {
    if (i + 2 * kPrefetchDistance < frontier_size && in_range(frontier[i + 2 * kPrefetchDistance])) {
      __builtin_prefetch(table.row_splits + frontier[i + 2 * kPrefetchDistance]);
    }
    if (i + kPrefetchDistance < frontier_size && in_range(frontier[i + kPrefetchDistance])) {
      const int64_t start = table.row_splits[frontier[i + kPrefetchDistance]];
      for (int64_t link = start; link >= 0 && link < std::min(start + kPrefetchedLinks, table.num_values);
           link += kLinksPerLine) {
        __builtin_prefetch(table.values + link);
      }
    }
    if (!in_range(frontier[i])) return refuse(frontier[i]);
    const int64_t begin = table.row_splits[frontier[i]], end = table.row_splits[frontier[i] + 1];
    if (begin < 0 || end < begin || end > table.num_values) return refuse(frontier[i]);
    for (int64_t link = begin; link < end; ++link) {
      const int64_t neighbor = table.values[link];
      if (!in_range(neighbor)) return refuse(neighbor);
      if (!Visit(bitmap, neighbor)) candidates->push_back(neighbor);
    }
  }
  return true;
}

void MergeTopEf(const Pool& from, const int64_t* candidates, const float* scores, int64_t num_candidates, int64_t ef,
                const Pool& to, std::vector<int64_t>* frontier) {
  // A candidate enters only if it beats the last of the pool: of equal scores the earlier one is ahead, and the pool is earlier.
  const float least = from.size > 0 ? from.scores[from.size - 1] : std::numeric_limits<float>::infinity();
  std::vector<Scored> entering;
  for (int64_t i = 0; i < num_candidates; ++i) {
    if (scores[i] > least) entering.push_back({scores[i], static_cast<int32_t>(i)});  // false for NaN
  }
  const size_t kept = std::min<size_t>(entering.size(), from.size);
  std::partial_sort(entering.begin(), entering.begin() + kept, entering.end(), Better);
  int64_t old = 0;
  size_t next = 0;
  for (int64_t rank = 0; rank < to.size; ++rank) {
    if (next < kept && entering[next].score > from.scores[old]) {
      const int64_t position = candidates[entering[next].order];
      to.positions[rank] = position;
      to.scores[rank] = entering[next++].score;
      if (rank < ef) frontier->push_back(position);
    } else {
      to.positions[rank] = from.positions[old];
      to.scores[rank] = from.scores[old++];
    }
  }
}

}  // namespace nann
