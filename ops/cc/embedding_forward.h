// The grouped forward pass, and the gradient of the weights.

#ifndef NANN_OPS_CC_EMBEDDING_FORWARD_H_
#define NANN_OPS_CC_EMBEDDING_FORWARD_H_

#include <algorithm>

#include "ops/cc/embedding_table.h"

namespace nann {
namespace embedding {

template <typename T>
struct Table {
  Partition partition;
  std::vector<T*> parts;
  int64_t dim = 0;

  T* Row(int64_t id) const {
    if (parts.size() == 1) return parts[0] + id * dim;
    const Place place = partition.Find(id);
    return parts[place.part] + place.row * dim;
  }
};

// Where the pooled rows of a feature go: row r to data + r * stride.
template <typename T>
struct Slab {
  T* data = nullptr;
  int64_t stride = 0;
};

constexpr int64_t kForwardIdsPerChunk = 512;
constexpr int64_t kNanosecondsPerId = 12;

inline void StoreRows(const float* from, int64_t rows, int64_t dim, Slab<Half> to) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < dim; ++i) FromFloat(from[r * dim + i], to.data + r * to.stride + i);
  }
}
inline void StoreRows(const float* from, int64_t rows, int64_t dim, Slab<BFloat16> to) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < dim; ++i) FromFloat(from[r * dim + i], to.data + r * to.stride + i);
  }
}

// Pools into `to`, through a buffer where the sums are of another type.
template <typename T>
void PoolInto(const T* const* rows, const Accumulator<T>* coefficients, const int32_t* offsets, const Accumulator<T>* divisors,
              int64_t num_rows, int64_t dim, Slab<T> to, std::vector<Accumulator<T>>* buffer) {
  if constexpr (std::is_same<T, Accumulator<T>>::value) {
    GetRowKernels<T>().pool(rows, coefficients, offsets, divisors, num_rows, dim, to.data, to.stride);
  } else {
    buffer->resize(num_rows * dim);
    GetRowKernels<T>().pool(rows, coefficients, offsets, divisors, num_rows, dim, buffer->data(), dim);
    StoreRows(buffer->data(), num_rows, dim, to);
  }
}

// The rows of some ids. All are asked for at once, as the distinct ones among them, most of which lie in memory, are few: asking
// some rows ahead while adding up keeps too few of them on their way.
template <typename T>
void FindRows(const Table<T>& table, const std::vector<int64_t>& ids, std::vector<const T*>* rows) {
  constexpr int64_t kMostBytes = 512;  // the processor follows longer rows by itself
  const int64_t num_ids = static_cast<int64_t>(ids.size()), bytes = std::min<int64_t>(table.dim * sizeof(T), kMostBytes);
  rows->resize(num_ids);
  for (int64_t k = 0; k < num_ids; ++k) {
    const T* const row = table.Row(ids[k]);
    (*rows)[k] = row;
    for (int64_t byte = 0; byte < bytes; byte += 64) __builtin_prefetch(reinterpret_cast<const char*>(row) + byte, 0, 2);
  }
}

template <typename T, typename Id>
bool Forward(const std::vector<Feature>& features, const std::vector<Table<T>>& tables, const std::vector<Lookup<T, Id>>& lookups,
             const std::vector<Slab<T>>& outputs, const ParallelFor& parallel, std::string* error) {
  using A = Accumulator<T>;
  const std::vector<Chunk> chunks = MakeChunks(lookups, kForwardIdsPerChunk);
  FirstError first_error;
  parallel(static_cast<int64_t>(chunks.size()), kForwardIdsPerChunk * kNanosecondsPerId, [&](int64_t begin, int64_t end) {
    Resolved<T> resolved;
    std::vector<const T*> rows;
    std::vector<A> buffer;
    for (int64_t c = begin; c < end; ++c) {
      const Chunk& chunk = chunks[c];
      const Feature& feature = features[chunk.feature];
      const Table<T>& table = tables[feature.table];
      std::string message;
      if (!Resolve(feature, lookups[chunk.feature], table.partition, chunk.begin, chunk.end, false, &resolved, &message)) {
        first_error.Set(c, message);
        return;
      }
      const int64_t num_ids = static_cast<int64_t>(resolved.ids.size());
      FindRows(table, resolved.ids, &rows);
      if (feature.max_norm >= 0) {
        if (lookups[chunk.feature].weights == nullptr) resolved.weights.assign(num_ids, A(1));
        for (int64_t k = 0; k < num_ids; ++k) {
          A norm;
          resolved.weights[k] *= ClipScale(rows[k], table.dim, feature.max_norm, &norm);
        }
      }
      const bool scaled = lookups[chunk.feature].weights != nullptr || feature.max_norm >= 0;
      const Slab<T>& out = outputs[chunk.feature];
      PoolInto<T>(rows.data(), scaled ? resolved.weights.data() : nullptr, resolved.offsets.data(),
                  feature.combiner == Combiner::kSum ? nullptr : resolved.divisors.data(), chunk.end - chunk.begin, table.dim,
                  {out.data + chunk.begin * out.stride, out.stride}, &buffer);
    }
  });
  *error = first_error.message();
  return first_error.ok();
}

// d loss / d weight of every value of every weighted feature; 0 for values that were pruned. With e_k the (clipped) row of value
// k, W the sum of weights, S the root of their squares' sum and g the gradient of the pooled row: sum: g e_k; mean: (g e_k -
// sum_j w_j g e_j / W) / W; sqrtn: g e_k / S - w_k sum_j w_j g e_j / S^3.
template <typename T, typename Id>
bool WeightGradient(const std::vector<Feature>& features, const std::vector<Table<T>>& tables,
                    const std::vector<Lookup<T, Id>>& lookups, const std::vector<Slab<const T>>& gradients,
                    const std::vector<T*>& outputs, const ParallelFor& parallel, std::string* error) {
  using A = Accumulator<T>;
  const std::vector<Chunk> chunks = MakeChunks(lookups, kForwardIdsPerChunk);
  FirstError first_error;
  parallel(static_cast<int64_t>(chunks.size()), kForwardIdsPerChunk * kNanosecondsPerId, [&](int64_t begin, int64_t end) {
    Resolved<T> resolved;
    std::vector<A> products;
    for (int64_t c = begin; c < end; ++c) {
      const Chunk& chunk = chunks[c];
      const Feature& feature = features[chunk.feature];
      const Table<T>& table = tables[feature.table];
      T* const out = outputs[chunk.feature];
      if (out == nullptr) continue;
      std::string message;
      if (!Resolve(feature, lookups[chunk.feature], table.partition, chunk.begin, chunk.end, true, &resolved, &message)) {
        first_error.Set(c, message);
        return;
      }
      for (int64_t row = chunk.begin; row < chunk.end; ++row) {
        const int32_t from = resolved.offsets[row - chunk.begin], to = resolved.offsets[row - chunk.begin + 1];
        const T* gradient = gradients[chunk.feature].data + row * gradients[chunk.feature].stride;
        const A divisor = resolved.divisors[row - chunk.begin];
        products.resize(to - from);
        A total = 0;
        for (int32_t k = from; k < to; ++k) {
          const T* vector = table.Row(resolved.ids[k]);
          A product = GetRowKernels<T>().dot(vector, gradient, table.dim), norm;
          if (feature.max_norm >= 0) product *= ClipScale(vector, table.dim, feature.max_norm, &norm);
          products[k - from] = product;
          total += resolved.weights[k] * product;
        }
        for (int32_t k = from; k < to; ++k) {
          if (resolved.positions[k] < 0) continue;
          A derivative = products[k - from];
          if (feature.combiner != Combiner::kSum) {
            if (divisor == 0) {
              derivative = 0;
            } else if (feature.combiner == Combiner::kMean) {
              derivative = (derivative - total / divisor) / divisor;
            } else {
              derivative = derivative / divisor - resolved.weights[k] * total / (divisor * divisor * divisor);
            }
          }
          FromFloat(derivative, out + resolved.positions[k]);
        }
      }
    }
  });
  *error = first_error.message();
  return first_error.ok();
}

}  // namespace embedding
}  // namespace nann

#endif  // NANN_OPS_CC_EMBEDDING_FORWARD_H_
