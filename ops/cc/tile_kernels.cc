// The tile kernels for any processor, and the choice among all of them.

#define NANN_TILE_VECTOR_BYTES 16
#define NANN_TILE_VECTORS 1
#include "ops/cc/tile_kernels.h"

#include "ops/cc/tile_kernels_impl.h"

namespace nann {
namespace tile {

#if defined(__x86_64__)
extern const TileKernels kAvx512Kernels, kAvx2Kernels;

namespace {
const TileKernels& Choose() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return kAvx512Kernels;
  }
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? kAvx2Kernels : kKernels;
}
}  // namespace
#else
namespace {
const TileKernels& Choose() { return kKernels; }
}  // namespace
#endif

const TileKernels& GetTileKernels() {
  static const TileKernels& chosen = Choose();
  return chosen;
}

}  // namespace tile
}  // namespace nann
