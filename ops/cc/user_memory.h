// What users' memories add to a scorer's logits: the score of item v for user u is item_scale[v] s(u, v) + item_prior[v] +
// M_u(v), with M_u 0 but for the items that the user's history leads to. Knows nothing of TensorFlow.

#ifndef NANN_OPS_CC_USER_MEMORY_H_
#define NANN_OPS_CC_USER_MEMORY_H_

#include <cstdint>
#include <string>

namespace nann {

struct UserMemory {
  const int64_t* row_splits;  // [B + 1]: user b owns the entries row_splits[b] up to row_splits[b + 1]
  const int64_t* positions;   // [M]
  const float* values;        // [M]
  int64_t size;               // M
  const float* item_scale;    // [N]
  const float* item_prior;    // [N]
};

// Returns "", or what does not fit: row splits that are not those of M entries, a position outside 0..N - 1 or twice with one
// user.
std::string CheckMemory(const UserMemory& memory, int64_t batch, int64_t num_items);

// The score of an item that is not in the user's memory; what the memory says of it is added last.
inline float Adjusted(const UserMemory& memory, int64_t position, float logit) {
  return memory.item_scale[position] * logit + memory.item_prior[position];
}

// A user's memory as [N] floats, in scratch memory of the thread: at most one at a time per thread, other threads may read it.
class DenseMemory {
 public:
  DenseMemory(const UserMemory& memory, int64_t user, int64_t num_items);
  ~DenseMemory();
  DenseMemory(const DenseMemory&) = delete;
  DenseMemory& operator=(const DenseMemory&) = delete;

  const float* values() const { return values_; }

 private:
  const UserMemory& memory_;
  int64_t user_;
  float* values_;
};

}  // namespace nann

#endif  // NANN_OPS_CC_USER_MEMORY_H_
