// The little of the protocol buffer wire format that tf.train.Example needs (protobuf.dev/programming-guides/encoding).

#ifndef NANN_OPS_CC_DATA_WIRE_FORMAT_H_
#define NANN_OPS_CC_DATA_WIRE_FORMAT_H_

#include <cstdint>
#include <cstring>

namespace nann {

// Tag of a length-delimited field; all fields of tf.train.Example are such.
constexpr uint8_t LengthDelimitedTag(int field) { return static_cast<uint8_t>(field << 3 | 2); }

// Bytes of a base-128 varint, 1..10.
inline int64_t VarintSize(uint64_t value) { return (9 * (63 - __builtin_clzll(value | 1)) + 73) / 64; }

inline uint8_t* PutVarint(uint8_t* out, uint64_t value) {
  while (value >= 0x80) {
    *out++ = static_cast<uint8_t>(value) | 0x80;
    value >>= 7;
  }
  *out++ = static_cast<uint8_t>(value);
  return out;
}

// The same where 8 bytes may be written whatever the value: without a branch per byte for values below 2^28.
inline uint8_t* PutVarintWide(uint8_t* out, uint64_t value) {
  if (value >= uint64_t{1} << 28) return PutVarint(out, value);
  const uint32_t low = static_cast<uint32_t>(value);
  const int size = 1 + (low >= 1u << 7) + (low >= 1u << 14) + (low >= 1u << 21);
  uint32_t bytes = (low & 0x7f) | (low << 1 & 0x7f00) | (low << 2 & 0x7f0000) | (low << 3 & 0x7f000000);
  bytes |= 0x80808080u & ((1u << 8 * (size - 1)) - 1);  // all but the last go on
  std::memcpy(out, &bytes, 4);
  return out + size;
}

inline uint8_t* PutBytes(uint8_t* out, const void* data, size_t size) {
  if (size > 0) std::memcpy(out, data, size);
  return out + size;
}

constexpr int64_t kCopySlack = 16;

// Copies in steps of 16 bytes, and so reads and writes up to kCopySlack bytes too many: for sizes that are mostly small.
inline uint8_t* CopyWide(uint8_t* out, const uint8_t* data, int64_t size) {
  int64_t done = 0;
  do {
    std::memcpy(out + done, data + done, 16);
    done += 16;
  } while (done < size);
  return out + size;
}

// Bytes of a length-delimited field with a one-byte tag.
inline int64_t DelimitedSize(int64_t body) { return 1 + VarintSize(body) + body; }

// Tag and length; the body follows.
inline uint8_t* PutDelimitedHead(uint8_t* out, int field, int64_t body) {
  *out++ = LengthDelimitedTag(field);
  return PutVarint(out, body);
}

inline uint8_t* PutFixed32(uint8_t* out, uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) *out++ = static_cast<uint8_t>(value >> shift);
  return out;
}

inline uint8_t* PutFixed64(uint8_t* out, uint64_t value) {
  for (int shift = 0; shift < 64; shift += 8) *out++ = static_cast<uint8_t>(value >> shift);
  return out;
}

}  // namespace nann

#endif  // NANN_OPS_CC_DATA_WIRE_FORMAT_H_
