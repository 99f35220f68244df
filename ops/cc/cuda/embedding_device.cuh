// What the CUDA kernels share: the 16 bit types, sums over the lanes of a group, and one id of a lookup.

#ifndef NANN_OPS_CC_CUDA_EMBEDDING_DEVICE_CUH_
#define NANN_OPS_CC_CUDA_EMBEDDING_DEVICE_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>

#include "ops/cc/cuda/embedding_cuda.h"

namespace nann {
namespace embedding {
namespace cuda {

constexpr int kThreads = 256;
#ifndef NANN_MOST_BLOCKS
#define NANN_MOST_BLOCKS 65536  // tests take few, so that threads go on to further rows
#endif
constexpr int64_t kMostBlocks = NANN_MOST_BLOCKS;
constexpr int kFeaturesPerLaunch = 12;  // parameters of a kernel fit 4 KiB
constexpr int kValuesPerLane = 4;

inline const char* Launched() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
inline const char* Text(cudaError_t error) { return error == cudaSuccess ? nullptr : cudaGetErrorString(error); }
inline cudaStream_t Native(Stream stream) { return static_cast<cudaStream_t>(stream); }
// At least one block, so that callers with work of unknown size may launch; kernels stride over the rest.
inline unsigned BlocksFor(int64_t threads) {
  return static_cast<unsigned>(std::min<int64_t>(kMostBlocks, std::max<int64_t>(1, (threads + kThreads - 1) / kThreads)));
}

// A kernel is launched by this alone, so that a test can give it another meaning; `kernel` stands in parentheses.
#ifndef NANN_LAUNCH
#define NANN_LAUNCH(kernel, blocks, threads, stream, ...) kernel<<<blocks, threads, 0, stream>>>(__VA_ARGS__)
#endif

#define NANN_CUDA_TRY(call)                                 \
  do {                                                      \
    if (const char* nann_error = (call)) return nann_error; \
  } while (false)

template <typename T, typename Id>
struct Batch {
  FeatureView<T, Id> features[kFeaturesPerLaunch];
};
static_assert(sizeof(Batch<double, int64_t>) <= 4000, "parameters of a kernel must fit 4 KiB");

__device__ inline float Widen(Half value) { return __half2float(__ushort_as_half(value.bits)); }
__device__ inline float Widen(BFloat16 value) { return __uint_as_float(static_cast<uint32_t>(value.bits) << 16); }
__device__ inline float Widen(float value) { return value; }
__device__ inline double Widen(double value) { return value; }
__device__ inline void Narrow(float value, Half* out) { out->bits = __half_as_ushort(__float2half_rn(value)); }
__device__ inline void Narrow(float value, BFloat16* out) { out->bits = __bfloat16_as_ushort(__float2bfloat16_rn(value)); }
__device__ inline void Narrow(float value, float* out) { *out = value; }
__device__ inline void Narrow(double value, double* out) { *out = value; }

// Sum over the kLanes neighbouring threads of a group; equal bits in all of them. All of the group must call it together, the
// other groups of the warp need not.
template <int kLanes, typename A>
__device__ A GroupSum(A value) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned mask = kLanes == 32 ? 0xffffffffu : ((1u << (kLanes % 32)) - 1u) << (lane / kLanes * kLanes);
  for (int offset = kLanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(mask, value, offset, kLanes);
  return value;
}

template <int kLanes, typename T>
__device__ Accumulator<T> RowDot(const T* a, const T* b, int64_t dim, int lane) {
  Accumulator<T> sum = 0;
  for (int64_t i = lane; i < dim; i += kLanes) sum += Widen(a[i]) * Widen(b[i]);
  return GroupSum<kLanes>(sum);
}

// tf.clip_by_norm: what a row of this norm is multiplied by.
template <typename A>
__device__ A ClipScale(A norm, double max_norm) {
  const A limit = static_cast<A>(max_norm);
  return norm >= limit ? limit / norm : A(1);
}

template <typename T, typename Id>
__device__ int64_t PartStart(const FeatureView<T, Id>& feature, int64_t part) {
  const int64_t extras = feature.table_rows % feature.num_parts;
  return part * (feature.table_rows / feature.num_parts) + (part < extras ? part : extras);
}

// Part and row of an id: the partition strategies of tf.nn.embedding_lookup.
template <typename T, typename Id>
__device__ void Find(const FeatureView<T, Id>& feature, int64_t id, int64_t* part, int64_t* row) {
  if (feature.num_parts == 1) {
    *part = 0;
    *row = id;
  } else if (feature.mod) {
    *part = id % feature.num_parts;
    *row = id / feature.num_parts;
  } else {
    const int64_t each = feature.table_rows / feature.num_parts, extras = feature.table_rows % feature.num_parts;
    const int64_t longer = extras * (each + 1);
    *part = id < longer ? id / (each + 1) : extras + (id - longer) / each;
    *row = id < longer ? id % (each + 1) : (id - longer) % each;
  }
}

template <typename T, typename Id>
__device__ const T* RowOf(const FeatureView<T, Id>& feature, int64_t id) {
  int64_t part, row;
  Find(feature, id, &part, &row);
  return feature.parts[part] + row * feature.dim;
}

__device__ inline void NoteBad(int64_t* bad, int64_t place) {
  atomicMin(reinterpret_cast<unsigned long long*>(bad), static_cast<unsigned long long>(place));
}

// The ids of a row. Row splits are not checked before: whatever they say, nothing outside the ids is read. Those that were given
// have to cover the ids; those made of indices leave out what lies outside the shape.
template <typename T, typename Id>
__device__ void RangeOf(const FeatureView<T, Id>& feature, int64_t row, int64_t* begin, int64_t* end) {
  const int64_t from = feature.splits[row], to = feature.splits[row + 1];
  const bool covers =
      feature.order != nullptr || ((row > 0 || from == 0) && (row + 1 < feature.num_rows || to == feature.num_ids));
  const bool fits = covers && from >= 0 && from <= to && to <= feature.num_ids;
  if (!fits) NoteBad(feature.bad, kBadSplits);
  *begin = fits ? from : 0;
  *end = fits ? to : 0;
}

template <typename T>
struct Item {
  int64_t position, id;
  Accumulator<T> weight;
};

// Number k of a feature's ids in the order of the rows. False if it was pruned, or lies outside the table, which is noted.
template <typename T, typename Id>
__device__ bool ItemAt(const FeatureView<T, Id>& feature, int64_t k, Item<T>* item) {
  item->position = feature.order == nullptr ? k : feature.order[k];
  item->id = static_cast<int64_t>(feature.ids[item->position]);
  item->weight = 1;
  if (item->id < 0 && feature.prune) return false;
  if (feature.weights != nullptr) {
    item->weight = Widen(feature.weights[item->position]);
    if (feature.prune && feature.pooling != Pooling::kSum && !(item->weight > 0)) return false;
  }
  if (item->id < 0 || item->id >= feature.table_rows) {
    NoteBad(feature.bad, item->position);
    return false;
  }
  return true;
}

// Whether a row without ids takes the default one.
template <typename T, typename Id>
__device__ bool TakesDefault(const FeatureView<T, Id>& feature) {
  if (!feature.fill || feature.default_id < 0) return false;
  if (feature.default_id < feature.table_rows) return true;
  NoteBad(feature.bad, kBadDefault);
  return false;
}

// What the sum over a row's ids is divided by, from their number and the sums of their weights and squared weights.
template <typename T, typename Id>
__device__ Accumulator<T> DivisorOf(const FeatureView<T, Id>& feature, int64_t kept, Accumulator<T> sum, Accumulator<T> squares) {
  using A = Accumulator<T>;
  if (feature.pooling == Pooling::kSum) return A(1);
  if (feature.pooling == Pooling::kMean) return feature.weights == nullptr ? static_cast<A>(kept) : sum;
  return sqrt(feature.weights == nullptr ? static_cast<A>(kept) : squares);
}

// Calls launch(batch, number of its features, most rows of one of them, most values of a row) for all features in turn.
template <typename T, typename Id, typename Launch>
const char* InBatches(const FeatureView<T, Id>* features, int num_features, const Launch& launch) {
  for (int first = 0; first < num_features; first += kFeaturesPerLaunch) {
    const int count = std::min(kFeaturesPerLaunch, num_features - first);
    Batch<T, Id> batch = {};
    int64_t rows = 0, dim = 0;
    for (int f = 0; f < count; ++f) {
      batch.features[f] = features[first + f];
      rows = std::max(rows, features[first + f].num_rows);
      dim = std::max(dim, features[first + f].dim);
    }
    if (rows == 0) continue;
    launch(batch, count, rows, dim);
    NANN_CUDA_TRY(Launched());
  }
  return nullptr;
}

#define NANN_CUDA_TYPES(DEFINE) \
  DEFINE(Half, int32_t)         \
  DEFINE(Half, int64_t)         \
  DEFINE(BFloat16, int32_t)     \
  DEFINE(BFloat16, int64_t) DEFINE(float, int32_t) DEFINE(float, int64_t) DEFINE(double, int32_t) DEFINE(double, int64_t)

}  // namespace cuda
}  // namespace embedding
}  // namespace nann

#endif  // NANN_OPS_CC_CUDA_EMBEDDING_DEVICE_CUH_
