// Values of text columns as times, in ISO 8601 or another format.

#include <cstdint>
#include <cstring>
#include <string_view>

#include "ops/cc/data/digits.h"

namespace nann {
namespace {

// As `ops.text_values` names them.
enum TimeStatus : uint8_t { kNoTime, kWithZone, kWithoutZone, kNotATime };

// Days since 1970-01-01 of a date of the proleptic Gregorian calendar.
int64_t DaysFromCivil(int64_t year, int month, int day) {
  year -= month <= 2;
  const int64_t era = (year >= 0 ? year : year - 399) / 400;
  const int64_t year_of_era = year - era * 400;
  const int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

int DaysInMonth(int64_t year, int month) {
  static constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return month == 2 && (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)) ? 29 : kDays[month - 1];
}

struct Moment {
  int64_t year = -1;
  int month = 1, day = 1, hour = 0, minute = 0, second = 0;
  int64_t micros = 0;
  int afternoon = -1;  // of a clock of 12 hours
  int64_t offset_seconds = 0;
  bool with_zone = false;
  bool with_epoch = false;
  int64_t epoch_seconds = 0;
};

class Reader {
 public:
  explicit Reader(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}

  bool done() const { return at_ == end_; }
  char peek() const { return at_ < end_ ? *at_ : '\0'; }
  void skip() { ++at_; }
  bool Take(char c) { return at_ < end_ && *at_ == c ? (++at_, true) : false; }

  bool TakeWord(std::string_view word) {
    if (static_cast<size_t>(end_ - at_) < word.size()) return false;
    for (size_t i = 0; i < word.size(); ++i) {
      if ((at_[i] | 0x20) != (word[i] | 0x20)) return false;
    }
    at_ += word.size();
    return true;
  }

  // From `least` to `most` digits.
  template <typename T>
  bool Number(int least, int most, T* value) {
    int64_t number = 0;
    int count = 0;
    for (; count < most && at_ < end_ && IsDigit(*at_); ++count) number = number * 10 + (*at_++ - '0');
    *value = static_cast<T>(number);
    return count >= least;
  }

  bool Fraction(int64_t* micros) {
    int count = 0;
    *micros = 0;
    for (; at_ < end_ && IsDigit(*at_); ++at_, ++count) {
      if (count < 6) *micros = *micros * 10 + (*at_ - '0');
    }
    if (count == 0) return false;
    for (; count < 6; ++count) *micros *= 10;
    return true;
  }

  // Z, UTC, GMT, +hh, +hhmm, +hh:mm.
  bool Zone(Moment* moment) {
    moment->with_zone = true;
    if (TakeWord("UTC") || TakeWord("GMT") || TakeWord("Z")) return true;
    const bool negative = peek() == '-';
    if (!negative && peek() != '+') return false;
    skip();
    int hours = 0, minutes = 0;
    if (!Number(2, 2, &hours)) return false;
    const bool colon = Take(':');
    if ((colon || IsDigit(peek())) && !Number(2, 2, &minutes)) return false;
    if (hours > 23 || minutes > 59) return false;
    moment->offset_seconds = (negative ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
  }

 private:
  const char* at_;
  const char* const end_;
};

bool ReadIso(std::string_view text, Moment* moment) {
  Reader reader(text);
  if (!reader.Number(4, 4, &moment->year)) return false;
  const char dash = reader.peek();
  if (dash != '-' && dash != '/') return false;
  reader.skip();
  if (!reader.Number(2, 2, &moment->month) || !reader.Take(dash) || !reader.Number(2, 2, &moment->day)) return false;
  if (reader.done()) return true;
  if (!reader.Take('T') && !reader.Take('t') && !reader.Take(' ')) return false;
  if (!reader.Number(2, 2, &moment->hour) || !reader.Take(':') || !reader.Number(2, 2, &moment->minute)) return false;
  if (reader.Take(':')) {
    if (!reader.Number(2, 2, &moment->second)) return false;
    if ((reader.Take('.') || reader.Take(',')) && !reader.Fraction(&moment->micros)) return false;
  }
  if (reader.done()) return true;
  reader.Take(' ');
  return reader.Zone(moment) && reader.done();
}

constexpr const char* kMonths[] = {"january", "february", "march",     "april",   "may",      "june",
                                   "july",    "august",   "september", "october", "november", "december"};
constexpr const char* kWeekdays[] = {"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"};

template <size_t N>
bool TakeName(Reader* reader, const char* const (&names)[N], int* place) {
  for (size_t i = 0; i < N; ++i) {
    if (reader->TakeWord(names[i]) || reader->TakeWord(std::string_view(names[i]).substr(0, 3))) {
      *place = static_cast<int>(i);
      return true;
    }
  }
  return false;
}

bool ReadDirective(char directive, bool packed, Reader* reader, Moment* moment) {
  const int two = packed ? 2 : 1;
  int number = 0;
  switch (directive) {
    case 'Y':
      return reader->Number(4, 4, &moment->year);
    case 'y':
      if (!reader->Number(2, 2, &moment->year)) return false;
      moment->year += moment->year < 69 ? 2000 : 1900;
      return true;
    case 'm':
      return reader->Number(two, 2, &moment->month);
    case 'd':
      return reader->Number(two, 2, &moment->day);
    case 'H':
      return reader->Number(two, 2, &moment->hour);
    case 'I':
      if (!reader->Number(two, 2, &moment->hour) || moment->hour < 1 || moment->hour > 12) return false;
      if (moment->afternoon < 0) moment->afternoon = 0;
      return true;
    case 'M':
      return reader->Number(two, 2, &moment->minute);
    case 'S':
      return reader->Number(two, 2, &moment->second);
    case 'f':
      return reader->Fraction(&moment->micros);
    case 'p':
      moment->afternoon = reader->TakeWord("PM") ? 1 : 0;
      return moment->afternoon == 1 || reader->TakeWord("AM");
    case 'b':
    case 'B':
      if (!TakeName(reader, kMonths, &moment->month)) return false;
      ++moment->month;
      return true;
    case 'a':
    case 'A':
      return TakeName(reader, kWeekdays, &number);
    case 'z':
    case 'Z':
      return reader->Zone(moment);
    case 's':
      moment->with_epoch = true;
      return reader->Number(1, 12, &moment->epoch_seconds);
    case '%':
      return reader->Take('%');
    default:
      return false;
  }
}

bool ReadFormat(std::string_view text, std::string_view format, bool packed, Moment* moment) {
  Reader reader(text);
  bool clock12 = false;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] == '%' && i + 1 < format.size()) {
      clock12 = clock12 || format[i + 1] == 'I';
      if (!ReadDirective(format[++i], packed, &reader, moment)) return false;
    } else if (format[i] == ' ') {
      if (!reader.Take(' ')) return false;
      while (reader.Take(' ')) {
      }
    } else if (!reader.Take(format[i])) {
      return false;
    }
  }
  if (clock12) moment->hour = moment->hour % 12 + (moment->afternoon == 1 ? 12 : 0);
  return reader.done();
}

TimeStatus ToMicros(const Moment& moment, int64_t* micros) {
  if (moment.with_epoch) {
    *micros = moment.epoch_seconds * 1000000 + moment.micros;
    return kWithZone;
  }
  if (moment.year < 1 || moment.month < 1 || moment.month > 12 || moment.day < 1 || moment.hour > 23 || moment.minute > 59 ||
      moment.second > 60 || moment.day > DaysInMonth(moment.year, moment.month)) {
    return kNotATime;
  }
  const int64_t seconds = DaysFromCivil(moment.year, moment.month, moment.day) * 86400 + moment.hour * 3600 + moment.minute * 60 +
                          moment.second - moment.offset_seconds;
  *micros = seconds * 1000000 + moment.micros;
  return moment.with_zone ? kWithZone : kWithoutZone;
}

}  // namespace
}  // namespace nann

#define NANN_EXPORT extern "C" __attribute__((visibility("default")))

// Microseconds since 1970 and status of every value; value i is data[offsets[i], offsets[i + 1]). format: directives of strptime;
// size 0: ISO 8601. packed: numbers have all their digits, and texts shorter than `digits` get zeros in front. year: of times
// whose format has none, or -1.
NANN_EXPORT int64_t nann_parse_times(const int32_t* offsets, const char* data, int64_t size, const char* format,
                                     int64_t format_size, int packed, int64_t digits, int64_t year, int64_t* micros,
                                     uint8_t* statuses) {
  char padded[64];
  for (int64_t i = 0; i < size; ++i) {
    std::string_view text(data + offsets[i], offsets[i + 1] - offsets[i]);
    micros[i] = 0;
    statuses[i] = nann::kNoTime;
    if (text.empty()) continue;
    nann::Moment moment;
    moment.year = year;
    bool good;
    if (format_size == 0) {
      good = nann::ReadIso(text, &moment);
    } else {
      const int64_t missing = packed ? digits - static_cast<int64_t>(text.size()) : 0;
      if (missing > 0 && digits < 64) {
        std::memset(padded, '0', missing);
        std::memcpy(padded + missing, text.data(), text.size());
        text = std::string_view(padded, digits);
      }
      good = nann::ReadFormat(text, std::string_view(format, format_size), packed != 0, &moment);
    }
    statuses[i] = good ? nann::ToMicros(moment, &micros[i]) : nann::kNotATime;
  }
  return size;
}
