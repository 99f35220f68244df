// The runtime's calls. Work runs when it is enqueued, so that streams keep their order; the default stream stands for all of
// them.

#include <algorithm>
#include <cstring>
#include <mutex>
#include <numeric>
#include <string>
#include <vector>

#include "cub/cub.cuh"
#include "cuda_runtime.h"
#include "faults.h"
#include "grid.h"
#include "memory.h"

namespace cuda_on_host {
namespace {

std::string& Standing() {
  static std::string fault;
  return fault;
}
std::string& LastText() {
  static std::string text;
  return text;
}

// TensorFlow calls from several threads; there is one device.
std::recursive_mutex& Device() {
  static std::recursive_mutex mutex;
  return mutex;
}
#define CUDA_ON_HOST_LOCK const std::lock_guard<std::recursive_mutex> lock(Device())

cudaError_t Result(const std::string& call, const char* broken) {
  if (broken == nullptr) return cudaSuccess;
  LastText() = call + ": " + broken;
  return cudaErrorInvalidValue;
}

}  // namespace

void Fault(const std::string& what) {
  if (running_grid == nullptr) {
    if (!HasFault()) Standing() = what;
    return;
  }
  if (!HasFault()) Standing() = running_grid->Where() + ": " + what;
  running_grid->Abort();
}
bool HasFault() { return !Standing().empty(); }

void Run(const char* kernel, dim3 grid, dim3 block, void (*body)(const void* call), const void* call, size_t size) {
  CUDA_ON_HOST_LOCK;
  if (HasFault()) return;
  const Order order = Order::FromEnvironment();
  if (HasFault()) return;
  BeginLaunch(call, size);
  Grid(kernel, grid, block, order).Run(body, call);
  EndLaunch();
}

void Barrier() { running_grid->Barrier(); }
uint64_t ShuffleXor(unsigned mask, uint64_t bits, int lane_mask, int width) {
  return running_grid->ShuffleXor(mask, bits, lane_mask, width);
}
unsigned long long AtomicMin(unsigned long long* address, unsigned long long value) {
  Touch(address, sizeof(*address), Access::kAtomic);
  const unsigned long long old = *address;
  *address = std::min(old, value);
  return old;
}

}  // namespace cuda_on_host

using cuda_on_host::Access;
using cuda_on_host::Device;
using cuda_on_host::Result;
using cuda_on_host::TouchWhole;

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, size_t size) {
  CUDA_ON_HOST_LOCK;
  *pointer = cuda_on_host::AllocateDevice(size);
  return *pointer == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t cudaFree(void* pointer) {
  CUDA_ON_HOST_LOCK;
  const bool freed = pointer == nullptr || cuda_on_host::FreeDevice(pointer);
  return Result("cudaFree", freed ? nullptr : "the pointer is not what cudaMalloc gave, or was freed before");
}

cudaError_t cudaMemsetAsync(void* to, int byte, size_t size, cudaStream_t) {
  CUDA_ON_HOST_LOCK;
  const char* const broken = TouchWhole(to, size, Access::kWrite);
  if (broken == nullptr) std::memset(to, byte, size);
  return Result("cudaMemset", broken);
}
cudaError_t cudaMemset(void* to, int byte, size_t size) { return cudaMemsetAsync(to, byte, size, nullptr); }

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind kind, cudaStream_t) {
  CUDA_ON_HOST_LOCK;
  const char* broken =
      kind == cudaMemcpyHostToDevice ? cuda_on_host::CheckHost(from, size) : TouchWhole(from, size, Access::kRead);
  if (broken == nullptr) {
    broken = kind == cudaMemcpyDeviceToHost ? cuda_on_host::CheckHost(to, size) : TouchWhole(to, size, Access::kWrite);
  }
  if (broken == nullptr) std::memcpy(to, from, size);
  return Result("cudaMemcpy", broken);
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind kind) {
  return cudaMemcpyAsync(to, from, size, kind, nullptr);
}

cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaDeviceSynchronize() { return cudaGetLastError(); }

cudaError_t cudaGetLastError() {
  CUDA_ON_HOST_LOCK;
  if (!cuda_on_host::HasFault()) return cudaSuccess;
  cuda_on_host::LastText() = cuda_on_host::Standing();
  cuda_on_host::Standing().clear();
  return cudaErrorLaunchFailure;
}

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess                 ? "no error"
         : error == cudaErrorMemoryAllocation ? "out of memory"
                                              : cuda_on_host::LastText().c_str();
}

namespace cub {
namespace {

// As CUB: with null `temporary` the size is asked for. More than zero, so that callers have to ask.
bool AsksSize(const void* temporary, size_t& size, int count) {
  const size_t needed = 64 + static_cast<size_t>(count) * 12;
  if (temporary == nullptr) size = needed;
  return temporary == nullptr;
}

const char* CheckTemporary(const void* temporary, size_t size, int count) {
  size_t needed = 0;
  AsksSize(nullptr, needed, count);
  if (size < needed) return "the temporary memory is smaller than was asked for";
  return TouchWhole(temporary, needed, Access::kWrite);
}

}  // namespace

cudaError_t DeviceRadixSort::SortPairs(void* temporary, size_t& temporary_size, const uint64_t* keys, uint64_t* sorted_keys,
                                       const int32_t* values, int32_t* sorted_values, int count, int begin_bit, int end_bit,
                                       cudaStream_t) {
  if (AsksSize(temporary, temporary_size, count)) return cudaSuccess;
  CUDA_ON_HOST_LOCK;
  const size_t n = static_cast<size_t>(count);
  const char* broken = CheckTemporary(temporary, temporary_size, count);
  if (broken == nullptr) broken = TouchWhole(keys, n * sizeof(uint64_t), Access::kRead);
  if (broken == nullptr) broken = TouchWhole(values, n * sizeof(int32_t), Access::kRead);
  if (broken == nullptr) broken = TouchWhole(sorted_keys, n * sizeof(uint64_t), Access::kWrite);
  if (broken == nullptr) broken = TouchWhole(sorted_values, n * sizeof(int32_t), Access::kWrite);
  if (broken == nullptr && (begin_bit < 0 || begin_bit >= end_bit || end_bit > 64)) broken = "the range of bits is empty";
  if (broken != nullptr) return Result("cub::DeviceRadixSort::SortPairs", broken);
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  const uint64_t mask = (end_bit - begin_bit == 64 ? 0 : uint64_t{1} << (end_bit - begin_bit)) - 1;
  const auto part = [&](size_t i) { return keys[i] >> begin_bit & mask; };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return part(a) < part(b); });
  for (size_t i = 0; i < n; ++i) {
    sorted_keys[i] = keys[order[i]];
    sorted_values[i] = values[order[i]];
  }
  return cudaSuccess;
}

cudaError_t DeviceScan::InclusiveSum(void* temporary, size_t& temporary_size, const int32_t* in, int32_t* out, int count,
                                     cudaStream_t) {
  if (AsksSize(temporary, temporary_size, count)) return cudaSuccess;
  CUDA_ON_HOST_LOCK;
  const size_t size = static_cast<size_t>(count) * sizeof(int32_t);
  const char* broken = CheckTemporary(temporary, temporary_size, count);
  if (broken == nullptr) broken = TouchWhole(in, size, Access::kRead);
  if (broken == nullptr) broken = TouchWhole(out, size, Access::kWrite);
  if (broken != nullptr) return Result("cub::DeviceScan::InclusiveSum", broken);
  std::partial_sum(in, in + count, out);
  return cudaSuccess;
}

}  // namespace cub
