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
  StringTable() : slots_(1024, kEmpty) {}

  int64_t size() const { return static_cast<int64_t>(offsets_.size()) - 1; }
  int64_t bytes() const { return static_cast<int64_t>(data_.size()); }

  // Numbers of many strings; memory that is not in a cache is asked for some strings ahead.
  void Number(const int32_t* offsets, const char* data, int64_t size, bool add, int32_t* numbers) {
    std::string_view texts[kAhead];
    uint64_t hashes[kAhead];
    for (int64_t first = 0; first < size; first += kAhead) {
      const int count = static_cast<int>(size - first < kAhead ? size - first : kAhead);
      for (int i = 0; i < count; ++i) {
        const int32_t* const ends = offsets + first + i;
        texts[i] = std::string_view(data + ends[0], ends[1] - ends[0]);
        hashes[i] = Hash(texts[i]);
        __builtin_prefetch(&slots_[hashes[i] & (slots_.size() - 1)]);
      }
      for (int i = 0; i < count; ++i) {
        const Slot& slot = slots_[hashes[i] & (slots_.size() - 1)];
        if (slot.number >= 0) __builtin_prefetch(data_.data() + slot.begin);
      }
      for (int i = 0; i < count; ++i) {
        numbers[first + i] = add ? Add(texts[i], hashes[i]) : slots_[Place(texts[i], hashes[i])].number;
      }
    }
  }

  int32_t Add(std::string_view text, uint64_t hash) {
    size_t place = Place(text, hash);
    if (slots_[place].number >= 0) return slots_[place].number;
    if (2 * static_cast<size_t>(size() + 1) > slots_.size()) {
      Grow();
      place = Place(text, hash);
    }
    const int32_t number = static_cast<int32_t>(size());
    slots_[place] = Slot{static_cast<uint32_t>(hash >> 32), number, static_cast<uint64_t>(bytes()), Length(text.size())};
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
  static constexpr int kAhead = 16;
  static constexpr uint64_t kLongest = 0xffff;

  struct Slot {
    uint32_t tag;
    int32_t number;
    uint64_t begin : 48;
    uint64_t length : 16;  // kLongest: that or more
  };
  static constexpr Slot kEmpty{0, -1, 0, 0};

  static uint64_t Length(size_t size) { return size < kLongest ? size : kLongest; }

  bool Holds(const Slot& slot, std::string_view text) const {
    if (slot.length != Length(text.size())) return false;
    const int64_t begin = static_cast<int64_t>(slot.begin);
    if (slot.length == kLongest && offsets_[slot.number + 1] - begin != static_cast<int64_t>(text.size())) return false;
    return std::memcmp(data_.data() + begin, text.data(), text.size()) == 0;
  }

  size_t Place(std::string_view text, uint64_t hash) const {
    const size_t mask = slots_.size() - 1;
    const uint32_t tag = static_cast<uint32_t>(hash >> 32);
    for (size_t place = hash & mask;; place = (place + 1) & mask) {
      const Slot& slot = slots_[place];
      if (slot.number < 0) return place;
      if (slot.tag == tag && Holds(slot, text)) return place;
    }
  }

  void Grow() {
    slots_.assign(2 * slots_.size(), kEmpty);
    const size_t mask = slots_.size() - 1;
    for (size_t number = 0; number < hashes_.size(); ++number) {
      size_t place = hashes_[number] & mask;
      while (slots_[place].number >= 0) place = (place + 1) & mask;
      const int64_t begin = offsets_[number];
      slots_[place] = Slot{static_cast<uint32_t>(hashes_[number] >> 32), static_cast<int32_t>(number),
                           static_cast<uint64_t>(begin), Length(static_cast<size_t>(offsets_[number + 1] - begin))};
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
  table->Number(offsets, data, size, add != 0, numbers);
  return table->size();
}

// The bytes of all strings.
NANN_EXPORT int64_t nann_strings_bytes(nann::StringTable* table) { return table->bytes(); }

// All strings in the order of their numbers: offsets [size + 1], data [bytes].
NANN_EXPORT int64_t nann_strings_export(nann::StringTable* table, int64_t* offsets, char* data) {
  table->Export(offsets, data);
  return table->size();
}
