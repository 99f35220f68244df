#include "ops/cc/pair_memory.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace nann {
namespace {

constexpr uint32_t kSign = 0x80000000u;

// What was found of an item so far.
struct Found {
  int64_t position;
  float reached, shared, own;
};

// Which items were found, in the order met. Per thread, and kept: `slots_` has a number per item, 0 outside of a call.
class Finds {
 public:
  void Reserve(int64_t num_items) {
    if (static_cast<int64_t>(slots_.size()) < num_items) slots_.resize(num_items, 0);
  }

  Found& At(int64_t position) {
    int32_t& slot = slots_[position];
    if (slot == 0) {
      found_.push_back({position, 0.0f, 0.0f, 0.0f});
      slot = static_cast<int32_t>(found_.size());
    }
    return found_[slot - 1];
  }

  const std::vector<Found>& all() const { return found_; }

  void Clear() {
    for (const Found& found : found_) slots_[found.position] = 0;
    found_.clear();
  }

 private:
  std::vector<int32_t> slots_;
  std::vector<Found> found_;
};

std::string CheckPlace(const PairTable& table, const MemoryRule& rule, const History& history, int64_t place) {
  const auto outside = [](const char* name, int64_t least, int64_t end, int64_t value) {
    return absl::StrCat(name, " must be in ", least, "..", end - 1, ", got ", value);
  };
  const int64_t item = history.item_sources[place], category = history.category_sources[place],
                position = history.item_positions[place];
  if (item < 0 || item >= table.num_rows) return outside("item_sources", 0, table.num_rows, item);
  if (category < 0 || category >= table.num_rows) return outside("category_sources", 0, table.num_rows, category);
  if (position < -1 || position >= rule.num_items) return outside("item_positions", -1, rule.num_items, position);
  return "";
}

// Adds a row of the table, times weights.
std::string AddRow(const PairTable& table, int64_t num_items, int64_t row, float weight, float share, Finds* finds) {
  if (row == 0) return "";
  const int64_t begin = table.row_splits[row], end = table.row_splits[row + 1];
  if (begin < 0 || end < begin || end > table.num_entries) {
    return absl::StrCat("table_row_splits must ascend from 0 to at most ", table.num_entries, ", got ", begin, " and ", end,
                        " for row ", row);
  }
  for (int64_t i = begin; i < end; ++i) {
    const int64_t position = table.positions[i];
    if (position < 0 || position >= num_items) {
      return absl::StrCat("table_positions must be in 0..", num_items - 1, ", got ", position, " in row ", row);
    }
    Found& found = finds->At(position);
    found.reached += weight * table.values[i];
    found.shared += share * table.values[i];
  }
  return "";
}

std::string Find(const PairTable& table, const MemoryRule& rule, const History& history, Finds* finds) {
  int64_t present = 0;
  for (int64_t place = 0; place < history.width; ++place) {
    const std::string problem = CheckPlace(table, rule, history, place);
    if (!problem.empty()) return problem;
    present += history.item_sources[place] > 0;
  }
  double total = 0;
  for (int64_t age = present; age-- > 0;) total += std::pow(static_cast<double>(rule.decay), age);
  int64_t age = present;
  for (int64_t place = 0; place < history.width; ++place) {
    if (history.item_sources[place] == 0) continue;
    --age;
    const float weight = static_cast<float>(std::pow(static_cast<double>(rule.decay), age) / total);
    std::string problem = AddRow(table, rule.num_items, history.item_sources[place], weight, 0.0f, finds);
    if (problem.empty()) {
      problem = AddRow(table, rule.num_items, history.category_sources[place], weight * rule.category_weight,
                       1.0f / static_cast<float>(present), finds);
    }
    if (!problem.empty()) return problem;
    const int64_t position = history.item_positions[place];
    if (position >= 0) finds->At(position).own = rule.own[std::min(age, rule.num_own - 1)];  // the newest place comes last
  }
  return "";
}

// Ascending, byte by byte from the lowest: comparing entries one with another was half of the time. Bytes all entries share are
// left out.
void Sort(std::vector<uint64_t>* entries) {
  constexpr int kDigits = 8, kBits = 8, kValues = 1 << kBits;
  constexpr size_t kFewEntries = 200;
  if (entries->size() < kFewEntries) {
    std::sort(entries->begin(), entries->end());
    return;
  }
  std::vector<uint64_t> other(entries->size());
  std::array<std::array<uint32_t, kValues>, kDigits> counts{};
  for (const uint64_t entry : *entries) {
    for (int digit = 0; digit < kDigits; ++digit) ++counts[digit][entry >> (digit * kBits) & (kValues - 1)];
  }
  for (int digit = 0; digit < kDigits; ++digit) {
    const int shift = digit * kBits;
    auto& places = counts[digit];
    if (places[entries->front() >> shift & (kValues - 1)] == entries->size()) continue;
    uint32_t place = 0;
    for (uint32_t& count : places) {
      const uint32_t begin = place;
      place += count;
      count = begin;
    }
    for (const uint64_t entry : *entries) other[places[entry >> shift & (kValues - 1)]++] = entry;
    entries->swap(other);
  }
}

}  // namespace

uint64_t EncodeEntry(float value, int64_t position) {
  value += 0.0f;  // -0 equals 0
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t ascending = bits & kSign ? ~bits : bits | kSign;
  return static_cast<uint64_t>(~ascending) << 32 | static_cast<uint32_t>(position);
}

int64_t EntryPosition(uint64_t entry) { return static_cast<uint32_t>(entry); }

float EntryValue(uint64_t entry) {
  const uint32_t ascending = ~static_cast<uint32_t>(entry >> 32);
  const uint32_t bits = ascending & kSign ? ascending & ~kSign : ~ascending;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

std::string Remember(const PairTable& table, const MemoryRule& rule, const History& history, std::vector<uint64_t>* entries) {
  static thread_local Finds finds;
  struct Clearing {  // also where memory is short: the next user must not find what this one left
    ~Clearing() { finds.Clear(); }
  } clearing;
  finds.Reserve(rule.num_items);
  std::string problem = Find(table, rule, history, &finds);
  entries->clear();
  entries->reserve(finds.all().size());
  for (const Found& found : finds.all()) {
    if (!problem.empty()) break;
    const float value = rule.gain[found.position] * std::log1p(rule.rule_scale * found.reached) +
                        rule.category_gain * std::log1p(rule.category_scale * found.shared) + found.own;
    if (!std::isfinite(value)) {
      problem = absl::StrCat("the memory must be finite, got ", value, " at position ", found.position, ": gain ",
                             rule.gain[found.position], ", ", found.reached, " reached, ", found.shared, " of its category, own ",
                             found.own);
    }
    entries->push_back(EncodeEntry(value, found.position));
  }
  if (problem.empty()) Sort(entries);
  return problem;
}

}  // namespace nann
