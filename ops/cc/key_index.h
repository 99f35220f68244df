// An index from keys to entry numbers: open addressing with linear probing, batch lookup-or-insert over threads.
//
// Keys themselves stay in the caller's array, in the order of their entries; a slot holds the entry and 24 bits of the key's
// hash, which spare nearly all comparisons with other keys. The table is cut into shards by the hash, one thread to a shard while
// inserting. New keys are numbered in the order in which they first occur in the batch, so the result does not depend on the
// number of threads.

#ifndef NANN_OPS_CC_KEY_INDEX_H_
#define NANN_OPS_CC_KEY_INDEX_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <string_view>
#include <vector>

namespace nann {

using KeyParallelFor = std::function<void(int64_t n, int64_t cost, const std::function<void(int64_t, int64_t)>& work)>;

// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): every bit of the key moves every bit of the hash.
inline uint64_t MixBits(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}
inline uint64_t HashOfKey(int64_t key) { return MixBits(static_cast<uint64_t>(key) + 0x9e3779b97f4a7c15ULL); }
inline uint64_t HashOfKey(std::string_view key) {
  uint64_t hash = MixBits(key.size() + 0x9e3779b97f4a7c15ULL);
  for (size_t at = 0; at < key.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, key.data() + at, std::min<size_t>(8, key.size() - at));
    hash = MixBits(hash ^ word) + 0x9e3779b97f4a7c15ULL;
  }
  return MixBits(hash);
}

// `Key` is int64_t or std::string_view; `Stored`, what the arrays hold, converts to it.
template <typename Key, typename Stored>
class KeyIndex {
 public:
  static constexpr int64_t kUnknown = -1, kSkip = -2;

  // The index of the first n keys of an array.
  void Build(const Stored* keys, int64_t n, const KeyParallelFor& parallel) {
    std::vector<uint8_t> shard_of(n);
    parallel(n, 20, [&](int64_t begin, int64_t end) {
      for (int64_t e = begin; e < end; ++e) shard_of[e] = static_cast<uint8_t>(ShardOf(HashOfKey(Key(keys[e]))));
    });
    parallel(kShards, n, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        shards_[s] = Shard();
        shards_[s].Reserve(std::count(shard_of.begin(), shard_of.end(), static_cast<uint8_t>(s)), keys);
        for (int64_t e = 0; e < n; ++e) {
          if (shard_of[e] != s) continue;
          const uint64_t hash = HashOfKey(Key(keys[e]));
          shards_[s].slots[shards_[s].FreeSlot(hash)] = TagOf(hash) | static_cast<uint64_t>(e + 1);
          ++shards_[s].count;
        }
      }
    });
  }

  // Keys it holds: entries 0..size() - 1.
  int64_t size() const {
    int64_t total = 0;
    for (const Shard& shard : shards_) total += shard.count;
    return total;
  }

  int64_t Find(Key key, const Stored* keys) const {
    const uint64_t hash = HashOfKey(key);
    return shards_[ShardOf(hash)].Find(hash, key, keys);
  }

  // Finds the keys [begin, end) of a batch; `entries` holds kSkip where a key is not asked for. In a large index every step of a
  // lookup - slot, key, and the `others` of a found entry, arrays that the caller reads next - misses the caches, so the
  // lookups of a block ask for their memory together and do not wait for it one by one.
  void FindMany(const Stored* batch, int64_t begin, int64_t end, const Stored* keys, std::initializer_list<const int64_t*> others,
                int64_t* entries) const {
    uint64_t hashes[kBlock];
    for (int64_t first = begin; first < end; first += kBlock) {
      const int64_t last = std::min(end, first + kBlock);
      for (int64_t i = first; i < last; ++i) {
        if (entries[i] == kSkip) continue;
        const uint64_t hash = hashes[i - first] = HashOfKey(Key(batch[i]));
        const Shard& shard = shards_[ShardOf(hash)];
        if (!shard.slots.empty()) __builtin_prefetch(&shard.slots[hash & shard.mask]);
      }
      for (int64_t i = first; i < last; ++i) {
        if (entries[i] == kSkip) continue;
        const int64_t likely = shards_[ShardOf(hashes[i - first])].Likely(hashes[i - first]);
        if (likely == kUnknown) continue;
        __builtin_prefetch(keys + likely);
        for (const int64_t* other : others) __builtin_prefetch(other + likely);
      }
      for (int64_t i = first; i < last; ++i) {
        if (entries[i] == kSkip) continue;
        entries[i] = shards_[ShardOf(hashes[i - first])].Find(hashes[i - first], Key(batch[i]), keys);
      }
    }
  }

  // Numbers the unknown keys of a batch: `entries` holds kUnknown where a key is to be inserted, and receives its entry, from
  // `num_entries` on. Returns the positions in the batch at which the new keys first occur, in the order of their entries. The
  // caller appends these keys to the array.
  std::vector<int64_t> Insert(const Stored* batch, int64_t n, const Stored* keys, int64_t num_entries, int64_t* entries,
                              const KeyParallelFor& parallel) {
    std::array<std::vector<int64_t>, kShards> unknown;
    for (int64_t i = 0; i < n; ++i) {
      if (entries[i] == kUnknown) unknown[ShardOf(HashOfKey(Key(batch[i])))].push_back(i);
    }
    std::array<std::vector<int64_t>, kShards> firsts;  // positions of new keys, and below the slots they went to
    std::array<std::vector<size_t>, kShards> slots;
    std::array<std::vector<int64_t>, kShards> first_of;  // for every unknown position that of the key's first occurrence
    int64_t most = 1;
    for (const auto& positions : unknown) most = std::max<int64_t>(most, positions.size());
    parallel(kShards, 100 * most, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        Shard& shard = shards_[s];
        if (unknown[s].empty()) continue;
        shard.Reserve(shard.count + static_cast<int64_t>(unknown[s].size()), keys);
        for (const int64_t position : unknown[s]) {
          const Key key(batch[position]);
          const uint64_t hash = HashOfKey(key);
          size_t at = hash & shard.mask;
          int64_t first = position;
          for (; shard.slots[at] != 0; at = (at + 1) & shard.mask) {
            const uint64_t slot = shard.slots[at];
            if ((slot & kPending) == 0 || (slot & kTagMask) != TagOf(hash)) continue;
            const int64_t other = static_cast<int64_t>(slot & kPositionMask);
            if (Key(batch[other]) == key) {
              first = other;
              break;
            }
          }
          if (shard.slots[at] == 0) {
            shard.slots[at] = TagOf(hash) | kPending | static_cast<uint64_t>(position);
            ++shard.count;
            firsts[s].push_back(position);
            slots[s].push_back(at);
          }
          first_of[s].push_back(first);
        }
      }
    });
    std::vector<int64_t> added;
    for (const auto& positions : firsts) added.insert(added.end(), positions.begin(), positions.end());
    std::sort(added.begin(), added.end());
    for (size_t k = 0; k < added.size(); ++k) entries[added[k]] = num_entries + static_cast<int64_t>(k);
    for (int s = 0; s < kShards; ++s) {
      for (size_t k = 0; k < unknown[s].size(); ++k) entries[unknown[s][k]] = entries[first_of[s][k]];
      for (size_t k = 0; k < slots[s].size(); ++k) {
        uint64_t* const slot = &shards_[s].slots[slots[s][k]];
        *slot = (*slot & kTagMask) | static_cast<uint64_t>(entries[firsts[s][k]] + 1);
      }
    }
    return added;
  }

 private:
  static constexpr int kShards = 16, kBlock = 32;
  static constexpr uint64_t kTagMask = ~0ULL << 40, kPending = 1ULL << 39, kPositionMask = kPending - 1;

  static int ShardOf(uint64_t hash) { return static_cast<int>(hash >> 60); }
  static uint64_t TagOf(uint64_t hash) { return (hash >> 36) << 40; }

  struct Shard {
    std::vector<uint64_t> slots;  // 0 where empty, else 24 bits of the hash and the entry + 1
    size_t mask = 0;
    int64_t count = 0;

    // Room for n keys at a load of at most 2/3.
    void Reserve(int64_t n, const Stored* keys) {
      size_t wanted = std::max<size_t>(slots.size(), 16);
      while (2 * wanted < 3 * static_cast<size_t>(n)) wanted *= 2;
      if (wanted == slots.size()) return;
      std::vector<uint64_t> old(wanted, 0);
      old.swap(slots);
      mask = wanted - 1;
      for (const uint64_t slot : old) {
        if (slot != 0) slots[FreeSlot(HashOfKey(Key(keys[(slot & ~kTagMask) - 1])))] = slot;
      }
    }
    size_t FreeSlot(uint64_t hash) const {
      size_t at = hash & mask;
      while (slots[at] != 0) at = (at + 1) & mask;
      return at;
    }
    // The entry that Find will look at first, without looking at its key.
    int64_t Likely(uint64_t hash) const {
      if (slots.empty()) return kUnknown;
      for (size_t at = hash & mask; slots[at] != 0; at = (at + 1) & mask) {
        if ((slots[at] & kTagMask) == TagOf(hash)) return static_cast<int64_t>(slots[at] & ~kTagMask) - 1;
      }
      return kUnknown;
    }
    int64_t Find(uint64_t hash, Key key, const Stored* keys) const {
      if (slots.empty()) return kUnknown;
      for (size_t at = hash & mask; slots[at] != 0; at = (at + 1) & mask) {
        const int64_t entry = static_cast<int64_t>(slots[at] & ~kTagMask) - 1;
        if ((slots[at] & kTagMask) == TagOf(hash) && Key(keys[entry]) == key) return entry;
      }
      return kUnknown;
    }
  };

  std::array<Shard, kShards> shards_;
};

}  // namespace nann

#endif  // NANN_OPS_CC_KEY_INDEX_H_
