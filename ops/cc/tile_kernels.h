// Arithmetic on tiles: arrays [width, kTileItems] of floats, an item per column, so that one vector instruction works on as many
// items, and what is reduced over a row of the scorer is a sum of vectors here.

#ifndef NANN_OPS_CC_TILE_KERNELS_H_
#define NANN_OPS_CC_TILE_KERNELS_H_

#include <cstdint>

namespace nann {
namespace tile {

constexpr int64_t kTileItems = 48;
constexpr int64_t kPanel = 8;  // outputs of a matrix product that are accumulated at once

enum class Opcode {
  kMatmul,
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMax,
  kMin,
  kRelu,
  kExp,
  kLog,
  kLog1p,
  kSoftplus,
  kSigmoid,
  kTanh,
  kSqrt,
  kRsqrt,
  kNeg,
  kSquare,
  kIsFinite,
  kPrelu,
  kSoftmax,
  kReduceMax,
  kReduceSum,
  kSelect,
  kSlice,
  kConcat,
};

// One operand of an element-wise kernel: row i of the tile, or value i for all items; i is 0 throughout where `broadcast`.
struct Source {
  const float* values;
  bool tile;
  bool broadcast;
};

// Matrices are packed into panels, [ceil(n / kPanel), k, kPanel] with zeros at the end. Arrays of tiles are 64-byte aligned.
struct TileKernels {
  // out [n, items] = activation(init + matrix' in), in [k, items]. init and slopes may have no values: zeros, no activation.
  void (*matmul)(const float* in, int64_t k, const float* panels, int64_t n, Source init, bool relu, const float* slopes,
                 float* out);
  void (*binary)(Opcode op, Source a, Source b, int64_t width, float* out);
  void (*unary)(Opcode op, const float* in, int64_t width, float* out);
  void (*prelu)(const float* in, Source slopes, int64_t width, float* out);
  void (*select)(Source condition, Source a, Source b, int64_t width, float* out);
  void (*softmax)(const float* in, int64_t width, float* out);
  void (*reduce)(Opcode op, const float* in, int64_t width, float* out);
  // out [dim, items] of kTileItems rows.
  void (*load)(const float* const* rows, int64_t dim, float* out);
};

// The fastest for this processor.
const TileKernels& GetTileKernels();

}  // namespace tile
}  // namespace nann

#endif  // NANN_OPS_CC_TILE_KERNELS_H_
