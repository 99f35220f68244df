#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "faults.h"
#include "grid.h"
#include "memory.h"

// Static data of this program: what kernels call __shared__ lies here.
extern "C" char __bss_start, _end, __executable_start;

namespace cuda_on_host {
namespace {

// What was done to two neighbouring bytes, the smallest type of the kernels. Epochs count launches, blocks and barriers.
struct Cell {
  uint32_t write_epoch, read_epoch;
  uint16_t writer, reader;
  bool is_set, by_atomic;
  bool many_readers;   // of this block since its last barrier
  bool other_readers;  // of other blocks of this launch
};
constexpr size_t kBytesPerCell = 2;

constexpr size_t kPage = 4096, kArena = size_t{1} << 38;
constexpr unsigned kNoThread = 0xffff;

template <typename T>
T* Reserve(size_t count) {
  void* const found =
      mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return found == MAP_FAILED ? nullptr : static_cast<T*>(found);
}

struct Allocation {
  char *begin, *end;
};

// Device memory: pages in a row, with a page that is nobody's between two allocations.
struct Arena {
  char* const base = Reserve<char>(kArena);
  Cell* const cells = Reserve<Cell>(kArena / kBytesPerCell);
  uint32_t* const owners = Reserve<uint32_t>(kArena / kPage);  // number of the allocation that a page is of, from 1
  std::vector<Allocation> allocations;
  size_t used = kPage, live = 0;
};
Arena& Device() {
  static Arena arena;
  return arena;
}
Arena* arena = nullptr;

struct Running {
  uint32_t epoch = 1, launch = 1, block = 1;  // the current one, and the first of the launch and of the block
  const char *parameters = nullptr, *parameters_end = nullptr;
  const char *stack = nullptr, *stack_end = nullptr;
  uint16_t thread = kNoThread;
  bool in_kernel = false;
} running;
std::vector<Cell> shared_cells;

bool Within(const void* address, const void* begin, const void* end) { return address >= begin && address < end; }

std::string Name(const char* what, size_t size) { return std::string(what) + " of " + std::to_string(size) + " bytes"; }

// Where an address lies, in words.
std::string Describe(const char* address) {
  for (const Allocation& found : arena->allocations) {
    if (address >= found.begin - kPage && address < found.end + kPage) {
      return "at byte " + std::to_string(address - found.begin) + " of an allocation of " +
             std::to_string(found.end - found.begin);
    }
  }
  return "at no allocation";
}

const Allocation* OwnerOf(const char* address) {
  if (arena == nullptr || !Within(address, arena->base, arena->base + kArena)) return nullptr;
  const uint32_t number = arena->owners[(address - arena->base) / kPage];
  return number == 0 ? nullptr : &arena->allocations[number - 1];
}

struct Race {
  const char* what;  // null if there is none
  uint16_t other;
};

Race RaceOf(const Cell& cell, Access access) {
  const auto apart = [&](uint32_t epoch, uint16_t thread) {
    if (epoch < running.launch) return false;
    return epoch < running.block || (epoch == running.epoch && thread != running.thread);
  };
  const bool both_atomic = access == Access::kAtomic && cell.by_atomic;
  if (!both_atomic && apart(cell.write_epoch, cell.writer)) {
    return {access == Access::kRead ? "a read after a write" : "a write after a write", cell.writer};
  }
  if (access == Access::kRead || cell.read_epoch < running.launch) return {};
  const bool by_many = cell.other_readers || (cell.many_readers && cell.read_epoch == running.epoch);
  if (by_many || apart(cell.read_epoch, cell.reader)) return {"a write after a read", cell.reader};
  return {};
}

void Note(Cell* cell, Access access) {
  if (access != Access::kRead) {
    cell->write_epoch = running.epoch;
    cell->writer = running.thread;
    cell->is_set = true;
    cell->by_atomic = access == Access::kAtomic;
    return;
  }
  if (cell->read_epoch < running.launch) {
    cell->other_readers = cell->many_readers = false;
  } else if (cell->read_epoch < running.block) {
    cell->other_readers = true;
    cell->many_readers = false;
  } else if (cell->read_epoch < running.epoch) {
    cell->many_readers = false;
  } else {
    cell->many_readers = cell->many_readers || cell->reader != running.thread;
  }
  cell->read_epoch = running.epoch;
  cell->reader = running.thread;
}

void Follow(Cell* cells, const char* address, const char* from, size_t size, Access access, bool shared) {
  const size_t first = (address - from) / kBytesPerCell, last = (address + size - 1 - from) / kBytesPerCell;
  for (size_t i = first; i <= last; ++i) {
    Cell& cell = cells[i];
    if (shared && std::max(cell.write_epoch, cell.read_epoch) < running.block) cell = {};  // each block has its own
    if (!cell.is_set && access != Access::kWrite) {
      Fault(Name("a read", size) + " that were never written, " + (shared ? "in shared memory" : Describe(address)));
    }
    const Race race = RaceOf(cell, access);
    if (race.what != nullptr) {
      Fault(std::string("no barrier lies between ") + race.what + " of the same bytes, by thread " + std::to_string(race.other) +
            " and this one, " + (shared ? "in shared memory" : Describe(address)));
    }
    Note(&cell, access);
  }
}

}  // namespace

void* AllocateDevice(size_t size) {
  arena = &Device();
  const size_t pages = (std::max<size_t>(1, size) + kPage - 1) / kPage;
  if (arena->base == nullptr || arena->cells == nullptr || arena->owners == nullptr) return nullptr;
  if (arena->used + (pages + 1) * kPage > kArena) return nullptr;
  char* const begin = arena->base + arena->used;
  arena->allocations.push_back({begin, begin + size});
  const uint32_t number = static_cast<uint32_t>(arena->allocations.size());
  std::fill_n(arena->owners + arena->used / kPage, pages, number);
  arena->used += (pages + 1) * kPage;
  ++arena->live;
  if (size <= kMostFilled) std::memset(begin, 0xff, size);
  return begin;
}

bool FreeDevice(void* pointer) {
  const Allocation* const found = OwnerOf(static_cast<char*>(pointer));
  if (found == nullptr || found->begin != pointer) return false;
  const size_t first = (found->begin - arena->base) / kPage;
  for (size_t page = first; arena->owners[page] != 0; ++page) arena->owners[page] = 0;
  if (--arena->live > 0) return true;
  // Nothing is left: begin anew, with memory and cells as new.
  madvise(arena->base, arena->used, MADV_DONTNEED);
  madvise(arena->cells, arena->used / kBytesPerCell * sizeof(Cell), MADV_DONTNEED);
  arena->allocations.clear();
  arena->used = kPage;
  return true;
}

const char* TouchWhole(const void* address, size_t size, Access access) {
  const char* const begin = static_cast<const char*>(address);
  const Allocation* const found = OwnerOf(begin);
  if (found == nullptr) return "a pointer does not point to device memory";
  if (begin + size > found->end) return "it goes past the end of an allocation of device memory";
  Cell* const cells = arena->cells;
  const size_t first = (begin - arena->base) / kBytesPerCell;
  const size_t last = (begin + size + kBytesPerCell - 1 - arena->base) / kBytesPerCell;
  for (size_t i = first; i < last; ++i) {
    if (access == Access::kWrite) {
      cells[i].is_set = true;
    } else if (!cells[i].is_set) {
      return "it reads device memory that was never written";
    }
  }
  return nullptr;
}

const char* CheckHost(const void* address, size_t) {
  return arena != nullptr && Within(address, arena->base, arena->base + kArena)
             ? "a pointer that must be of the host is of the device"
             : nullptr;
}

void BeginLaunch(const void* parameters, size_t size) {
  shared_cells.resize((&_end - &__bss_start) / kBytesPerCell + 1);
  running.launch = ++running.epoch;
  running.parameters = static_cast<const char*>(parameters);
  running.parameters_end = running.parameters + size;
  running.in_kernel = true;
}
void BeginBlock() { running.block = ++running.epoch; }
void BeginEpoch() { ++running.epoch; }
void BeginThread(unsigned thread, const void* stack, size_t size) {
  running.thread = static_cast<uint16_t>(thread);
  running.stack = static_cast<const char*>(stack);
  running.stack_end = running.stack + size;
}
void EndLaunch() { running.in_kernel = false; }

void Touch(const void* given, size_t size, Access access) {
  const char* const address = static_cast<const char*>(given);
  const bool on_device = arena != nullptr && Within(address, arena->base, arena->base + kArena);
  if (!running.in_kernel) {
    if (on_device) Fault("code of the host touches device memory " + Describe(address));
    return;
  }
  if (running_grid == nullptr || Within(address, running.stack, running.stack_end)) return;  // the thread's own
  if (Within(address, &place, &place + 1)) return;
  if (on_device) {
    const Allocation* const found = OwnerOf(address);
    if (found == nullptr || address + size > found->end) {
      Fault(Name(access == Access::kRead ? "a read" : "a write", size) + " outside of device memory, " + Describe(address));
    }
    Follow(arena->cells, address, arena->base, size, access, /*shared=*/false);
    running_grid->Accessed();
  } else if (Within(address, &__bss_start, &_end)) {
    Follow(shared_cells.data(), address, &__bss_start, size, access, /*shared=*/true);
    running_grid->Accessed();
  } else if (access == Access::kRead && (Within(address, running.parameters, running.parameters_end) ||
                                         Within(address, &__executable_start, &__bss_start))) {
    return;
  } else {
    Fault(Name(access == Access::kRead ? "a read" : "a write", size) + " of memory of the host");
  }
}

}  // namespace cuda_on_host

// What g++ -fsanitize=thread calls before each access; programs are linked without its library.
#define CUDA_ON_HOST_ACCESS(SIZE)                                                                                     \
  extern "C" void __tsan_read##SIZE(void* p) { cuda_on_host::Touch(p, SIZE, cuda_on_host::Access::kRead); }           \
  extern "C" void __tsan_write##SIZE(void* p) { cuda_on_host::Touch(p, SIZE, cuda_on_host::Access::kWrite); }         \
  extern "C" void __tsan_unaligned_read##SIZE(void* p) { cuda_on_host::Touch(p, SIZE, cuda_on_host::Access::kRead); } \
  extern "C" void __tsan_unaligned_write##SIZE(void* p) { cuda_on_host::Touch(p, SIZE, cuda_on_host::Access::kWrite); }
CUDA_ON_HOST_ACCESS(1)
CUDA_ON_HOST_ACCESS(2)
CUDA_ON_HOST_ACCESS(4)
CUDA_ON_HOST_ACCESS(8)
CUDA_ON_HOST_ACCESS(16)
extern "C" void __tsan_read_range(void* p, size_t size) {
  if (size > 0) cuda_on_host::Touch(p, size, cuda_on_host::Access::kRead);
}
extern "C" void __tsan_write_range(void* p, size_t size) {
  if (size > 0) cuda_on_host::Touch(p, size, cuda_on_host::Access::kWrite);
}
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_vptr_update(void*, void*) {}
extern "C" void __tsan_vptr_read(void*) {}
