// The tile kernels for processors with AVX512: 24 sums, 3 columns and a weight in 32 registers.

#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")
#define NANN_TILE_VECTOR_BYTES 64
#define NANN_TILE_VECTORS 3
#include "ops/cc/tile_kernels_impl.h"

namespace nann {
namespace tile {
extern const TileKernels kAvx512Kernels;
const TileKernels kAvx512Kernels = kKernels;
}  // namespace tile
}  // namespace nann
#endif
