// Gradients of pooled rows with regard to the rows of tables: found, clipped, and written out or applied.

#ifndef NANN_OPS_CC_EMBEDDING_BACKWARD_H_
#define NANN_OPS_CC_EMBEDDING_BACKWARD_H_

#include <algorithm>
#include <cstring>

#include "ops/cc/embedding_row_gradients.h"

namespace nann {
namespace embedding {

constexpr int64_t kBackwardIdsPerChunk = 2048;

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
