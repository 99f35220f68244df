// What nann-runner reads from files and words: heads of .npy files, values, numbers of options, names of tensors.

#include <sstream>
#include <stdexcept>

#include "ops/cc/runner/parsing.h"
#include "tests/ops/fuzz/bytes.h"

namespace runner = nann::runner;

namespace {

template <typename Work>
void MayRefuse(const Work& work) {
  try {
    work();
  } catch (const std::runtime_error& error) {
    fuzz::Require(error.what()[0] != '\0', "a refusal says why");
  } catch (const std::invalid_argument& error) {
    fuzz::Require(std::string(error.what()).find("--") == 0, "a refused option is named");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const std::string& content : {text, std::string("\x93NUMPY\x01\x00", 8) + text}) {
    MayRefuse([&] {
      std::istringstream file(content);
      const runner::NpyHead head = runner::ReadNpyHead(file, "a file");
      fuzz::Require(head.shape.size() <= runner::kMostDimensions, "the rank is bounded");
      for (const int64_t one : head.shape) fuzz::Require(one >= 0, "no size is negative");
      fuzz::Require(runner::BytesOf(head.shape, 8, "a file") >= 0, "bytes do not overflow");
    });
  }
  for (const std::string& part : runner::SplitAtCommas(text)) {
    MayRefuse([&] { runner::ParseNumber<int64_t>(part); });
    MayRefuse([&] { runner::ParseNumber<int32_t>(part); });
    MayRefuse([&] { runner::ParseNumber<float>(part); });
    MayRefuse([&] {
      fuzz::Require(static_cast<int>(runner::ParseOption("--threads", part, 1, 1024, true)) >= 1, "an option keeps its bounds");
    });
    MayRefuse([&] { fuzz::Require(runner::ParseTensorName(part).index >= 0, "an index is not negative"); });
  }
  return 0;
}
