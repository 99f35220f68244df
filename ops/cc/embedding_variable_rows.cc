// Nann>EmbeddingVariableRows: counts keys, inserts and admits them, and grows what is full, under the variables' locks.

#include <atomic>

#include "ops/cc/counting_bloom.h"
#include "ops/cc/embedding_entries.h"

namespace nann {
namespace {

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
    constexpr int kMostHashes = 1024;
    OP_REQUIRES(context, hashes_ <= kMostHashes,
                absl::InvalidArgumentError(absl::StrCat("hashes must be at most ", kMostHashes, ", got ", hashes_)));
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
    if (!tensorflow::TensorShapeUtils::IsScalar(step->shape())) {
      return absl::InvalidArgumentError(absl::StrCat("step must be a scalar, got shape ", step->shape().DebugString()));
    }
    TF_RETURN_IF_ERROR(locked.Lock(context, numbers, /*exclusive=*/true));
    for (int i = 0; i < num_tables_; ++i) {
      const Tensor &table = *locked.tensor(i), &first = *locked.tensor(0);
      TF_RETURN_IF_ERROR(CheckTable(table));
      if (table.dtype() == first.dtype() && table.dim_size(1) == first.dim_size(1)) continue;
      return absl::InvalidArgumentError(absl::StrCat("the parts of a table must be of one type and width, got ",
                                                     first.shape().DebugString(), " and ", table.shape().DebugString()));
    }
    for (int slot = at.state + 1 + num_bloom_; slot < locked.size(); ++slot) TF_RETURN_IF_ERROR(CheckTable(*locked.tensor(slot)));
    TF_RETURN_IF_ERROR(at.Check(locked, tensorflow::DataTypeToEnum<Stored>::value));
    auto parallel = ParallelOn(context);
    const int64_t n = ids->NumElements();
    const Widened<Id> widened(*ids);
    const Stored* const given = widened.data();
    const auto held = locked.tensor(at.state)->template flat<int64_t>();
    const int64_t used = held(kEntries), old_stamp = held(kStamp);
    const int64_t now = step->scalar<int64_t>()() >= 0 ? step->scalar<int64_t>()() : held(kLookups);
    int64_t rows_used = held(kRows);

    std::shared_ptr<Index> index = old_stamp == 0 ? nullptr : IfOfSize(IndexStore<Index>::Get().Take(old_stamp), used);
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
    const absl::Status room = MakeRoom(context, locked, at, num_tables_ + rows_used);
    if (!room.ok()) {  // no key keeps a row that the state does not count: it would be given out again
      for (const int64_t position : admitted) rows[entries[position]] = -1;
      return room;
    }

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

#define NANN_REGISTER(Id)                                                                                               \
  REGISTER_KERNEL_BUILDER(Name("Nann>EmbeddingVariableRows").Device(tensorflow::DEVICE_CPU).TypeConstraint<Id>("Tids"), \
                          Guarded<EmbeddingVariableRowsOp<Id>>);
NANN_REGISTER(int32_t)
NANN_REGISTER(int64_t)
NANN_REGISTER(tstring)
#undef NANN_REGISTER

}  // namespace
}  // namespace nann
