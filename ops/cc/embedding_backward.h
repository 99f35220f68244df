// Gradients by row: contributions from many places, summed per distinct row in a fixed order, then written out or applied.
//
// The contributions of a part of a table go to buckets by a hash of their row; buckets are the unit of parallel work. Within a
// bucket rows stand in the order of their first contribution, and a row's contributions are summed in their order. Nothing
// depends on the threads.

#ifndef NANN_OPS_CC_EMBEDDING_BACKWARD_H_
#define NANN_OPS_CC_EMBEDDING_BACKWARD_H_

#include <algorithm>

#include "ops/cc/embedding_forward.h"

namespace nann {
namespace embedding {

constexpr int64_t kBackwardIdsPerChunk = 2048;
constexpr int64_t kContributionsPerBucket = 2048;
constexpr int kMostBucketBits = 6;

template <typename T>
struct Contribution {
  int64_t row;
  const T* gradient;
  Accumulator<T> coefficient;
};

// The distinct rows of one bucket with their contributions.
template <typename T>
struct RowGroup {
  std::vector<int64_t> rows;     // [distinct]
  std::vector<int32_t> offsets;  // [distinct + 1]
  std::vector<const T*> gradients;
  std::vector<Accumulator<T>> coefficients;
};

template <typename T>
class RowGradients {
 public:
  using A = Accumulator<T>;

  // `sizes`: for every part about the number of contributions. `num_chunks`: of producers, which run in any order.
  RowGradients(const std::vector<int64_t>& sizes, int64_t num_chunks) : blocks_(num_chunks) {
    first_bucket_.push_back(0);
    for (const int64_t size : sizes) {
      int bits = 0;
      while (bits < kMostBucketBits && (kContributionsPerBucket << bits) < size) ++bits;
      bits_.push_back(bits);
      first_bucket_.push_back(first_bucket_.back() + (1 << bits));
    }
    groups_.resize(first_bucket_.back());
    for (Block& block : blocks_) block.ends.assign(groups_.size() > 1 ? groups_.size() : 1, 0);
    part_of_.resize(groups_.size());
    for (size_t part = 0; part < sizes.size(); ++part) {
      for (int bucket = first_bucket_[part]; bucket < first_bucket_[part + 1]; ++bucket)
        part_of_[bucket] = static_cast<int>(part);
    }
  }

  int num_buckets() const { return static_cast<int>(groups_.size()); }
  int part_of(int bucket) const { return part_of_[bucket]; }
  const RowGroup<T>& group(int bucket) const { return groups_[bucket]; }

  // Producer side: any number of Add for a chunk, then Seal.
  void Reserve(int64_t chunk, int64_t size) {
    blocks_[chunk].contributions.reserve(size);
    blocks_[chunk].buckets.reserve(size);
  }
  void Add(int64_t chunk, int part, int64_t row, const T* gradient, A coefficient) {
    Block& block = blocks_[chunk];
    const int bits = bits_[part];
    const int bucket = first_bucket_[part] + (bits == 0 ? 0 : static_cast<int>(Hash(row) >> (64 - bits)));
    block.contributions.push_back({row, gradient, coefficient});
    block.buckets.push_back(static_cast<uint32_t>(bucket));
    ++block.ends[bucket];
  }
  void Seal(int64_t chunk) {
    Block& block = blocks_[chunk];
    int64_t sum = 0;
    if (groups_.size() <= 1) {
      block.ends[0] = static_cast<int64_t>(block.contributions.size());
      return;
    }
    std::vector<int64_t> next(block.ends.size());
    for (size_t b = 0; b < block.ends.size(); ++b) {
      next[b] = sum;
      sum += block.ends[b];
      block.ends[b] = sum;
    }
    std::vector<Contribution<T>> sorted(block.contributions.size());
    for (size_t i = 0; i < sorted.size(); ++i) sorted[next[block.buckets[i]]++] = block.contributions[i];
    block.contributions.swap(sorted);
  }

  // After all chunks are sealed: groups the contributions of every bucket by row.
  void Group(const ParallelFor& parallel) {
    blocks_of_.assign(bits_.size(), {});
    for (const Block& block : blocks_) {
      for (size_t part = 0; part < bits_.size(); ++part) {
        const int first = first_bucket_[part];
        if (block.ends[first_bucket_[part + 1] - 1] > (first == 0 ? 0 : block.ends[first - 1]))
          blocks_of_[part].push_back(&block);
      }
    }
    parallel(num_buckets(), kContributionsPerBucket * kNanosecondsPerId, [&](int64_t begin, int64_t end) {
      Scratch scratch;
      for (int64_t bucket = begin; bucket < end; ++bucket) GroupBucket(bucket, &scratch);
    });
  }

 private:
  struct Block {
    std::vector<Contribution<T>> contributions;
    std::vector<uint32_t> buckets;
    std::vector<int64_t> ends;
  };
  struct Scratch {
    std::vector<int32_t> slots;
    std::vector<int32_t> which;
    std::vector<int32_t> next;
  };

  static uint64_t Hash(int64_t row) {
    const uint64_t mixed = static_cast<uint64_t>(row) * 0x9e3779b97f4a7c15ull;
    return (mixed ^ (mixed >> 29)) * 0xbf58476d1ce4e5b9ull;
  }

  template <typename Visit>
  void Each(int64_t bucket, const Visit& visit) const {
    for (const Block* block : blocks_of_[part_of_[bucket]]) {
      const int64_t begin = bucket == 0 ? 0 : block->ends[bucket - 1];
      for (int64_t i = begin; i < block->ends[bucket]; ++i) visit(block->contributions[i]);
    }
  }

  void GroupBucket(int64_t bucket, Scratch* scratch) {
    int64_t size = 0;
    for (const Block* block : blocks_of_[part_of_[bucket]]) {
      size += block->ends[bucket] - (bucket == 0 ? 0 : block->ends[bucket - 1]);
    }
    RowGroup<T>& group = groups_[bucket];
    group.offsets.assign(1, 0);
    if (size == 0) return;
    int slot_bits = 4;
    while ((int64_t{1} << slot_bits) < 2 * size) ++slot_bits;
    scratch->slots.assign(size_t{1} << slot_bits, -1);
    scratch->which.resize(size);
    const uint64_t mask = (uint64_t{1} << slot_bits) - 1;
    // The bucket took the top bits of the hash; the slot takes low ones.
    group.rows.reserve(size);
    std::vector<int32_t>& counts = scratch->next;
    counts.clear();
    counts.reserve(size);
    int64_t i = 0;
    Each(bucket, [&](const Contribution<T>& contribution) {
      uint64_t slot = (Hash(contribution.row) >> 8) & mask;
      int32_t found;
      while ((found = scratch->slots[slot]) >= 0 && group.rows[found] != contribution.row) slot = (slot + 1) & mask;
      if (found < 0) {
        found = static_cast<int32_t>(group.rows.size());
        scratch->slots[slot] = found;
        group.rows.push_back(contribution.row);
        counts.push_back(0);
      }
      ++counts[found];
      scratch->which[i++] = found;
    });
    const int64_t distinct = static_cast<int64_t>(group.rows.size());
    group.offsets.resize(distinct + 1);
    for (int64_t u = 0; u < distinct; ++u) {
      group.offsets[u + 1] = group.offsets[u] + counts[u];
      counts[u] = group.offsets[u];
    }
    group.gradients.resize(size);
    group.coefficients.resize(size);
    i = 0;
    Each(bucket, [&](const Contribution<T>& contribution) {
      const int32_t at = counts[scratch->which[i++]]++;
      group.gradients[at] = contribution.gradient;
      group.coefficients[at] = contribution.coefficient;
    });
  }

  std::vector<int> bits_, first_bucket_, part_of_;
  std::vector<Block> blocks_;
  std::vector<std::vector<const Block*>> blocks_of_;  // per part, those with contributions to it, in order
  std::vector<RowGroup<T>> groups_;
};

// The contributions of pooled gradients to the rows of their tables. `first_part` is the number of the first part of each table;
// gradient row r of feature f is at gradients[f].data + r * stride.
template <typename T, typename Id>
bool Scatter(const std::vector<Feature>& features, const std::vector<Partition>& partitions, const std::vector<int>& first_part,
             const std::vector<Lookup<T, Id>>& lookups, const std::vector<Slab<const T>>& gradients,
             const std::vector<Chunk>& chunks, const ParallelFor& parallel, RowGradients<T>* out, std::string* error) {
  using A = Accumulator<T>;
  FirstError first_error;
  parallel(static_cast<int64_t>(chunks.size()), kBackwardIdsPerChunk * kNanosecondsPerId, [&](int64_t begin, int64_t end) {
    Resolved<T> resolved;
    for (int64_t c = begin; c < end; ++c) {
      const Chunk& chunk = chunks[c];
      const Feature& feature = features[chunk.feature];
      const Partition& partition = partitions[feature.table];
      std::string message;
      if (!Resolve(feature, lookups[chunk.feature], partition, chunk.begin, chunk.end, false, &resolved, &message)) {
        first_error.Set(c, message);
        return;
      }
      const bool weighted = lookups[chunk.feature].weights != nullptr;
      out->Reserve(c, static_cast<int64_t>(resolved.ids.size()));
      for (int64_t row = chunk.begin; row < chunk.end; ++row) {
        const T* gradient = gradients[chunk.feature].data + row * gradients[chunk.feature].stride;
        const A divisor = resolved.divisors[row - chunk.begin];
        for (int32_t k = resolved.offsets[row - chunk.begin]; k < resolved.offsets[row - chunk.begin + 1]; ++k) {
          const Place place = partition.Find(resolved.ids[k]);
          const A weight = weighted ? resolved.weights[k] : A(1);
          out->Add(c, first_part[feature.table] + place.part, place.row, gradient,
                   divisor == 0 ? A(0) * weight : weight / divisor);
        }
      }
      out->Seal(c);
    }
  });
  if (!first_error.ok()) {
    *error = first_error.message();
    return false;
  }
  out->Group(parallel);
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
      const RowGroup<T>& group = gradients.group(bucket);
      const int64_t distinct = static_cast<int64_t>(group.rows.size());
      if (distinct == 0) continue;
      const int part = gradients.part_of(bucket);
      const Target<T>& target = targets[part];
      Id* const indices = outputs[part].indices + bucket_starts[bucket];
      T* const values = outputs[part].values + bucket_starts[bucket] * target.dim;
      for (int64_t u = 0; u < distinct; ++u) indices[u] = static_cast<Id>(group.rows[u]);
      if (target.max_norm < 0) {
        PoolInto<T>(group.gradients.data(), group.coefficients.data(), group.offsets.data(), nullptr, distinct, target.dim,
                    {values, target.dim}, &buffer);
        continue;
      }
      buffer.resize(distinct * target.dim);
      GetRowKernels<T>().pool(group.gradients.data(), group.coefficients.data(), group.offsets.data(), nullptr, distinct,
                              target.dim, buffer.data(), target.dim);
      for (int64_t u = 0; u < distinct; ++u) {
        ClipGradient(target.rows + group.rows[u] * target.dim, target.dim, target.max_norm, buffer.data() + u * target.dim);
        for (int64_t i = 0; i < target.dim; ++i) FromFloat(buffer[u * target.dim + i], values + u * target.dim + i);
      }
    }
  });
}

// One optimizer step of the touched rows. Rows outside their part are refused before anything is written.
template <typename T>
bool UpdateRows(const RowGradients<T>& gradients, const std::vector<Target<T>>& targets, const UpdateOptions& options,
                const ParallelFor& parallel, std::string* error) {
  using A = Accumulator<T>;
  for (int bucket = 0; bucket < gradients.num_buckets(); ++bucket) {
    const int64_t limit = targets[gradients.part_of(bucket)].num_rows;
    for (const int64_t row : gradients.group(bucket).rows) {
      if (row < 0 || row >= limit) {
        *error = "rows to update must lie in [0, " + std::to_string(limit) + "), got " + std::to_string(row);
        return false;
      }
    }
  }
  constexpr int64_t kRowsAtOnce = 32;
  parallel(gradients.num_buckets(), 2 * kContributionsPerBucket * kNanosecondsPerId, [&](int64_t begin, int64_t end) {
    std::vector<A> buffer;
    std::vector<int32_t> offsets(kRowsAtOnce + 1);
    for (int64_t bucket = begin; bucket < end; ++bucket) {
      const RowGroup<T>& group = gradients.group(bucket);
      const int64_t distinct = static_cast<int64_t>(group.rows.size());
      const Target<T>& target = targets[gradients.part_of(bucket)];
      const int64_t dim = target.dim;
      buffer.resize(kRowsAtOnce * dim);
      for (int64_t from = 0; from < distinct; from += kRowsAtOnce) {
        const int64_t count = std::min(kRowsAtOnce, distinct - from);
        for (int64_t u = 0; u <= count; ++u) offsets[u] = group.offsets[from + u] - group.offsets[from];
        const int32_t start = group.offsets[from];
        for (int64_t u = 0; u < count; ++u) {
          const int64_t at = group.rows[from + u] * dim;
          for (int64_t i = 0; i < std::min<int64_t>(dim * sizeof(T), 512); i += 64) {
            __builtin_prefetch(reinterpret_cast<const char*>(target.rows + at) + i, 1);
            if (target.first != nullptr) __builtin_prefetch(reinterpret_cast<const char*>(target.first + at) + i, 1);
            if (target.second != nullptr) __builtin_prefetch(reinterpret_cast<const char*>(target.second + at) + i, 1);
          }
        }
        GetRowKernels<T>().pool(group.gradients.data() + start, group.coefficients.data() + start, offsets.data(), nullptr, count,
                                dim, buffer.data(), dim);
        for (int64_t u = 0; u < count; ++u) {
          const int64_t at = group.rows[from + u] * dim;
          A* const gradient = buffer.data() + u * dim;
          if (target.max_norm >= 0) ClipGradient(target.rows + at, dim, target.max_norm, gradient);
          GetRowKernels<T>().update(options, gradient, dim, target.rows + at,
                                    target.first == nullptr ? nullptr : target.first + at,
                                    target.second == nullptr ? nullptr : target.second + at);
        }
      }
    }
  });
  return true;
}

}  // namespace embedding
}  // namespace nann

#endif  // NANN_OPS_CC_EMBEDDING_BACKWARD_H_
