// bfloat16 as CUDA converts it: from float to the nearest, ties to even.

#ifndef CUDA_ON_HOST_CUDA_BF16_H_
#define CUDA_ON_HOST_CUDA_BF16_H_

#include <math.h>
#include <stdint.h>
#include <string.h>

struct __nv_bfloat16 {
  uint16_t bits;
};
inline uint16_t __bfloat16_as_ushort(__nv_bfloat16 value) { return value.bits; }

inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  if (isnan(value)) return {0x7fff};
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

#endif  // CUDA_ON_HOST_CUDA_BF16_H_
