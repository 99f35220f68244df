#include "ops/cc/user_memory.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "ops/cc/retrieval_walk.h"

namespace nann {

std::string CheckMemory(const UserMemory& memory, int64_t batch, int64_t num_items) {
  const int64_t* const splits = memory.row_splits;
  if (splits[0] != 0) return absl::StrCat("memory_row_splits must begin with 0, got ", splits[0]);
  if (splits[batch] != memory.size) {
    return absl::StrCat("memory_row_splits must end with ", memory.size, ", the number of entries, got ", splits[batch]);
  }
  for (int64_t user = 0; user < batch; ++user) {
    if (splits[user + 1] < splits[user]) {
      return absl::StrCat("memory_row_splits must not descend, got ", splits[user], " and then ", splits[user + 1]);
    }
  }
  std::vector<uint8_t> named(BitmapBytes(num_items), 0);
  for (int64_t user = 0; user < batch; ++user) {
    for (int64_t i = splits[user]; i < splits[user + 1]; ++i) {
      const int64_t position = memory.positions[i];
      if (position < 0 || position >= num_items) {
        return absl::StrCat("memory_positions must be in 0..", num_items - 1, ", got ", position);
      }
      if (Visit(named.data(), position)) {
        return absl::StrCat("memory_positions must be distinct within a user, user ", user, " has ", position, " twice");
      }
    }
    for (int64_t i = splits[user]; i < splits[user + 1]; ++i) named[memory.positions[i] >> 3] = 0;
  }
  return "";
}

DenseMemory::DenseMemory(const UserMemory& memory, int64_t user, int64_t num_items) : memory_(memory), user_(user) {
  static thread_local std::vector<float> scratch;  // zeros between uses: clearing all of it would cost as much as a search
  if (static_cast<int64_t>(scratch.size()) < num_items) scratch.resize(num_items, 0.0f);
  values_ = scratch.data();
  for (int64_t i = memory.row_splits[user]; i < memory.row_splits[user + 1]; ++i) values_[memory.positions[i]] = memory.values[i];
}

DenseMemory::~DenseMemory() {
  for (int64_t i = memory_.row_splits[user_]; i < memory_.row_splits[user_ + 1]; ++i) values_[memory_.positions[i]] = 0.0f;
}

}  // namespace nann
