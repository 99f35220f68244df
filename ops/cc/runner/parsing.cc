#include "ops/cc/runner/parsing.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <sstream>
#include <stdexcept>

namespace nann::runner {
namespace {

constexpr uint32_t kMostHeadBytes = 1 << 16;
constexpr int64_t kMostBytes = int64_t{1} << 46;

bool IsBlank(char c) { return c == ' ' || c == '\n' || c == '\t'; }

std::string WithoutBlanks(std::string text) {
  while (!text.empty() && IsBlank(text.back())) text.pop_back();
  size_t begin = 0;
  while (begin < text.size() && IsBlank(text[begin])) ++begin;
  return text.substr(begin);
}

// What stands between a key and the next comma outside brackets, in the Python literal of a .npy header.
std::string HeadValue(const std::string& head, const std::string& key, const std::string& path) {
  const size_t at = head.find("'" + key + "':");
  if (at == std::string::npos) throw std::runtime_error(path + " is no .npy file: its header has no " + key);
  const size_t begin = at + key.size() + 3;
  size_t end = begin;
  for (int depth = 0; end < head.size() && (depth > 0 || (head[end] != ',' && head[end] != '}')); ++end) {
    depth += head[end] == '(' ? 1 : head[end] == ')' ? -1 : 0;
  }
  return WithoutBlanks(head.substr(begin, end - begin));
}

std::vector<int64_t> ReadShape(const std::string& text, const std::string& path) {
  const auto refuse = [&]() -> std::runtime_error {
    return std::runtime_error(path + " has the shape " + text.substr(0, 40) + "; give at most " +
                              std::to_string(kMostDimensions) + " sizes, none negative");
  };
  if (text.size() < 2 || text.front() != '(' || text.back() != ')') throw refuse();
  std::vector<int64_t> shape;
  const std::vector<std::string> parts = SplitAtCommas(text.substr(1, text.size() - 2));
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string part = WithoutBlanks(parts[i]);
    if (part.empty() && i + 1 == parts.size()) break;  // behind the last comma
    int64_t size = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), size);
    if (error != std::errc() || end != part.data() + part.size() || size < 0 || shape.size() == kMostDimensions) throw refuse();
    shape.push_back(size);
  }
  return shape;
}

}  // namespace

NpyHead ReadNpyHead(std::istream& file, const std::string& path) {
  char magic[8] = {};
  file.read(magic, 8);
  if (!file || std::memcmp(magic, "\x93NUMPY", 6) != 0) throw std::runtime_error(path + " is no .npy file");
  if (magic[6] < 1 || magic[6] > 3) throw std::runtime_error(path + " is a .npy file of a format this runner does not know");
  unsigned char bytes[4] = {};
  file.read(reinterpret_cast<char*>(bytes), magic[6] == 1 ? 2 : 4);
  const uint32_t length = bytes[0] | bytes[1] << 8 | bytes[2] << 16 | static_cast<uint32_t>(bytes[3]) << 24;
  if (!file || length > kMostHeadBytes) throw std::runtime_error(path + " is no .npy file: its header is cut off or too long");
  std::string text(length, ' ');
  file.read(text.data(), length);
  if (!file) throw std::runtime_error(path + " ends within its header");
  NpyHead head;
  const std::string descr = HeadValue(text, "descr", path);
  head.descr = descr.size() > 2 ? descr.substr(1, descr.size() - 2) : descr;
  if (HeadValue(text, "fortran_order", path) != "False")
    throw std::runtime_error(path + " is in Fortran order; save it in C order");
  head.shape = ReadShape(HeadValue(text, "shape", path), path);
  return head;
}

int64_t BytesOf(const std::vector<int64_t>& shape, int64_t element_bytes, const std::string& what) {
  int64_t bytes = element_bytes;
  for (const int64_t size : shape) {
    if (size < 0 || shape.size() > kMostDimensions) throw std::runtime_error(what + " has a size below 0, or too many sizes");
    if (__builtin_mul_overflow(bytes, size, &bytes) || bytes > kMostBytes)
      throw std::runtime_error(what + " would need more memory than there is; give smaller sizes");
  }
  return bytes;
}

std::vector<std::string> SplitAtCommas(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

template <typename T>
T ParseNumber(const std::string& text) {
  std::istringstream stream(text);
  T value{};
  if (!(stream >> value) || !(stream >> std::ws).eof())
    throw std::runtime_error("'" + text + "' is no number of the input's type");
  return value;
}
template int64_t ParseNumber<int64_t>(const std::string&);
template int32_t ParseNumber<int32_t>(const std::string&);
template float ParseNumber<float>(const std::string&);

double ParseOption(const std::string& option, const std::string& text, double least, double most, bool whole) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= least && value <= most) ||
      (whole && value != std::floor(value))) {
    std::ostringstream message;
    message << option << " needs a " << (whole ? "whole " : "") << "number from " << least << " to " << most << ", got '" << text
            << "'";
    throw std::invalid_argument(message.str());
  }
  return value;
}

TensorName ParseTensorName(const std::string& text) {
  const size_t colon = text.find(':');
  TensorName name{text.substr(0, colon), 0};
  if (colon == std::string::npos) return name;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, name.index);
  if (error != std::errc() || stop != end || name.index < 0)
    throw std::runtime_error("'" + text + "' is no tensor; give NODE, or NODE:INDEX with a whole number from 0");
  return name;
}

}  // namespace nann::runner
