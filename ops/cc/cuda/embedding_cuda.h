// Launchers of the CUDA kernels: plain pointers and sizes. Neither TensorFlow nor CUDA is included, so that g++ compiles their
// callers against TensorFlow, nvcc compiles the kernels without it, and a test can run them alone.
//
// Every launcher only enqueues work on `stream`, ReadBack excepted, and returns null, or what went wrong. Pointers are device
// memory unless they are said to be host memory. Sums have a fixed order: there are no floating-point atomics, and results have
// equal bits in every run. An id outside its table contributes nothing and is noted in `bad`; whoever wants it refused reads that
// back.

#ifndef NANN_OPS_CC_CUDA_EMBEDDING_CUDA_H_
#define NANN_OPS_CC_CUDA_EMBEDDING_CUDA_H_

#include <cstddef>
#include <cstdint>

#include "ops/cc/embedding_rows.h"

namespace nann {
namespace embedding {
namespace cuda {

using Stream = void*;  // a cudaStream_t

constexpr int kMostParts = 16;
constexpr int64_t kNoBadPlace = 0x7f7f7f7f7f7f7f7f;  // what `bad` holds if nothing was refused
constexpr int64_t kBadDefault = int64_t{1} << 61;    // `bad`: the default id lies outside the table
constexpr int64_t kBadSplits = int64_t{1} << 60;     // `bad`: row splits descend, or do not cover the ids
constexpr int64_t kBadIndex = int64_t{1} << 59;      // `bad`: kBadIndex + k if the indices of id k lie outside the shape

// Device memory that stays valid until the work enqueued so far has run.
class Scratch {
 public:
  virtual ~Scratch() = default;
  virtual void* Allocate(size_t bytes) = 0;  // null if there is none left
};

enum class Pooling : int { kSum, kMean, kSqrtn };

// One feature of a grouped lookup: its table, its ids, and the rows it pools into or whose gradient is given.
template <typename T, typename Id>
struct FeatureView {
  T* parts[kMostParts];
  int num_parts;
  Pooling pooling;
  bool mod, prune, fill;
  int64_t table_rows, dim;
  int64_t default_id;  // of empty rows; zeros if negative
  double max_norm;     // none if negative
  const Id* ids;
  const T* weights;       // null for ones
  const int64_t* splits;  // [num_rows + 1]
  const int32_t* order;   // positions of the ids of the rows in turn; null if the ids stand that way
  int64_t num_rows, num_ids;
  T* pooled;          // row r at pooled + r * stride; of the forward pass
  const T* gradient;  // likewise; of the backward pass
  int64_t stride;
  T* weight_gradient;  // [num_ids], zeroed before
  int64_t* bad;        // the first position of an id outside the table
  int64_t first_key;   // of the table, among the rows of all tables
  int64_t first_slot;  // of the feature, among all contributions
};

// Contributions of one feature to the gradient: one per id, and one per row that may take the default id.
template <typename T, typename Id>
int64_t ContributionsOf(const FeatureView<T, Id>& feature) {
  return feature.num_ids + (feature.fill && feature.default_id >= 0 ? feature.num_rows : 0);
}

// A part of a table as the target of gradients. Its rows have keys [first_key, first_key + num_rows).
template <typename T>
struct PartView {
  T *rows, *first, *second;  // table and slots; null where not needed
  int64_t first_key, num_rows, dim;
  double max_norm;
  void* indices;  // [distinct] of the id type
  T* values;      // [distinct, dim]
};

// What is added to the rows: coefficients[i] * gradients[i][0 .. dim) to the row of keys[i]; key `no_key` adds to none.
template <typename T>
struct Contributions {
  int64_t count, no_key;
  uint64_t* keys;
  const T** gradients;
  Accumulator<T>* coefficients;
};

// The same, sorted by key; the distinct keys are numbered in ascending order.
template <typename T>
struct RowSums {
  Contributions<T> contributions;
  const int32_t* order;           // [count] contributions by key, those of one key in their order
  const uint64_t* distinct;       // [distinct] keys
  const int64_t* starts;          // [distinct + 1] into order
  const int64_t* part_starts;     // [parts + 1] number of the first distinct key of each part; the last is their number
  const int64_t* value_starts;    // [parts + 1] where the sums of each part begin
  const PartView<T>* parts;       // device copy
  const PartView<T>* host_parts;  // as given to SortRows
  int num_parts;
  Accumulator<T>* sums;  // set by SumRows
};

const char* FillBytes(Stream stream, void* to, int byte, size_t size);
const char* CopyOnDevice(Stream stream, void* to, const void* from, size_t size);
const char* ReadBack(Stream stream, void* host, const void* from, size_t size);  // waits for the stream

// Row splits [num_rows + 1] and order [num_ids] of sparse indices [num_ids, rank]; `shape` [rank] is host memory. An index
// outside the shape is noted in `bad`, with kBadIndex, and its id dropped.
const char* SplitIndices(Stream stream, Scratch* scratch, const int64_t* indices, int64_t num_ids, const int64_t* shape, int rank,
                         int64_t* splits, int32_t* order, int64_t* bad);

// `features` is host memory here and below.
template <typename T, typename Id>
const char* Forward(Stream stream, const FeatureView<T, Id>* features, int num_features);
template <typename T, typename Id>
const char* WeightGradient(Stream stream, const FeatureView<T, Id>* features, int num_features);

// None of them adds to any row yet.
template <typename T>
const char* Allocate(Stream stream, Scratch* scratch, int64_t count, int64_t no_key, Contributions<T>* contributions);
// The contributions of pooled gradients, at each feature's first_slot.
template <typename T, typename Id>
const char* AddLookups(Stream stream, const FeatureView<T, Id>* features, int num_features,
                       const Contributions<T>& contributions);
// Those of given rows: gradient row i of `gradient` goes to row ids[i]. `skip_zero` leaves out id 0.
template <typename T, typename Id>
const char* AddRows(Stream stream, const Id* ids, int64_t count, int64_t table_rows, bool skip_zero, const T* gradient,
                    int64_t stride, int64_t first_key, int64_t first_slot, const Contributions<T>& contributions, int64_t* bad);

// `parts` is host memory, in the order of their keys.
template <typename T>
const char* SortRows(Stream stream, Scratch* scratch, const Contributions<T>& contributions, const PartView<T>* parts,
                     int num_parts, RowSums<T>* rows);
// Adds the contributions up, with the Jacobian of max_norm.
template <typename T>
const char* SumRows(Stream stream, Scratch* scratch, RowSums<T>* rows);
// After SortRows, with outputs of the sizes that part_starts says: puts them into the parts' device copy and writes them.
template <typename T, typename Id>
const char* WriteRows(Stream stream, Scratch* scratch, const PartView<T>* parts, RowSums<T>* rows);
template <typename T>
const char* UpdateRows(Stream stream, const UpdateOptions& options, const RowSums<T>& rows);

// One row per id and table, side by side; id 0 gives zeros.
template <typename T, typename Id>
const char* Positions(Stream stream, const T* table, int64_t table_rows, int64_t dim, const Id* ids, int64_t num_ids, T* out,
                      int64_t stride, int64_t* bad);

}  // namespace cuda
}  // namespace embedding
}  // namespace nann

#endif  // NANN_OPS_CC_CUDA_EMBEDDING_CUDA_H_
