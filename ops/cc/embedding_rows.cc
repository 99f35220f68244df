// The row kernels for any processor, and the choice among all of them.

#include "ops/cc/embedding_rows.h"

#include "ops/cc/embedding_rows_impl.h"

namespace nann {
namespace embedding {

#define NANN_ROW_KERNELS(T)                                                  \
  extern const RowKernels<T> kAvx512##T, kAvx2##T;                           \
  template <>                                                                \
  const RowKernels<T>& GetRowKernels<T>() {                                  \
    static constexpr RowKernels<T> portable = MakeRowKernels<T>();           \
    static const RowKernels<T>& chosen = Choose<T>(portable, NANN_NEWER(T)); \
    return chosen;                                                           \
  }

namespace {

#if defined(__x86_64__)
#define NANN_NEWER(T) kAvx2##T, kAvx512##T
template <typename T>
const RowKernels<T>& Choose(const RowKernels<T>& portable, const RowKernels<T>& avx2, const RowKernels<T>& avx512) {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return avx512;
  }
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? avx2 : portable;
}
#else
#define NANN_NEWER(T) 0
template <typename T>
const RowKernels<T>& Choose(const RowKernels<T>& portable, int) {
  return portable;
}
#endif

}  // namespace

NANN_ROW_KERNELS(Half)
NANN_ROW_KERNELS(BFloat16)
NANN_ROW_KERNELS(float)
NANN_ROW_KERNELS(double)

float ToFloat(Half value) { return Lane<Half>::One(&value); }
float ToFloat(BFloat16 value) { return Lane<BFloat16>::One(&value); }
void FromFloat(float value, Half* out) { out->bits = NarrowToHalf(value); }
void FromFloat(float value, BFloat16* out) { out->bits = NarrowToBFloat16(value); }

}  // namespace embedding
}  // namespace nann
