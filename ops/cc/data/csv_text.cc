// Rows of delimited text as columns of text (RFC 4180 with recovery): what `csv_integers.cc` leaves.
//
// A field that begins with the quote character is quoted: it ends at a quote before a delimiter or the end of the line, two
// quotes in a row are one, and it may hold delimiters and line ends. A record whose quotes do not come out costs only its own
// line:
//   1. as RFC 4180 says; a record of several lines counts only if it has the right number of fields;
//   2. if the quotes are malformed, its first line alone, where stray quotes are content and quotes close before a delimiter
//   only;
//   3. its first line alone, quotes being ordinary characters.
// The text between two blanks at the ends of a field is its value.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace nann {
namespace {

enum Outcome { kGood, kMalformed, kIncomplete };

struct Field {
  const char* begin;
  const char* end;
  bool escaped;  // holds pairs of quotes that stand for one
};

struct Dialect {
  const char* delimiter;
  size_t delimiter_size;
  int quote;  // -1: none
  const char* comment;
  size_t comment_size;
  int64_t max_quoted;  // bytes of a quoted field; a longer one is a lone quote
};

class Splitter {
 public:
  Splitter(const Dialect& dialect, const char* end, bool at_end, int width)
      : dialect_(dialect), end_(end), at_end_(at_end), width_(width), fields_(width) {}

  // Splits the record at `at`; afterwards `next()` is where the following one begins, `count()` its number of fields, and the
  // record is a row if there are `width` of them.
  Outcome Split(const char* at) {
    const Outcome outcome = Strict(at);
    if (outcome == kIncomplete) return outcome;
    if (outcome == kGood && (count_ == width_ || !several_lines_)) return kGood;
    const char* const line_end = LineEnd(at);
    if (outcome == kMalformed && OneLine(at, line_end, /*lenient=*/true) == width_) return kGood;
    OneLine(at, line_end, /*lenient=*/false);
    return kGood;
  }

  int64_t count() const { return count_; }
  const char* next() const { return next_; }
  const std::vector<Field>& fields() const { return fields_; }

  const char* LineEnd(const char* at) const {
    while (at < end_ && *at != '\n' && *at != '\r') ++at;
    return at;
  }

  const char* AfterLine(const char* line_end) const {
    if (line_end == end_) return line_end;
    return line_end + (*line_end == '\r' && line_end + 1 < end_ && line_end[1] == '\n' ? 2 : 1);
  }

 private:
  bool IsDelimiter(const char* at, const char* end) const {
    if (static_cast<size_t>(end - at) < dialect_.delimiter_size || *at != dialect_.delimiter[0]) return false;
    return dialect_.delimiter_size == 1 || std::memcmp(at, dialect_.delimiter, dialect_.delimiter_size) == 0;
  }

  void Put(const char* begin, const char* end, bool escaped) {
    if (count_ < width_) fields_[count_] = Field{begin, end, escaped};
    ++count_;
  }

  // Where a quoted field's content begins if one begins at `at` (blanks before the quote do not count); else null.
  const char* Quoted(const char* at, const char* end) const {
    if (dialect_.quote < 0) return nullptr;
    while (at < end && *at == ' ') ++at;
    return at < end && static_cast<unsigned char>(*at) == dialect_.quote ? at + 1 : nullptr;
  }

  const char* SkipBlanks(const char* at, const char* end) const {
    while (at < end && *at == ' ') ++at;
    return at;
  }

  Outcome Strict(const char* at) {
    count_ = 0;
    several_lines_ = false;
    const char first = dialect_.delimiter[0];
    while (true) {
      const char* content = Quoted(at, end_);
      if (content == nullptr) {
        const char* const begin = at;
        while (at < end_ && *at != '\n' && *at != '\r' && !(*at == first && IsDelimiter(at, end_))) ++at;
        Put(begin, at, false);
      } else {
        const char* close = nullptr;
        const Outcome outcome = Close(content, &close);
        if (outcome != kGood) return outcome;
        if (!several_lines_) several_lines_ = LineEnd(content) < close;
        Put(content, close, std::memchr(content, dialect_.quote, close - content) != nullptr);
        at = SkipBlanks(close + 1, end_);
      }
      if (at == end_ || *at == '\n' || *at == '\r') {
        next_ = AfterLine(at);
        return kGood;
      }
      at += dialect_.delimiter_size;
    }
  }

  // Finds the quote that closes a field.
  Outcome Close(const char* content, const char** close) const {
    const char* const limit = end_ - content > dialect_.max_quoted ? content + dialect_.max_quoted : end_;
    const char* at = content;
    while (true) {
      at = static_cast<const char*>(std::memchr(at, dialect_.quote, limit - at));
      if (at == nullptr) return limit == end_ && !at_end_ ? kIncomplete : kMalformed;
      if (at + 1 < limit && static_cast<unsigned char>(at[1]) == dialect_.quote) {
        at += 2;
        continue;
      }
      const char* const after = SkipBlanks(at + 1, end_);
      if (after == end_ && !at_end_) return kIncomplete;
      if (after < end_ && *after != '\n' && *after != '\r' && !IsDelimiter(after, end_)) return kMalformed;
      *close = at;
      return kGood;
    }
  }

  // Splits one line; returns the number of fields.
  int64_t OneLine(const char* at, const char* line_end, bool lenient) {
    count_ = 0;
    next_ = AfterLine(line_end);
    const char first = dialect_.delimiter[0];
    while (true) {
      const char* const content = lenient ? Quoted(at, line_end) : nullptr;
      const char* close = nullptr;
      if (content != nullptr) {
        for (const char* quote = content; close == nullptr; ++quote) {
          quote = static_cast<const char*>(std::memchr(quote, dialect_.quote, line_end - quote));
          if (quote == nullptr) break;
          const char* const after = SkipBlanks(quote + 1, line_end);
          if (after == line_end || IsDelimiter(after, line_end)) close = quote;
        }
      }
      if (close != nullptr) {
        Put(content, close, std::memchr(content, dialect_.quote, close - content) != nullptr);
        at = SkipBlanks(close + 1, line_end);
      } else {
        const char* const begin = at;
        while (at < line_end && !(*at == first && IsDelimiter(at, line_end))) ++at;
        Put(begin, at, false);
      }
      if (at == line_end) return count_;
      at += dialect_.delimiter_size;
    }
  }

  const Dialect& dialect_;
  const char* const end_;
  const bool at_end_;
  const int64_t width_;
  std::vector<Field> fields_;
  int64_t count_ = 0;
  bool several_lines_ = false;
  const char* next_ = nullptr;
};

inline bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\n' || c == '\r'; }

// Appends a field's value, without blanks at its ends; returns where the next one goes.
char* Append(Field field, int quote, char* out) {
  while (field.begin < field.end && IsBlank(*field.begin)) ++field.begin;
  while (field.begin < field.end && IsBlank(field.end[-1])) --field.end;
  if (!field.escaped) {
    std::memcpy(out, field.begin, field.end - field.begin);
    return out + (field.end - field.begin);
  }
  for (const char* at = field.begin; at < field.end; ++at) {
    *out++ = *at;
    if (static_cast<unsigned char>(*at) == quote && at + 1 < field.end && static_cast<unsigned char>(at[1]) == quote) ++at;
  }
  return out;
}

}  // namespace
}  // namespace nann

// Reads a block of whole lines, empty ones and comments left out.
//
// text, size: the block. at_end: nothing follows it; otherwise a record that may go on behind the block is left to the next one.
// delimiter, delimiter_size: between fields. quote: character, or -1. comment, comment_size: what a comment line begins with;
// size 0 for none. width: fields per row. max_quoted: bytes of the longest quoted field. wanted: [width] place in the columns, or
// -1. offsets: per column [capacity + 1]; data: per column room for `size` bytes; no columns: records are found only. facts: [4]
// receives bytes read, records of another width, begin and end of the first of these. Returns the number of rows; -1 if the
// arrays are too short.
extern "C" __attribute__((visibility("default"))) int64_t nann_csv_text(const char* text, int64_t size, int at_end,
                                                                        const char* delimiter, int64_t delimiter_size, int quote,
                                                                        const char* comment, int64_t comment_size, int width,
                                                                        int64_t max_quoted, const int32_t* wanted,
                                                                        int num_columns, int32_t* const* offsets,
                                                                        char* const* data, int64_t capacity, int64_t* facts) {
  const nann::Dialect dialect{delimiter, static_cast<size_t>(delimiter_size), quote,
                              comment,   static_cast<size_t>(comment_size),   max_quoted};
  const char* at = text;
  const char* const end = text + size;
  nann::Splitter splitter(dialect, end, at_end != 0, width);
  std::vector<char*> ends(data, data + num_columns);
  int64_t row = 0;
  facts[1] = 0;
  for (int column = 0; column < num_columns; ++column) offsets[column][0] = 0;
  while (at < end) {
    if (*at == '\n' || *at == '\r') {
      ++at;
      continue;
    }
    if (comment_size > 0 && end - at >= comment_size && std::memcmp(at, comment, comment_size) == 0) {
      at = splitter.LineEnd(at);
      continue;
    }
    if (splitter.Split(at) == nann::kIncomplete) break;
    if (splitter.count() != width) {
      if (facts[1]++ == 0) {
        facts[2] = at - text;
        facts[3] = splitter.LineEnd(at) - text;
      }
    } else if (num_columns > 0) {
      if (row == capacity) return -1;
      for (int field = 0; field < width; ++field) {
        const int column = wanted[field];
        if (column < 0) continue;
        ends[column] = nann::Append(splitter.fields()[field], quote, ends[column]);
        offsets[column][row + 1] = static_cast<int32_t>(ends[column] - data[column]);
      }
      ++row;
    } else {
      ++row;
    }
    at = splitter.next();
  }
  facts[0] = at - text;
  return row;
}
