// The memory of pairs: which items a user's history leads to by a table of pairs, and how strongly. Knows nothing of TensorFlow.

#ifndef NANN_OPS_CC_PAIR_MEMORY_H_
#define NANN_OPS_CC_PAIR_MEMORY_H_

#include <cstdint>
#include <string>
#include <vector>

namespace nann {

// Row s says where source s leads: positions and values from row_splits[s] up to row_splits[s + 1]. Row 0 is never read.
struct PairTable {
  const int64_t* row_splits;  // [S + 1]
  int64_t num_rows;           // S
  const int32_t* positions;   // [T]
  const float* values;        // [T]
  int64_t num_entries;        // T
};

struct MemoryRule {
  float decay;            // of a place's weight, per place after it
  float rule_scale;       // of what the table says, within the logarithm
  float category_weight;  // of what the rows of categories say to that, beside the rows of items
  float category_scale;   // of what they say alone, every place alike, within a logarithm of its own
  float category_gain;    // of this logarithm
  const float* own;       // [R] of the history's own items, by age
  int64_t num_own;        // R
  const float* gain;      // [N]
  int64_t num_items;      // N
};

// A user's places, oldest first. Where item_sources is 0 nothing stands.
struct History {
  const int64_t* item_sources;
  const int64_t* category_sources;
  const int64_t* item_positions;
  int64_t width;
};

// An entry of the memory as one number: ascending numbers are descending values, then ascending positions.
uint64_t EncodeEntry(float value, int64_t position);
int64_t EntryPosition(uint64_t entry);
float EntryValue(uint64_t entry);

// Writes a user's entries, best first. Returns "", or what does not fit and its value; then `entries` is incomplete, and nothing
// outside the table was read. Of the table only the rows of the history are looked at.
std::string Remember(const PairTable& table, const MemoryRule& rule, const History& history, std::vector<uint64_t>* entries);

}  // namespace nann

#endif  // NANN_OPS_CC_PAIR_MEMORY_H_
