// Values of text columns as ids: what kind of id each is.

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "ops/cc/data/digits.h"

namespace nann {
namespace {

// As `ops.text_values` names them.
enum IdClass : uint8_t { kMissing, kInteger, kSpelledInteger, kLeadingZero, kWide, kText, kBroken, kInexact };

bool IsUtf8WithoutNul(std::string_view text) {
  const auto* at = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = at + text.size();
  while (at < end) {
    const unsigned char c = *at++;
    if (c == 0) return false;
    if (c < 0x80) continue;
    const int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
    if (c < 0xc2 || c > 0xf4 || end - at < more) return false;
    if ((c == 0xe0 && at[0] < 0xa0) || (c == 0xed && at[0] > 0x9f) || (c == 0xf0 && at[0] < 0x90) || (c == 0xf4 && at[0] > 0x8f))
      return false;
    for (int i = 0; i < more; ++i) {
      if ((at[i] & 0xc0) != 0x80) return false;
    }
    if (c == 0xef && at[0] == 0xbf && at[1] == 0xbd) return false;  // U+FFFD: was broken before
    at += more;
  }
  return true;
}

// Digits without a sign; false if they exceed 64 bits.
bool ReadUnsigned(std::string_view digits, uint64_t* value) {
  uint64_t number = 0;
  for (const char c : digits) {
    const uint64_t digit = c - '0';
    if (number > (std::numeric_limits<uint64_t>::max() - digit) / 10) return false;
    number = number * 10 + digit;
  }
  *value = number;
  return true;
}

bool ToSigned(uint64_t magnitude, bool negative, int64_t* value) {
  if (magnitude > (uint64_t{1} << 63) - (negative ? 0 : 1)) return false;
  *value = static_cast<int64_t>(negative ? ~magnitude + 1 : magnitude);
  return true;
}

IdClass ClassifyId(std::string_view text, int64_t* value) {
  *value = 0;
  size_t at = 0;
  const bool sign = text[0] == '-' || text[0] == '+';
  const bool negative = text[0] == '-';
  if (sign) ++at;
  const size_t first = at;
  while (at < text.size() && IsDigit(text[at])) ++at;
  const std::string_view digits = text.substr(first, at - first);
  if (digits.empty()) return IsUtf8WithoutNul(text) ? kText : kBroken;
  uint64_t magnitude = 0;
  const bool leading_zero = digits.size() > 1 && digits[0] == '0';
  if (at == text.size()) {
    if (!ReadUnsigned(digits, &magnitude)) return kText;
    if (!ToSigned(magnitude, negative, value)) return leading_zero || negative ? kText : kWide;
    if (leading_zero) return kLeadingZero;
    return text[0] == '+' || (negative && magnitude == 0) ? kSpelledInteger : kInteger;
  }
  size_t end = at;
  bool whole = true;
  if (text[end] == '.') {
    for (++end; end < text.size() && IsDigit(text[end]); ++end) whole = whole && text[end] == '0';
  }
  if (end == text.size() && !leading_zero && whole) {  // 61.0 and 61.
    return ReadUnsigned(digits, &magnitude) && ToSigned(magnitude, negative, value) ? kSpelledInteger : kText;
  }
  if (end < text.size() && (text[end] == 'e' || text[end] == 'E') && !leading_zero) {
    double number = 0;
    const size_t begin = text[0] == '+' ? 1 : 0;
    const auto [last, error] = std::from_chars(text.data() + begin, text.data() + text.size(), number);
    if (error == std::errc() && last == text.data() + text.size() && std::abs(number) > 0x1p53 && std::abs(number) < 0x1p63) {
      *value = static_cast<int64_t>(number);
      return kInexact;
    }
  }
  return IsUtf8WithoutNul(text) ? kText : kBroken;
}

}  // namespace
}  // namespace nann

#define NANN_EXPORT extern "C" __attribute__((visibility("default")))

// The class of every value as an id, and what it is as an integer (0 if it is none). Value i is
// data[offsets[i], offsets[i + 1]). null_words, null_offsets: texts that mean
// "missing" beside the empty one.
NANN_EXPORT int64_t nann_id_classes(const int32_t* offsets, const char* data, int64_t size, const char* null_words,
                                    const int32_t* null_offsets, int num_nulls, int64_t* values, uint8_t* classes) {
  std::vector<std::string_view> nulls;
  for (int i = 0; i < num_nulls; ++i) nulls.emplace_back(null_words + null_offsets[i], null_offsets[i + 1] - null_offsets[i]);
  for (int64_t i = 0; i < size; ++i) {
    const std::string_view text(data + offsets[i], offsets[i + 1] - offsets[i]);
    values[i] = 0;
    classes[i] = nann::kMissing;
    if (text.empty()) continue;
    bool is_null = false;
    for (const std::string_view& word : nulls) is_null = is_null || word == text;
    if (!is_null) classes[i] = nann::ClassifyId(text, &values[i]);
  }
  return size;
}
