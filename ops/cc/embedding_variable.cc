// Nann>EmbeddingVariableRows, -Find and -Start: rows of arbitrary keys in a table that grows.
//
// The state lives in ordinary variables, so checkpoints need nothing special: an entry per key met (keys, rows, frequencies,
// versions), and rows for the admitted ones, in one table or dealt out over several ("mod"). The index from key to entry is
// derived from the keys and kept between calls under a stamp: a new random one with every insertion, so an index can never be
// taken for keys it was not built from, whatever was restored in between.

#include <atomic>
#include <limits>
#include <list>
#include <random>

#include "ops/cc/embedding_context.h"
#include "ops/cc/key_index.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace nann {
namespace {

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

// Places in the state.
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
absl::Status GrowEntries(OpKernelContext* context, int64_t size, Tensor* tensor) {
  Tensor grown;
  TF_RETURN_IF_ERROR(context->allocate_temp(tensor->dtype(), TensorShape({size}), &grown));
  tensor->dtype() == tensorflow::DT_STRING ? CopyAndFill<tstring>(*tensor, &grown) : CopyAndFill<int64_t>(*tensor, &grown);
  *tensor = grown;
  return absl::OkStatus();
}

// A table or slot of `rows` rows: the old ones, then copies of row 0, which is never handed out and so is as it was initialized.
absl::Status GrowRows(OpKernelContext* context, int64_t rows, Tensor* tensor) {
  TensorShape shape = tensor->shape();
  const int64_t old_rows = shape.dim_size(0);
  if (old_rows < 1 || old_rows >= rows) return absl::OkStatus();
  shape.set_dim(0, rows);
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

  absl::Status Check(const LockedVariables& locked) const {
    const Tensor& held = *locked.tensor(state);
    if (held.NumElements() != kStateSize) {
      return absl::InvalidArgumentError(
          absl::StrCat("the state must have ", static_cast<int>(kStateSize), " numbers, got ", held.shape().DebugString()));
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

bool IsNegative(int64_t id) { return id < 0; }
bool IsNegative(const tstring&) { return false; }

// Counts of keys that have no entry, in little memory: a counting Bloom filter (Fan et al., IEEE/ACM Trans. Netw. 8 (2000)) whose
// smallest counter is never below the true count.
class CountingBloom {
 public:
  CountingBloom(Tensor* counters, int hashes)
      : counters_(counters->flat<int32_t>().data()), size_(counters->NumElements()), hashes_(hashes) {}
  void Add(uint64_t hash) {
    for (int h = 0; h < hashes_; ++h) {
      int32_t* const counter = &counters_[At(hash, h)];
      if (*counter < std::numeric_limits<int32_t>::max()) ++*counter;
    }
  }
  int64_t Count(uint64_t hash) const {
    int32_t least = std::numeric_limits<int32_t>::max();
    for (int h = 0; h < hashes_; ++h) least = std::min(least, counters_[At(hash, h)]);
    return least;
  }

 private:
  // Double hashing (Kirsch and Mitzenmacher, ESA 2006).
  size_t At(uint64_t hash, int h) const { return (hash + h * (MixBits(hash) | 1)) % size_; }

  int32_t* const counters_;
  const size_t size_;
  const int hashes_;
};

template <typename Id>
class EmbeddingVariableRowsOp : public OpKernel {
 public:
  explicit EmbeddingVariableRowsOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("num_tables", &num_tables_));
    OP_REQUIRES_OK(context, context->GetAttr("num_bloom", &num_bloom_));
    OP_REQUIRES_OK(context, context->GetAttr("num_masks", &num_masks_));
    OP_REQUIRES_OK(context, context->GetAttr("hashes", &hashes_));
    OP_REQUIRES_OK(context, context->GetAttr("prune", &prune_));
    OP_REQUIRES_OK(context, context->GetAttr("filter_frequency", &filter_frequency_));
    OP_REQUIRES_OK(context, context->GetAttr("slot_names", &slot_names_));
    OP_REQUIRES(
        context, num_bloom_ <= 1 && num_masks_ <= 1,
        absl::InvalidArgumentError(absl::StrCat("at most one bloom filter and one mask, got ", num_bloom_, " and ", num_masks_)));
  }

  void Compute(OpKernelContext* context) override { OP_REQUIRES_OK(context, Run(context)); }

 private:
  using Stored = typename KeysOf<Id>::Stored;
  using Key = typename KeysOf<Id>::Key;
  using Index = IndexOf<Id>;

  absl::Status Run(OpKernelContext* context) {
    std::vector<int> numbers;
    for (const char* name : {"tables", "keys", "rows", "frequencies", "versions", "state", "bloom", "slots"}) {
      TF_RETURN_IF_ERROR(InputNumbers(context, name, &numbers));
    }
    const Entries at{num_tables_, num_tables_ + 1, num_tables_ + 2, num_tables_ + 3, num_tables_ + 4};
    const Tensor *ids = nullptr, *step = nullptr;
    TF_RETURN_IF_ERROR(context->input("ids", &ids));
    TF_RETURN_IF_ERROR(context->input("step", &step));
    OpInputList masks;
    TF_RETURN_IF_ERROR(context->input_list("mask", &masks));
    const int32_t* mask = nullptr;
    if (num_masks_ == 1) {
      if (masks[0].NumElements() != ids->NumElements()) {
        return absl::InvalidArgumentError(absl::StrCat("the mask must have one number per id, got ", masks[0].NumElements(),
                                                       " for ", ids->NumElements(), " ids"));
      }
      mask = masks[0].flat<int32_t>().data();
    }
    LockedVariables locked;
    TF_RETURN_IF_ERROR(locked.Lock(context, numbers, /*exclusive=*/true));
    TF_RETURN_IF_ERROR(at.Check(locked));
    auto parallel = ParallelOn(context);
    const int64_t n = ids->NumElements();
    const Widened<Id> widened(*ids);
    const Stored* const given = widened.data();
    const auto held = locked.tensor(at.state)->template flat<int64_t>();
    const int64_t used = held(kEntries), old_stamp = held(kStamp);
    const int64_t now = step->scalar<int64_t>()() >= 0 ? step->scalar<int64_t>()() : held(kLookups);
    int64_t rows_used = held(kRows);

    std::shared_ptr<Index> index = old_stamp == 0 ? nullptr : IndexStore<Index>::Get().Take(old_stamp);
    if (index == nullptr) index = BuiltIndex<Id>(context, *locked.tensor(at.keys), used);
    std::vector<int64_t> entries(n);
    const Stored* keys = locked.tensor(at.keys)->template flat<Stored>().data();
    std::atomic<int64_t> bad_mask{-1};
    const int64_t* const known_rows = locked.tensor(at.rows)->template flat<int64_t>().data();
    const int64_t* const known_frequencies = locked.tensor(at.frequencies)->template flat<int64_t>().data();
    const int64_t* const known_versions = locked.tensor(at.versions)->template flat<int64_t>().data();
    parallel(n, 60, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        if (mask != nullptr && (mask[i] & ~1) != 0) bad_mask = i;
        const bool skipped = (prune_ && IsNegative(given[i])) || (mask != nullptr && mask[i] == 0);
        entries[i] = skipped ? Index::kSkip : Index::kUnknown;
      }
      index->FindMany(given, begin, end, keys, {known_rows, known_frequencies, known_versions}, entries.data());
    });
    if (bad_mask >= 0) {
      IndexStore<Index>::Get().Put(old_stamp, std::move(index));
      return absl::InvalidArgumentError(absl::StrCat("a mask must be 0 or 1, got ", mask[bad_mask.load()]));
    }
    if (num_bloom_ == 1) TF_RETURN_IF_ERROR(CountUnknown(locked, at.state + 1, given, &entries));
    const std::vector<int64_t> added = index->Insert(given, n, keys, used, entries.data(), parallel);
    const int64_t in_use = used + static_cast<int64_t>(added.size());
    if (in_use > locked.tensor(at.keys)->NumElements()) {
      const int64_t size = std::max<int64_t>(2 * locked.tensor(at.keys)->NumElements(), in_use);
      for (const int number : {at.keys, at.rows, at.frequencies, at.versions}) {
        TF_RETURN_IF_ERROR(GrowEntries(context, size, locked.tensor(number)));
      }
    }
    for (const int number : {at.rows, at.frequencies, at.versions, at.state})
      TF_RETURN_IF_ERROR(locked.MakeWritable(context, number));
    if (!added.empty()) TF_RETURN_IF_ERROR(MakeKeysWritable(context, locked, at.keys));
    Stored* const all_keys = locked.tensor(at.keys)->template flat<Stored>().data();
    int64_t* const rows = locked.tensor(at.rows)->template flat<int64_t>().data();
    int64_t* const frequencies = locked.tensor(at.frequencies)->template flat<int64_t>().data();
    int64_t* const versions = locked.tensor(at.versions)->template flat<int64_t>().data();
    for (size_t k = 0; k < added.size(); ++k) {
      const int64_t entry = used + static_cast<int64_t>(k);
      all_keys[entry] = given[added[k]];
      rows[entry] = -1;
      frequencies[entry] = 0;
    }
    // Counts add up to the same whatever the order of the threads.
    parallel(n, 20, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        if (entries[i] < 0) continue;
        __atomic_fetch_add(&frequencies[entries[i]], 1, __ATOMIC_RELAXED);
        __atomic_store_n(&versions[entries[i]], now, __ATOMIC_RELAXED);
      }
    });
    if (num_bloom_ == 1) {  // the filter has counted the key's occurrences before it had an entry, those of this batch too
      CountingBloom bloom(locked.tensor(at.state + 1), hashes_);
      for (size_t k = 0; k < added.size(); ++k) frequencies[used + k] = bloom.Count(HashOfKey(Key(given[added[k]])));
    }
    std::vector<int64_t> admitted = Admitted(entries, rows, frequencies, parallel);
    const int64_t first_row = num_tables_ + rows_used;
    size_t count = 0;
    for (const int64_t position : admitted) {
      if (rows[entries[position]] >= 0) continue;
      rows[entries[position]] = first_row + static_cast<int64_t>(count);
      admitted[count++] = position;
    }
    admitted.resize(count);
    rows_used += static_cast<int64_t>(count);
    TF_RETURN_IF_ERROR(MakeRoom(context, locked, at, num_tables_ + rows_used));

    Tensor *found = nullptr, *new_rows = nullptr, *positions = nullptr;
    TF_RETURN_IF_ERROR(context->allocate_output(0, ids->shape(), &found));
    TF_RETURN_IF_ERROR(context->allocate_output(1, TensorShape({static_cast<int64_t>(count)}), &new_rows));
    TF_RETURN_IF_ERROR(context->allocate_output(2, TensorShape({static_cast<int64_t>(count)}), &positions));
    auto out = found->flat<int64_t>();
    parallel(n, 10, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) out(i) = entries[i] >= 0 ? rows[entries[i]] : -1;
    });
    for (size_t k = 0; k < count; ++k) {
      new_rows->flat<int64_t>()(k) = first_row + static_cast<int64_t>(k);
      positions->flat<int64_t>()(k) = admitted[k];
    }
    auto written = locked.tensor(at.state)->template flat<int64_t>();
    const int64_t stamp = added.empty() && old_stamp != 0 ? old_stamp : IndexStore<Index>::Get().NewStamp();
    written(kEntries) = in_use;
    written(kRows) = rows_used;
    written(kStamp) = stamp;
    written(kAdmitted) += static_cast<int64_t>(count);
    ++written(kLookups);
    IndexStore<Index>::Get().Put(stamp, std::move(index));
    return absl::OkStatus();
  }

  // Counts the unknown keys of the batch in the filter, and leaves to be inserted those that have then been met often enough.
  absl::Status CountUnknown(const LockedVariables& locked, int number, const Stored* given, std::vector<int64_t>* entries) const {
    if (locked.tensor(number)->dtype() != tensorflow::DT_INT32 || locked.tensor(number)->NumElements() < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("a bloom filter needs int32 counters, got ", locked.tensor(number)->DebugString()));
    }
    CountingBloom bloom(locked.tensor(number), hashes_);
    for (size_t i = 0; i < entries->size(); ++i) {
      if ((*entries)[i] == Index::kUnknown) bloom.Add(HashOfKey(Key(given[i])));
    }
    for (size_t i = 0; i < entries->size(); ++i) {
      if ((*entries)[i] == Index::kUnknown && bloom.Count(HashOfKey(Key(given[i]))) < filter_frequency_)
        (*entries)[i] = Index::kSkip;
    }
    return absl::OkStatus();
  }

  // Strings must not be copied as bytes.
  static absl::Status MakeKeysWritable(OpKernelContext* context, const LockedVariables& locked, int number) {
    if (std::is_same<Stored, int64_t>::value) return locked.MakeWritable(context, number);
    Tensor* const keys = locked.tensor(number);
    return keys->RefCountIsOne() ? absl::OkStatus() : GrowEntries(context, keys->NumElements(), keys);
  }

  // Positions whose keys have no row and have been met often enough, in order; a key may come more than once.
  std::vector<int64_t> Admitted(const std::vector<int64_t>& entries, const int64_t* rows, const int64_t* frequencies,
                                const KeyParallelFor& parallel) const {
    constexpr int64_t kBlock = 4096;
    const int64_t n = static_cast<int64_t>(entries.size()), blocks = (n + kBlock - 1) / kBlock;
    std::vector<std::vector<int64_t>> found(blocks);
    parallel(blocks, 20 * kBlock, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        for (int64_t i = block * kBlock; i < std::min(n, (block + 1) * kBlock); ++i) {
          const int64_t entry = entries[i];
          if (entry >= 0 && rows[entry] < 0 && frequencies[entry] >= filter_frequency_) found[block].push_back(i);
        }
      }
    });
    std::vector<int64_t> all;
    for (const auto& block : found) all.insert(all.end(), block.begin(), block.end());
    return all;
  }

  // Grows tables and slots to hold `needed` rows, those never handed out (one per table) included.
  absl::Status MakeRoom(OpKernelContext* context, const LockedVariables& locked, const Entries& at, int64_t needed) const {
    const int64_t size = locked.tensor(0)->dim_size(0), wanted = (needed + num_tables_ - 1) / num_tables_;
    const int64_t grown = wanted <= size ? size : std::max(2 * size, wanted);
    for (int t = 0; t < num_tables_; ++t) TF_RETURN_IF_ERROR(GrowRows(context, grown, locked.tensor(t)));
    for (int s = at.state + 1 + num_bloom_; s < locked.size(); ++s) {
      TF_RETURN_IF_ERROR(GrowRows(context, grown, locked.tensor(s)));
    }
    // Slots that optimizers of TF1 graphs made after this op was; they may not be there, in a graph that does not train.
    for (const std::string& name : slot_names_) {
      Var* var = nullptr;
      const auto* manager = context->resource_manager();
      if (!manager->Lookup<Var>(manager->default_container(), name, &var).ok()) continue;
      const tensorflow::core::RefCountPtr<Var> slot(var);
      tensorflow::mutex_lock lock(*slot->mu());
      if (slot->tensor()->IsInitialized() && slot->tensor()->dims() == 2)
        TF_RETURN_IF_ERROR(GrowRows(context, grown, slot->tensor()));
    }
    return absl::OkStatus();
  }

  int num_tables_ = 1, num_bloom_ = 0, num_masks_ = 0, hashes_ = 1;
  bool prune_ = false;
  int64_t filter_frequency_ = 0;
  std::vector<std::string> slot_names_;
};

template <typename Id>
class EmbeddingVariableFindOp : public OpKernel {
 public:
  explicit EmbeddingVariableFindOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("prune", &prune_));
  }

  void Compute(OpKernelContext* context) override {
    using Index = IndexOf<Id>;
    LockedVariables locked;
    OP_REQUIRES_OK(context, locked.Lock(context, {0, 1, 2}, /*exclusive=*/false));
    const Entries at{0, 1, 0, 1, 2};
    OP_REQUIRES_OK(context, at.Check(locked));
    const auto held = locked.tensor(2)->flat<int64_t>();
    const int64_t stamp = held(kStamp);
    std::shared_ptr<Index> index = stamp == 0 ? nullptr : IndexStore<Index>::Get().Share(stamp);
    if (index == nullptr) {
      index = BuiltIndex<Id>(context, *locked.tensor(0), held(kEntries));
      if (stamp != 0) IndexStore<Index>::Get().Put(stamp, index);
    }
    const Tensor& ids = context->input(3);
    Tensor* found = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, ids.shape(), &found));
    const Widened<Id> widened(ids);
    const auto* const given = widened.data();
    const auto* const keys = locked.tensor(0)->flat<typename KeysOf<Id>::Stored>().data();
    const int64_t* const values = locked.tensor(1)->flat<int64_t>().data();
    auto out = found->flat<int64_t>();
    ParallelOn(context)(ids.NumElements(), 60, [&](int64_t begin, int64_t end) {
      int64_t* const entries = out.data();  // found in place
      for (int64_t i = begin; i < end; ++i) entries[i] = prune_ && IsNegative(given[i]) ? Index::kSkip : Index::kUnknown;
      index->FindMany(given, begin, end, keys, {values}, entries);
      for (int64_t i = begin; i < end; ++i) entries[i] = entries[i] >= 0 ? values[entries[i]] : -1;
    });
  }

 private:
  bool prune_ = false;
};

// Writes the start values of new rows and hands the ids' rows on: what reads rows by them comes after the values by data, which
// no graph optimization takes apart as it may a control dependency.
class EmbeddingVariableStartOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    std::vector<int> numbers;
    OP_REQUIRES_OK(context, InputNumbers(context, "tables", &numbers));
    LockedVariables locked;
    OP_REQUIRES_OK(context, locked.Lock(context, numbers, /*exclusive=*/true));
    const int64_t count = static_cast<int64_t>(numbers.size());
    const Tensor &new_rows = context->input(static_cast<int>(count)), &values = context->input(static_cast<int>(count) + 1);
    const int64_t m = new_rows.NumElements();
    const size_t row_bytes = m == 0 ? 0 : values.TotalBytes() / m;
    std::vector<char*> parts;
    for (int t = 0; t < count && m > 0; ++t) {
      const Tensor& table = *locked.tensor(t);
      OP_REQUIRES(context,
                  table.dims() == 2 && values.dims() == 2 && values.dim_size(0) == m && values.dim_size(1) == table.dim_size(1) &&
                      values.dtype() == table.dtype(),
                  absl::InvalidArgumentError(absl::StrCat("start values must have shape [", m, ", dim] of the table ",
                                                          table.shape().DebugString(), " and its type, got ",
                                                          values.shape().DebugString())));
      OP_REQUIRES_OK(context, locked.MakeWritable(context, t));
      parts.push_back(const_cast<char*>(locked.tensor(t)->tensor_data().data()));
    }
    for (int64_t i = 0; i < m; ++i) {
      const int64_t row = new_rows.flat<int64_t>()(i);
      OP_REQUIRES(context, row >= count && row / count < locked.tensor(0)->dim_size(0),
                  absl::InvalidArgumentError(absl::StrCat("a new row must lie in [", count, ", ",
                                                          count * locked.tensor(0)->dim_size(0), "), got ", row)));
      std::memcpy(parts[row % count] + row / count * row_bytes, values.tensor_data().data() + i * row_bytes, row_bytes);
    }
    context->set_output(0, context->input(static_cast<int>(count) + 2));
  }
};

REGISTER_OP("Nann>EmbeddingVariableStart")
    .Input("tables: num_tables * resource")
    .Input("new_rows: int64")
    .Input("values: T")
    .Input("rows: int64")
    .Output("same_rows: int64")
    .Attr("num_tables: int >= 1")
    .Attr("T: {half, bfloat16, float, double}")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      context->set_output(0, context->input(context->num_inputs() - 1));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Writes start values [m, dim] to new rows [m] of a table, and hands `rows` on once that is done.

tables: the parts of the table; row r is row r / num_tables of part r % num_tables.
)doc");

REGISTER_KERNEL_BUILDER(Name("Nann>EmbeddingVariableStart").Device(tensorflow::DEVICE_CPU), EmbeddingVariableStartOp);

REGISTER_OP("Nann>EmbeddingVariableFind")
    .Input("keys: resource")
    .Input("values: resource")
    .Input("state: resource")
    .Input("ids: Tids")
    .Output("found: int64")
    .Attr("Tids: {int32, int64, string}")
    .Attr("prune: bool")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      context->set_output(0, context->input(3));
      return absl::OkStatus();
    })
    .Doc(R"doc(
What is known of ids, of any shape; -1 for those never met. Changes and counts nothing.

values: [entries] int64, one per entry: the rows, frequencies or versions of Nann>EmbeddingVariableRows.
keys, state, prune: as there.
)doc");

REGISTER_OP("Nann>EmbeddingVariableRows")
    .Input("tables: num_tables * resource")
    .Input("keys: resource")
    .Input("rows: resource")
    .Input("frequencies: resource")
    .Input("versions: resource")
    .Input("state: resource")
    .Input("bloom: num_bloom * resource")
    .Input("slots: num_slots * resource")
    .Input("ids: Tids")
    .Input("mask: num_masks * int32")
    .Input("step: int64")
    .Output("found: int64")
    .Output("new_rows: int64")
    .Output("positions: int64")
    .Attr("Tids: {int32, int64, string}")
    .Attr("num_tables: int >= 1")
    .Attr("num_bloom: int >= 0")
    .Attr("num_slots: int >= 0")
    .Attr("num_masks: int >= 0")
    .Attr("filter_frequency: int = 0")
    .Attr("hashes: int >= 1 = 1")
    .Attr("prune: bool")
    .Attr("slot_names: list(string) = []")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      std::vector<tensorflow::shape_inference::ShapeHandle> ids;
      TF_RETURN_IF_ERROR(context->input("ids", &ids));
      context->set_output(0, ids[0]);
      const auto added = context->Vector(context->UnknownDim());
      context->set_output(1, added);
      context->set_output(2, added);
      return absl::OkStatus();
    })
    .Doc(R"doc(
Rows of ids in a table that grows. An id not met before gets an entry, every id is counted, and one whose count has then
reached filter_frequency gets the next row; entries, tables and slots are doubled when they are full.

tables: the parts of the table; row r is row r / num_tables of part r % num_tables. Row 0 of every part is never handed out.
keys: [entries] int64 or string.
rows: [entries] int64, -1 for keys without a row.
frequencies: [entries] int64, how often each key was met.
versions: [entries] int64, the step at which each last was.
state: [6] int64: entries and rows in use, a stamp of the keys, rows ever given out, rows ever evicted, calls of this op.
bloom: [m] int32, counters of a Bloom filter; if it is there, keys have no entry before they are admitted.
ids: any shape.
mask: 0 or 1 per id; ids with 0 are neither counted nor looked up.
step: scalar, the step now; below 0 the number of calls of this op so far.
found: the ids' rows; -1 for those that have none.
new_rows: [m] rows given out by this call, for the caller to initialize.
positions: [m] where in the flattened ids the keys of the new rows first occur.
hashes: hash functions of the Bloom filter.
prune: negative ids have no row and are not counted; otherwise they are ordinary.
slot_names: shared names of further slots that grow along.
)doc");

#define NANN_REGISTER(Id)                                                                                               \
  REGISTER_KERNEL_BUILDER(Name("Nann>EmbeddingVariableRows").Device(tensorflow::DEVICE_CPU).TypeConstraint<Id>("Tids"), \
                          EmbeddingVariableRowsOp<Id>);                                                                 \
  REGISTER_KERNEL_BUILDER(Name("Nann>EmbeddingVariableFind").Device(tensorflow::DEVICE_CPU).TypeConstraint<Id>("Tids"), \
                          EmbeddingVariableFindOp<Id>);
NANN_REGISTER(int32_t)
NANN_REGISTER(int64_t)
NANN_REGISTER(tstring)
#undef NANN_REGISTER

}  // namespace
}  // namespace nann
