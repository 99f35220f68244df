#ifndef NANN_OPS_CC_COUNTING_BLOOM_H_
#define NANN_OPS_CC_COUNTING_BLOOM_H_

#include <algorithm>
#include <cstdint>
#include <limits>

#include "ops/cc/key_index.h"
#include "tensorflow/core/framework/tensor.h"

namespace nann {

// Counts of keys that have no entry, in little memory: a counting Bloom filter (Fan et al., IEEE/ACM Trans. Netw. 8 (2000)) whose
// smallest counter is never below the true count.
class CountingBloom {
 public:
  CountingBloom(tensorflow::Tensor* counters, int hashes)
      : counters_(counters->flat<int32_t>().data()), size_(counters->NumElements()), hashes_(hashes) {}
  void Add(uint64_t hash) {
    for (int h = 0; h < hashes_; ++h) {
      int32_t* const counter = &counters_[At(hash, h)];
      if (*counter < std::numeric_limits<int32_t>::max()) ++*counter;
    }
  }
  int64_t Count(uint64_t hash) const {
    int32_t least = std::numeric_limits<int32_t>::max();
    for (int h = 0; h < hashes_; ++h) least = std::min(least, counters_[At(hash, h)]);
    return least;
  }

 private:
  // Double hashing (Kirsch and Mitzenmacher, ESA 2006).
  size_t At(uint64_t hash, int h) const { return (hash + h * (MixBits(hash) | 1)) % size_; }

  int32_t* const counters_;
  const size_t size_;
  const int hashes_;
};

}  // namespace nann

#endif  // NANN_OPS_CC_COUNTING_BLOOM_H_
