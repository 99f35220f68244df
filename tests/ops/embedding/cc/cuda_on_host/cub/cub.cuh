// The two functions of CUB that the kernels call, for the types they call them with.

#ifndef CUDA_ON_HOST_CUB_CUB_CUH_
#define CUDA_ON_HOST_CUB_CUB_CUH_

#include "../cuda_runtime.h"

namespace cub {

struct DeviceRadixSort {
  // Stable, by the bits [begin_bit, end_bit) of the keys. A null `temporary` asks for its size.
  static cudaError_t SortPairs(void* temporary, size_t& temporary_size, const uint64_t* keys, uint64_t* sorted_keys,
                               const int32_t* values, int32_t* sorted_values, int count, int begin_bit, int end_bit,
                               cudaStream_t stream);
};

struct DeviceScan {
  static cudaError_t InclusiveSum(void* temporary, size_t& temporary_size, const int32_t* in, int32_t* out, int count,
                                  cudaStream_t stream);
};

}  // namespace cub

#endif  // CUDA_ON_HOST_CUB_CUB_CUH_
