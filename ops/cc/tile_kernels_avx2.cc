// The tile kernels for processors with AVX2: 8 sums, a column and a weight in 16 registers.

#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#define NANN_TILE_VECTOR_BYTES 32
#define NANN_TILE_VECTORS 1
#include "ops/cc/tile_kernels_impl.h"

namespace nann {
namespace tile {
extern const TileKernels kAvx2Kernels;
const TileKernels kAvx2Kernels = kKernels;
}  // namespace tile
}  // namespace nann
#endif
