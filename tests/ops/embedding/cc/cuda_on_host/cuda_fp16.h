// IEEE half precision as CUDA converts it: to float exactly, from float to the nearest, ties to even.

#ifndef CUDA_ON_HOST_CUDA_FP16_H_
#define CUDA_ON_HOST_CUDA_FP16_H_

#include <math.h>
#include <stdint.h>
#include <string.h>

struct __half {
  uint16_t bits;
};
inline __half __ushort_as_half(uint16_t bits) { return {bits}; }
inline uint16_t __half_as_ushort(__half value) { return value.bits; }

inline float __half2float(__half value) {
  const int exponent = (value.bits >> 10) & 31, fraction = value.bits & 1023;
  const float magnitude = exponent == 31  ? (fraction != 0 ? NAN : INFINITY)
                          : exponent == 0 ? ldexpf(static_cast<float>(fraction), -24)
                                          : ldexpf(static_cast<float>(fraction + 1024), exponent - 25);
  return (value.bits & 0x8000) != 0 ? -magnitude : magnitude;
}

inline __half __float2half_rn(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const float magnitude = fabsf(value);
  if (isnan(value)) return {0x7fff};
  if (magnitude >= 65520.0f) return {static_cast<uint16_t>(sign | 0x7c00)};
  int exponent = 0;
  frexpf(magnitude, &exponent);                                                // magnitude < 2^exponent
  const int place = magnitude < 0x1p-14f ? -24 : exponent - 11;                // of the last bit
  const int scaled = static_cast<int>(nearbyintf(ldexpf(magnitude, -place)));  // 2048 carries into the exponent
  return {static_cast<uint16_t>(sign | (((place + 24) << 10) + scaled))};
}

#endif  // CUDA_ON_HOST_CUDA_FP16_H_
