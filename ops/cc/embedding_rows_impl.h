// The row kernels; included by one file per instruction set, which sets the target before. Everything has internal linkage, so
// that no function built for a newer processor is taken by code for an older one; for the same reason no C++ standard header is
// included.

#ifndef NANN_OPS_CC_EMBEDDING_ROWS_IMPL_H_
#define NANN_OPS_CC_EMBEDDING_ROWS_IMPL_H_

#include "ops/cc/embedding_rows.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace nann {
namespace embedding {
namespace {

constexpr int kVectorBytes = 64;
constexpr int kPrefetchDistance = 16;         // rows ahead, from memory
constexpr int kGradientPrefetchDistance = 6;  // rows ahead, from a nearer cache

typedef float FloatVector __attribute__((vector_size(kVectorBytes)));
typedef double DoubleVector __attribute__((vector_size(kVectorBytes)));
typedef uint32_t WordVector __attribute__((vector_size(kVectorBytes)));
typedef uint16_t ShortVector __attribute__((vector_size(kVectorBytes / 2)));

#define NANN_INLINE static inline __attribute__((always_inline))

template <typename V, typename P>
NANN_INLINE V LoadBytes(const P* from) {
  V value;
  __builtin_memcpy(&value, from, sizeof(V));
  return value;
}

NANN_INLINE float BitsToFloat(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}
NANN_INLINE uint32_t FloatToBits(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
}

// Without subnormal arithmetic, which TensorFlow's threads flush to zero: 2^-14 is added in the exponent and taken off as a
// number.
template <typename W, typename F>
NANN_INLINE F WidenHalf(W half) {
  const W sign = (half & 0x8000u) << 16;
  const W exponent = half & 0x7c00u;
  const W magnitude = (half & 0x7fffu) << 13;
  const W normal = magnitude + (112u << 23);
  const W special = magnitude | 0x7f800000u;
  W shifted = magnitude + (113u << 23);
  F small;
  __builtin_memcpy(&small, &shifted, sizeof(F));
  small = small - 6.103515625e-05f;
  W subnormal;
  __builtin_memcpy(&subnormal, &small, sizeof(F));
  const W bits = (exponent == 0u ? subnormal : (exponent == 0x7c00u ? special : normal)) | sign;
  F value;
  __builtin_memcpy(&value, &bits, sizeof(F));
  return value;
}

template <typename T>
struct Lane;
template <>
struct Lane<float> {
  using V = FloatVector;
  NANN_INLINE V Load(const float* from) { return LoadBytes<V>(from); }
  NANN_INLINE float One(const float* from) { return *from; }
};
template <>
struct Lane<double> {
  using V = DoubleVector;
  NANN_INLINE V Load(const double* from) { return LoadBytes<V>(from); }
  NANN_INLINE double One(const double* from) { return *from; }
};
template <>
struct Lane<BFloat16> {
  using V = FloatVector;
  NANN_INLINE V Load(const BFloat16* from) {
    const WordVector bits = __builtin_convertvector(LoadBytes<ShortVector>(from), WordVector) << 16;
    V value;
    __builtin_memcpy(&value, &bits, sizeof(V));
    return value;
  }
  NANN_INLINE float One(const BFloat16* from) { return BitsToFloat(static_cast<uint32_t>(from->bits) << 16); }
};
template <>
struct Lane<Half> {
  using V = FloatVector;
  NANN_INLINE V Load(const Half* from) {
    return WidenHalf<WordVector, FloatVector>(__builtin_convertvector(LoadBytes<ShortVector>(from), WordVector));
  }
  NANN_INLINE float One(const Half* from) { return WidenHalf<uint32_t, float>(from->bits); }
};

// Round to nearest, ties to even, as Eigen does.
NANN_INLINE uint16_t NarrowToBFloat16(float value) {
  const uint32_t bits = FloatToBits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x0040u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

NANN_INLINE uint16_t NarrowToHalf(float value) {
  const uint32_t bits = FloatToBits(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7e00u;
  if (magnitude >= 0x47800000u)
    return sign | 0x7c00u;        // 65536 and above; what lies just below rounds up to infinity further down
  if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 lets the adder round at the right bit
    return sign | static_cast<uint16_t>(FloatToBits(BitsToFloat(magnitude) + 0.5f) - 0x3f000000u);
  }
  return sign | static_cast<uint16_t>((magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13);
}

NANN_INLINE void Put(float value, float* out) { *out = value; }
NANN_INLINE void Put(double value, double* out) { *out = value; }
NANN_INLINE void Put(float value, BFloat16* out) { out->bits = NarrowToBFloat16(value); }
NANN_INLINE void Put(float value, Half* out) { out->bits = NarrowToHalf(value); }

// `blocks` vectors of one output row, kept in registers while the rows go by.
template <typename T, int kBlocks>
NANN_INLINE void PoolColumns(const T* const* rows, const Accumulator<T>* coefficients, int64_t begin, int64_t end, int64_t total,
                             int64_t column, bool divide, Accumulator<T> divisor, Accumulator<T>* out) {
  using A = Accumulator<T>;
  using V = typename Lane<T>::V;
  constexpr int kLanes = kVectorBytes / sizeof(A);
  V sums[kBlocks] = {};
  for (int64_t k = begin; k < end; ++k) {
    if (k + kPrefetchDistance < total) {
      const char* next = reinterpret_cast<const char*>(rows[k + kPrefetchDistance] + column);
#pragma GCC unroll 8
      for (int byte = 0; byte < kBlocks * kLanes * static_cast<int>(sizeof(T)); byte += 64) __builtin_prefetch(next + byte);
    }
    const T* row = rows[k] + column;
    if (coefficients == nullptr) {
#pragma GCC unroll 8
      for (int block = 0; block < kBlocks; ++block) sums[block] += Lane<T>::Load(row + block * kLanes);
    } else {
      const A coefficient = coefficients[k];
#pragma GCC unroll 8
      for (int block = 0; block < kBlocks; ++block) sums[block] += Lane<T>::Load(row + block * kLanes) * coefficient;
    }
  }
#pragma GCC unroll 8
  for (int block = 0; block < kBlocks; ++block) {
    if (divide) sums[block] = divisor == 0 ? V{} : sums[block] / divisor;
    __builtin_memcpy(out + column + block * kLanes, &sums[block], sizeof(V));
  }
}

template <typename T>
void Pool(const T* const* rows, const Accumulator<T>* coefficients, const int32_t* offsets, const Accumulator<T>* divisors,
          int64_t num_rows, int64_t dim, Accumulator<T>* out, int64_t stride) {
  using A = Accumulator<T>;
  constexpr int kLanes = kVectorBytes / sizeof(A);
  const int64_t total = num_rows > 0 ? offsets[num_rows] : 0;
  for (int64_t r = 0; r < num_rows; ++r, out += stride) {
    const int64_t begin = offsets[r], end = offsets[r + 1];
    const bool divide = divisors != nullptr;
    const A divisor = divide ? divisors[r] : A(1);
    int64_t column = 0;
    for (; column + 4 * kLanes <= dim; column += 4 * kLanes) {
      PoolColumns<T, 4>(rows, coefficients, begin, end, total, column, divide, divisor, out);
    }
    for (; column + 2 * kLanes <= dim; column += 2 * kLanes) {
      PoolColumns<T, 2>(rows, coefficients, begin, end, total, column, divide, divisor, out);
    }
    for (; column + kLanes <= dim; column += kLanes) {
      PoolColumns<T, 1>(rows, coefficients, begin, end, total, column, divide, divisor, out);
    }
    if (column == dim) continue;
    for (int64_t i = column; i < dim; ++i) out[i] = 0;
    for (int64_t k = begin; k < end; ++k) {
      if (column == 0 && k + kPrefetchDistance < total) __builtin_prefetch(rows[k + kPrefetchDistance]);
      const A coefficient = coefficients == nullptr ? A(1) : coefficients[k];
      for (int64_t i = column; i < dim; ++i) out[i] += coefficient * Lane<T>::One(rows[k] + i);
    }
    if (!divide) continue;
    for (int64_t i = column; i < dim; ++i) out[i] = divisor == 0 ? A(0) : out[i] / divisor;
  }
}

// Rows of `kBlocks` whole vectors, or of any size for kBlocks 0.
template <typename T, int kBlocks>
NANN_INLINE void AccumulateBlocks(const T* gradients, int64_t stride, const Contribution<T>* contributions, const int32_t* places,
                                  int64_t count, int64_t dim, Accumulator<T>* sums) {
  using A = Accumulator<T>;
  using V = typename Lane<T>::V;
  constexpr int kLanes = kVectorBytes / sizeof(A);
  for (int64_t i = 0; i < count; ++i) {
    if (i + kGradientPrefetchDistance < count) {
      const Contribution<T>& next = contributions[i + kGradientPrefetchDistance];
      const char* ahead = reinterpret_cast<const char*>(gradients + next.gradient * stride);
      for (int64_t byte = 0; byte < static_cast<int64_t>(dim * sizeof(T)) && byte < 512; byte += 64)
        __builtin_prefetch(ahead + byte);
    }
    const A coefficient = contributions[i].coefficient;
    const T* from = gradients + contributions[i].gradient * stride;
    A* to = sums + places[i] * dim;
    if constexpr (kBlocks > 0) {
#pragma GCC unroll 8
      for (int block = 0; block < kBlocks; ++block) {
        const V sum = LoadBytes<V>(to + block * kLanes) + Lane<T>::Load(from + block * kLanes) * coefficient;
        __builtin_memcpy(to + block * kLanes, &sum, sizeof(V));
      }
    } else {
      int64_t column = 0;
      for (; column + kLanes <= dim; column += kLanes) {
        const V sum = LoadBytes<V>(to + column) + Lane<T>::Load(from + column) * coefficient;
        __builtin_memcpy(to + column, &sum, sizeof(V));
      }
      for (; column < dim; ++column) to[column] += Lane<T>::One(from + column) * coefficient;
    }
  }
}

template <typename T>
void Accumulate(const T* gradients, int64_t stride, const Contribution<T>* contributions, const int32_t* places, int64_t count,
                int64_t dim, Accumulator<T>* sums) {
  constexpr int kLanes = kVectorBytes / sizeof(Accumulator<T>);
  if (dim == kLanes) {
    AccumulateBlocks<T, 1>(gradients, stride, contributions, places, count, kLanes, sums);
  } else if (dim == 2 * kLanes) {
    AccumulateBlocks<T, 2>(gradients, stride, contributions, places, count, 2 * kLanes, sums);
  } else if (dim == 4 * kLanes) {
    AccumulateBlocks<T, 4>(gradients, stride, contributions, places, count, 4 * kLanes, sums);
  } else {
    AccumulateBlocks<T, 0>(gradients, stride, contributions, places, count, dim, sums);
  }
}

template <typename T>
Accumulator<T> Dot(const T* a, const T* b, int64_t dim) {
  using A = Accumulator<T>;
  constexpr int kLanes = kVectorBytes / sizeof(A);
  typename Lane<T>::V sums = {};
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) sums += Lane<T>::Load(a + i) * Lane<T>::Load(b + i);
  A sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) sum += sums[lane];
  for (; i < dim; ++i) sum += Lane<T>::One(a + i) * Lane<T>::One(b + i);
  return sum;
}

NANN_INLINE float Root(float value) { return __builtin_sqrtf(value); }
NANN_INLINE double Root(double value) { return __builtin_sqrt(value); }
NANN_INLINE float Power(float value, float exponent) { return __builtin_powf(value, exponent); }
NANN_INLINE double Power(double value, double exponent) { return __builtin_pow(value, exponent); }

template <typename T>
void Update(const UpdateOptions& options, const Accumulator<T>* gradient, int64_t dim, T* row, T* first, T* second) {
  using A = Accumulator<T>;
  const A rate = options.learning_rate, epsilon = options.epsilon;
  switch (options.optimizer) {
    case Optimizer::kSgd:
      for (int64_t i = 0; i < dim; ++i) Put(Lane<T>::One(row + i) - rate * gradient[i], row + i);
      return;
    case Optimizer::kAdagrad:
      for (int64_t i = 0; i < dim; ++i) {
        const A sum = Lane<T>::One(first + i) + gradient[i] * gradient[i];
        Put(sum, first + i);
        Put(Lane<T>::One(row + i) - rate * gradient[i] / (Root(sum) + epsilon), row + i);
      }
      return;
    case Optimizer::kAdam: {
      const A keep_1 = 1 - options.beta_1, keep_2 = 1 - options.beta_2, shrink = options.decay_rate * options.decay;
      for (int64_t i = 0; i < dim; ++i) {
        const A old = Lane<T>::One(row + i);
        A m = Lane<T>::One(first + i), v = Lane<T>::One(second + i);
        m += keep_1 * (gradient[i] - m);
        v += keep_2 * (gradient[i] * gradient[i] - v);
        Put(m, first + i);
        Put(v, second + i);
        Put(old - (rate * m / (Root(v) + epsilon) + shrink * old), row + i);
      }
      return;
    }
    case Optimizer::kFtrl: {
      const A l1 = options.l1, l2 = options.l2, power = options.power;
      for (int64_t i = 0; i < dim; ++i) {
        const A old = Lane<T>::One(row + i), sum = Lane<T>::One(first + i);
        const A new_sum = sum + gradient[i] * gradient[i];
        const A strength = power == A(-0.5) ? Root(new_sum) : Power(new_sum, -power);
        const A before = power == A(-0.5) ? Root(sum) : Power(sum, -power);
        const A linear = Lane<T>::One(second + i) + gradient[i] - (strength - before) / rate * old;
        const A magnitude = linear < 0 ? -linear : linear;
        const A clipped = (linear < 0 ? -l1 : l1) - linear;
        Put(new_sum, first + i);
        Put(linear, second + i);
        Put(magnitude > l1 ? clipped / (strength / rate + 2 * l2) : A(0), row + i);
      }
      return;
    }
  }
}

template <typename T>
constexpr RowKernels<T> MakeRowKernels() {
  return {Pool<T>, Accumulate<T>, Dot<T>, Update<T>};
}

}  // namespace
}  // namespace embedding
}  // namespace nann

#endif  // NANN_OPS_CC_EMBEDDING_ROWS_IMPL_H_
