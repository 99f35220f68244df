// The part of the CUDA runtime that the kernels use, executed on the CPU, so that a C++ compiler builds ops/cc/cuda/*.cu.cc and a
// test runs them without a GPU. Kernels run when they are launched, in the order of the launches, one block after the other; the
// threads of a block are fibers, see grid.h. Device memory is apart from host memory, see memory.h.

#ifndef CUDA_ON_HOST_CUDA_RUNTIME_H_
#define CUDA_ON_HOST_CUDA_RUNTIME_H_

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <tuple>
#include <type_traits>

#define CUDA_ON_HOST 1
#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(threads)
#define __grid_constant__

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2, cudaErrorLaunchFailure = 719 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
using cudaStream_t = struct CUstream_st*;

cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaMalloc(void** pointer, size_t size);
cudaError_t cudaFree(void* pointer);
cudaError_t cudaMemset(void* to, int byte, size_t size);
cudaError_t cudaMemsetAsync(void* to, int byte, size_t size, cudaStream_t stream);
cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaDeviceSynchronize();
// The first fault since the last call, which forgets it.
cudaError_t cudaGetLastError();
// The rule that was broken, with kernel, block and thread, of the fault asked for last.
const char* cudaGetErrorString(cudaError_t error);

namespace cuda_on_host {

// What the running thread knows of itself.
struct Place {
  uint3 thread, block;
  dim3 block_size, grid_size;
};
extern Place place;

// Runs body(call) in every thread of the grid; `call` holds the kernel's parameters, `size` bytes that threads may read.
void Run(const char* kernel, dim3 grid, dim3 block, void (*body)(const void* call), const void* call, size_t size);

template <typename... Parameters, typename... Arguments>
void Launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, const Arguments&... arguments) {
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<std::remove_const_t<Parameters>...> parameters;
  } const call = {kernel, {arguments...}};
  const auto body = [](const void* given) {
    const Call& call = *static_cast<const Call*>(given);
    std::apply(call.kernel, call.parameters);
  };
  Run(name, grid, block, body, &call, sizeof(call));
}

void Barrier();
uint64_t ShuffleXor(unsigned mask, uint64_t bits, int lane_mask, int width);
unsigned long long AtomicMin(unsigned long long* address, unsigned long long value);

}  // namespace cuda_on_host

#define threadIdx (::cuda_on_host::place.thread)
#define blockIdx (::cuda_on_host::place.block)
#define blockDim (::cuda_on_host::place.block_size)
#define gridDim (::cuda_on_host::place.grid_size)
#define NANN_LAUNCH(kernel, blocks, threads, stream, ...)                  \
  do {                                                                     \
    static_cast<void>(stream);                                             \
    ::cuda_on_host::Launch(#kernel, kernel, blocks, threads, __VA_ARGS__); \
  } while (false)

inline void __syncthreads() { ::cuda_on_host::Barrier(); }
inline unsigned long long atomicMin(unsigned long long* address, unsigned long long value) {
  return ::cuda_on_host::AtomicMin(address, value);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves at most 64 bits");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  bits = ::cuda_on_host::ShuffleXor(mask, bits, lane_mask, width);
  memcpy(&value, &bits, sizeof(T));
  return value;
}
inline float __uint_as_float(unsigned bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

#endif  // CUDA_ON_HOST_CUDA_RUNTIME_H_
