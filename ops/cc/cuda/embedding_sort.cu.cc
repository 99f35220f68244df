// CUDA: contributions sorted by key and their distinct keys numbered; row splits of sparse indices; copies.

#include <cub/cub.cuh>

#include "ops/cc/cuda/embedding_device.cuh"

namespace nann {
namespace embedding {
namespace cuda {
namespace {

// The keys of most rows need few of their 64 bits, and the sort takes time by the bit.
int BitsFor(int64_t most) {
  int bits = 1;
  while (bits < 63 && (int64_t{1} << bits) <= most) ++bits;
  return bits;
}

__global__ void __launch_bounds__(kThreads) CountUpKernel(int32_t* numbers, int64_t count) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += step) {
    numbers[i] = static_cast<int32_t>(i);
  }
}

// Stable: equal keys keep their order.
const char* SortByKey(Stream stream, Scratch* scratch, const uint64_t* keys, int64_t count, int64_t most_key,
                      uint64_t* sorted_keys, int32_t* order) {
  if (count > INT32_MAX) return "a lookup on a GPU can take at most 2^31 - 1 ids";
  int32_t* const numbers = static_cast<int32_t*>(scratch->Allocate(count * sizeof(int32_t)));
  if (numbers == nullptr) return "no device memory is left to sort ids";
  NANN_LAUNCH((CountUpKernel), BlocksFor(count), kThreads, Native(stream), numbers, count);
  NANN_CUDA_TRY(Launched());
  size_t size = 0;
  const int bits = BitsFor(most_key);
  NANN_CUDA_TRY(Text(cub::DeviceRadixSort::SortPairs(nullptr, size, keys, sorted_keys, numbers, order, static_cast<int>(count), 0,
                                                     bits, Native(stream))));
  void* const temporary = scratch->Allocate(std::max<size_t>(1, size));
  if (temporary == nullptr) return "no device memory is left to sort ids";
  return Text(cub::DeviceRadixSort::SortPairs(temporary, size, keys, sorted_keys, numbers, order, static_cast<int>(count), 0,
                                              bits, Native(stream)));
}

// 1 where a key stands for the first time, among sorted keys.
__global__ void __launch_bounds__(kThreads) HeadsKernel(const uint64_t* keys, int64_t count, uint64_t no_key, int32_t* heads) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += step) {
    heads[i] = keys[i] < no_key && (i == 0 || keys[i] != keys[i - 1]);
  }
}

// From the running number of heads: the distinct keys and where each begins; one more start says where the last ends.
__global__ void __launch_bounds__(kThreads) DistinctKernel(const uint64_t* keys, int64_t count, uint64_t no_key,
                                                           const int32_t* numbers, uint64_t* distinct, int64_t* starts) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += step) {
    const bool has_key = keys[i] < no_key, follows = i > 0 && keys[i] == keys[i - 1];
    if (has_key && !follows) {
      distinct[numbers[i] - 1] = keys[i];
      starts[numbers[i] - 1] = i;
    }
    if (!has_key && (i == 0 || keys[i - 1] < no_key)) starts[numbers[i]] = i;
    if (has_key && i + 1 == count) starts[numbers[i]] = count;
  }
}

// The number of sorted keys below a key.
__device__ int64_t Below(const uint64_t* keys, int64_t count, uint64_t key) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (keys[middle] < key) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// One thread: there are few parts, and each needs the sizes before it.
template <typename T>
__global__ void PartsKernel(const uint64_t* distinct, const int32_t* numbers, int64_t count, const PartView<T>* parts,
                            int num_parts, int64_t* part_starts, int64_t* value_starts) {
  const int64_t total = numbers[count - 1];
  part_starts[0] = value_starts[0] = 0;
  for (int p = 0; p < num_parts; ++p) {
    part_starts[p + 1] = Below(distinct, total, static_cast<uint64_t>(parts[p].first_key + parts[p].num_rows));
    value_starts[p + 1] = value_starts[p] + (part_starts[p + 1] - part_starts[p]) * parts[p].dim;
  }
}

struct Shape {
  static constexpr int kMostAxes = 16;
  int64_t sizes[kMostAxes];
};

__global__ void __launch_bounds__(kThreads) RowKeysKernel(const int64_t* indices, int64_t num_ids, const Shape shape, int rank,
                                                          uint64_t no_row, uint64_t* keys, int64_t* bad) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t k = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; k < num_ids; k += step) {
    uint64_t row = 0;
    bool inside = true;
    for (int axis = 0; axis + 1 < rank; ++axis) {
      const int64_t index = indices[k * rank + axis];
      inside = inside && index >= 0 && index < shape.sizes[axis];
      row = row * shape.sizes[axis] + index;
    }
    if (!inside) NoteBad(bad, kBadIndex + k);
    keys[k] = inside ? row : no_row;
  }
}

__global__ void __launch_bounds__(kThreads)
    SplitsKernel(const uint64_t* sorted_rows, int64_t num_ids, int64_t num_rows, int64_t* splits) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; row <= num_rows; row += step) {
    splits[row] = Below(sorted_rows, num_ids, static_cast<uint64_t>(row));
  }
}

}  // namespace

const char* FillBytes(Stream stream, void* to, int byte, size_t size) {
  return size == 0 ? nullptr : Text(cudaMemsetAsync(to, byte, size, Native(stream)));
}

const char* CopyOnDevice(Stream stream, void* to, const void* from, size_t size) {
  return size == 0 ? nullptr : Text(cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, Native(stream)));
}

const char* ReadBack(Stream stream, void* host, const void* from, size_t size) {
  if (size == 0) return nullptr;
  NANN_CUDA_TRY(Text(cudaMemcpyAsync(host, from, size, cudaMemcpyDeviceToHost, Native(stream))));
  return Text(cudaStreamSynchronize(Native(stream)));
}

const char* SplitIndices(Stream stream, Scratch* scratch, const int64_t* indices, int64_t num_ids, const int64_t* shape, int rank,
                         int64_t* splits, int32_t* order, int64_t* bad) {
  if (rank > Shape::kMostAxes) return "sparse ids on a GPU can have at most 16 axes";
  Shape sizes = {};
  int64_t num_rows = 1;
  for (int axis = 0; axis + 1 < rank; ++axis) {
    sizes.sizes[axis] = shape[axis];
    num_rows *= shape[axis];
  }
  if (num_ids == 0) return FillBytes(stream, splits, 0, (num_rows + 1) * sizeof(int64_t));
  uint64_t* const keys = static_cast<uint64_t*>(scratch->Allocate(num_ids * sizeof(uint64_t)));
  uint64_t* const sorted = static_cast<uint64_t*>(scratch->Allocate(num_ids * sizeof(uint64_t)));
  if (keys == nullptr || sorted == nullptr) return "no device memory is left for the rows of sparse ids";
  NANN_LAUNCH((RowKeysKernel), BlocksFor(num_ids), kThreads, Native(stream), indices, num_ids, sizes, rank,
              static_cast<uint64_t>(num_rows), keys, bad);
  NANN_CUDA_TRY(Launched());
  NANN_CUDA_TRY(SortByKey(stream, scratch, keys, num_ids, num_rows, sorted, order));
  NANN_LAUNCH((SplitsKernel), BlocksFor(num_rows + 1), kThreads, Native(stream), sorted, num_ids, num_rows, splits);
  return Launched();
}

template <typename T>
const char* SortRows(Stream stream, Scratch* scratch, const Contributions<T>& contributions, const PartView<T>* parts,
                     int num_parts, RowSums<T>* rows) {
  const int64_t count = contributions.count;
  *rows = {};
  rows->contributions = contributions;
  rows->num_parts = num_parts;
  rows->host_parts = parts;
  int64_t* const part_starts = static_cast<int64_t*>(scratch->Allocate(2 * (num_parts + 1) * sizeof(int64_t)));
  PartView<T>* const copy = static_cast<PartView<T>*>(scratch->Allocate(num_parts * sizeof(PartView<T>)));
  if (part_starts == nullptr || copy == nullptr) return "no device memory is left for the parts of a gradient";
  rows->part_starts = part_starts;
  rows->value_starts = part_starts + num_parts + 1;
  rows->parts = copy;
  if (count == 0) return FillBytes(stream, part_starts, 0, 2 * (num_parts + 1) * sizeof(int64_t));
  // Pageable host memory: the call returns when it has been read.
  NANN_CUDA_TRY(Text(cudaMemcpyAsync(copy, parts, num_parts * sizeof(PartView<T>), cudaMemcpyHostToDevice, Native(stream))));
  uint64_t* const sorted = static_cast<uint64_t*>(scratch->Allocate(count * sizeof(uint64_t)));
  uint64_t* const distinct = static_cast<uint64_t*>(scratch->Allocate(count * sizeof(uint64_t)));
  int32_t* const order = static_cast<int32_t*>(scratch->Allocate(count * sizeof(int32_t)));
  int32_t* const heads = static_cast<int32_t*>(scratch->Allocate(count * sizeof(int32_t)));
  int32_t* const numbers = static_cast<int32_t*>(scratch->Allocate(count * sizeof(int32_t)));
  int64_t* const starts = static_cast<int64_t*>(scratch->Allocate((count + 1) * sizeof(int64_t)));
  if (sorted == nullptr || distinct == nullptr || order == nullptr || heads == nullptr || numbers == nullptr ||
      starts == nullptr) {
    return "no device memory is left to sort a gradient";
  }
  const uint64_t no_key = static_cast<uint64_t>(contributions.no_key);
  NANN_CUDA_TRY(SortByKey(stream, scratch, contributions.keys, count, contributions.no_key, sorted, order));
  NANN_LAUNCH((HeadsKernel), BlocksFor(count), kThreads, Native(stream), sorted, count, no_key, heads);
  NANN_CUDA_TRY(Launched());
  size_t size = 0;
  NANN_CUDA_TRY(Text(cub::DeviceScan::InclusiveSum(nullptr, size, heads, numbers, static_cast<int>(count), Native(stream))));
  void* const temporary = scratch->Allocate(std::max<size_t>(1, size));
  if (temporary == nullptr) return "no device memory is left to number the rows of a gradient";
  NANN_CUDA_TRY(Text(cub::DeviceScan::InclusiveSum(temporary, size, heads, numbers, static_cast<int>(count), Native(stream))));
  NANN_LAUNCH((DistinctKernel), BlocksFor(count), kThreads, Native(stream), sorted, count, no_key, numbers, distinct, starts);
  NANN_CUDA_TRY(Launched());
  NANN_LAUNCH((PartsKernel<T>), 1, 1, Native(stream), distinct, numbers, count, copy, num_parts, part_starts,
              part_starts + num_parts + 1);
  rows->order = order;
  rows->distinct = distinct;
  rows->starts = starts;
  return Launched();
}

#define NANN_DEFINE_TYPE(T) \
  template const char* SortRows<T>(Stream, Scratch*, const Contributions<T>&, const PartView<T>*, int, RowSums<T>*);
NANN_DEFINE_TYPE(Half)
NANN_DEFINE_TYPE(BFloat16)
NANN_DEFINE_TYPE(float)
NANN_DEFINE_TYPE(double)

}  // namespace cuda
}  // namespace embedding
}  // namespace nann
