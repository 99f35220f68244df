// The row kernels for processors with AVX2.

#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")
#include "ops/cc/embedding_rows_impl.h"

namespace nann {
namespace embedding {

#define NANN_ROW_KERNELS(T)            \
  extern const RowKernels<T> kAvx2##T; \
  const RowKernels<T> kAvx2##T = MakeRowKernels<T>();
NANN_ROW_KERNELS(Half)
NANN_ROW_KERNELS(BFloat16)
NANN_ROW_KERNELS(float)
NANN_ROW_KERNELS(double)

}  // namespace embedding
}  // namespace nann
#endif
