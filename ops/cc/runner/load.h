// Load from several threads: closed loop, or requests that fall due at a fixed rate.

#ifndef NANN_OPS_CC_RUNNER_LOAD_H_
#define NANN_OPS_CC_RUNNER_LOAD_H_

#include <cstdint>
#include <functional>
#include <string>

namespace nann::runner {

struct LoadOptions {
  int threads = 1;
  double warmup_seconds = 1;
  double duration_seconds = 0;  // 0: no load
  double requests_per_s = 0;    // 0: closed loop
  int64_t batch_size = 1;       // only for the throughput in users
};

// Sends request 0, 1, ... and returns the figures as one JSON object, with the names of `nann benchmark`. Latency counts from
// when a request was sent, at a fixed rate from when it was due. Throws what a request throws.
std::string RunLoad(const std::function<void(int64_t)>& request, const LoadOptions& options);

}  // namespace nann::runner

#endif  // NANN_OPS_CC_RUNNER_LOAD_H_
