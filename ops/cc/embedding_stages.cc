// The kernels of the stages of a lookup as ops of their own, for tables whose parts live on other devices or hosts: prune and
// fill, unique with counts, partition with permutation, and, after a gather where each part lives, combine; with the gradient of
// the last.

#include <limits>
#include <unordered_map>

#include "ops/cc/embedding_context.h"
#include "ops/cc/guarded.h"

namespace nann {
namespace {

absl::Status CombinerOf(const std::string& name, embedding::Combiner* combiner) {
  if (name != "sum" && name != "mean" && name != "sqrtn") {
    return absl::InvalidArgumentError(absl::StrCat("a combiner must be sum, mean or sqrtn, got ", name));
  }
  *combiner = name == "sum"    ? embedding::Combiner::kSum
              : name == "mean" ? embedding::Combiner::kMean
                               : embedding::Combiner::kSqrtn;
  return absl::OkStatus();
}

template <typename T, typename Id>
class PruneAndFillOp : public OpKernel {
 public:
  using B = typename Bits<T>::type;

  explicit PruneAndFillOp(OpKernelConstruction* context) : OpKernel(context) {
    std::string combiner;
    OP_REQUIRES_OK(context, context->GetAttr("combiner", &combiner));
    OP_REQUIRES_OK(context, CombinerOf(combiner, &feature_.combiner));
    OP_REQUIRES_OK(context, context->GetAttr("default_id", &feature_.default_id));
    OP_REQUIRES(context, feature_.default_id <= std::numeric_limits<Id>::max(),
                absl::InvalidArgumentError(absl::StrCat("default_id must fit the type of the ids, got ", feature_.default_id)));
    OP_REQUIRES_OK(context, context->GetAttr("prune", &feature_.prune));
    OP_REQUIRES_OK(context, context->GetAttr("fill", &feature_.fill));
    feature_.name = "the feature";
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &ids = context->input(0), &segments = context->input(1), &shape = context->input(2),
                 &weights = context->input(3);
    OP_REQUIRES(context, ids.dims() == 1 && weights.dims() == 1 && weights.NumElements() == ids.NumElements(),
                absl::InvalidArgumentError(absl::StrCat("ids and weights must be vectors of one length, got ",
                                                        ids.shape().DebugString(), " and ", weights.shape().DebugString())));
    std::vector<int64_t> splits, order;
    std::string error;
    if (segments.dims() == 1) {
      const int64_t* given = segments.flat<int64_t>().data();
      OP_REQUIRES(context, embedding::CheckSplits(given, segments.NumElements(), ids.NumElements(), &error),
                  absl::InvalidArgumentError(error));
      splits.assign(given, given + segments.NumElements());
    } else {
      OP_REQUIRES(context,
                  segments.dims() == 2 && segments.dim_size(0) == ids.NumElements() && segments.dim_size(1) >= 2 &&
                      segments.dim_size(1) == shape.NumElements(),
                  absl::InvalidArgumentError(absl::StrCat("sparse indices must have shape [", ids.NumElements(), ", rank], got ",
                                                          segments.shape().DebugString())));
      OP_REQUIRES(context,
                  embedding::SplitsOfIndices(segments.flat<int64_t>().data(), ids.NumElements(), shape.flat<int64_t>().data(),
                                             shape.NumElements(), &splits, &order, &error),
                  absl::InvalidArgumentError(error));
    }
    const int64_t rows = static_cast<int64_t>(splits.size()) - 1;
    const embedding::Lookup<B, Id> lookup = {ids.flat<Id>().data(), DataOf<T>(weights), splits.data(),
                                             order.empty() ? nullptr : order.data(), rows};
    embedding::Resolved<B> resolved;
    const embedding::Partition anything({INT64_MAX}, false);  // the gather knows the size of the table
    OP_REQUIRES(context, embedding::Resolve(feature_, lookup, anything, 0, rows, true, &resolved, &error),
                absl::InvalidArgumentError(error));
    const int64_t kept = static_cast<int64_t>(resolved.ids.size());
    Tensor *out_ids = nullptr, *out_splits = nullptr, *out_weights = nullptr, *empty = nullptr, *positions = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({kept}), &out_ids));
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({rows + 1}), &out_splits));
    OP_REQUIRES_OK(context, context->allocate_output(2, TensorShape({kept}), &out_weights));
    OP_REQUIRES_OK(context, context->allocate_output(3, TensorShape({rows}), &empty));
    OP_REQUIRES_OK(context, context->allocate_output(4, TensorShape({kept}), &positions));
    for (int64_t k = 0; k < kept; ++k) {
      out_ids->flat<Id>()(k) = static_cast<Id>(resolved.ids[k]);
      embedding::FromFloat(resolved.weights[k], MutableDataOf<T>(out_weights) + k);
      positions->flat<int64_t>()(k) = resolved.positions[k];
    }
    for (int64_t row = 0; row <= rows; ++row) out_splits->flat<int64_t>()(row) = resolved.offsets[row];
    for (int64_t row = 0; row < rows; ++row) {
      const int32_t begin = resolved.offsets[row], end = resolved.offsets[row + 1];
      empty->flat<bool>()(row) = begin == end || (end == begin + 1 && resolved.positions[begin] < 0);
    }
  }

 private:
  embedding::Feature feature_;
};

template <typename Id>
class UniqueWithCountsOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& ids = context->input(0);
    const auto given = ids.flat<Id>();
    std::unordered_map<Id, int64_t> places;
    std::vector<Id> unique;
    std::vector<int64_t> counts;
    Tensor *out = nullptr, *positions = nullptr, *out_counts = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({given.size()}), &positions));
    for (int64_t k = 0; k < given.size(); ++k) {
      const auto [place, is_new] = places.emplace(given(k), static_cast<int64_t>(unique.size()));
      if (is_new) {
        unique.push_back(given(k));
        counts.push_back(0);
      }
      ++counts[place->second];
      positions->flat<int64_t>()(k) = place->second;
    }
    const int64_t size = static_cast<int64_t>(unique.size());
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({size}), &out));
    OP_REQUIRES_OK(context, context->allocate_output(2, TensorShape({size}), &out_counts));
    std::copy(unique.begin(), unique.end(), out->flat<Id>().data());
    std::copy(counts.begin(), counts.end(), out_counts->flat<int64_t>().data());
  }
};

template <typename Id>
class PartitionOp : public OpKernel {
 public:
  explicit PartitionOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("strategy", &strategy_));
  }

  void Compute(OpKernelContext* context) override {
    const auto ids = context->input(0).flat<Id>();
    const auto sizes = context->input(1).flat<int64_t>();
    OP_REQUIRES(
        context, sizes.size() == context->num_outputs() - 1,
        absl::InvalidArgumentError(absl::StrCat("part_rows needs ", context->num_outputs() - 1, " entries, got ", sizes.size())));
    constexpr int64_t kMostRows = int64_t{1} << 40;  // their sum must not overflow
    for (int64_t part = 0; part < sizes.size(); ++part) {
      OP_REQUIRES(context, sizes(part) >= 0 && sizes(part) <= kMostRows,
                  absl::InvalidArgumentError(absl::StrCat("part_rows must lie in [0, 2^40], got ", sizes(part))));
    }
    const embedding::Partition partition(std::vector<int64_t>(sizes.data(), sizes.data() + sizes.size()), strategy_ == "mod");
    std::vector<std::vector<Id>> rows(sizes.size());
    std::vector<embedding::Place> places;
    for (int64_t k = 0; k < ids.size(); ++k) {
      const int64_t id = ids(k);
      OP_REQUIRES(context, id >= 0 && id < partition.num_rows() && partition.Holds(partition.Find(id)),
                  absl::InvalidArgumentError(absl::StrCat("ids must lie in [0, ", partition.num_rows(),
                                                          ") and in their part, got id ", id, " at position ", k)));
      const embedding::Place place = partition.Find(id);
      places.push_back({place.part, static_cast<int64_t>(rows[place.part].size())});
      rows[place.part].push_back(static_cast<Id>(place.row));
    }
    std::vector<int64_t> starts(sizes.size() + 1, 0);
    for (int64_t part = 0; part < sizes.size(); ++part) {
      Tensor* out = nullptr;
      OP_REQUIRES_OK(context, context->allocate_output(part, TensorShape({static_cast<int64_t>(rows[part].size())}), &out));
      std::copy(rows[part].begin(), rows[part].end(), out->flat<Id>().data());
      starts[part + 1] = starts[part] + static_cast<int64_t>(rows[part].size());
    }
    Tensor* permutation = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(sizes.size(), TensorShape({ids.size()}), &permutation));
    for (int64_t k = 0; k < ids.size(); ++k) permutation->flat<int64_t>()(k) = starts[places[k].part] + places[k].row;
  }

 private:
  std::string strategy_;
};

enum class PostLookup { kForward, kGradient, kWeightsGradient };

// Combines gathered rows, or takes the gradient of the result back to them or to the weights.
template <typename T, PostLookup kMode>
class PostLookupOp : public OpKernel {
 public:
  using B = typename Bits<T>::type;

  explicit PostLookupOp(OpKernelConstruction* context) : OpKernel(context) {
    std::string combiner;
    float max_norm = -1;
    OP_REQUIRES_OK(context, context->GetAttr("combiner", &combiner));
    OP_REQUIRES_OK(context, CombinerOf(combiner, &feature_.combiner));
    OP_REQUIRES_OK(context, context->GetAttr("max_norm", &max_norm));
    feature_.max_norm = max_norm < 0 ? -1 : max_norm;
    feature_.name = "the feature";
    feature_.prune = feature_.fill = false;  // done before
  }

  void Compute(OpKernelContext* context) override {
    OpInputList gathered;
    OP_REQUIRES_OK(context, context->input_list("gathered", &gathered));
    const int parts = gathered.size();
    const auto permutation = context->input(parts).flat<int64_t>();
    const auto positions = context->input(parts + 1).flat<int64_t>();
    const Tensor &splits = context->input(parts + 2), &weights = context->input(parts + 3);
    embedding::Table<B> table;
    std::vector<int64_t> starts(1, 0);
    table.dim = gathered[0].dims() == 2 ? gathered[0].dim_size(1) : 0;
    for (const Tensor& part : gathered) {
      OP_REQUIRES(context, part.dims() == 2 && part.dim_size(1) == table.dim && table.dim > 0,
                  absl::InvalidArgumentError(
                      absl::StrCat("gathered rows must be matrices of one dim, got ", part.shape().DebugString())));
      starts.push_back(starts.back() + part.dim_size(0));
    }
    std::vector<B> rows(starts.back() * table.dim);
    for (int p = 0; p < parts; ++p)
      std::copy_n(DataOf<T>(gathered[p]), gathered[p].NumElements(), rows.data() + starts[p] * table.dim);
    table.partition = embedding::Partition({starts.back()}, false);
    table.parts.push_back(rows.data());
    std::vector<int64_t> ids(positions.size());
    for (int64_t k = 0; k < positions.size(); ++k) {
      OP_REQUIRES(
          context, positions(k) >= 0 && positions(k) < permutation.size(),
          absl::InvalidArgumentError(absl::StrCat("positions must lie in [0, ", permutation.size(), "), got ", positions(k))));
      ids[k] = permutation(positions(k));
    }
    std::string error;
    OP_REQUIRES(context, embedding::CheckSplits(splits.flat<int64_t>().data(), splits.NumElements(), positions.size(), &error),
                absl::InvalidArgumentError(error));
    OP_REQUIRES(context, weights.NumElements() == positions.size(),
                absl::InvalidArgumentError(
                    absl::StrCat("weights must be as many as positions ", positions.size(), ", got ", weights.NumElements())));
    const int64_t num_rows = splits.NumElements() - 1;
    const std::vector<embedding::Lookup<B, int64_t>> lookups = {
        {ids.data(), DataOf<T>(weights), splits.flat<int64_t>().data(), nullptr, num_rows}};
    const B* gradient = nullptr;
    if constexpr (kMode != PostLookup::kForward) {
      const Tensor& given = context->input(parts + 4);
      OP_REQUIRES(context, given.dims() == 2 && given.dim_size(0) == num_rows && given.dim_size(1) == table.dim,
                  absl::InvalidArgumentError(absl::StrCat("the gradient must have shape [", num_rows, ", ", table.dim, "], got ",
                                                          given.shape().DebugString())));
      gradient = DataOf<T>(given);
    }
    const auto parallel = ParallelOn(context);
    if constexpr (kMode == PostLookup::kForward) {
      Tensor* pooled = nullptr;
      OP_REQUIRES_OK(context, AllocateOutput(context, 0, {num_rows, table.dim}, &pooled));
      OP_REQUIRES(context,
                  (embedding::Forward<B, int64_t>({feature_}, {table}, lookups, {{MutableDataOf<T>(pooled), table.dim}}, parallel,
                                                  &error)),
                  absl::InvalidArgumentError(error));
    } else if constexpr (kMode == PostLookup::kWeightsGradient) {
      Tensor* out = nullptr;
      OP_REQUIRES_OK(context, context->allocate_output(0, weights.shape(), &out));
      std::memset(MutableDataOf<T>(out), 0, out->TotalBytes());
      OP_REQUIRES(context,
                  (embedding::WeightGradient<B, int64_t>({feature_}, {table}, lookups, {{gradient, table.dim}},
                                                         {MutableDataOf<T>(out)}, parallel, &error)),
                  absl::InvalidArgumentError(error));
    } else {
      const auto chunks = embedding::MakeChunks(lookups, embedding::kBackwardIdsPerChunk);
      embedding::RowGradients<B> found({static_cast<int64_t>(ids.size())}, static_cast<int64_t>(chunks.size()));
      OP_REQUIRES(context,
                  (embedding::Scatter<B, int64_t>({feature_}, table.partition, lookups, {{gradient, table.dim}}, chunks, parallel,
                                                  &found, &error)),
                  absl::InvalidArgumentError(error));
      found.Group(parallel);
      std::vector<int64_t> bucket_starts;
      const int64_t count = embedding::DistinctRows(found, 1, &bucket_starts)[0];
      std::vector<int64_t> indices(count);
      std::vector<B> values(count * table.dim);
      embedding::WriteRows<B, int64_t>(found, {{rows.data(), nullptr, nullptr, starts.back(), table.dim, feature_.max_norm}},
                                       {{indices.data(), values.data()}}, bucket_starts, parallel);
      std::vector<B> dense(rows.size(), B{});
      for (int64_t u = 0; u < count; ++u)
        std::copy_n(values.data() + u * table.dim, table.dim, dense.data() + indices[u] * table.dim);
      for (int p = 0; p < parts; ++p) {
        Tensor* out = nullptr;
        OP_REQUIRES_OK(context, context->allocate_output(p, gathered[p].shape(), &out));
        std::copy_n(dense.data() + starts[p] * table.dim, out->NumElements(), MutableDataOf<T>(out));
      }
    }
  }

 private:
  embedding::Feature feature_;
};

#define NANN_REGISTER_IDS(Id)                                                                                                    \
  REGISTER_KERNEL_BUILDER(Name("Nann>FusedEmbeddingUniqueWithCounts").Device(tensorflow::DEVICE_CPU).TypeConstraint<Id>("Tids"), \
                          Guarded<UniqueWithCountsOp<Id>>);                                                                      \
  REGISTER_KERNEL_BUILDER(                                                                                                       \
      Name("Nann>FusedEmbeddingPartitionWithPermutation").Device(tensorflow::DEVICE_CPU).TypeConstraint<Id>("Tids"),             \
      Guarded<PartitionOp<Id>>);
#define NANN_REGISTER_TYPE(T)                                                                                              \
  REGISTER_KERNEL_BUILDER(Name("Nann>FusedEmbeddingPruneInvalidAndFillEmptyRows")                                          \
                              .Device(tensorflow::DEVICE_CPU)                                                              \
                              .TypeConstraint<T>("T")                                                                      \
                              .TypeConstraint<int32_t>("Tids"),                                                            \
                          Guarded<PruneAndFillOp<T, int32_t>>);                                                            \
  REGISTER_KERNEL_BUILDER(Name("Nann>FusedEmbeddingPruneInvalidAndFillEmptyRows")                                          \
                              .Device(tensorflow::DEVICE_CPU)                                                              \
                              .TypeConstraint<T>("T")                                                                      \
                              .TypeConstraint<int64_t>("Tids"),                                                            \
                          Guarded<PruneAndFillOp<T, int64_t>>);                                                            \
  REGISTER_KERNEL_BUILDER(Name("Nann>FusedEmbeddingPostLookup").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"),     \
                          Guarded<PostLookupOp<T, PostLookup::kForward>>);                                                 \
  REGISTER_KERNEL_BUILDER(Name("Nann>FusedEmbeddingPostLookupGrad").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"), \
                          Guarded<PostLookupOp<T, PostLookup::kGradient>>);                                                \
  REGISTER_KERNEL_BUILDER(                                                                                                 \
      Name("Nann>FusedEmbeddingPostLookupWeightsGrad").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"),              \
      Guarded<PostLookupOp<T, PostLookup::kWeightsGradient>>);

NANN_REGISTER_IDS(int32_t)
NANN_REGISTER_IDS(int64_t)
NANN_REGISTER_TYPE(Eigen::half)
NANN_REGISTER_TYPE(Eigen::bfloat16)
NANN_REGISTER_TYPE(float)
NANN_REGISTER_TYPE(double)

}  // namespace
}  // namespace nann
