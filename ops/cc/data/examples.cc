// tf.train.Example records out of flat columns, framed as in a TFRecord file.
//
// A value is brought into its wire form once, however many records hold it: records name ranges of values, and the ranges of one
// column may overlap, as the windows before successive targets do.

#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "ops/cc/data/crc32c.h"
#include "ops/cc/data/wire_format.h"

namespace nann {
namespace {

// Field numbers of tensorflow/core/example/{example,feature}.proto.
constexpr int kExampleFeatures = 1;
constexpr int kFeaturesEntry = 1;
constexpr int kEntryKey = 1;
constexpr int kEntryValue = 2;
constexpr int kListValue = 1;
enum Kind : int32_t { kBytes = 1, kFloat = 2, kInt64 = 3 };  // the fields of message Feature

constexpr int64_t kLengthBytes = 8;
constexpr int64_t kCrcBytes = 4;
constexpr int64_t kFrameBytes = kLengthBytes + 2 * kCrcBytes;

template <typename T>
int64_t PackIntegers(const T* values, int64_t size, uint8_t* out, int64_t* offsets) {
  uint8_t* at = out;
  for (int64_t i = 0; i < size; ++i) {
    offsets[i] = at - out;
    at = PutVarintWide(at, static_cast<uint64_t>(static_cast<int64_t>(values[i])));
  }
  offsets[size] = at - out;
  return at - out;
}

}  // namespace

// One feature of all records; the same struct is in ops/records.py.
struct Column {
  int32_t kind;
  int32_t name_size;
  const char* name;
  const uint8_t* values;   // in wire form, one after the other; of bytes each with its head
  const int64_t* offsets;  // value i is [offsets[i], offsets[i + 1]); null for floats, which have 4 bytes each
  const int64_t* begins;   // record r owns the values [begins[r], ends[r])
  const int64_t* ends;

  int64_t Offset(int64_t value) const { return offsets == nullptr ? 4 * value : offsets[value]; }
};

namespace {

// The sizes of the nested messages of one feature of one record, from the inside out.
struct Sizes {
  int64_t begin;    // in Column::values
  int64_t value;    // of the values
  int64_t list;     // with their head: a packed field is left out when it is empty; elements of bytes carry their own heads
  int64_t feature;  // with the head of the list
  int64_t entry;    // key and feature with their heads
};

// A column as it is written: its key, head included, lies ready.
struct Writer {
  const Column& column;
  std::string key;

  explicit Writer(const Column& of) : column(of), key(DelimitedSize(of.name_size), '\0') {
    uint8_t* const out = reinterpret_cast<uint8_t*>(key.data());
    PutBytes(PutDelimitedHead(out, kEntryKey, of.name_size), of.name, of.name_size);
    key.reserve(key.size() + kCopySlack);
  }

  Sizes Measure(int64_t record) const {
    Sizes sizes;
    sizes.begin = column.Offset(column.begins[record]);
    sizes.value = column.Offset(column.ends[record]) - sizes.begin;
    sizes.list = column.kind == kBytes || sizes.value == 0 ? sizes.value : DelimitedSize(sizes.value);
    sizes.feature = DelimitedSize(sizes.list);
    sizes.entry = static_cast<int64_t>(key.size()) + DelimitedSize(sizes.feature);
    return sizes;
  }

  uint8_t* Put(uint8_t* out, const Sizes& sizes) const {
    out = PutDelimitedHead(out, kFeaturesEntry, sizes.entry);
    out = CopyWide(out, reinterpret_cast<const uint8_t*>(key.data()), static_cast<int64_t>(key.size()));
    out = PutDelimitedHead(out, kEntryValue, sizes.feature);
    out = PutDelimitedHead(out, column.kind, sizes.list);
    if (sizes.value == 0) return out;
    if (column.kind != kBytes) out = PutDelimitedHead(out, kListValue, sizes.value);
    if (column.offsets == nullptr) return PutBytes(out, column.values + sizes.begin, sizes.value);
    return CopyWide(out, column.values + sizes.begin, sizes.value);
  }
};

// Checksums of written frames, three at a time: the instruction of one waits for its own result, three do not wait for each
// other.
class Checksums {
 public:
  void Add(uint8_t* frame, int64_t payload_size) {
    PutFixed64(frame, payload_size);
    PutFixed32(frame + kLengthBytes, MaskedCrc32c(frame, kLengthBytes));
    payloads_[count_] = frame + kLengthBytes + kCrcBytes;
    sizes_[count_] = payload_size;
    if (++count_ == 3) Flush();
  }

  void Flush() {
    uint32_t crcs[3];
    if (count_ == 3) {
      ThreeCrc32c(payloads_, sizes_, crcs);
    } else {
      for (int i = 0; i < count_; ++i) crcs[i] = Crc32c(payloads_[i], sizes_[i]);
    }
    for (int i = 0; i < count_; ++i) PutFixed32(payloads_[i] + sizes_[i], MaskCrc32c(crcs[i]));
    count_ = 0;
  }

 private:
  int count_ = 0;
  uint8_t* payloads_[3];
  size_t sizes_[3];
};

}  // namespace
}  // namespace nann

#define NANN_EXPORT extern "C" __attribute__((visibility("default")))

// Puts integers into their wire form. values: [size] int32 or int64, as `width` (4 or 8 bytes) says. out: room for 10 size + 8
// bytes. offsets: [size + 1], where each value begins. Returns the bytes.
NANN_EXPORT int64_t nann_pack_integers(const void* values, int width, int64_t size, uint8_t* out, int64_t* offsets) {
  return width == 4 ? nann::PackIntegers(static_cast<const int32_t*>(values), size, out, offsets)
                    : nann::PackIntegers(static_cast<const int64_t*>(values), size, out, offsets);
}

// Puts strings of bytes into their wire form. data, lengths: the strings in a row, [size]. out: room for the data and 11 size
// bytes.
NANN_EXPORT int64_t nann_pack_bytes(const uint8_t* data, const int64_t* lengths, int64_t size, uint8_t* out, int64_t* offsets) {
  uint8_t* at = out;
  for (int64_t i = 0; i < size; ++i) {
    offsets[i] = at - out;
    at = nann::PutBytes(nann::PutDelimitedHead(at, nann::kListValue, lengths[i]), data, lengths[i]);
    data += lengths[i];
  }
  offsets[size] = at - out;
  return at - out;
}

// Encodes and frames records. columns: in ascending order of their names' bytes; the caller has checked the ranges; behind their
// values, other than floats, 16 bytes may be read. out: `capacity` bytes, of which those behind the records may be written too.
// Returns the bytes of all records; if these with 16 more are above `capacity`, not all was written. -1 - r if record r has 2^31
// bytes or more.
NANN_EXPORT int64_t nann_encode_examples(const nann::Column* columns, int num_columns, int64_t num_records, uint8_t* out,
                                         int64_t capacity) {
  const std::vector<nann::Writer> writers(columns, columns + num_columns);
  std::vector<nann::Sizes> sizes(num_columns);
  nann::Checksums checksums;
  int64_t total = 0;
  for (int64_t record = 0; record < num_records; ++record) {
    int64_t features_size = 0;
    for (int c = 0; c < num_columns; ++c) {
      sizes[c] = writers[c].Measure(record);
      features_size += nann::DelimitedSize(sizes[c].entry);
    }
    const int64_t payload_size = nann::DelimitedSize(features_size);
    if (payload_size > std::numeric_limits<int32_t>::max()) return -1 - record;
    uint8_t* const frame = out + total;
    total += payload_size + nann::kFrameBytes;
    if (total + nann::kCopySlack > capacity) continue;
    uint8_t* at = nann::PutDelimitedHead(frame + nann::kLengthBytes + nann::kCrcBytes, nann::kExampleFeatures, features_size);
    for (int c = 0; c < num_columns; ++c) at = writers[c].Put(at, sizes[c]);
    checksums.Add(frame, payload_size);
  }
  checksums.Flush();
  return total;
}
