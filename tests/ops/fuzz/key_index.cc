// The index of keys against a map: batches of keys, many of them equal, found and inserted, and the index built anew.

#include "ops/cc/key_index.h"

#include <map>
#include <vector>

#include "tests/ops/fuzz/bytes.h"

namespace {

void Serially(int64_t n, int64_t, const std::function<void(int64_t, int64_t)>& work) { work(0, n); }

template <typename Key, typename Stored>
void Try(fuzz::Bytes* bytes, const std::function<Stored(int)>& key_of) {
  nann::KeyIndex<Key, Stored> index;
  std::vector<Stored> keys;
  std::map<Stored, int64_t> expected;
  while (bytes->more()) {
    const int count = bytes->Number(40);
    std::vector<Stored> batch;
    for (int i = 0; i < count; ++i) batch.push_back(key_of(bytes->Number(255)));
    std::vector<int64_t> entries(count, index.kUnknown);
    for (int i = 0; i < count; ++i) {
      if (bytes->Number(7) == 0) entries[i] = index.kSkip;
    }
    const std::vector<int64_t> asked = entries;
    index.FindMany(batch.data(), 0, count, keys.data(), {}, entries.data());
    for (int i = 0; i < count; ++i) {
      const auto known = expected.find(batch[i]);
      const int64_t wanted = asked[i] == index.kSkip ? asked[i] : known == expected.end() ? index.kUnknown : known->second;
      fuzz::Require(entries[i] == wanted, "a key is found where it was put");
    }
    const std::vector<int64_t> added =
        index.Insert(batch.data(), count, keys.data(), static_cast<int64_t>(keys.size()), entries.data(), Serially);
    for (const int64_t position : added) {
      fuzz::Require(expected.emplace(batch[position], static_cast<int64_t>(keys.size())).second, "a key is added once");
      keys.push_back(batch[position]);
    }
    for (int i = 0; i < count; ++i) {
      if (asked[i] != index.kSkip) fuzz::Require(entries[i] == expected.at(batch[i]), "an inserted key has its entry");
    }
    fuzz::Require(index.size() == static_cast<int64_t>(keys.size()), "the index counts its keys");
    if (bytes->Number(15) == 0) index.Build(keys.data(), static_cast<int64_t>(keys.size()), Serially);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Bytes bytes(data, size);
  if (bytes.Number(1) == 0) {
    Try<int64_t, int64_t>(&bytes,
                          [](int number) { return number % 3 == 0 ? INT64_MIN + number : int64_t{number} << (number % 56); });
  } else {
    Try<std::string_view, std::string>(&bytes,
                                       [](int number) { return std::string(number % 19, static_cast<char>('a' + number % 5)); });
  }
  return 0;
}
