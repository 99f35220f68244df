// Drives the key index without TensorFlow, for the sanitizers: random batches
// of integer and string keys, on two threads, against a std::map; exits with 1
// at the first difference.

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "ops/cc/key_index.h"

namespace {

void Fail(const char *what) {
  std::fprintf(stderr, "differs: %s\n", what);
  std::exit(1);
}

void OnTwoThreads(int64_t n, int64_t,
                  const std::function<void(int64_t, int64_t)> &work) {
  std::thread other([&] { work(n / 2, n); });
  work(0, n / 2);
  other.join();
}

void RandomKey(std::mt19937_64 *random, int64_t range, int64_t *key) {
  const int64_t special[] = {0, -1, INT64_MAX, INT64_MIN};
  const uint64_t drawn = (*random)();
  *key = drawn % 64 < 4 ? special[drawn % 64]
                        : static_cast<int64_t>(drawn >> 8) % range - range / 2;
}

void RandomKey(std::mt19937_64 *random, int64_t range, std::string *key) {
  int64_t number;
  RandomKey(random, range, &number);
  // Of all lengths modulo 8, some longer than what a string holds in itself.
  *key = std::string(static_cast<uint64_t>(number) % 27, 'x') +
         (number == 0 ? "" : std::to_string(number));
}

// Heap copies of exactly the right size, so that a read past the end is seen.
template <typename Stored>
std::unique_ptr<Stored[]> Exact(const std::vector<Stored> &values) {
  std::unique_ptr<Stored[]> copy(new Stored[values.size()]);
  std::copy(values.begin(), values.end(), copy.get());
  return copy;
}

template <typename Key, typename Stored>
void Check(std::mt19937_64 *random, int64_t range, int64_t most, int batches) {
  using Index = nann::KeyIndex<Key, Stored>;
  Index index;
  std::vector<Stored> keys;
  std::map<Stored, int64_t> expected;
  for (int b = 0; b < batches; ++b) {
    const int64_t n = (*random)() % (most + 1);
    std::vector<Stored> batch(n);
    for (Stored &key : batch)
      RandomKey(random, range, &key);
    const auto held = Exact(keys), given = Exact(batch);
    std::unique_ptr<int64_t[]> entries(new int64_t[n]);
    std::vector<int64_t> numbers(n);
    std::vector<int64_t> positions;
    int64_t next = static_cast<int64_t>(keys.size());
    for (int64_t i = 0; i < n; ++i) {
      const bool skipped = (*random)() % 8 == 0;
      const auto known = expected.find(batch[i]);
      if (!skipped && known == expected.end()) {
        expected[batch[i]] = next++;
        positions.push_back(i);
      }
      numbers[i] = skipped ? Index::kSkip : expected[batch[i]];
      entries[i] = skipped ? Index::kSkip : Index::kUnknown;
    }
    const std::vector<int64_t> beside(keys.size());
    index.FindMany(given.get(), 0, n, held.get(), {beside.data()},
                   entries.get());
    for (int64_t i = 0; i < n; ++i) {
      const int64_t known = numbers[i] < static_cast<int64_t>(keys.size())
                                ? numbers[i]
                                : Index::kUnknown;
      if (entries[i] != known)
        Fail("an entry that was found");
    }
    const auto added = index.Insert(given.get(), n, held.get(), keys.size(),
                                    entries.get(), OnTwoThreads);
    if (added != positions)
      Fail("where new keys first occur");
    for (int64_t i = 0; i < n; ++i) {
      if (entries[i] != numbers[i])
        Fail("an entry after insertion");
    }
    for (const int64_t position : added)
      keys.push_back(batch[position]);
    const auto all = Exact(keys);
    Index built;
    built.Build(all.get(), keys.size(), OnTwoThreads);
    for (int look = 0; look < 200; ++look) {
      Stored key;
      RandomKey(random, 2 * range, &key);
      const auto known = expected.find(key);
      const int64_t entry =
          known == expected.end() ? Index::kUnknown : known->second;
      if (index.Find(Key(key), all.get()) != entry)
        Fail("an entry looked up");
      if (built.Find(Key(key), all.get()) != entry)
        Fail("an entry of an index built from its keys");
    }
  }
}

} // namespace

int main() {
  std::mt19937_64 random(1);
  for (const int64_t range : {8, 1000, 1000000}) {
    for (const int64_t most : {0, 3, 700, 20000}) {
      Check<int64_t, int64_t>(&random, range, most, 8);
      Check<std::string_view, std::string>(&random, range, most, 8);
    }
  }
  std::puts("ok");
  return 0;
}
