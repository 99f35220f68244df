// What the ops of an embedding variable share: the entries behind its handles, their growth, and indexes of their keys.
//
// The state lives in ordinary variables, so checkpoints need nothing special: an entry per key met (keys, rows, frequencies,
// versions), and rows for the admitted ones, in one table or dealt out over several ("mod"). The index from key to entry is
// derived from the keys and kept between calls under a stamp: a new random one with every insertion, so an index can never be
// taken for keys it was not built from, whatever was restored in between.

#ifndef NANN_OPS_CC_EMBEDDING_ENTRIES_H_
#define NANN_OPS_CC_EMBEDDING_ENTRIES_H_

#include <algorithm>
#include <list>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "ops/cc/embedding_context.h"
#include "ops/cc/guarded.h"
#include "ops/cc/key_index.h"

namespace nann {

using tensorflow::tstring;

template <typename Id>
struct KeysOf {  // int32 and int64 ids
  using Key = int64_t;
  using Stored = int64_t;
};
template <>
struct KeysOf<tstring> {
  using Key = std::string_view;
  using Stored = tstring;
};
template <typename Id>
using IndexOf = KeyIndex<typename KeysOf<Id>::Key, typename KeysOf<Id>::Stored>;

// Places in the state; ops/embedding/variable/storage.py has the same.
enum { kEntries, kRows, kStamp, kAdmitted, kEvicted, kLookups, kStateSize };

// Indexes by stamp. Lookups share one; an insertion takes it out, and changes it only if nobody else holds it.
template <typename Index>
class IndexStore {
 public:
  static IndexStore& Get() {
    static IndexStore* const store = new IndexStore;
    return *store;
  }
  std::shared_ptr<Index> Share(int64_t stamp) { return Look(stamp, /*take=*/false); }
  std::shared_ptr<Index> Take(int64_t stamp) {
    std::shared_ptr<Index> found = Look(stamp, /*take=*/true);
    return found.use_count() == 1 ? found : nullptr;
  }
  void Put(int64_t stamp, std::shared_ptr<Index> index) {
    const std::lock_guard<std::mutex> lock(mutex_);
    entries_.emplace_front(stamp, std::move(index));
    if (entries_.size() > kMost) entries_.pop_back();
  }
  int64_t NewStamp() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return static_cast<int64_t>(random_() >> 1) | 1;
  }

 private:
  std::shared_ptr<Index> Look(int64_t stamp, bool take) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      if (it->first != stamp) continue;
      std::shared_ptr<Index> found = it->second;
      if (take) entries_.erase(it);
      return found;
    }
    return nullptr;
  }

  static constexpr size_t kMost = 256;
  std::mutex mutex_;
  std::mt19937_64 random_{std::random_device{}()};
  std::list<std::pair<int64_t, std::shared_ptr<Index>>> entries_;
};

template <typename T>
void CopyAndFill(const Tensor& from, Tensor* to) {
  const T *const source = from.flat<T>().data(), *const end = source + from.NumElements();
  T* const target = to->flat<T>().data();
  std::copy(source, end, target);
  std::fill(target + from.NumElements(), target + to->NumElements(), T());
}

// A vector of `size` entries: the old ones, then zeros or empty strings.
inline absl::Status GrowEntries(OpKernelContext* context, int64_t size, Tensor* tensor) {
  Tensor grown;
  TF_RETURN_IF_ERROR(context->allocate_temp(tensor->dtype(), TensorShape({size}), &grown));
  tensor->dtype() == tensorflow::DT_STRING ? CopyAndFill<tstring>(*tensor, &grown) : CopyAndFill<int64_t>(*tensor, &grown);
  *tensor = grown;
  return absl::OkStatus();
}

// Tables and slots are matrices of numbers: their rows are copied as bytes.
inline absl::Status CheckTable(const Tensor& tensor) {
  if (tensor.dims() == 2 && tensorflow::DataTypeCanUseMemcpy(tensor.dtype())) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a table or slot must be a matrix [rows, dim] of numbers, got ",
                                                 tensorflow::DataTypeString(tensor.dtype()), " ", tensor.shape().DebugString()));
}

// A table or slot of `rows` rows: the old ones, then copies of row 0, which is never handed out and so is as it was initialized.
inline absl::Status GrowRows(OpKernelContext* context, int64_t rows, Tensor* tensor) {
  TensorShape shape = tensor->shape();
  const int64_t old_rows = shape.dim_size(0);
  if (old_rows < 1 || old_rows >= rows) return absl::OkStatus();
  TF_RETURN_IF_ERROR(shape.SetDimWithStatus(0, rows));
  Tensor grown;
  TF_RETURN_IF_ERROR(context->allocate_temp(tensor->dtype(), shape, &grown));
  const size_t row_bytes = tensor->TotalBytes() / old_rows;
  char* const to = const_cast<char*>(grown.tensor_data().data());
  const char* const from = tensor->tensor_data().data();
  std::memcpy(to, from, tensor->TotalBytes());
  for (int64_t row = old_rows; row < rows; ++row) std::memcpy(to + row * row_bytes, from, row_bytes);
  *tensor = grown;
  return absl::OkStatus();
}

// The entries of an embedding variable behind its handles, checked against each other.
struct Entries {
  int keys = 0, rows = 0, frequencies = 0, versions = 0, state = 0;  // numbers among the locked variables

  absl::Status Check(const LockedVariables& locked, tensorflow::DataType key_type) const {
    const Tensor& held = *locked.tensor(state);
    for (const int number : {keys, rows, frequencies, versions, state}) {
      const tensorflow::DataType type = locked.tensor(number)->dtype(), wanted = number == keys ? key_type : tensorflow::DT_INT64;
      if (type != wanted) {
        return absl::InvalidArgumentError(absl::StrCat(
            number == keys ? "the keys" : "rows, frequencies, versions and state", " of an EmbeddingVariable must be of type ",
            tensorflow::DataTypeString(wanted), ", got ", tensorflow::DataTypeString(type)));
      }
    }
    if (held.NumElements() != kStateSize) {
      return absl::InvalidArgumentError(
          absl::StrCat("the state must have ", static_cast<int>(kStateSize), " numbers, got ", held.shape().DebugString()));
    }
    constexpr int64_t kMostRows = int64_t{1} << 48;
    const int64_t given_out = held.flat<int64_t>()(kRows);
    if (given_out < 0 || given_out > kMostRows) {
      return absl::DataLossError(absl::StrCat("the state says ", given_out, " rows are given out, which cannot be; restore all ",
                                              "variables of an EmbeddingVariable together"));
    }
    const int64_t used = held.flat<int64_t>()(kEntries), capacity = locked.tensor(keys)->NumElements();
    for (const int number : {keys, rows, frequencies, versions}) {
      if (used < 0 || used > capacity || locked.tensor(number)->NumElements() != capacity) {
        return absl::DataLossError(absl::StrCat("the state says ", used, " entries of ", capacity, " are in use, and ",
                                                locked.tensor(number)->NumElements(),
                                                " are there; restore all variables of an EmbeddingVariable together"));
      }
    }
    return absl::OkStatus();
  }
};

// An index that was kept, if it is one of as many keys: a state may be copied from another variable.
template <typename Index>
std::shared_ptr<Index> IfOfSize(std::shared_ptr<Index> index, int64_t used) {
  return index != nullptr && index->size() == used ? index : nullptr;
}

template <typename Id>
std::shared_ptr<IndexOf<Id>> BuiltIndex(OpKernelContext* context, const Tensor& keys, int64_t used) {
  auto index = std::make_shared<IndexOf<Id>>();
  index->Build(keys.flat<typename KeysOf<Id>::Stored>().data(), used, ParallelOn(context));
  return index;
}

// Ids as the keys are stored: int32 becomes int64.
template <typename Id>
class Widened {
 public:
  explicit Widened(const Tensor& ids) : data_(ids.flat<Id>().data()) {}
  const Id* data() const { return data_; }

 private:
  const Id* data_;
};
template <>
class Widened<int32_t> {
 public:
  explicit Widened(const Tensor& ids) : wide_(ids.flat<int32_t>().data(), ids.flat<int32_t>().data() + ids.NumElements()) {}
  const int64_t* data() const { return wide_.data(); }

 private:
  std::vector<int64_t> wide_;
};

inline bool IsNegative(int64_t id) { return id < 0; }
inline bool IsNegative(const tstring&) { return false; }

}  // namespace nann

#endif  // NANN_OPS_CC_EMBEDDING_ENTRIES_H_
