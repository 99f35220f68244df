// CRC32C (Castagnoli, RFC 3720 appendix B.4) as TFRecord files use it.

#ifndef NANN_OPS_CC_DATA_CRC32C_H_
#define NANN_OPS_CC_DATA_CRC32C_H_

#include <cstddef>
#include <cstdint>

namespace nann {

// CRC32C of `size` bytes. Uses the SSE4.2 instruction where the processor has it, eight table look-ups per eight bytes elsewhere.
uint32_t Crc32c(const uint8_t* data, size_t size);

// The same by tables only; the oracle of the other.
uint32_t Crc32cByTable(const uint8_t* data, size_t size);

// The checksums of three pieces at once, three times as fast where the processor has the instruction.
void ThreeCrc32c(const uint8_t* const* data, const size_t* sizes, uint32_t* crcs);

// The masking of tensorflow/core/lib/hash/crc32c.h: rotate right by 15, add a constant.
inline uint32_t MaskCrc32c(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8u; }

inline uint32_t MaskedCrc32c(const uint8_t* data, size_t size) { return MaskCrc32c(Crc32c(data, size)); }

}  // namespace nann

#endif  // NANN_OPS_CC_DATA_CRC32C_H_
