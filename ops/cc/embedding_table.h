// A table in one or several parts, and the lookups into it. No TensorFlow in here, so that a test can drive it by itself.

#ifndef NANN_OPS_CC_EMBEDDING_TABLE_H_
#define NANN_OPS_CC_EMBEDDING_TABLE_H_

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "ops/cc/embedding_rows.h"

namespace nann {
namespace embedding {

// Calls work(begin, end) over ranges that cover [0, n), maybe in parallel. `cost` is about the nanoseconds of one unit.
using ParallelFor = std::function<void(int64_t n, int64_t cost, const std::function<void(int64_t, int64_t)>& work)>;

inline void RunInline(int64_t n, int64_t /*cost*/, const std::function<void(int64_t, int64_t)>& work) {
  if (n > 0) work(0, n);
}

// The error of the earliest place, whichever thread finds one first.
class FirstError {
 public:
  void Set(int64_t place, std::string message) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (place_ >= 0 && place_ <= place) return;
    place_ = place;
    message_ = std::move(message);
  }
  const std::string& message() const { return message_; }
  bool ok() const { return place_ < 0; }

 private:
  std::mutex mutex_;
  int64_t place_ = -1;
  std::string message_;
};

struct Place {
  int part;
  int64_t row;
};

// How ids map to (part, row): stock TensorFlow's partition strategies. div gives each part a range of ids, the first `rows %
// parts` parts one more than the others; mod deals ids out in turn.
class Partition {
 public:
  Partition() = default;
  Partition(std::vector<int64_t> part_rows, bool mod) : part_rows_(std::move(part_rows)), mod_(mod) {
    for (const int64_t rows : part_rows_) num_rows_ += rows;
    const int64_t parts = static_cast<int64_t>(part_rows_.size());
    if (parts > 0) {
      per_part_ = num_rows_ / parts;
      extras_ = num_rows_ % parts;
    }
  }
  int64_t num_rows() const { return num_rows_; }
  int num_parts() const { return static_cast<int>(part_rows_.size()); }
  int64_t part_rows(int part) const { return part_rows_[part]; }

  // id must lie in [0, num_rows). The row may lie outside its part if the parts are not of the sizes the strategy asks for.
  Place Find(int64_t id) const {
    if (part_rows_.size() == 1) return {0, id};
    if (mod_) {
      const int64_t parts = static_cast<int64_t>(part_rows_.size());
      return {static_cast<int>(id % parts), id / parts};
    }
    const int64_t longer = extras_ * (per_part_ + 1);
    if (id < longer) return {static_cast<int>(id / (per_part_ + 1)), id % (per_part_ + 1)};
    return {static_cast<int>(extras_ + (id - longer) / per_part_), (id - longer) % per_part_};
  }
  bool Holds(Place place) const { return place.row < part_rows_[place.part]; }

 private:
  std::vector<int64_t> part_rows_;
  int64_t num_rows_ = 0, per_part_ = 0, extras_ = 0;
  bool mod_ = false;
};

inline float Root(float value) { return __builtin_sqrtf(value); }
inline double Root(double value) { return __builtin_sqrt(value); }

enum class Combiner { kSum, kMean, kSqrtn };

struct Feature {
  std::string name;
  int table = 0;
  Combiner combiner = Combiner::kMean;
  double max_norm = -1;     // none if negative
  int64_t default_id = -1;  // of empty rows; zeros if negative
  bool prune = true;        // drop negative ids, and weights not above 0 (mean and sqrtn)
  bool fill = true;         // give empty rows the default id
};

// The ids of one feature: row r owns positions [splits[r], splits[r + 1]) of `order`, or of the values themselves if `order` is
// null.
template <typename T, typename Id>
struct Lookup {
  const Id* ids = nullptr;
  const T* weights = nullptr;
  const int64_t* splits = nullptr;
  const int64_t* order = nullptr;
  int64_t num_rows = 0;
};

// What remains of some rows of a lookup after pruning and filling.
template <typename T>
struct Resolved {
  using A = Accumulator<T>;
  std::vector<int64_t> ids;
  std::vector<int64_t> positions;  // in the values; -1 for a filled one
  std::vector<A> weights;          // only for a weighted lookup
  std::vector<int32_t> offsets;    // [rows + 1]
  std::vector<A> divisors;         // [rows]; 1 for combiner sum
};

// Resolves rows [begin, end) without weights or defaults, if no id needs to be dropped or refused.
template <typename T, typename Id>
bool ResolveAllValid(Combiner combiner, const Lookup<T, Id>& lookup, int64_t table_rows, int64_t begin, int64_t end,
                     Resolved<T>* resolved) {
  using A = Accumulator<T>;
  const int64_t start = lookup.splits[begin], count = lookup.splits[end] - start;
  const Id* const ids = lookup.ids + start;
  int64_t* const out = resolved->ids.data();
  bool valid = true;
  for (int64_t k = 0; k < count; ++k) {
    const int64_t id = static_cast<int64_t>(ids[k]);
    valid &= static_cast<uint64_t>(id) < static_cast<uint64_t>(table_rows);
    out[k] = id;
  }
  if (!valid) return false;
  resolved->ids.resize(count);
  const int64_t* const splits = lookup.splits + begin;
  for (int64_t row = 0; row <= end - begin; ++row) resolved->offsets[row] = static_cast<int32_t>(splits[row] - start);
  for (int64_t row = 0; row < end - begin; ++row) {
    const A size = static_cast<A>(resolved->offsets[row + 1] - resolved->offsets[row]);
    resolved->divisors[row] = combiner == Combiner::kSum ? A(1) : combiner == Combiner::kMean ? size : Root(size);
  }
  return true;
}

// Resolves rows [begin, end). The error names the feature and the id.
template <typename T, typename Id>
bool Resolve(const Feature& feature, const Lookup<T, Id>& lookup, const Partition& partition, int64_t begin, int64_t end,
             bool want_positions, Resolved<T>* resolved, std::string* error) {
  using A = Accumulator<T>;
  const int64_t most = lookup.splits[end] - lookup.splits[begin] + (end - begin);
  const bool weighted = lookup.weights != nullptr;
  const bool prune_weights = feature.prune && feature.combiner != Combiner::kSum;
  const bool fills = feature.fill && feature.default_id >= 0;
  resolved->ids.resize(most);
  resolved->offsets.resize(end - begin + 1);
  resolved->divisors.resize(end - begin);
  if (weighted) resolved->weights.resize(most);
  if (want_positions) resolved->positions.resize(most);
  if (!weighted && !fills && !want_positions && lookup.order == nullptr && most <= INT32_MAX &&
      ResolveAllValid(feature.combiner, lookup, partition.num_rows(), begin, end, resolved)) {
    return true;
  }
  int64_t used = 0;
  resolved->offsets[0] = 0;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t first = used;
    A sum = 0, squares = 0;
    for (int64_t k = lookup.splits[row]; k < lookup.splits[row + 1]; ++k) {
      const int64_t position = lookup.order == nullptr ? k : lookup.order[k];
      const int64_t id = static_cast<int64_t>(lookup.ids[position]);
      if (id < 0 && feature.prune) continue;
      if (weighted) {
        const A weight = ToFloat(lookup.weights[position]);
        if (prune_weights && !(weight > 0)) continue;
        resolved->weights[used] = weight;
        sum += weight;
        squares += weight * weight;
      }
      if (id < 0 || id >= partition.num_rows()) {
        *error = "ids of " + feature.name + " must lie in [0, " + std::to_string(partition.num_rows()) + "), got id " +
                 std::to_string(id) + " at position " + std::to_string(position);
        return false;
      }
      if (want_positions) resolved->positions[used] = position;
      resolved->ids[used++] = id;
    }
    if (used == first && fills) {
      if (feature.default_id >= partition.num_rows()) {
        *error = "default_id of " + feature.name + " must lie in [0, " + std::to_string(partition.num_rows()) + "), got " +
                 std::to_string(feature.default_id);
        return false;
      }
      if (weighted) resolved->weights[used] = 1;
      if (want_positions) resolved->positions[used] = -1;
      resolved->ids[used++] = feature.default_id;
      sum = squares = 1;
    }
    const A count = static_cast<A>(used - first);
    A divisor = 1;
    if (feature.combiner == Combiner::kMean) divisor = weighted ? sum : count;
    if (feature.combiner == Combiner::kSqrtn) divisor = Root(weighted ? squares : count);
    resolved->divisors[row - begin] = divisor;
    resolved->offsets[row - begin + 1] = static_cast<int32_t>(used);
  }
  if (used > INT32_MAX) {
    *error = "a chunk of rows of " + feature.name + " may have at most 2^31 - 1 ids, got " + std::to_string(used);
    return false;
  }
  resolved->ids.resize(used);
  if (weighted) resolved->weights.resize(used);
  if (want_positions) resolved->positions.resize(used);
  return true;
}

// Scale that clips a row to `max_norm`, and its norm: tf.clip_by_norm.
template <typename T>
Accumulator<T> ClipScale(const T* row, int64_t dim, double max_norm, Accumulator<T>* norm) {
  using A = Accumulator<T>;
  *norm = static_cast<A>(__builtin_sqrt(GetRowKernels<T>().dot(row, row, dim)));
  const A limit = static_cast<A>(max_norm);
  return *norm >= limit ? limit / *norm : A(1);
}

// A range of rows of one feature: the unit of parallel work. Chunks depend on the input alone, never on the number of threads.
struct Chunk {
  int feature;
  int64_t begin, end;
};

template <typename T, typename Id>
std::vector<Chunk> MakeChunks(const std::vector<Lookup<T, Id>>& lookups, int64_t ids_per_chunk) {
  std::vector<Chunk> chunks;
  for (size_t f = 0; f < lookups.size(); ++f) {
    const Lookup<T, Id>& lookup = lookups[f];
    // Rows cost something, too: a chunk ends with the row in which ids and rows together reach a multiple of the size.
    int64_t begin = 0, limit = 0;
    while (begin < lookup.num_rows) {
      limit = (lookup.splits[begin] + begin) / ids_per_chunk * ids_per_chunk + ids_per_chunk;
      int64_t low = begin + 1, high = lookup.num_rows;
      while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (lookup.splits[middle] + middle >= limit) {
          high = middle;
        } else {
          low = middle + 1;
        }
      }
      chunks.push_back({static_cast<int>(f), begin, low});
      begin = low;
    }
  }
  return chunks;
}

// Rows of a batch of sparse ids: the splits take 8 bytes each whether a row has ids or not.
constexpr int64_t kMostRows = int64_t{1} << 28;

// Row splits of sparse indices of rank 2 whose rows ascend, which is what nearly all are: part of them, those that start at one
// of the ids [begin, end). `end == num_ids` also gives those of the rows after the last id. False if the rows do not ascend or
// leave the shape; SplitsOfIndices then takes the general way. Parts write disjoint splits as long as the rows ascend; where they
// do not, the splits are thrown away, and the relaxed stores only keep the race harmless.
inline bool SplitsOfAscendingIndices(const int64_t* indices, int64_t num_ids, int64_t num_rows, int64_t begin, int64_t end,
                                     int64_t* splits) {
  int64_t previous = begin == 0 ? -1 : indices[2 * (begin - 1)];
  if (previous < -1 || previous >= num_rows || (begin > 0 && previous < 0)) return false;
  for (int64_t k = begin; k < end; ++k) {
    const int64_t row = indices[2 * k];
    if (row == previous && row >= 0) continue;
    if (row <= previous || row >= num_rows) return false;
    for (int64_t r = previous + 1; r <= row; ++r) __atomic_store_n(splits + r, k, __ATOMIC_RELAXED);
    previous = row;
  }
  if (end == num_ids) {
    for (int64_t r = previous + 1; r <= num_rows; ++r) __atomic_store_n(splits + r, num_ids, __ATOMIC_RELAXED);
  }
  return true;
}

// Row splits of sparse indices. `order` stays empty when the rows ascend.
inline bool SplitsOfIndices(const int64_t* indices, int64_t num_ids, const int64_t* dense_shape, int64_t rank,
                            std::vector<int64_t>* splits, std::vector<int64_t>* order, std::string* error) {
  int64_t num_rows = 1;
  for (int64_t axis = 0; axis + 1 < rank; ++axis) {
    if (dense_shape[axis] < 0 || (dense_shape[axis] > 0 && num_rows > kMostRows / dense_shape[axis])) {
      *error = "dense_shape must give between 0 and 2^28 rows, got " + std::to_string(dense_shape[axis]) + " on axis " +
               std::to_string(axis);
      return false;
    }
    num_rows *= dense_shape[axis];
  }
  splits->assign(num_rows + 1, 0);
  std::vector<int64_t> rows(rank == 2 ? 0 : num_ids);
  int64_t previous = 0;
  bool ascending = true;
  for (int64_t k = 0; k < num_ids; ++k) {
    int64_t row = 0;
    for (int64_t axis = 0; axis + 1 < rank; ++axis) {
      const int64_t index = indices[k * rank + axis];
      if (index < 0 || index >= dense_shape[axis]) {
        *error = "index " + std::to_string(index) + " of value " + std::to_string(k) + " must lie in [0, " +
                 std::to_string(dense_shape[axis]) + ") on axis " + std::to_string(axis);
        return false;
      }
      row = row * dense_shape[axis] + index;
    }
    if (rank != 2) rows[k] = row;
    ++(*splits)[row + 1];
    ascending = ascending && row >= previous;
    previous = row;
  }
  for (int64_t row = 0; row < num_rows; ++row) (*splits)[row + 1] += (*splits)[row];
  order->clear();
  if (ascending) return true;
  std::vector<int64_t> next(splits->begin(), splits->end() - 1);
  order->resize(num_ids);
  for (int64_t k = 0; k < num_ids; ++k) (*order)[next[rank == 2 ? indices[k * 2] : rows[k]]++] = k;
  return true;
}

inline bool CheckSplits(const int64_t* splits, int64_t num_splits, int64_t num_ids, std::string* error) {
  if (num_splits < 1 || splits[0] != 0 || splits[num_splits - 1] != num_ids) {
    *error = "row_splits must go from 0 to the number of ids " + std::to_string(num_ids) + ", got " + std::to_string(num_splits) +
             " splits" +
             (num_splits < 1 ? "" : " from " + std::to_string(splits[0]) + " to " + std::to_string(splits[num_splits - 1]));
    return false;
  }
  for (int64_t i = 1; i < num_splits; ++i) {
    if (splits[i] < splits[i - 1]) {
      *error = "row_splits must not descend, got " + std::to_string(splits[i - 1]) + " before " + std::to_string(splits[i]) +
               " at " + std::to_string(i);
      return false;
    }
  }
  return true;
}

}  // namespace embedding
}  // namespace nann

#endif  // NANN_OPS_CC_EMBEDDING_TABLE_H_
