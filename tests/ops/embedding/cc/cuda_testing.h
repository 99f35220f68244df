// What the tests of the CUDA launchers share: the 16 bit types on the host, device memory, and comparisons.

#ifndef NANN_TESTS_OPS_EMBEDDING_CC_CUDA_TESTING_H_
#define NANN_TESTS_OPS_EMBEDDING_CC_CUDA_TESTING_H_

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "ops/cc/cuda/embedding_cuda.h"

namespace cuda_testing {

using namespace nann::embedding;
namespace cuda = nann::embedding::cuda;

[[noreturn]] inline void Fail(const std::string& what) {
  std::fprintf(stderr, "differs: %s\n", what.c_str());
  std::exit(1);
}
inline void Check(const char* error) {
  if (error != nullptr) Fail(error);
}
inline void Check(cudaError_t error) {
  if (error != cudaSuccess) Fail(cudaGetErrorString(error));
}

// The 16 bit types on the host, by way of their values: round to nearest, ties
// to even.
inline float Value(Half half) {
  const int exponent = (half.bits >> 10) & 31, fraction = half.bits & 1023;
  const float magnitude = exponent == 0    ? std::ldexp(static_cast<float>(fraction), -24)
                          : exponent == 31 ? (fraction ? NAN : INFINITY)
                                           : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  return half.bits & 0x8000 ? -magnitude : magnitude;
}
inline float Value(BFloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}
inline float Value(float value) { return value; }
inline double Value(double value) { return value; }
inline void Store(double value, float* out) { *out = static_cast<float>(value); }
inline void Store(double value, double* out) { *out = value; }
inline void Store(double value, BFloat16* out) {
  const float single = static_cast<float>(value);
  uint32_t bits;
  std::memcpy(&bits, &single, 4);
  out->bits = static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
// Of the values that this test stores: normal ones, well inside the range.
inline void Store(double value, Half* out) {
  out->bits = 0;
  if (value == 0) return;
  int exponent;
  const double fraction = std::frexp(std::fabs(value), &exponent);  // in [0.5, 1)
  const int scaled = static_cast<int>(std::nearbyint(std::ldexp(fraction, 11)));
  out->bits = static_cast<uint16_t>(((exponent + 14) << 10) + (scaled - 1024)) | (value < 0 ? 0x8000 : 0);
}

// Of all bytes that were read back: runs in other orders must read the same.
inline uint64_t digest = 14695981039346656037u;

inline int cases = 0;

constexpr size_t kMostFilled = size_t{64} << 20;

class Memory : public cuda::Scratch {
 public:
  ~Memory() override {
    for (void* pointer : held_) cudaFree(pointer);
  }
  // Unset: on a GPU it gets a pattern, for nothing may rely on zeros; without one, reading it is a fault.
  void* Allocate(size_t bytes) override {
    void* const pointer = TryAllocate(bytes);
    if (pointer == nullptr) Fail("no device memory is left");
    return pointer;
  }
  void* TryAllocate(size_t bytes) {
    void* pointer = nullptr;
    if (cudaMalloc(&pointer, std::max<size_t>(1, bytes)) != cudaSuccess) {
      static_cast<void>(cudaGetLastError());
      return nullptr;
    }
#ifndef CUDA_ON_HOST
    if (bytes <= kMostFilled) Check(cudaMemset(pointer, 0xa5, std::max<size_t>(1, bytes)));
#endif
    held_.push_back(pointer);
    return pointer;
  }
  template <typename T>
  T* New(size_t count) {
    return static_cast<T*>(Allocate(count * sizeof(T)));
  }
  // Every byte 0xa5, to see which ones a kernel leaves alone.
  template <typename T>
  T* Patterned(size_t count) {
    T* const pointer = New<T>(count);
    if (count > 0) Check(cudaMemset(pointer, 0xa5, count * sizeof(T)));
    return pointer;
  }
  int64_t* NoBad() {
    int64_t* const bad = New<int64_t>(1);
    Check(cuda::FillBytes(nullptr, bad, 0x7f, sizeof(int64_t)));
    return bad;
  }
  template <typename T>
  T* Put(const std::vector<T>& values) {
    T* const pointer = New<T>(values.size());
    if (!values.empty()) Check(cudaMemcpy(pointer, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
    return pointer;
  }
  template <typename T>
  static std::vector<T> Get(const T* pointer, size_t count) {
    std::vector<T> values(count);
    Check(cudaDeviceSynchronize());
    if (count > 0) Check(cudaMemcpy(values.data(), pointer, count * sizeof(T), cudaMemcpyDeviceToHost));
    const unsigned char* const bytes = reinterpret_cast<const unsigned char*>(values.data());
    for (size_t i = 0; i < count * sizeof(T); ++i) digest = (digest ^ bytes[i]) * 1099511628211u;
    return values;
  }

 private:
  std::vector<void*> held_;
};

template <typename T>
bool IsPattern(const T& value) {
  unsigned char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  return std::all_of(bytes, bytes + sizeof(T), [](unsigned char byte) { return byte == 0xa5; });
}

inline bool Close(double a, double b, double tolerance) {
  return std::fabs(a - b) <= tolerance * (1 + std::max(std::fabs(a), std::fabs(b)));
}

// Whether the contributions of each row are added in the order they came in.
template <typename T>
bool InTheirOrder(const cuda::RowSums<T>& sums) {
  if (sums.contributions.count == 0) return true;
  const int64_t distinct = Memory::Get(sums.part_starts, sums.num_parts + 1).back();
  const std::vector<int64_t> starts = Memory::Get(sums.starts, distinct == 0 ? 0 : distinct + 1);
  const std::vector<int32_t> order = Memory::Get(sums.order, sums.contributions.count);
  for (int64_t u = 0; u < distinct; ++u) {
    if (!std::is_sorted(order.begin() + starts[u], order.begin() + starts[u + 1])) return false;
  }
  return true;
}

// Values that add up without rounding as long as there are not too many.
template <typename T>
std::vector<T> Exact(std::mt19937* random, int64_t count) {
  std::vector<T> values(count);
  for (T& value : values) Store((static_cast<int>((*random)() % 129) - 64) / 64.0, &value);
  return values;
}

}  // namespace cuda_testing

#endif  // NANN_TESTS_OPS_EMBEDDING_CC_CUDA_TESTING_H_
