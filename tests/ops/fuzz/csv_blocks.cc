// Blocks of delimited text: both readers write into arrays of exactly the sizes that their callers give them.

#include <memory>
#include <vector>

#include "tests/ops/fuzz/bytes.h"

extern "C" int64_t nann_csv_text(const char* text, int64_t size, int at_end, const char* delimiter, int64_t delimiter_size,
                                 int quote, const char* comment, int64_t comment_size, int width, int64_t max_quoted,
                                 const int32_t* wanted, int num_columns, int32_t* const* offsets, char* const* data,
                                 int64_t capacity, int64_t* facts);
extern "C" int64_t nann_csv_integers(const char* text, size_t size, int width, char delimiter, int quote, const int32_t* wanted,
                                     int64_t* const* columns, int num_columns, int64_t capacity, uint8_t* narrow);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Bytes bytes(data, size);
  const char* const delimiters[] = {",", ";", "::", "\t"};
  const std::string delimiter = delimiters[bytes.Number(3)], comment = bytes.Number(1) == 1 ? "#" : "";
  const int quote = bytes.Number(1) == 1 ? '"' : -1, at_end = bytes.Number(1), width = 1 + bytes.Number(4);
  const int64_t max_quoted = 1 + bytes.Number(40);
  std::vector<int32_t> wanted(width, -1);
  int columns = 0;
  for (int32_t& place : wanted) place = bytes.Number(2) > 0 ? columns++ : -1;
  const std::string text = bytes.Rest();
  const int64_t length = static_cast<int64_t>(text.size());
  const std::unique_ptr<char[]> block(new char[length]);  // nothing follows it, as it would in a string
  text.copy(block.get(), length);

  const int64_t capacity = length + 1;
  std::vector<std::vector<int32_t>> offsets(columns, std::vector<int32_t>(capacity + 1));
  std::vector<std::vector<char>> values(columns, std::vector<char>(length));
  std::vector<int32_t*> offset_arrays;
  std::vector<char*> value_arrays;
  for (int column = 0; column < columns; ++column) {
    offset_arrays.push_back(offsets[column].data());
    value_arrays.push_back(values[column].data());
  }
  int64_t facts[4] = {};
  const int64_t rows = nann_csv_text(block.get(), length, at_end, delimiter.data(), static_cast<int64_t>(delimiter.size()), quote,
                                     comment.data(), static_cast<int64_t>(comment.size()), width, max_quoted, wanted.data(),
                                     columns, offset_arrays.data(), value_arrays.data(), capacity, facts);
  fuzz::Require(rows >= 0 && rows <= length, "rows fit the block");
  fuzz::Require(facts[0] >= 0 && facts[0] <= length, "no more is read than there is");
  fuzz::Require(at_end == 0 || facts[0] == length, "at the end all is read");
  for (int column = 0; column < columns; ++column) {
    for (int64_t row = 0; row < rows; ++row) fuzz::Require(offsets[column][row] <= offsets[column][row + 1], "offsets ascend");
    if (rows > 0) fuzz::Require(offsets[column][rows] <= length, "values fit the block");
  }

  if (delimiter.size() > 1) return 0;
  const int64_t most = length / (2 * width) + 1;
  std::vector<std::vector<int64_t>> numbers(columns, std::vector<int64_t>(most));
  std::vector<int64_t*> arrays;
  for (std::vector<int64_t>& array : numbers) arrays.push_back(array.data());
  std::vector<uint8_t> narrow(columns);
  const int64_t found = nann_csv_integers(block.get(), length, width, delimiter[0], quote, wanted.data(), arrays.data(), columns,
                                          most, narrow.data());
  fuzz::Require(found >= -1 && found <= most, "rows of integers fit the arrays");
  return 0;
}
