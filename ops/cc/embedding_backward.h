// Gradients by row: contributions from many places, summed per distinct row in a fixed order, then written out or applied.
//
// Producers put their contributions, block by block, into buckets by a hash of the row. A bucket is then one thread's work:
// number its distinct rows in the order of their first contribution, and add the contributions up in the order of the blocks,
// right where the sums are wanted. Blocks and buckets depend on the input alone, so nothing depends on the threads.

#ifndef NANN_OPS_CC_EMBEDDING_BACKWARD_H_
#define NANN_OPS_CC_EMBEDDING_BACKWARD_H_

#include <algorithm>
#include <cstring>
#include <memory>

#include "ops/cc/embedding_forward.h"

namespace nann {
namespace embedding {

constexpr int64_t kBackwardIdsPerChunk = 2048;
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

// Whether all ids of some chunks can be looked up; for work that must not begin otherwise.
template <typename T, typename Id>
bool CheckIds(const std::vector<Feature>& features, const std::vector<Partition>& partitions,
              const std::vector<Lookup<T, Id>>& lookups, const std::vector<Chunk>& chunks, const ParallelFor& parallel,
              std::string* error) {
  FirstError first_error;
  parallel(static_cast<int64_t>(chunks.size()), kBackwardIdsPerChunk, [&](int64_t begin, int64_t end) {
    Resolved<T> resolved;
    std::string message;
    for (int64_t c = begin; c < end; ++c) {
      const Feature& feature = features[chunks[c].feature];
      if (Resolve(feature, lookups[chunks[c].feature], partitions[feature.table], chunks[c].begin, chunks[c].end, false,
                  &resolved, &message)) {
        continue;
      }
      first_error.Set(c, message);
      return;
    }
  });
  *error = first_error.message();
  return first_error.ok();
}

// The contributions of pooled gradients to the rows of one table, from chunks of the features that look it up. Gradient row r of
// feature f is at gradients[f].data + r * stride.
template <typename T, typename Id>
bool Scatter(const std::vector<Feature>& features, const Partition& partition, const std::vector<Lookup<T, Id>>& lookups,
             const std::vector<Slab<const T>>& gradients, const std::vector<Chunk>& chunks, const ParallelFor& parallel,
             RowGradients<T>* out, std::string* error) {
  using A = Accumulator<T>;
  FirstError first_error;
  parallel(static_cast<int64_t>(chunks.size()), kBackwardIdsPerChunk * kNanosecondsPerId, [&](int64_t begin, int64_t end) {
    Resolved<T> resolved;
    std::vector<int32_t> row_of, part_of;
    std::vector<A> coefficients;
    for (int64_t c = begin; c < end; ++c) {
      const Chunk& chunk = chunks[c];
      const Feature& feature = features[chunk.feature];
      std::string message;
      if (!Resolve(feature, lookups[chunk.feature], partition, chunk.begin, chunk.end, false, &resolved, &message)) {
        first_error.Set(c, message);
        return;
      }
      const int64_t num_rows = chunk.end - chunk.begin, count = static_cast<int64_t>(resolved.ids.size());
      const Slab<const T>& slab = gradients[chunk.feature];
      const int32_t* const offsets = resolved.offsets.data();
      row_of.resize(count);
      coefficients.resize(num_rows);
      for (int64_t row = 0; row < num_rows; ++row) {
        const A divisor = resolved.divisors[row];
        coefficients[row] = divisor == 0 ? A(0) : A(1) / divisor;
        for (int32_t k = offsets[row]; k < offsets[row + 1]; ++k) row_of[k] = static_cast<int32_t>(row);
      }
      const int parts = partition.num_parts();
      if (parts > 1) {
        part_of.resize(count);
        for (int64_t k = 0; k < count; ++k) {
          const Place place = partition.Find(resolved.ids[k]);
          part_of[k] = place.part;
          resolved.ids[k] = place.row;
        }
      }
      const auto add = [&](const auto& coefficient_of) {
        out->Add(
            c, 0, parts, slab.data + chunk.begin * slab.stride, slab.stride, count, [&](int64_t k) { return part_of[k]; },
            [&](int64_t k) { return resolved.ids[k]; }, [&](int64_t k) { return row_of[k]; }, coefficient_of);
      };
      if (lookups[chunk.feature].weights == nullptr) {
        add([&](int64_t k) { return coefficients[row_of[k]]; });
      } else {
        add([&](int64_t k) {
          const A divisor = resolved.divisors[row_of[k]];
          return divisor == 0 ? A(0) * resolved.weights[k] : resolved.weights[k] / divisor;
        });
      }
    }
  });
  if (!first_error.ok()) {
    *error = first_error.message();
    return false;
  }
  out->Seal();
  return true;
}

// The Jacobian of tf.clip_by_norm, applied to the gradient of one clipped row: (c / n) (g - v (v g) / n^2) where the norm n
// reaches the limit c, g elsewhere.
template <typename T>
void ClipGradient(const T* row, int64_t dim, double max_norm, Accumulator<T>* gradient) {
  using A = Accumulator<T>;
  A norm;
  const A scale = ClipScale(row, dim, max_norm, &norm);
  if (!(norm >= static_cast<A>(max_norm))) return;
  A product = 0;
  for (int64_t i = 0; i < dim; ++i) product += ToFloat(row[i]) * gradient[i];
  const A along = product / (norm * norm);
  for (int64_t i = 0; i < dim; ++i) gradient[i] = scale * (gradient[i] - ToFloat(row[i]) * along);
}

// A part of a table as the target of gradients.
template <typename T>
struct Target {
  T* rows = nullptr;  // needed for max_norm and updates
  T* first = nullptr;
  T* second = nullptr;
  int64_t num_rows = 0, dim = 0;
  double max_norm = -1;
};

// Where the summed gradients of a part go.
template <typename T, typename Id>
struct SparseRows {
  Id* indices;
  T* values;
};

// After RowGradients::Group: the number of distinct rows per part, and where each bucket's begin within its part.
template <typename T>
std::vector<int64_t> DistinctRows(const RowGradients<T>& gradients, int num_parts, std::vector<int64_t>* bucket_starts) {
  std::vector<int64_t> counts(num_parts, 0);
  bucket_starts->resize(gradients.num_buckets());
  for (int bucket = 0; bucket < gradients.num_buckets(); ++bucket) {
    (*bucket_starts)[bucket] = counts[gradients.part_of(bucket)];
    counts[gradients.part_of(bucket)] += static_cast<int64_t>(gradients.group(bucket).rows.size());
  }
  return counts;
}

template <typename T, typename Id>
void WriteRows(const RowGradients<T>& gradients, const std::vector<Target<T>>& targets,
               const std::vector<SparseRows<T, Id>>& outputs, const std::vector<int64_t>& bucket_starts,
               const ParallelFor& parallel) {
  using A = Accumulator<T>;
  parallel(gradients.num_buckets(), kContributionsPerBucket * kNanosecondsPerId, [&](int64_t begin, int64_t end) {
    std::vector<A> buffer;
    for (int64_t bucket = begin; bucket < end; ++bucket) {
      const RowGroup& group = gradients.group(bucket);
      const int64_t distinct = static_cast<int64_t>(group.rows.size());
      if (distinct == 0) continue;
      const int part = gradients.part_of(bucket);
      const Target<T>& target = targets[part];
      Id* const indices = outputs[part].indices + bucket_starts[bucket];
      T* const values = outputs[part].values + bucket_starts[bucket] * target.dim;
      for (int64_t u = 0; u < distinct; ++u) indices[u] = static_cast<Id>(group.rows[u]);
      A* sums;
      if constexpr (std::is_same<T, A>::value) {
        sums = values;
      } else {
        buffer.resize(distinct * target.dim);
        sums = buffer.data();
      }
      gradients.Sum(bucket, group, target.dim, sums);
      if (target.max_norm >= 0) {
        for (int64_t u = 0; u < distinct; ++u)
          ClipGradient(target.rows + group.rows[u] * target.dim, target.dim, target.max_norm, sums + u * target.dim);
      }
      if constexpr (!std::is_same<T, A>::value) {
        for (int64_t i = 0; i < distinct * target.dim; ++i) FromFloat(sums[i], values + i);
      }
    }
  });
}

// One optimizer step of the touched rows, which must lie in their parts.
template <typename T>
void UpdateRows(const RowGradients<T>& gradients, const std::vector<Target<T>>& targets, const UpdateOptions& options,
                const ParallelFor& parallel) {
  using A = Accumulator<T>;
  constexpr int64_t kMostBytes = 512;  // of a row; the processor follows longer ones by itself
  parallel(gradients.num_buckets(), 2 * kContributionsPerBucket * kNanosecondsPerId, [&](int64_t begin, int64_t end) {
    std::vector<A> sums;
    std::vector<int32_t> slots;
    RowGroup group;
    for (int64_t bucket = begin; bucket < end; ++bucket) {
      const Target<T>& target = targets[gradients.part_of(bucket)];
      const int64_t dim = target.dim, bytes = std::min<int64_t>(dim * sizeof(T), kMostBytes);
      gradients.GroupBucket(bucket, &slots, &group);
      const int64_t distinct = static_cast<int64_t>(group.rows.size());
      if (distinct == 0) continue;
      if (static_cast<int64_t>(sums.size()) < distinct * dim) sums.resize(distinct * dim);
      // All rows and slots of the bucket at once: they lie in memory, each on a page of its own, and come while the sums are
      // made.
      for (int64_t u = 0; u < distinct; ++u) {
        const int64_t at = group.rows[u] * dim;
        for (int64_t byte = 0; byte < bytes; byte += 64) {
          __builtin_prefetch(reinterpret_cast<const char*>(target.rows + at) + byte, 0, 3);
          if (target.first != nullptr) __builtin_prefetch(reinterpret_cast<const char*>(target.first + at) + byte, 0, 3);
          if (target.second != nullptr) __builtin_prefetch(reinterpret_cast<const char*>(target.second + at) + byte, 0, 3);
        }
      }
      gradients.Sum(bucket, group, dim, sums.data());
      for (int64_t u = 0; u < distinct; ++u) {
        const int64_t at = group.rows[u] * dim;
        A* const gradient = sums.data() + u * dim;
        if (target.max_norm >= 0) ClipGradient(target.rows + at, dim, target.max_norm, gradient);
        GetRowKernels<T>().update(options, gradient, dim, target.rows + at, target.first == nullptr ? nullptr : target.first + at,
                                  target.second == nullptr ? nullptr : target.second + at);
      }
    }
  });
}

}  // namespace embedding
}  // namespace nann

#endif  // NANN_OPS_CC_EMBEDDING_BACKWARD_H_
