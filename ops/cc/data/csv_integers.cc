// Integers of some columns of CSV text whose every row is well-formed; what is not is left to a patient reader.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

namespace nann {
namespace {

constexpr int kMaxDigits = 18;  // what always fits 64 bits
constexpr uint64_t kPowersOfTen[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};

// The number of digits that a word of text begins with, its first character in the lowest byte. A byte without its '0' is above 9
// if and only if adding 0x76 reaches its highest bit; what carries over from one that is no digit lies behind it.
inline int LeadingDigits(uint64_t digits) {
  const uint64_t others = ((digits + 0x7676767676767676u) | digits) & 0x8080808080808080u;
  return others == 0 ? 8 : __builtin_ctzll(others) / 8;
}

// The value of the first `count` (1..8) digits of a word: neighbours are joined to pairs, pairs to fours, fours to eight digits.
inline uint64_t DigitsValue(uint64_t digits, int count) {
  digits <<= 64 - 8 * count;
  digits = digits * 10 + (digits >> 8);
  return (((digits & 0x000000ff000000ffu) * 0x000f424000000064u) +
          (((digits >> 16) & 0x000000ff000000ffu) * 0x0000271000000001u)) >>
         32;
}

// Reads [0-9]+ of which more than kMaxDigits may be read wrongly; returns where it ends.
inline const char* ReadDigits(const char* at, const char* end, uint64_t* value) {
  uint64_t number = 0;
  while (end - at >= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    word ^= 0x3030303030303030u;
    const int count = LeadingDigits(word);
    if (count > 0) number = number * kPowersOfTen[count] + DigitsValue(word, count);
    at += count;
    if (count < 8) {
      *value = number;
      return at;
    }
  }
  for (; at < end; ++at) {
    const unsigned digit = static_cast<unsigned char>(*at) - '0';
    if (digit > 9) break;
    number = number * 10 + digit;
  }
  *value = number;
  return at;
}

// Reads an integer of up to 18 digits, written as a program would (no leading zero), up to `stop` or the end of a line; null if
// there is anything else.
inline const char* ReadInteger(const char* at, const char* end, char stop, int64_t* value) {
  const bool negative = at < end && *at == '-';
  if (negative) ++at;
  const char* const first = at;
  uint64_t number;
  at = ReadDigits(at, end, &number);
  if (at == first || at - first > kMaxDigits || (*first == '0' && (at - first > 1 || negative))) return nullptr;
  if (at < end && *at != stop && *at != '\n' && *at != '\r') return nullptr;
  *value = negative ? -static_cast<int64_t>(number) : static_cast<int64_t>(number);
  return at;
}

// Turns int64 values into int32 ones at the beginning of the same memory.
void Narrow(int64_t* values, int64_t size) {
  char* const bytes = reinterpret_cast<char*>(values);
  for (int64_t i = 0; i < size; ++i) {
    int64_t value;
    std::memcpy(&value, bytes + 8 * i, 8);
    const int32_t narrow = static_cast<int32_t>(value);
    std::memcpy(bytes + 4 * i, &narrow, 4);
  }
}

}  // namespace
}  // namespace nann

// Reads a block of whole lines, empty ones left out.
//
// text, size: the block. width: fields per row. delimiter: between them. quote: character, or -1. wanted: [width] place in
// `columns`, or -1 for a field that is only skipped. columns: `num_columns` arrays of `capacity` values each. narrow:
// [num_columns], set to 1 for a column that all fits 32 bits and then holds int32 values, at the beginning of its array. Returns
// the number of rows; -1 if a row has another number of fields, a wanted field is no plain integer of up to 18 digits, a field
// begins with a quote, a carriage return is not before a line feed, or the arrays are too short.
extern "C" __attribute__((visibility("default"))) int64_t nann_csv_integers(const char* text, size_t size, int width,
                                                                            char delimiter, int quote, const int32_t* wanted,
                                                                            int64_t* const* columns, int num_columns,
                                                                            int64_t capacity, uint8_t* narrow) {
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
        if (at < end && static_cast<unsigned char>(*at) == quote) return -1;
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
  for (int column = 0; column < num_columns; ++column) {
    int64_t low = 0, high = 0;
    for (int64_t i = 0; i < row; ++i) {
      low = columns[column][i] < low ? columns[column][i] : low;
      high = columns[column][i] > high ? columns[column][i] : high;
    }
    narrow[column] = low >= std::numeric_limits<int32_t>::min() && high <= std::numeric_limits<int32_t>::max();
    if (narrow[column]) nann::Narrow(columns[column], row);
  }
  return row;
}
