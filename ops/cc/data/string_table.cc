// Distinct strings and their numbers, in the order in which they were added.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace nann {
namespace {

inline uint64_t Mix(uint64_t value) {
  value *= 0x9e3779b97f4a7c15u;
  return value ^ (value >> 32);
}

uint64_t Hash(std::string_view text) {
  uint64_t hash = text.size() * 0xff51afd7ed558ccdu;
  const char* at = text.data();
  size_t left = text.size();
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    hash = Mix(hash ^ word);
  }
  uint64_t word = 0;
  std::memcpy(&word, at, left);
  return Mix(hash ^ word);
}

class StringTable {
 public:
  StringTable() : slots_(1024, Slot{0, -1}) {}

  int64_t size() const { return static_cast<int64_t>(offsets_.size()) - 1; }
  int64_t bytes() const { return static_cast<int64_t>(data_.size()); }

  int32_t Find(std::string_view text) const { return slots_[Place(text, Hash(text))].number; }

  int32_t Add(std::string_view text) {
    const uint64_t hash = Hash(text);
    size_t place = Place(text, hash);
    if (slots_[place].number >= 0) return slots_[place].number;
    if (2 * static_cast<size_t>(size() + 1) > slots_.size()) {
      Grow();
      place = Place(text, hash);
    }
    const int32_t number = static_cast<int32_t>(size());
    slots_[place] = Slot{static_cast<uint32_t>(hash >> 32), number};
    hashes_.push_back(hash);
    data_.insert(data_.end(), text.begin(), text.end());
    offsets_.push_back(static_cast<int64_t>(data_.size()));
    return number;
  }

  void Export(int64_t* offsets, char* data) const {
    std::memcpy(offsets, offsets_.data(), offsets_.size() * sizeof(int64_t));
    if (!data_.empty()) std::memcpy(data, data_.data(), data_.size());
  }

 private:
  struct Slot {
    uint32_t tag;
    int32_t number;
  };

  size_t Place(std::string_view text, uint64_t hash) const {
    const size_t mask = slots_.size() - 1;
    const uint32_t tag = static_cast<uint32_t>(hash >> 32);
    for (size_t place = hash & mask;; place = (place + 1) & mask) {
      const Slot& slot = slots_[place];
      if (slot.number < 0) return place;
      if (slot.tag != tag) continue;
      const int64_t begin = offsets_[slot.number];
      const size_t length = static_cast<size_t>(offsets_[slot.number + 1] - begin);
      if (length == text.size() && std::memcmp(data_.data() + begin, text.data(), length) == 0) return place;
    }
  }

  void Grow() {
    slots_.assign(2 * slots_.size(), Slot{0, -1});
    const size_t mask = slots_.size() - 1;
    for (size_t number = 0; number < hashes_.size(); ++number) {
      size_t place = hashes_[number] & mask;
      while (slots_[place].number >= 0) place = (place + 1) & mask;
      slots_[place] = Slot{static_cast<uint32_t>(hashes_[number] >> 32), static_cast<int32_t>(number)};
    }
  }

  std::vector<Slot> slots_;
  std::vector<uint64_t> hashes_;
  std::vector<int64_t> offsets_ = {0};
  std::vector<char> data_;
};

}  // namespace
}  // namespace nann

#define NANN_EXPORT extern "C" __attribute__((visibility("default")))

// A new table; freed by `nann_strings_free`.
NANN_EXPORT nann::StringTable* nann_strings_new() { return new nann::StringTable(); }

NANN_EXPORT int64_t nann_strings_free(nann::StringTable* table) {
  delete table;
  return 0;
}

// Numbers of strings, value i being data[offsets[i], offsets[i + 1]); new ones are added if `add`, else they are -1. Not at the
// same time as another call that adds. Returns the number of strings in the table.
NANN_EXPORT int64_t nann_strings_number(nann::StringTable* table, const int32_t* offsets, const char* data, int64_t size, int add,
                                        int32_t* numbers) {
  for (int64_t i = 0; i < size; ++i) {
    const std::string_view text(data + offsets[i], offsets[i + 1] - offsets[i]);
    numbers[i] = add ? table->Add(text) : table->Find(text);
  }
  return table->size();
}

// The bytes of all strings.
NANN_EXPORT int64_t nann_strings_bytes(nann::StringTable* table) { return table->bytes(); }

// All strings in the order of their numbers: offsets [size + 1], data [bytes].
NANN_EXPORT int64_t nann_strings_export(nann::StringTable* table, int64_t* offsets, char* data) {
  table->Export(offsets, data);
  return table->size();
}
