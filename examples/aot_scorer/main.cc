// Runs the scorer that build.py compiled: checks its scores against
// TensorFlow's, and measures it.
//
//   score DIRECTORY [--repetitions N]

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "scorer.h"

namespace {

void Read(const std::string& path, float* to, size_t count) {
  std::ifstream file(path, std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(to), count * sizeof(float)) || file.peek() != EOF) {
    std::fprintf(stderr, "%s does not hold %zu floats; run build.py again\n", path.c_str(), count);
    std::exit(1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && !(argc == 4 && std::string(argv[2]) == "--repetitions" && std::atoi(argv[3]) > 0)) {
    std::fprintf(stderr, "usage: %s DIRECTORY [--repetitions N]\n", argv[0]);
    return 2;
  }
  const std::string directory = argv[1];
  const int repetitions = argc == 4 ? std::atoi(argv[3]) : 100;
  nann::Scorer scorer;
#include "inputs.inc"
  std::vector<float> expected(scorer.result0_count());
  Read(directory + "/expected.bin", expected.data(), expected.size());

  std::vector<double> times_ms;
  for (int i = 0; i < repetitions; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    if (!scorer.Run()) {
      std::fprintf(stderr, "the scorer failed: %s\n", scorer.error_msg().c_str());
      return 1;
    }
    times_ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  double difference = 0;
  for (size_t i = 0; i < expected.size(); ++i)
    difference = std::max<double>(difference, std::fabs(scorer.result0_data()[i] - expected[i]));
  std::sort(times_ms.begin(), times_ms.end());
  std::printf(
      "{\"items\": %zu, \"p50_ms\": %.4f, \"p99_ms\": %.4f, "
      "\"largest_difference\": %.3g}\n",
      expected.size(), times_ms[times_ms.size() / 2], times_ms[times_ms.size() * 99 / 100], difference);
  return difference < 1e-3 ? 0 : 1;
}
