// What the runner reads from texts and file heads, checked; knows nothing of TensorFlow.

#ifndef NANN_OPS_CC_RUNNER_PARSING_H_
#define NANN_OPS_CC_RUNNER_PARSING_H_

#include <cstdint>
#include <istream>
#include <string>
#include <vector>

namespace nann::runner {

constexpr size_t kMostDimensions = 64;  // as numpy has

struct NpyHead {
  std::string descr;  // such as <i8
  std::vector<int64_t> shape;
};

// Reads the head of a .npy file (format 1 to 3, C order); the stream is then at the first value. `path` is for messages. Throws
// std::runtime_error.
NpyHead ReadNpyHead(std::istream& file, const std::string& path);

// Bytes of an array. Throws std::runtime_error where a size is negative, there are too many sizes, or the product is beyond any
// memory; `what` begins the message.
int64_t BytesOf(const std::vector<int64_t>& shape, int64_t element_bytes, const std::string& what);

// The parts of a text between commas, as std::getline cuts them.
std::vector<std::string> SplitAtCommas(const std::string& text);

// A whole text as one number. Throws std::runtime_error.
template <typename T>
T ParseNumber(const std::string& text);
extern template int64_t ParseNumber<int64_t>(const std::string&);
extern template int32_t ParseNumber<int32_t>(const std::string&);
extern template float ParseNumber<float>(const std::string&);

// The value of an option. Throws std::invalid_argument where it is no number from `least` to `most`, or no whole one where one is
// asked for.
double ParseOption(const std::string& option, const std::string& text, double least, double most, bool whole);

// NODE or NODE:INDEX. Throws std::runtime_error where the index is no number.
struct TensorName {
  std::string node;
  int index = 0;
};
TensorName ParseTensorName(const std::string& text);

}  // namespace nann::runner

#endif  // NANN_OPS_CC_RUNNER_PARSING_H_
