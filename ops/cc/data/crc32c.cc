#include "ops/cc/data/crc32c.h"

#include <algorithm>
#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace nann {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78u;  // Castagnoli, bit-reversed

using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables MakeTables() {
  Tables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? kPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (uint32_t byte = 0; byte < 256; ++byte) {
    for (int slice = 1; slice < 8; ++slice) {
      const uint32_t previous = tables[slice - 1][byte];
      tables[slice][byte] = (previous >> 8) ^ tables[0][previous & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

#if defined(__x86_64__)
// Goes on from the inverted checksum of what was before.
__attribute__((target("sse4.2"))) uint32_t Crc32cBySse42(uint64_t crc, const uint8_t* data, size_t size) {
  for (; size >= 8; data += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    crc = _mm_crc32_u64(crc, word);
  }
  uint32_t narrow = static_cast<uint32_t>(crc);
  for (; size > 0; ++data, --size) narrow = _mm_crc32_u8(narrow, *data);
  return ~narrow;
}

__attribute__((target("sse4.2"))) void ThreeCrc32cBySse42(const uint8_t* const* data, const size_t* sizes, uint32_t* crcs) {
  uint64_t states[3] = {0xffffffffu, 0xffffffffu, 0xffffffffu};
  const size_t common = std::min({sizes[0], sizes[1], sizes[2]}) / 8 * 8;
  for (size_t done = 0; done < common; done += 8) {
    for (int i = 0; i < 3; ++i) {
      uint64_t word;
      std::memcpy(&word, data[i] + done, 8);
      states[i] = _mm_crc32_u64(states[i], word);
    }
  }
  for (int i = 0; i < 3; ++i) crcs[i] = Crc32cBySse42(states[i], data[i] + common, sizes[i] - common);
}

bool HasSse42() {
  static const bool has = __builtin_cpu_supports("sse4.2");
  return has;
}
#endif

}  // namespace

uint32_t Crc32cByTable(const uint8_t* data, size_t size) {
  uint32_t crc = 0xffffffffu;
  for (; size >= 8; data += 8, size -= 8) {
    const uint32_t low = crc ^ (static_cast<uint32_t>(data[0]) | static_cast<uint32_t>(data[1]) << 8 |
                                static_cast<uint32_t>(data[2]) << 16 | static_cast<uint32_t>(data[3]) << 24);
    crc = kTables[7][low & 0xff] ^ kTables[6][(low >> 8) & 0xff] ^ kTables[5][(low >> 16) & 0xff] ^ kTables[4][low >> 24] ^
          kTables[3][data[4]] ^ kTables[2][data[5]] ^ kTables[1][data[6]] ^ kTables[0][data[7]];
  }
  for (; size > 0; ++data, --size) crc = (crc >> 8) ^ kTables[0][(crc ^ *data) & 0xff];
  return ~crc;
}

uint32_t Crc32c(const uint8_t* data, size_t size) {
#if defined(__x86_64__)
  if (HasSse42()) return Crc32cBySse42(0xffffffffu, data, size);
#endif
  return Crc32cByTable(data, size);
}

void ThreeCrc32c(const uint8_t* const* data, const size_t* sizes, uint32_t* crcs) {
#if defined(__x86_64__)
  if (HasSse42()) return ThreeCrc32cBySse42(data, sizes, crcs);
#endif
  for (int i = 0; i < 3; ++i) crcs[i] = Crc32cByTable(data[i], sizes[i]);
}

}  // namespace nann

// For tests, which compare both forms on machines that would only ever take one.
extern "C" __attribute__((visibility("default"))) uint32_t nann_crc32c(const uint8_t* data, size_t size, int by_table) {
  return by_table ? nann::Crc32cByTable(data, size) : nann::Crc32c(data, size);
}
