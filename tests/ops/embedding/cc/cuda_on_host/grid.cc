#include "grid.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "faults.h"
#include "memory.h"

namespace cuda_on_host {
namespace {

constexpr unsigned kMostThreads = 1024, kWarp = 32;
constexpr size_t kStackSize = size_t{64} << 10;
constexpr int kMostAccesses = 8;  // between two changes of the thread

// Fibers of all launches use the same stacks: one grid runs at a time.
char* StackOf(unsigned thread) {
  static char* const stacks = static_cast<char*>(
      mmap(nullptr, kMostThreads * kStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  return stacks + thread * kStackSize;
}

}  // namespace

Place place;
Grid* running_grid = nullptr;

Order Order::FromEnvironment() {
  const char* const given = std::getenv("CUDA_ON_HOST_ORDER");
  const std::string text = given == nullptr ? "forward" : given;
  if (text == "forward") return {kForward, 0};
  if (text == "backward") return {kBackward, 0};
  if (text.rfind("random:", 0) == 0) return {kRandom, std::strtoull(text.c_str() + 7, nullptr, 10)};
  Fault("CUDA_ON_HOST_ORDER must be forward, backward or random:SEED, got " + text);
  return {};
}

Grid::Grid(const char* kernel, dim3 grid, dim3 block, const Order& order)
    : kernel_(kernel), grid_(grid), block_(block), order_(order), random_(order.seed), threads_(block.x) {}

std::string Grid::Where() const {
  return kernel_ + ", block (" + std::to_string(place.block.x) + ", " + std::to_string(place.block.y) + "), thread " +
         std::to_string(current_);
}

void Grid::Run(void (*body)(const void*), const void* call) {
  if (block_.x < 1 || block_.x > kMostThreads || block_.y != 1 || block_.z != 1 || grid_.x < 1 || grid_.y < 1 ||
      grid_.y > 65535 || grid_.z != 1) {
    Fault(kernel_ + ": a launch needs 1 to 1024 threads along x and a grid along x and y");
    return;
  }
  body_ = body;
  call_ = call;
  std::vector<unsigned> blocks(static_cast<size_t>(grid_.x) * grid_.y);
  std::iota(blocks.begin(), blocks.end(), 0);
  if (order_.kind == Order::kBackward) std::reverse(blocks.begin(), blocks.end());
  if (order_.kind == Order::kRandom) std::shuffle(blocks.begin(), blocks.end(), random_);
  place.grid_size = grid_;
  place.block_size = block_;
  running_grid = this;
  for (const unsigned block : blocks) {
    RunBlock(block);
    if (aborted_) break;
  }
  running_grid = nullptr;
}

void Grid::RunBlock(unsigned block) {
  place.block = {block % grid_.x, block / grid_.x, 0};
  BeginBlock();
  at_barrier_ = left_ = 0;
  const unsigned count = block_.x;
  std::vector<unsigned> turns(count);
  std::iota(turns.begin(), turns.end(), 0);
  if (order_.kind == Order::kBackward) std::reverse(turns.begin(), turns.end());
  for (unsigned t = 0; t < count; ++t) {
    threads_[t].state = State::kReady;
    threads_[t].fiber.Start(&Grid::Entry, StackOf(t), kStackSize);
  }
  while (left_ < count) {
    if (order_.kind == Order::kRandom) std::shuffle(turns.begin(), turns.end(), random_);
    bool moved = false;
    for (const unsigned t : turns) {
      if (threads_[t].state != State::kReady) continue;
      moved = true;
      current_ = t;
      place.thread = {t, 0, 0};
      until_change_ = order_.kind == Order::kRandom ? 1 + static_cast<int>(random_() % kMostAccesses) : -1;
      BeginThread(t, StackOf(t), kStackSize);
      Fiber::Switch(&scheduler_, &threads_[t].fiber);
      if (aborted_) return;
    }
    if (!moved) {
      Stuck();
      return;
    }
  }
}

void Grid::Entry() {
  Grid* const grid = running_grid;
  grid->body_(grid->call_);
  grid->Leave();
}

void Grid::Wait() { Fiber::Switch(&threads_[current_].fiber, &scheduler_); }

void Grid::Abort() {
  aborted_ = true;
  Fiber::Switch(&threads_[current_].fiber, &scheduler_, true);
  std::abort();  // nobody switches back
}

void Grid::Leave() {
  Thread& thread = threads_[current_];
  thread.state = State::kLeft;
  ++left_;
  if (at_barrier_ > 0) CheckBarrier();
  const unsigned first = current_ / kWarp * kWarp, bit = 1u << (current_ % kWarp);
  for (unsigned t = first; t < std::min(first + kWarp, block_.x); ++t) {
    if (threads_[t].state == State::kAtShuffle && (threads_[t].mask & bit) != 0) {
      Fault("a shuffle of thread " + std::to_string(t) + " names this lane in its mask, and the lane has left");
    }
  }
  Fiber::Switch(&thread.fiber, &scheduler_, true);
}

void Grid::Accessed() {
  if (until_change_ > 0 && --until_change_ == 0) Wait();
}

void Grid::CheckBarrier() {
  if (left_ > 0) {
    Fault("__syncthreads is not reached by all: " + std::to_string(at_barrier_) + " threads are there, " + std::to_string(left_) +
          " have left");
  }
}

void Grid::Barrier() {
  threads_[current_].state = State::kAtBarrier;
  ++at_barrier_;
  CheckBarrier();
  if (at_barrier_ == block_.x) {
    at_barrier_ = 0;
    for (Thread& thread : threads_) thread.state = State::kReady;
    BeginEpoch();
  }
  Wait();
}

uint64_t Grid::ShuffleXor(unsigned mask, uint64_t bits, int lane_mask, int width) {
  const unsigned lane = current_ % kWarp;
  if ((mask >> lane & 1) == 0) Fault("the mask of a shuffle lacks the lane that calls it");
  if (width < 1 || width > 32 || (width & (width - 1)) != 0) Fault("the width of a shuffle is no power of two up to 32");
  unsigned source = lane ^ static_cast<unsigned>(lane_mask);
  if (source / width > lane / width) source = lane;  // lanes of later groups keep what they have
  if ((mask >> source & 1) == 0) Fault("a shuffle reads lane " + std::to_string(source) + ", which its mask lacks");
  Thread& thread = threads_[current_];
  thread.state = State::kAtShuffle;
  thread.mask = mask;
  thread.source = static_cast<int>(current_ - lane + source);
  thread.bits = bits;
  CheckShuffle(current_);
  Wait();
  return thread.bits;
}

// Once all lanes of the caller's mask wait for the same lanes, all of them get their values and go on.
void Grid::CheckShuffle(unsigned caller) {
  const unsigned first = caller / kWarp * kWarp, mask = threads_[caller].mask;
  uint64_t given[kWarp];
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    const auto fault = [&](const char* what) { Fault("the mask of a shuffle names lane " + std::to_string(lane) + what); };
    if (first + lane >= block_.x) fault(", which the block does not have");
    const Thread& other = threads_[first + lane];
    if (other.state == State::kLeft) fault(", which has left");
    if (other.state != State::kAtShuffle) return;
    if (other.mask != mask) {
      if ((other.mask >> (caller % kWarp) & 1) != 0) fault(", which shuffles with another mask");
      return;
    }
    given[lane] = other.bits;
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    Thread& other = threads_[first + lane];
    other.bits = given[static_cast<unsigned>(other.source) - first];
    other.state = State::kReady;
  }
}

void Grid::Stuck() {
  aborted_ = true;
  const auto in = [&](State state) {
    return std::to_string(std::count_if(threads_.begin(), threads_.end(), [&](const Thread& t) { return t.state == state; }));
  };
  running_grid = nullptr;  // no thread runs
  Fault(kernel_ + ": no thread can go on: " + in(State::kAtBarrier) + " wait at __syncthreads, " + in(State::kAtShuffle) +
        " in a shuffle, " + in(State::kLeft) + " have left");
}

}  // namespace cuda_on_host
