// Device memory. Two forms, of which a program links one:
//   memory_checked.cc  Memory of its own, every allocation between pages that are none. Kernels are compiled so that every load
//   and
//                      store calls in here first (g++ -fsanitize=thread without its library): accesses outside an allocation, to
//                      memory of the host, to values never written, and pairs of accesses of two threads that no barrier orders
//                      are faults; so are accesses of host code to device memory.
//   memory_plain.cc    malloc, so that AddressSanitizer sees accesses outside an allocation, or memory of TensorFlow.

#ifndef CUDA_ON_HOST_MEMORY_H_
#define CUDA_ON_HOST_MEMORY_H_

#include <cstddef>
#include <cstdint>

namespace cuda_on_host {

enum class Access { kRead, kWrite, kAtomic };

// Larger allocations hold zeros and take no memory until they are written: those of tests that reach far.
constexpr size_t kMostFilled = size_t{1} << 26;

void* AllocateDevice(size_t size);  // its bytes are unset, and make floats NaN
bool FreeDevice(void* pointer);
// Whether a copy, a set or a function of CUB may read or write this; the rule that is broken, or null. Written bytes count as
// set.
const char* TouchWhole(const void* address, size_t size, Access access);
// For host memory of a copy: null if it lies outside of device memory.
const char* CheckHost(const void* address, size_t size);

// The running kernel, for the checks: every launch, block and barrier begins a new epoch.
void BeginLaunch(const void* parameters, size_t size);
void BeginBlock();
void BeginEpoch();
void BeginThread(unsigned thread, const void* stack, size_t size);
void EndLaunch();
// One access of the running thread.
void Touch(const void* address, size_t size, Access access);

}  // namespace cuda_on_host

#endif  // CUDA_ON_HOST_MEMORY_H_
