// A fuzzer's input taken apart: numbers first, then text.

#ifndef NANN_TESTS_OPS_FUZZ_BYTES_H_
#define NANN_TESTS_OPS_FUZZ_BYTES_H_

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace fuzz {

class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}

  // From 0 to most; 0 when all is used up.
  int Number(int most) { return at_ < end_ ? *at_++ % (most + 1) : 0; }
  bool more() const { return at_ < end_; }
  std::string Rest() { return std::string(reinterpret_cast<const char*>(at_), end_ - at_); }

 private:
  const uint8_t* at_;
  const uint8_t* const end_;
};

// Ends the process where something that must hold does not; a fuzzer keeps the input then.
inline void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

}  // namespace fuzz

#endif  // NANN_TESTS_OPS_FUZZ_BYTES_H_
