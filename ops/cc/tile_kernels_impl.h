// The tile kernels; included by one file per instruction set, which sets the target and the size of a vector before. Everything
// has internal linkage, so that no function built for a newer processor is taken by code for an older one; for the same reason no
// C++ standard header is included.

#include "ops/cc/tile_kernels.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace nann {
namespace tile {
namespace {

// Vectors that are accumulated side by side in a matrix product: as many as the registers hold.
constexpr int kLanes = NANN_TILE_VECTOR_BYTES / 4;
constexpr int kVectors = NANN_TILE_VECTORS;
constexpr int kGroup = kLanes * kVectors;
static_assert(kTileItems % kGroup == 0, "a tile is made of whole groups of vectors");

typedef float Vec __attribute__((vector_size(NANN_TILE_VECTOR_BYTES)));
typedef int32_t IntVec __attribute__((vector_size(NANN_TILE_VECTOR_BYTES)));

#define NANN_INLINE static inline __attribute__((always_inline))

NANN_INLINE Vec Load(const float* from) {
  Vec value;
  __builtin_memcpy(&value, from, sizeof(Vec));
  return value;
}
NANN_INLINE void Store(float* to, Vec value) { __builtin_memcpy(to, &value, sizeof(Vec)); }
NANN_INLINE Vec Fill(float value) { return value - Vec{}; }
NANN_INLINE IntVec Bits(Vec value) { return (IntVec)value; }
NANN_INLINE Vec Floats(IntVec bits) { return (Vec)bits; }
NANN_INLINE Vec Pick(IntVec mask, Vec yes, Vec no) { return Floats((mask & Bits(yes)) | (~mask & Bits(no))); }
// Of a NaN and a number the NaN, as in TensorFlow.
NANN_INLINE Vec Max(Vec a, Vec b) { return Pick((a > b) | (a != a), a, b); }
NANN_INLINE Vec Min(Vec a, Vec b) { return Pick((a < b) | (a != a), a, b); }

// exp and log after Cephes (S. Moshier): range reduction and a polynomial, relative error below 2e-7.
NANN_INLINE Vec Exp(Vec x) {
  const Vec high = Fill(88.3762626647949f), low = Fill(-87.3365478515625f);
  const IntVec tiny = x<low, is_nan = x != x, huge = x> high;
  const Vec bounded = Pick(huge, high, Pick(tiny | is_nan, low, x));
  const Vec scaled = bounded * 1.44269504088896341f;
  const Vec half = Floats((Bits(scaled) & (int32_t)0x80000000) | Bits(Fill(0.5f)));
  const IntVec exponent = __builtin_convertvector(scaled + half, IntVec);
  const Vec n = __builtin_convertvector(exponent, Vec);
  const Vec r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec p = Fill(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const Vec value = p * Floats((exponent + 127) << 23);
  const Vec infinity = Floats(IntVec{} + 0x7f800000);
  return Pick(is_nan, x, Pick(tiny, Vec{}, Pick(huge, infinity, value)));
}

NANN_INLINE Vec Log(Vec x) {
  const IntVec bits = Bits(x);
  Vec e = __builtin_convertvector(((bits >> 23) & 0xff) - 126, Vec);
  Vec m = Floats((bits & 0x007fffff) | 0x3f000000);
  const IntVec small = m < Fill(0.707106781186547524f);
  e = e - Pick(small, Fill(1.0f), Vec{});
  m = m + Pick(small, m, Vec{}) - 1.0f;
  const Vec z = m * m;
  Vec p = Fill(7.0376836292e-2f);
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  p = p * m * z - e * 2.12194440e-4f - 0.5f * z;
  Vec value = m + p + e * 0.693359375f;
  const Vec infinity = Floats(IntVec{} + 0x7f800000);
  value = Pick(x == infinity, infinity, value);
  // Below the smallest normal number, where TensorFlow's threads flush to zero.
  value = Pick(x < Fill(1.17549435e-38f), -infinity, value);
  return Pick((x != x) | (x < Vec{}), Floats(IntVec{} + 0x7fc00000), value);
}

// log(u) y / (u - 1) with u = 1 + y rounded: exact where y is lost in u (W. Kahan).
NANN_INLINE Vec Log1p(Vec y) {
  const Vec u = 1.0f + y, d = u - 1.0f;
  const Vec infinity = Floats(IntVec{} + 0x7f800000);
  return Pick(d == Vec{}, y, Pick(u == infinity, u, Log(u) * (y / d)));
}

NANN_INLINE Vec Softplus(Vec x) { return Max(x, Vec{}) + Log1p(Exp(Min(x, -x))); }

NANN_INLINE Vec Sqrt(Vec x) {
  for (int i = 0; i < kLanes; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
}

NANN_INLINE Vec Apply(Opcode op, Vec x) {
  switch (op) {
    case Opcode::kRelu:
      return Max(x, Vec{});
    case Opcode::kExp:
      return Exp(x);
    case Opcode::kLog:
      return Log(x);
    case Opcode::kLog1p:
      return Log1p(x);
    case Opcode::kSoftplus:
      return Softplus(x);
    case Opcode::kSigmoid:
      return 1.0f / (1.0f + Exp(-x));
    case Opcode::kTanh:
      return 1.0f - 2.0f / (Exp(2.0f * x) + 1.0f);
    case Opcode::kSqrt:
      return Sqrt(x);
    case Opcode::kRsqrt:
      return 1.0f / Sqrt(x);
    case Opcode::kNeg:
      return -x;
    case Opcode::kSquare:
      return x * x;
    case Opcode::kIsFinite:
      return Pick((Bits(x) & 0x7f800000) != 0x7f800000, Fill(1.0f), Vec{});
    default:
      return x;
  }
}

NANN_INLINE Vec Apply(Opcode op, Vec a, Vec b) {
  switch (op) {
    case Opcode::kAdd:
      return a + b;
    case Opcode::kSub:
      return a - b;
    case Opcode::kMul:
      return a * b;
    case Opcode::kDiv:
      return a / b;
    case Opcode::kMax:
      return Max(a, b);
    default:
      return Min(a, b);
  }
}

NANN_INLINE Vec Read(const Source& source, int64_t row, int lane) {
  if (source.broadcast) row = 0;
  return source.tile ? Load(source.values + row * kTileItems + lane) : Fill(source.values[row]);
}

NANN_INLINE Vec Prelu(Vec x, Vec slope) { return Pick(x > Vec{}, x, x * slope); }

template <int kOutputs>
NANN_INLINE void Panel(const float* in, int64_t k, const float* panel, int64_t row, Source init, bool relu, const float* slopes,
                       float* out) {
  for (int first = 0; first < kTileItems; first += kGroup) {
    Vec sums[kOutputs][kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kOutputs; ++j) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[j][v] = init.values ? Read(init, row + j, first + v * kLanes) : Vec{};
    }
    const float* x = in + first;
    for (int64_t i = 0; i < k; ++i, x += kTileItems) {
      Vec columns[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) columns[v] = Load(x + v * kLanes);
#pragma GCC unroll 8
      for (int j = 0; j < kOutputs; ++j) {
        const Vec weight = Fill(panel[i * kPanel + j]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[j][v] += weight * columns[v];
      }
    }
#pragma GCC unroll 8
    for (int j = 0; j < kOutputs; ++j) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        Vec sum = sums[j][v];
        if (relu) sum = Max(sum, Vec{});
        if (slopes) sum = Prelu(sum, Fill(slopes[row + j]));
        Store(out + (row + j) * kTileItems + first + v * kLanes, sum);
      }
    }
  }
}

void Matmul(const float* in, int64_t k, const float* panels, int64_t n, Source init, bool relu, const float* slopes, float* out) {
  int64_t row = 0;
  for (; row + kPanel <= n; row += kPanel, panels += k * kPanel) Panel<kPanel>(in, k, panels, row, init, relu, slopes, out);
  switch (n - row) {
    case 1:
      return Panel<1>(in, k, panels, row, init, relu, slopes, out);
    case 2:
      return Panel<2>(in, k, panels, row, init, relu, slopes, out);
    case 3:
      return Panel<3>(in, k, panels, row, init, relu, slopes, out);
    case 4:
      return Panel<4>(in, k, panels, row, init, relu, slopes, out);
    case 5:
      return Panel<5>(in, k, panels, row, init, relu, slopes, out);
    case 6:
      return Panel<6>(in, k, panels, row, init, relu, slopes, out);
    case 7:
      return Panel<7>(in, k, panels, row, init, relu, slopes, out);
    default:
      return;
  }
}

template <Opcode op>
void UnaryLoop(const float* in, int64_t width, float* out) {
  for (int64_t i = 0; i < width * kTileItems; i += kLanes) Store(out + i, Apply(op, Load(in + i)));
}

void Unary(Opcode op, const float* in, int64_t width, float* out) {
  switch (op) {
#define NANN_CASE(name) \
  case Opcode::name:    \
    return UnaryLoop<Opcode::name>(in, width, out);
    NANN_CASE(kRelu)
    NANN_CASE(kExp)
    NANN_CASE(kLog)
    NANN_CASE(kLog1p)
    NANN_CASE(kSoftplus)
    NANN_CASE(kSigmoid)
    NANN_CASE(kTanh)
    NANN_CASE(kSqrt)
    NANN_CASE(kRsqrt)
    NANN_CASE(kNeg)
    NANN_CASE(kSquare)
    NANN_CASE(kIsFinite)
#undef NANN_CASE
    default:
      return;
  }
}

template <Opcode op>
void BinaryLoop(Source a, Source b, int64_t width, float* out) {
  for (int64_t row = 0; row < width; ++row) {
    for (int lane = 0; lane < kTileItems; lane += kLanes)
      Store(out + row * kTileItems + lane, Apply(op, Read(a, row, lane), Read(b, row, lane)));
  }
}

void Binary(Opcode op, Source a, Source b, int64_t width, float* out) {
  switch (op) {
#define NANN_CASE(name) \
  case Opcode::name:    \
    return BinaryLoop<Opcode::name>(a, b, width, out);
    NANN_CASE(kAdd)
    NANN_CASE(kSub)
    NANN_CASE(kMul)
    NANN_CASE(kDiv)
    NANN_CASE(kMax)
    NANN_CASE(kMin)
#undef NANN_CASE
    default:
      return;
  }
}

void PreluRows(const float* in, Source slopes, int64_t width, float* out) {
  for (int64_t row = 0; row < width; ++row) {
    for (int lane = 0; lane < kTileItems; lane += kLanes) {
      const int64_t at = row * kTileItems + lane;
      Store(out + at, Prelu(Load(in + at), Read(slopes, row, lane)));
    }
  }
}

void Select(Source condition, Source a, Source b, int64_t width, float* out) {
  for (int64_t row = 0; row < width; ++row) {
    for (int lane = 0; lane < kTileItems; lane += kLanes) {
      const IntVec holds = Read(condition, row, lane) != Vec{};
      Store(out + row * kTileItems + lane, Pick(holds, Read(a, row, lane), Read(b, row, lane)));
    }
  }
}

void Reduce(Opcode op, const float* in, int64_t width, float* out) {
  for (int lane = 0; lane < kTileItems; lane += kLanes) {
    Vec value = op == Opcode::kReduceMax ? Floats(IntVec{} + (int32_t)0xff800000) : Vec{};
    for (int64_t row = 0; row < width; ++row) {
      const Vec next = Load(in + row * kTileItems + lane);
      value = op == Opcode::kReduceMax ? Max(next, value) : value + next;
    }
    Store(out + lane, value);
  }
}

void Softmax(const float* in, int64_t width, float* out) {
  for (int lane = 0; lane < kTileItems; lane += kLanes) {
    Vec largest = Floats(IntVec{} + (int32_t)0xff800000), sum = Vec{};
    for (int64_t row = 0; row < width; ++row) largest = Max(Load(in + row * kTileItems + lane), largest);
    for (int64_t row = 0; row < width; ++row) {
      const Vec value = Exp(Load(in + row * kTileItems + lane) - largest);
      sum += value;
      Store(out + row * kTileItems + lane, value);
    }
    const Vec factor = 1.0f / sum;
    for (int64_t row = 0; row < width; ++row) {
      float* const at = out + row * kTileItems + lane;
      Store(at, Load(at) * factor);
    }
  }
}

void LoadRows(const float* const* rows, int64_t dim, float* out) {
  // A few columns at a time: what is written stays in a few lines of the first-level cache.
  constexpr int64_t kColumns = 16;
  for (int64_t first = 0; first < dim; first += kColumns) {
    const int64_t last = first + kColumns < dim ? first + kColumns : dim;
    for (int64_t item = 0; item < kTileItems; ++item) {
      const float* const row = rows[item];
      for (int64_t column = first; column < last; ++column) out[column * kTileItems + item] = row[column];
    }
  }
}

constexpr TileKernels kKernels = {Matmul, Binary, Unary, PreluRows, Select, Softmax, Reduce, LoadRows};

}  // namespace
}  // namespace tile
}  // namespace nann
