// Contributions to the gradients of rows, summed per distinct row in a fixed order.
//
// Producers put their contributions, block by block, into buckets by a hash of the row. A bucket is then one thread's work:
// number its distinct rows in the order of their first contribution, and add the contributions up in the order of the blocks,
// right where the sums are wanted. Blocks and buckets depend on the input alone, so nothing depends on the threads.

#ifndef NANN_OPS_CC_EMBEDDING_ROW_GRADIENTS_H_
#define NANN_OPS_CC_EMBEDDING_ROW_GRADIENTS_H_

#include <cstring>
#include <memory>
#include <vector>

#include "ops/cc/embedding_forward.h"

namespace nann {
namespace embedding {

constexpr int64_t kContributionsPerBucket = 2048;
constexpr int kMostBucketBits = 6;

// The distinct rows of one bucket, and where among them each contribution belongs, block after block.
struct RowGroup {
  std::vector<int64_t> rows;
  std::unique_ptr<int32_t[]> places;
};

template <typename T>
class RowGradients {
 public:
  using A = Accumulator<T>;

  // `sizes`: for every part about the number of contributions. `num_blocks`: of producers, which run in any order.
  RowGradients(const std::vector<int64_t>& sizes, int64_t num_blocks) : blocks_(num_blocks) {
    first_bucket_.push_back(0);
    for (const int64_t size : sizes) {
      int bits = 0;
      while (bits < kMostBucketBits && (kContributionsPerBucket << bits) < size) ++bits;
      bits_.push_back(bits);
      first_bucket_.push_back(first_bucket_.back() + (1 << bits));
    }
    for (size_t part = 0; part < sizes.size(); ++part) part_of_.resize(first_bucket_[part + 1], static_cast<int>(part));
    blocks_of_.resize(sizes.size());
  }

  int num_buckets() const { return first_bucket_.back(); }
  int part_of(int64_t bucket) const { return part_of_[bucket]; }
  const RowGroup& group(int64_t bucket) const { return groups_[bucket]; }

  // Contributions of a block, all to the parts [first_part, first_part + num_parts): part_of(i), counted from first_part, and
  // row_of(i) of contribution i, which is coefficient_of(i) times row gradient_of(i) of the matrix at `gradients`, whose rows are
  // `stride` values apart.
  template <typename PartOf, typename RowOf, typename GradientOf, typename CoefficientOf>
  void Add(int64_t number, int first_part, int num_parts, const T* gradients, int64_t stride, int64_t count,
           const PartOf& part_of, const RowOf& row_of, const GradientOf& gradient_of, const CoefficientOf& coefficient_of) {
    Block& block = blocks_[number];
    block.first_part = first_part;
    block.num_parts = num_parts;
    block.first_bucket = first_bucket_[first_part];
    block.gradients = gradients;
    block.stride = stride;
    const int num_buckets = first_bucket_[first_part + num_parts] - block.first_bucket;
    block.starts.assign(num_buckets + 1, 0);
    block.contributions.reset(new Contribution<T>[count]);
    const std::unique_ptr<uint32_t[]> buckets(new uint32_t[count]);
    if (num_parts == 1) {
      const int shift = 64 - bits_[first_part];
      for (int64_t i = 0; i < count; ++i) {
        const uint32_t bucket = shift == 64 ? 0 : static_cast<uint32_t>(Hash(row_of(i)) >> shift);
        buckets[i] = bucket;
        ++block.starts[bucket + 1];
      }
    } else {
      for (int64_t i = 0; i < count; ++i) {
        const int part = first_part + part_of(i), bits = bits_[part];
        const uint32_t bucket =
            first_bucket_[part] - block.first_bucket + (bits == 0 ? 0 : static_cast<uint32_t>(Hash(row_of(i)) >> (64 - bits)));
        buckets[i] = bucket;
        ++block.starts[bucket + 1];
      }
    }
    for (int b = 0; b < num_buckets; ++b) block.starts[b + 1] += block.starts[b];
    std::vector<int32_t> next(block.starts.begin(), block.starts.end() - 1);
    for (int64_t i = 0; i < count; ++i) {
      block.contributions[next[buckets[i]]++] = {row_of(i), gradient_of(i), coefficient_of(i)};
    }
  }

  // After all blocks: what the buckets are made of.
  void Seal() {
    for (const Block& block : blocks_) {
      for (int part = block.first_part; part < block.first_part + block.num_parts; ++part) blocks_of_[part].push_back(&block);
    }
  }

  // After Seal: the distinct rows of all buckets.
  void Group(const ParallelFor& parallel) {
    groups_.resize(num_buckets());
    parallel(num_buckets(), kContributionsPerBucket * kNanosecondsPerId, [&](int64_t begin, int64_t end) {
      std::vector<int32_t> slots;
      for (int64_t bucket = begin; bucket < end; ++bucket) GroupBucket(bucket, &slots, &groups_[bucket]);
    });
  }

  // The distinct rows of one bucket; `slots` is scratch.
  void GroupBucket(int64_t bucket, std::vector<int32_t>* slots, RowGroup* group) const {
    int64_t size = 0;
    EachRun(bucket, [&](const Block&, const Contribution<T>*, int64_t count) { size += count; });
    group->rows.clear();
    if (size == 0) return;
    int slot_bits = 4;
    while ((int64_t{1} << slot_bits) < 2 * size) ++slot_bits;
    slots->assign(size_t{1} << slot_bits, -1);
    group->rows.resize(size);
    group->places.reset(new int32_t[size]);
    // The bucket took the top bits of the hash; the slot takes low ones.
    const uint64_t mask = (uint64_t{1} << slot_bits) - 1;
    int32_t* const slot_of = slots->data();
    int64_t* const rows = group->rows.data();
    int32_t* places = group->places.get();
    int32_t distinct = 0;
    EachRun(bucket, [&](const Block&, const Contribution<T>* contributions, int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        const int64_t row = contributions[i].row;
        uint64_t slot = (Hash(row) >> 8) & mask;
        int32_t found;
        while ((found = slot_of[slot]) >= 0 && rows[found] != row) slot = (slot + 1) & mask;
        if (found < 0) {
          found = distinct++;
          slot_of[slot] = found;
          rows[found] = row;
        }
        places[i] = found;
      }
      places += count;
    });
    group->rows.resize(distinct);
  }

  // sums[place] = the sum of the contributions to each distinct row of a bucket, [distinct, dim].
  void Sum(int64_t bucket, const RowGroup& group, int64_t dim, A* sums) const {
    std::memset(sums, 0, group.rows.size() * dim * sizeof(A));
    const int32_t* places = group.places.get();
    EachRun(bucket, [&](const Block& block, const Contribution<T>* contributions, int64_t count) {
      GetRowKernels<T>().accumulate(block.gradients, block.stride, contributions, places, count, dim, sums);
      places += count;
    });
  }

 private:
  struct Block {
    int first_part = 0, num_parts = 0, first_bucket = 0;
    const T* gradients = nullptr;
    int64_t stride = 0;
    std::unique_ptr<Contribution<T>[]> contributions;
    std::vector<int32_t> starts;  // per bucket of its parts
  };

  static uint64_t Hash(int64_t row) {
    const uint64_t mixed = static_cast<uint64_t>(row) * 0x9e3779b97f4a7c15ull;
    return (mixed ^ (mixed >> 29)) * 0xbf58476d1ce4e5b9ull;
  }

  template <typename Visit>
  void EachRun(int64_t bucket, const Visit& visit) const {
    for (const Block* block : blocks_of_[part_of_[bucket]]) {
      const int32_t* starts = block->starts.data() + (bucket - block->first_bucket);
      if (starts[1] > starts[0]) visit(*block, block->contributions.get() + starts[0], starts[1] - starts[0]);
    }
  }

  std::vector<int> bits_, first_bucket_, part_of_;
  std::vector<Block> blocks_;
  std::vector<std::vector<const Block*>> blocks_of_;  // per part, in order
  std::vector<RowGroup> groups_;
};

}  // namespace embedding
}  // namespace nann

#endif  // NANN_OPS_CC_EMBEDDING_ROW_GRADIENTS_H_
