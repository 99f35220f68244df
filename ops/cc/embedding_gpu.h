// What the GPU kernels of the ops share: the stream and scratch memory of one call, and the grouped lookup as the launchers take
// it.

#ifndef NANN_OPS_CC_EMBEDDING_GPU_H_
#define NANN_OPS_CC_EMBEDDING_GPU_H_

#include <cstdlib>
#include <string>
#include <vector>

#include "ops/cc/cuda/embedding_cuda.h"
#include "ops/cc/embedding_context.h"
#include "ops/cc/embedding_positions.h"
#include "xla/stream_executor/stream.h"

namespace nann {

// One call of a GPU kernel. Its scratch memory goes back to TensorFlow's allocator at the end, which gives it only to work that
// is enqueued later on the same stream.
class GpuWork : public embedding::cuda::Scratch {
 public:
  explicit GpuWork(OpKernelContext* context) : context_(context) {
    const char* checked = std::getenv("NANN_CHECK_IDS_ON_GPU");
    checked_ = checked != nullptr && *checked != '\0' && std::string(checked) != "0";
    auto* device = context->op_device_context();
    if (device != nullptr && device->stream() != nullptr) stream_ = device->stream()->platform_specific_handle().stream;
  }

  OpKernelContext* context() const { return context_; }
  embedding::cuda::Stream stream() const { return stream_; }
  embedding::cuda::Scratch* scratch() { return this; }
  bool checked() const { return checked_; }

  void* Allocate(size_t bytes) override {
    Tensor tensor;
    const TensorShape shape({static_cast<int64_t>(bytes)});
    if (!context_->allocate_temp(tensorflow::DT_INT8, shape, &tensor).ok()) return nullptr;
    held_.push_back(tensor);
    return tensor.flat<int8_t>().data();
  }

  absl::Status Done(const char* error) const {
    return error == nullptr ? absl::OkStatus() : absl::InternalError(absl::StrCat("a CUDA kernel failed: ", error));
  }

  // Marks for refused ids, none so far.
  absl::Status AllocateBad(int64_t count, int64_t** bad) {
    *bad = static_cast<int64_t*>(Allocate(std::max<int64_t>(1, count) * sizeof(int64_t)));
    if (*bad == nullptr) return absl::ResourceExhaustedError("no GPU memory is left for a lookup");
    return Done(embedding::cuda::FillBytes(stream_, *bad, 0x7f, count * sizeof(int64_t)));
  }

  // In checked mode: the first place noted in `bad`, kNoBadPlace if there is none.
  absl::Status ReadPlace(const int64_t* bad, int64_t* place) const {
    *place = embedding::cuda::kNoBadPlace;
    if (!checked_) return absl::OkStatus();
    return Done(embedding::cuda::ReadBack(stream_, place, bad, sizeof(*place)));
  }

  // The error of an id that was refused.
  template <typename Id>
  absl::Status RefuseId(const Id* ids, int64_t place, const std::string& what, int64_t limit) const {
    Id id = 0;
    TF_RETURN_IF_ERROR(Done(embedding::cuda::ReadBack(stream_, &id, ids + place, sizeof(id))));
    return absl::InvalidArgumentError(
        absl::StrCat(what, " must lie in [0, ", limit, "), got id ", static_cast<int64_t>(id), " at position ", place));
  }

  // In checked mode: the error of the first refused id among `ids`.
  template <typename Id>
  absl::Status CheckRows(const int64_t* bad, const Id* ids, const std::string& what, int64_t limit) const {
    int64_t place = 0;
    TF_RETURN_IF_ERROR(ReadPlace(bad, &place));
    return place == embedding::cuda::kNoBadPlace ? absl::OkStatus() : RefuseId(ids, place, what, limit);
  }

  // Locks tables and slots; `data` gets tables, first and second slots in turn, null for slots the optimizer does not have.
  template <typename T>
  absl::Status LockForUpdate(const char* tables, int num_parts, const std::string& optimizer, LockedVariables* locked,
                             embedding::UpdateOptions* options, std::vector<typename Bits<T>::type*>* data) const {
    std::vector<int> numbers;
    TF_RETURN_IF_ERROR(InputNumbers(context_, tables, &numbers));
    TF_RETURN_IF_ERROR(InputNumbers(context_, "slots", &numbers));
    const int slots = optimizer == "sgd" ? 0 : optimizer == "adagrad" ? 1 : 2;
    if (static_cast<int>(numbers.size()) != num_parts * (1 + slots)) {
      return absl::InvalidArgumentError(absl::StrCat(optimizer, " needs ", slots, " slots per part of a table, got ",
                                                     numbers.size() - num_parts, " for ", num_parts));
    }
    const Tensor* option_tensor = nullptr;
    TF_RETURN_IF_ERROR(context_->input("options", &option_tensor));
    TF_RETURN_IF_ERROR(ReadUpdateOptions(optimizer, *option_tensor, options));
    TF_RETURN_IF_ERROR(locked->Lock(context_, numbers, /*exclusive=*/true));
    data->assign(3 * num_parts, nullptr);
    for (int i = 0; i < static_cast<int>(numbers.size()); ++i) {
      Tensor* const tensor = locked->tensor(i);
      TF_RETURN_IF_ERROR(CheckDtype(*tensor, tensorflow::DataTypeToEnum<T>::value));
      if (tensor->shape() != locked->tensor(i % num_parts)->shape()) {
        return absl::InvalidArgumentError(absl::StrCat("a slot must have the shape of its table ",
                                                       locked->tensor(i % num_parts)->shape().DebugString(), ", got ",
                                                       tensor->shape().DebugString()));
      }
      const char* error = nullptr;
      TF_RETURN_IF_ERROR(locked->MakeWritable(context_, i, [&](void* to, const void* from, size_t size) {
        error = embedding::cuda::CopyOnDevice(stream_, to, from, size);
      }));
      TF_RETURN_IF_ERROR(Done(error));
      (*data)[i] = MutableDataOf<T>(locked->tensor(i));
    }
    return absl::OkStatus();
  }

 private:
  OpKernelContext* context_;
  embedding::cuda::Stream stream_ = nullptr;
  bool checked_ = false;
  std::vector<Tensor> held_;
};

// Waits for the number of distinct rows of each part, then allocates and writes the gradients: outputs first_output.. are the
// indices, outputs first_output + all_parts.. the values.
template <typename T, typename Id>
absl::Status WriteGradients(GpuWork* work, int first_output, int all_parts,
                            std::vector<embedding::cuda::PartView<typename Bits<T>::type>>* parts,
                            embedding::cuda::RowSums<typename Bits<T>::type>* rows) {
  const int num_parts = static_cast<int>(parts->size());
  std::vector<int64_t> starts(num_parts + 1);
  TF_RETURN_IF_ERROR(
      work->Done(embedding::cuda::ReadBack(work->stream(), starts.data(), rows->part_starts, starts.size() * sizeof(int64_t))));
  for (int part = 0; part < num_parts; ++part) {
    const int64_t count = starts[part + 1] - starts[part];
    Tensor *indices = nullptr, *values = nullptr;
    TF_RETURN_IF_ERROR(work->context()->allocate_output(first_output + part, TensorShape({count}), &indices));
    TF_RETURN_IF_ERROR(
        work->context()->allocate_output(first_output + all_parts + part, TensorShape({count, (*parts)[part].dim}), &values));
    (*parts)[part].indices = indices->flat<Id>().data();
    (*parts)[part].values = MutableDataOf<T>(values);
  }
  return work->Done(embedding::cuda::WriteRows<typename Bits<T>::type, Id>(work->stream(), work->scratch(), parts->data(), rows));
}

// Inputs of the grouped lookup for one call, as the launchers take them.
template <typename T, typename Id>
struct GpuGroup {
  using B = typename Bits<T>::type;
  std::vector<embedding::cuda::FeatureView<B, Id>> features;
  std::vector<embedding::cuda::PartView<B>> parts;
  int64_t num_keys = 0, num_contributions = 0;
  int64_t* bad = nullptr;  // [num_features]

  absl::Status Read(GpuWork* work, const GroupAttributes& attributes, const std::vector<const Tensor*>& tensors);
  absl::Status ReadGradients(GpuWork* work, const GroupAttributes& attributes);
  absl::Status SumGradients(GpuWork* work, const GroupAttributes& attributes, embedding::cuda::RowSums<B>* rows);

  // In checked mode: the errors that a lookup on the CPU gives.
  absl::Status CheckIds(GpuWork* work, const GroupAttributes& attributes) const {
    for (int f = 0; f < attributes.num_features; ++f) {
      const auto& feature = features[f];
      const std::string& name = attributes.features[f].name;
      int64_t place = 0;
      TF_RETURN_IF_ERROR(work->ReadPlace(bad + f, &place));
      if (place == embedding::cuda::kNoBadPlace) continue;
      if (place == embedding::cuda::kBadDefault) {
        return absl::InvalidArgumentError(
            absl::StrCat("default_id of ", name, " must lie in [0, ", feature.table_rows, "), got ", feature.default_id));
      }
      if (place == embedding::cuda::kBadSplits) {
        return absl::InvalidArgumentError(
            absl::StrCat(name, ": row_splits must not descend, and must go from 0 to the number of ids ", feature.num_ids));
      }
      if (place >= embedding::cuda::kBadIndex) return RefuseIndex(work, f, name, place - embedding::cuda::kBadIndex);
      return work->RefuseId(feature.ids, place, "ids of " + name, feature.table_rows);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status ReadRows(GpuWork* work, const std::string& name, const Tensor& values, const Tensor& segments, const Tensor& shape,
                        embedding::cuda::FeatureView<B, Id>* feature);

  // The indices of value k do not lie inside the shape.
  absl::Status RefuseIndex(GpuWork* work, int f, const std::string& name, int64_t k) const {
    OpInputList segments, dense_shapes;
    TF_RETURN_IF_ERROR(work->context()->input_list("segments", &segments));
    TF_RETURN_IF_ERROR(work->context()->input_list("dense_shapes", &dense_shapes));
    const auto sizes = dense_shapes[f].flat<int64_t>();
    std::vector<int64_t> indices(sizes.size());
    TF_RETURN_IF_ERROR(work->Done(embedding::cuda::ReadBack(work->stream(), indices.data(),
                                                            segments[f].flat<int64_t>().data() + k * sizes.size(),
                                                            indices.size() * sizeof(int64_t))));
    int axis = 0;
    while (axis + 2 < sizes.size() && indices[axis] >= 0 && indices[axis] < sizes(axis)) ++axis;
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": index ", indices[axis], " of value ", k, " must lie in [0, ", sizes(axis), ") on axis ", axis));
  }
};

template <typename T, typename Id>
absl::Status GpuGroup<T, Id>::Read(GpuWork* work, const GroupAttributes& attributes, const std::vector<const Tensor*>& tensors) {
  std::vector<embedding::Table<B>> tables;
  TF_RETURN_IF_ERROR(MakeTables<T>(attributes, tensors, &tables));
  std::vector<int64_t> first_keys;
  for (size_t t = 0; t < tables.size(); ++t) {
    const auto& table = tables[t];
    if (table.partition.num_parts() > embedding::cuda::kMostParts) {
      return absl::UnimplementedError(absl::StrCat("a table on a GPU can have at most ", embedding::cuda::kMostParts,
                                                   " parts, got ", table.partition.num_parts(), "; put it on the CPU"));
    }
    first_keys.push_back(num_keys);
    for (int i = 0; i < table.partition.num_parts(); ++i) {
      parts.push_back({table.parts[i], nullptr, nullptr, num_keys, table.partition.part_rows(i), table.dim,
                       attributes.table_max_norms[t], nullptr, nullptr});
      num_keys += table.partition.part_rows(i);
    }
  }
  OpInputList ids, segments, dense_shapes, weights;
  OpKernelContext* const context = work->context();
  TF_RETURN_IF_ERROR(context->input_list("ids", &ids));
  TF_RETURN_IF_ERROR(context->input_list("segments", &segments));
  TF_RETURN_IF_ERROR(context->input_list("dense_shapes", &dense_shapes));
  TF_RETURN_IF_ERROR(context->input_list("weights", &weights));
  TF_RETURN_IF_ERROR(work->AllocateBad(attributes.num_features, &bad));
  int weight = 0;
  for (int f = 0; f < attributes.num_features; ++f) {
    const embedding::Feature& options = attributes.features[f];
    const auto& table = tables[options.table];
    embedding::cuda::FeatureView<B, Id> feature = {};
    for (int i = 0; i < table.partition.num_parts(); ++i) feature.parts[i] = table.parts[i];
    feature.num_parts = table.partition.num_parts();
    feature.pooling = options.combiner == embedding::Combiner::kSum    ? embedding::cuda::Pooling::kSum
                      : options.combiner == embedding::Combiner::kMean ? embedding::cuda::Pooling::kMean
                                                                       : embedding::cuda::Pooling::kSqrtn;
    feature.mod = attributes.mod[options.table];
    feature.prune = options.prune;
    feature.fill = options.fill;
    feature.table_rows = table.partition.num_rows();
    feature.dim = table.dim;
    feature.default_id = options.default_id;
    feature.max_norm = options.max_norm;
    feature.bad = bad + f;
    feature.first_key = first_keys[options.table];
    TF_RETURN_IF_ERROR(ReadRows(work, options.name, ids[f], segments[f], dense_shapes[f], &feature));
    if (attributes.weighted[f]) {
      const Tensor& given = weights[weight++];
      TF_RETURN_IF_ERROR(CheckDtype(given, tensorflow::DataTypeToEnum<T>::value));
      if (given.dims() != 1 || given.NumElements() != feature.num_ids) {
        return absl::InvalidArgumentError(absl::StrCat("weights of ", options.name, " must be as many as its ids, got ",
                                                       given.NumElements(), " weights and ", feature.num_ids, " ids"));
      }
      feature.weights = DataOf<T>(given);
    }
    if (attributes.concat && f > 0 && feature.num_rows != features[0].num_rows) {
      return absl::InvalidArgumentError(absl::StrCat("features of one output need the same number of rows, got ",
                                                     features[0].num_rows, " for ", attributes.features[0].name, " and ",
                                                     feature.num_rows, " for ", options.name));
    }
    feature.first_slot = num_contributions;
    num_contributions += embedding::cuda::ContributionsOf(feature);
    features.push_back(feature);
  }
  return absl::OkStatus();
}

// Row splits lie on the GPU; the kernels take rows whose splits do not fit as empty, and in checked mode that is an error.
template <typename T, typename Id>
absl::Status GpuGroup<T, Id>::ReadRows(GpuWork* work, const std::string& name, const Tensor& values, const Tensor& segments,
                                       const Tensor& shape, embedding::cuda::FeatureView<B, Id>* feature) {
  if (values.dims() != 1) {
    return absl::InvalidArgumentError(absl::StrCat("ids of ", name, " must be a vector, got ", values.shape().DebugString()));
  }
  feature->ids = values.flat<Id>().data();
  feature->num_ids = values.NumElements();
  if (segments.dims() == 1) {
    if (segments.NumElements() < 1) return absl::InvalidArgumentError(absl::StrCat(name, ": row_splits must not be empty"));
    feature->splits = segments.flat<int64_t>().data();
    feature->num_rows = segments.NumElements() - 1;
    return absl::OkStatus();
  }
  if (segments.dims() != 2 || segments.dim_size(1) < 2 || segments.dim_size(0) != feature->num_ids ||
      shape.NumElements() != segments.dim_size(1)) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": sparse indices must have shape [", feature->num_ids,
                                                   ", rank >= 2] and dense_shape [rank], got ", segments.shape().DebugString(),
                                                   " and ", shape.shape().DebugString()));
  }
  constexpr int64_t kMostRows = int64_t{1} << 31;
  feature->num_rows = 1;
  const int64_t* const sizes = shape.flat<int64_t>().data();
  for (int64_t axis = 0; axis + 1 < shape.NumElements(); ++axis) {
    if (sizes[axis] < 0 || (sizes[axis] > 0 && feature->num_rows > kMostRows / sizes[axis])) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": dense_shape must give between 0 and 2^31 rows, got ", sizes[axis], " on axis ", axis));
    }
    feature->num_rows *= sizes[axis];
  }
  int64_t* const splits = static_cast<int64_t*>(work->Allocate((feature->num_rows + 1) * sizeof(int64_t)));
  int32_t* const order = static_cast<int32_t*>(work->Allocate(std::max<int64_t>(1, feature->num_ids) * sizeof(int32_t)));
  if (splits == nullptr || order == nullptr)
    return absl::ResourceExhaustedError("no GPU memory is left for the rows of sparse ids");
  feature->splits = splits;
  feature->order = order;
  return work->Done(embedding::cuda::SplitIndices(work->stream(), work->scratch(), segments.flat<int64_t>().data(),
                                                  feature->num_ids, sizes, static_cast<int>(shape.NumElements()), splits, order,
                                                  feature->bad));
}

template <typename T, typename Id>
absl::Status GpuGroup<T, Id>::ReadGradients(GpuWork* work, const GroupAttributes& attributes) {
  std::vector<int64_t> num_rows;
  for (const auto& feature : features) num_rows.push_back(feature.num_rows);
  std::vector<embedding::Slab<const B>> slabs;
  TF_RETURN_IF_ERROR(nann::ReadGradients<T>(work->context(), attributes, num_rows, &slabs));
  for (size_t f = 0; f < features.size(); ++f) {
    features[f].gradient = slabs[f].data;
    features[f].stride = slabs[f].stride;
  }
  return absl::OkStatus();
}

template <typename T, typename Id>
absl::Status GpuGroup<T, Id>::SumGradients(GpuWork* work, const GroupAttributes& attributes, embedding::cuda::RowSums<B>* rows) {
  TF_RETURN_IF_ERROR(ReadGradients(work, attributes));
  embedding::cuda::Contributions<B> contributions;
  TF_RETURN_IF_ERROR(
      work->Done(embedding::cuda::Allocate(work->stream(), work->scratch(), num_contributions, num_keys, &contributions)));
  TF_RETURN_IF_ERROR(
      work->Done(embedding::cuda::AddLookups(work->stream(), features.data(), static_cast<int>(features.size()), contributions)));
  TF_RETURN_IF_ERROR(work->Done(embedding::cuda::SortRows(work->stream(), work->scratch(), contributions, parts.data(),
                                                          static_cast<int>(parts.size()), rows)));
  return work->Done(embedding::cuda::SumRows(work->stream(), work->scratch(), rows));
}

}  // namespace nann

#endif  // NANN_OPS_CC_EMBEDDING_GPU_H_
