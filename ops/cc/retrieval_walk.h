// The walk of beam retrieval over a graph (NANN, arXiv 2202.10226, section 4), for one user; knows nothing of TensorFlow.

#ifndef NANN_OPS_CC_RETRIEVAL_WALK_H_
#define NANN_OPS_CC_RETRIEVAL_WALK_H_

#include <cstdint>
#include <limits>
#include <vector>

namespace nann {

// Of a batch. What an op needs per user is some bytes to megabytes: more users than this are a mistake, and TensorFlow's
// allocator would try for ten seconds before it gave up.
constexpr int64_t kMostUsers = int64_t{1} << 24;

// Which items a user has been offered: one bit per item.
inline int64_t BitmapBytes(int64_t num_items) { return num_items / 8 + (num_items % 8 != 0); }

// Sets the bit of an item and returns whether it was set before.
inline bool Visit(uint8_t* bitmap, int64_t item) {
  const uint8_t bit = static_cast<uint8_t>(1u << (item & 7));
  uint8_t& byte = bitmap[item >> 3];
  const bool seen = byte & bit;
  byte |= bit;
  return seen;
}

// Neighbours of item i: values[row_splits[i]] up to values[row_splits[i + 1]].
struct NeighborTable {
  const int32_t* values;
  int64_t num_values;
  const int64_t* row_splits;
  int64_t num_items;
};

// Appends the neighbours of the frontier that were not visited before, in the order met, and marks them visited.
// Returns whether all ids and row splits were within their ranges; if not, `outside` is the first that was not, the result is
// incomplete, and nothing outside was read.
bool ExpandFrontier(const NeighborTable& table, const int64_t* frontier, int64_t frontier_size, uint8_t* bitmap,
                    std::vector<int64_t>* candidates, int64_t* outside);

// The best items scored so far, best first; of equal scores the earlier one is ahead. Empty places have position -1 and score
// -inf.
struct Pool {
  int64_t* positions;
  float* scores;
  int64_t size;
};

// Merges new candidates into a pool: `from` and `to` are different pools of one size. Appends to `frontier` the positions of
// candidates that are among the first `ef` of `to` and score more than `least`, best first. NaN scores count as -inf.
void MergeTopEf(const Pool& from, const int64_t* candidates, const float* scores, int64_t num_candidates, int64_t ef,
                const Pool& to, std::vector<int64_t>* frontier, float least = -std::numeric_limits<float>::infinity());

// Whether the bit of an item is set.
inline bool IsSet(const uint8_t* bitmap, int64_t item) { return bitmap[item >> 3] >> (item & 7) & 1; }

// How many bits of a bitmap are set.
int64_t CountItems(const uint8_t* bitmap, int64_t num_items);

// Appends the items whose bits are set, ascending.
void AppendItems(const uint8_t* bitmap, int64_t num_items, std::vector<int64_t>* items);

// A walk that returns only the items of a bitmap has two pools: of those, and of the others, which only lead on.
struct Pools {
  Pool passing, others;
};

// How many of the others a frontier may hold, where `count` of `num_items` pass and `ef` of these are in it.
int64_t OthersEf(int64_t ef, int64_t count, int64_t num_items);

// MergeTopEf into the pool that each candidate belongs to. Appends to `frontier` the candidates that pass and are among the first
// `ef` of their pool, then the others that are among the first `others_ef` of theirs and score more than the passing item at
// place `ef`, the -inf of an empty place if there are fewer.
void MergeFiltered(const Pools& from, const int64_t* candidates, const float* scores, int64_t num_candidates,
                   const uint8_t* passing, int64_t ef, int64_t others_ef, const Pools& to, std::vector<int64_t>* frontier);

// Appends to `frontier` what MergeFiltered would have, had all items of the pools been candidates.
void LeadingItems(const Pools& pools, int64_t ef, int64_t others_ef, std::vector<int64_t>* frontier);

}  // namespace nann

#endif  // NANN_OPS_CC_RETRIEVAL_WALK_H_
