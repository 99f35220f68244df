// The little of the protocol buffer wire format that tf.train.Example needs (protobuf.dev/programming-guides/encoding).

#ifndef NANN_OPS_CC_WIRE_FORMAT_H_
#define NANN_OPS_CC_WIRE_FORMAT_H_

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

inline uint8_t* PutBytes(uint8_t* out, const void* data, size_t size) {
  if (size > 0) std::memcpy(out, data, size);
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

#endif  // NANN_OPS_CC_WIRE_FORMAT_H_
