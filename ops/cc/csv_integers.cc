// Integers of some columns of CSV text whose every row is well-formed; what is not is left to a patient reader.

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace nann {
namespace {

constexpr int kMaxDigits = 18;  // what always fits 64 bits

// Reads -?[0-9]{1,18} up to `stop` or the end of a line; null if there is anything else.
inline const char* ReadInteger(const char* at, const char* end, char stop, int64_t* value) {
  const bool negative = at < end && *at == '-';
  if (negative) ++at;
  const char* const first = at;
  uint64_t number = 0;
  while (at < end) {
    const unsigned digit = static_cast<unsigned char>(*at) - '0';
    if (digit > 9) break;
    number = number * 10 + digit;
    ++at;
  }
  if (at == first || at - first > kMaxDigits) return nullptr;
  if (at < end && *at != stop && *at != '\n' && *at != '\r') return nullptr;
  *value = negative ? -static_cast<int64_t>(number) : static_cast<int64_t>(number);
  return at;
}

}  // namespace
}  // namespace nann

// Reads a block of whole lines, empty ones left out.
//
// text, size: the block. width: fields per row. delimiter: between them. wanted: [width] place in `columns`, or -1 for a field
// that is only skipped. columns: arrays of `capacity` values each. Returns the number of rows; -1 if a row has another number of
// fields, a wanted field is no plain integer of up to 18 digits, a carriage return is not before a line feed, or the arrays are
// too short.
extern "C" __attribute__((visibility("default"))) int64_t nann_csv_integers(const char* text, size_t size, int width,
                                                                            char delimiter, const int32_t* wanted,
                                                                            int64_t* const* columns, int64_t capacity) {
  const char* at = text;
  const char* const end = text + size;
  int64_t row = 0;
  while (at < end) {
    if (*at == '\n') {
      ++at;
      continue;
    }
    if (*at == '\r' && at + 1 < end && at[1] == '\n') {
      at += 2;
      continue;
    }
    if (row == capacity) return -1;
    for (int field = 0; field < width; ++field) {
      if (wanted[field] >= 0) {
        at = nann::ReadInteger(at, end, delimiter, &columns[wanted[field]][row]);
        if (at == nullptr) return -1;
      } else {
        while (at < end && *at != delimiter && *at != '\n' && *at != '\r') ++at;
      }
      if (field + 1 < width) {
        if (at == end || *at != delimiter) return -1;
        ++at;
      }
    }
    if (at < end && *at == '\r') {
      ++at;
      if (at < end && *at != '\n') return -1;
    }
    if (at < end) {
      if (*at != '\n') return -1;
      ++at;
    }
    ++row;
  }
  return row;
}
