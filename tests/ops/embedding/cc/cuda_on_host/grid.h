// Runs the threads of a block: each is a fiber, of a warp of 32. Barriers and shuffles are where they wait for each other; a
// barrier that a thread leaves out, a shuffle whose mask lacks the caller, or names a lane that has left or waits elsewhere, is a
// fault.

#ifndef CUDA_ON_HOST_GRID_H_
#define CUDA_ON_HOST_GRID_H_

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "cuda_runtime.h"
#include "fiber.h"

namespace cuda_on_host {

// In which order blocks and threads run: the environment's CUDA_ON_HOST_ORDER, "forward" (the default), "backward" or
// "random:SEED". Random changes threads after few accesses, where accesses are seen.
struct Order {
  enum Kind { kForward, kBackward, kRandom } kind = kForward;
  uint64_t seed = 0;
  static Order FromEnvironment();
};

class Grid {
 public:
  Grid(const char* kernel, dim3 grid, dim3 block, const Order& order);
  void Run(void (*body)(const void*), const void* call);

  // Of the running thread.
  void Barrier();
  uint64_t ShuffleXor(unsigned mask, uint64_t bits, int lane_mask, int width);
  void Accessed();
  [[noreturn]] void Abort();
  std::string Where() const;  // kernel, block and thread

 private:
  enum class State : uint8_t { kReady, kAtBarrier, kAtShuffle, kLeft };
  struct Thread {
    Fiber fiber;
    State state;
    unsigned mask;
    int source;     // thread whose bits the shuffle gives
    uint64_t bits;  // what it gives, then what it gets
  };

  static void Entry();
  void RunBlock(unsigned block);
  void Wait();  // gives the processor to the scheduler
  void Leave();
  void CheckBarrier();
  void CheckShuffle(unsigned caller);
  void Stuck();

  const std::string kernel_;
  const dim3 grid_, block_;
  const Order order_;
  std::mt19937_64 random_;
  std::vector<Thread> threads_;
  Fiber scheduler_;
  unsigned current_ = 0, at_barrier_ = 0, left_ = 0;
  int until_change_ = 0;
  bool aborted_ = false;
  void (*body_)(const void*) = nullptr;
  const void* call_ = nullptr;
};

// The grid that runs, null outside of kernels.
extern Grid* running_grid;

}  // namespace cuda_on_host

#endif  // CUDA_ON_HOST_GRID_H_
