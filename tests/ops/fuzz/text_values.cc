// Texts as ids and as times: any bytes, any format of time.

#include <memory>
#include <vector>

#include "tests/ops/fuzz/bytes.h"

extern "C" int64_t nann_id_classes(const int32_t* offsets, const char* data, int64_t size, const char* null_words,
                                   const int32_t* null_offsets, int num_nulls, int64_t* values, uint8_t* classes);
extern "C" int64_t nann_parse_times(const int32_t* offsets, const char* data, int64_t size, const char* format,
                                    int64_t format_size, int packed, int64_t digits, int64_t year, int64_t* micros,
                                    uint8_t* statuses);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Bytes bytes(data, size);
  const char* const formats[] = {"",   "%Y-%m-%d %H:%M:%S", "%Y%m%d%H%M%S", "%d/%b/%Y:%H:%M:%S %z", "%I:%M %p",
                                 "%s", "%A, %d %B %y.%f"};
  std::string format = formats[bytes.Number(6)];
  const int packed = bytes.Number(1), own = bytes.Number(3);
  const int64_t digits = bytes.Number(70), year = bytes.Number(1) == 1 ? 2024 : -1;
  std::string text = bytes.Rest();
  if (own == 0) {  // a format of the input's own
    format = text.substr(0, text.find('\n'));
    text = text.size() > format.size() ? text.substr(format.size() + 1) : "";
  }
  std::vector<int32_t> offsets{0};
  std::string joined;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    joined += text.substr(begin, end - begin);
    offsets.push_back(static_cast<int32_t>(joined.size()));
    begin = end + 1;
  }
  const std::unique_ptr<char[]> block(new char[joined.size()]);
  joined.copy(block.get(), joined.size());
  const int64_t count = static_cast<int64_t>(offsets.size()) - 1;
  std::vector<int64_t> values(count);
  std::vector<uint8_t> classes(count);
  const int32_t nulls[] = {0, 2, 6};
  nann_id_classes(offsets.data(), block.get(), count, "NAnull", nulls, 2, values.data(), classes.data());
  for (const uint8_t one : classes) fuzz::Require(one <= 7, "a class has a name");
  nann_parse_times(offsets.data(), block.get(), count, format.data(), static_cast<int64_t>(format.size()), packed, digits, year,
                   values.data(), classes.data());
  for (const uint8_t one : classes) fuzz::Require(one <= 3, "a status has a name");
  return 0;
}
