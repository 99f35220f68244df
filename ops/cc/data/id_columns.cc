// Passes over columns of ids and codes, one value at a time: counting, coding, and dealing events out to partitions.

#include <cstdint>
#include <vector>

namespace {

template <typename T>
void Count(const T* values, int64_t size, int64_t low, uint32_t* table) {
  for (int64_t i = 0; i < size; ++i) ++table[static_cast<int64_t>(values[i]) - low];
}

template <typename T>
void Code(const T* values, int64_t size, int64_t low, const int32_t* table, uint64_t table_size, int32_t* codes) {
  for (int64_t i = 0; i < size; ++i) {
    const uint64_t place = static_cast<uint64_t>(values[i]) - static_cast<uint64_t>(low);  // below low: beyond the table
    codes[i] = place < table_size ? table[place] : -1;
  }
}

template <typename T>
void Deal(const int32_t* users, const int32_t* items, const T* times, const uint8_t* kinds, int64_t size,
          const uint16_t* partition_of_user, const int64_t* firsts, int time_bits, int64_t first_time, int64_t* places,
          uint64_t* keys, int32_t* item_codes, uint8_t* dealt_kinds) {
  for (int64_t i = 0; i < size; ++i) {
    if (users[i] < 0 || items[i] < 0) continue;
    const int partition = partition_of_user[users[i]];
    const int64_t place = places[partition]++;
    keys[place] = static_cast<uint64_t>(users[i] - firsts[partition]) << time_bits |
                  static_cast<uint64_t>(static_cast<int64_t>(times[i]) - first_time);
    item_codes[place] = items[i];
    if (kinds != nullptr) dealt_kinds[place] = kinds[i];
  }
}

}  // namespace

#define NANN_EXPORT extern "C" __attribute__((visibility("default")))

// Everywhere: values are int32 or int64, as `width` (4 or 8 bytes) says.

// Adds the number of times each value occurs to table[value - low]; all values lie in the table.
NANN_EXPORT int64_t nann_count_ids(const void* values, int width, int64_t size, int64_t low, uint32_t* table) {
  if (width == 4) {
    Count(static_cast<const int32_t*>(values), size, low, table);
  } else {
    Count(static_cast<const int64_t*>(values), size, low, table);
  }
  return size;
}

// codes[i] = table[values[i] - low], or -1 where there is no such entry.
NANN_EXPORT int64_t nann_code_ids(const void* values, int width, int64_t size, int64_t low, const int32_t* table,
                                  int64_t table_size, int32_t* codes) {
  if (width == 4) {
    Code(static_cast<const int32_t*>(values), size, low, table, table_size, codes);
  } else {
    Code(static_cast<const int64_t*>(values), size, low, table, table_size, codes);
  }
  return size;
}

// Deals events out to partitions, those of one partition in a row and in the order they had. Events of a user or item of code -1
// are left out. partition_of_user, firsts: partition of a user code, and its first user. A key is the user's number in the
// partition << time_bits | time - first_time. keys, item_codes: room for `size` events. bounds: [num_partitions + 1], partition p
// gets [bounds[p], bounds[p + 1]). Returns the events dealt out.
NANN_EXPORT int64_t nann_deal_events(const int32_t* users, const int32_t* items, const void* times, int width,
                                     const uint8_t* kinds, int64_t size, const uint16_t* partition_of_user, const int64_t* firsts,
                                     int num_partitions, int time_bits, int64_t first_time, uint64_t* keys, int32_t* item_codes,
                                     uint8_t* dealt_kinds, int64_t* bounds) {
  for (int p = 0; p <= num_partitions; ++p) bounds[p] = 0;
  for (int64_t i = 0; i < size; ++i) {
    if (users[i] >= 0 && items[i] >= 0) ++bounds[partition_of_user[users[i]] + 1];
  }
  for (int p = 0; p < num_partitions; ++p) bounds[p + 1] += bounds[p];
  std::vector<int64_t> places(bounds, bounds + num_partitions);
  if (width == 4) {
    Deal(users, items, static_cast<const int32_t*>(times), kinds, size, partition_of_user, firsts, time_bits, first_time,
         places.data(), keys, item_codes, dealt_kinds);
  } else {
    Deal(users, items, static_cast<const int64_t*>(times), kinds, size, partition_of_user, firsts, time_bits, first_time,
         places.data(), keys, item_codes, dealt_kinds);
  }
  return bounds[num_partitions];
}

// Remembers the first category of every item, and marks in `changed` the items seen with another one; codes of -1 mean "none".
NANN_EXPORT int64_t nann_note_categories(const int32_t* items, const int32_t* categories, int64_t size, int32_t* category_of_item,
                                         uint8_t* changed) {
  for (int64_t i = 0; i < size; ++i) {
    if (items[i] < 0 || categories[i] < 0) continue;
    int32_t& known = category_of_item[items[i]];
    if (known < 0) {
      known = categories[i];
    } else if (known != categories[i]) {
      changed[items[i]] = 1;
    }
  }
  return size;
}
