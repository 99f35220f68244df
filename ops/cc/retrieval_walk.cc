#include "ops/cc/retrieval_walk.h"

#include <algorithm>
#include <cmath>
#include <cstring>
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
                const Pool& to, std::vector<int64_t>* frontier, float least_leading) {
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
      if (rank < ef && to.scores[rank] > least_leading) frontier->push_back(position);
    } else {
      to.positions[rank] = from.positions[old];
      to.scores[rank] = from.scores[old++];
    }
  }
}

int64_t CountItems(const uint8_t* bitmap, int64_t num_items) {
  const int64_t bytes = BitmapBytes(num_items);
  int64_t count = 0, byte = 0;
  for (; byte + 8 <= bytes; byte += 8) {
    uint64_t word;
    std::memcpy(&word, bitmap + byte, sizeof(word));
    count += __builtin_popcountll(word);
  }
  for (; byte < bytes; ++byte) count += __builtin_popcount(bitmap[byte]);
  if (num_items % 8 != 0) count -= __builtin_popcount(bitmap[bytes - 1] >> (num_items % 8));
  return count;
}

void AppendItems(const uint8_t* bitmap, int64_t num_items, std::vector<int64_t>* items) {
  const int64_t bytes = BitmapBytes(num_items);
  for (int64_t byte = 0; byte < bytes; byte += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bitmap + byte,
                std::min<int64_t>(8, bytes - byte));  // bit i of the word is item 8 byte + i on little-endian
    for (; word != 0; word &= word - 1) {
      const int64_t item = 8 * byte + __builtin_ctzll(word);
      if (item < num_items) items->push_back(item);
    }
  }
}

int64_t OthersEf(int64_t ef, int64_t count, int64_t num_items) {
  constexpr int64_t kShare = 4;               // as in nann/retrieval/filters.py
  const int64_t blocked = num_items - count;  // below 2^31, as ef is: no overflow
  return std::min(ef / kShare + ef * blocked / (kShare * std::max<int64_t>(count, 1)), blocked);
}

namespace {

float LeastLeading(const Pool& passing, int64_t ef) {
  return ef <= passing.size ? passing.scores[ef - 1] : -std::numeric_limits<float>::infinity();
}

}  // namespace

void MergeFiltered(const Pools& from, const int64_t* candidates, const float* scores, int64_t num_candidates,
                   const uint8_t* passing, int64_t ef, int64_t others_ef, const Pools& to, std::vector<int64_t>* frontier) {
  std::vector<int64_t> positions[2];
  std::vector<float> own[2];
  for (int64_t i = 0; i < num_candidates; ++i) {
    const bool passes = IsSet(passing, candidates[i]);
    positions[passes].push_back(candidates[i]);
    own[passes].push_back(scores[i]);
  }
  MergeTopEf(from.passing, positions[1].data(), own[1].data(), positions[1].size(), ef, to.passing, frontier);
  MergeTopEf(from.others, positions[0].data(), own[0].data(), positions[0].size(), others_ef, to.others, frontier,
             LeastLeading(to.passing, ef));
}

void LeadingItems(const Pools& pools, int64_t ef, int64_t others_ef, std::vector<int64_t>* frontier) {
  const Pool &passing = pools.passing, &others = pools.others;
  for (int64_t i = 0; i < std::min(ef, passing.size) && passing.positions[i] >= 0; ++i) frontier->push_back(passing.positions[i]);
  const float least = LeastLeading(passing, ef);
  for (int64_t i = 0; i < std::min(others_ef, others.size) && others.positions[i] >= 0 && others.scores[i] > least; ++i) {
    frontier->push_back(others.positions[i]);
  }
}

}  // namespace nann
