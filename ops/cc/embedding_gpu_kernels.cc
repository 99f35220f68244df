// GPU kernels of the grouped lookup, its gradients and its update: the ops' side, which calls the launchers of ops/cc/cuda.
// Compiled only where the build has CUDA.
//
// An id outside its table contributes nothing there. With NANN_CHECK_IDS_ON_GPU=1 in the environment it is an error that names
// the id, as on the CPU, at the price of waiting for the GPU in every lookup.

#if NANN_CUDA

#include "ops/cc/embedding_gpu.h"

namespace nann {
namespace {

using embedding::cuda::Contributions;
using embedding::cuda::FeatureView;
using embedding::cuda::PartView;
using embedding::cuda::RowSums;

template <typename T, typename Id, bool kResource>
class GroupGpuOp : public OpKernel {
 public:
  explicit GroupGpuOp(OpKernelConstruction* context) : OpKernel(context) { OP_REQUIRES_OK(context, attributes_.Read(context)); }

  void Compute(OpKernelContext* context) override {
    LockedVariables locked;
    std::vector<const Tensor*> parts;
    OP_REQUIRES_OK(context, (ReadTables<kResource>(context, &locked, &parts)));
    GpuWork work(context);
    GpuGroup<T, Id> group;
    OP_REQUIRES_OK(context, group.Read(&work, attributes_, parts));
    OP_REQUIRES_OK(context, Run(&work, &group));
    OP_REQUIRES_OK(context, group.CheckIds(&work, attributes_));
  }

 protected:
  virtual absl::Status Run(GpuWork* work, GpuGroup<T, Id>* group) = 0;
  GroupAttributes attributes_;
};

template <typename T, typename Id, bool kResource>
class LookupGpuOp : public GroupGpuOp<T, Id, kResource> {
 public:
  using GroupGpuOp<T, Id, kResource>::GroupGpuOp;

  absl::Status Run(GpuWork* work, GpuGroup<T, Id>* group) override {
    const GroupAttributes& attributes = this->attributes_;
    int64_t width = 0, column = 0;
    for (const auto& feature : attributes.features) width += attributes.dims[feature.table];
    Tensor* out = nullptr;
    for (int f = 0; f < attributes.num_features; ++f) {
      auto& feature = group->features[f];
      if (!attributes.concat || f == 0) {
        const TensorShape shape({feature.num_rows, attributes.concat ? width : feature.dim});
        TF_RETURN_IF_ERROR(work->context()->allocate_output(f, shape, &out));
      }
      feature.pooled = MutableDataOf<T>(out) + (attributes.concat ? column : 0);
      feature.stride = attributes.concat ? width : feature.dim;
      column += feature.dim;
    }
    return work->Done(embedding::cuda::Forward(work->stream(), group->features.data(), attributes.num_features));
  }
};

template <typename T, typename Id, bool kResource>
class GradientGpuOp : public GroupGpuOp<T, Id, kResource> {
 public:
  using GroupGpuOp<T, Id, kResource>::GroupGpuOp;
  using B = typename Bits<T>::type;

  absl::Status Run(GpuWork* work, GpuGroup<T, Id>* group) override {
    RowSums<B> rows;
    TF_RETURN_IF_ERROR(group->SumGradients(work, this->attributes_, &rows));
    return WriteGradients<T, Id>(work, 0, this->attributes_.num_parts, &group->parts, &rows);
  }
};

template <typename T, typename Id, bool kResource>
class WeightsGradientGpuOp : public GroupGpuOp<T, Id, kResource> {
 public:
  using GroupGpuOp<T, Id, kResource>::GroupGpuOp;

  absl::Status Run(GpuWork* work, GpuGroup<T, Id>* group) override {
    const GroupAttributes& attributes = this->attributes_;
    TF_RETURN_IF_ERROR(group->ReadGradients(work, attributes));
    OpInputList weights;
    TF_RETURN_IF_ERROR(work->context()->input_list("weights", &weights));
    int weight = 0;
    for (int f = 0; f < attributes.num_features; ++f) {
      if (!attributes.weighted[f]) continue;
      Tensor* out = nullptr;
      TF_RETURN_IF_ERROR(work->context()->allocate_output(weight, weights[weight].shape(), &out));
      group->features[f].weight_gradient = MutableDataOf<T>(out);
      TF_RETURN_IF_ERROR(
          work->Done(embedding::cuda::FillBytes(work->stream(), group->features[f].weight_gradient, 0, out->TotalBytes())));
      ++weight;
    }
    return work->Done(embedding::cuda::WeightGradient(work->stream(), group->features.data(), attributes.num_features));
  }
};

template <typename T, typename Id>
class UpdateGpuOp : public OpKernel {
 public:
  using B = typename Bits<T>::type;

  explicit UpdateGpuOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, attributes_.Read(context));
    OP_REQUIRES_OK(context, context->GetAttr("optimizer", &optimizer_));
  }

  void Compute(OpKernelContext* context) override { OP_REQUIRES_OK(context, Run(context)); }

 private:
  absl::Status Run(OpKernelContext* context) {
    GpuWork work(context);
    LockedVariables locked;
    embedding::UpdateOptions options;
    std::vector<B*> data;
    TF_RETURN_IF_ERROR(work.LockForUpdate<T>("tables", attributes_.num_parts, optimizer_, &locked, &options, &data));
    std::vector<const Tensor*> parts;
    for (int i = 0; i < attributes_.num_parts; ++i) parts.push_back(locked.tensor(i));
    GpuGroup<T, Id> group;
    TF_RETURN_IF_ERROR(group.Read(&work, attributes_, parts));
    for (int i = 0; i < attributes_.num_parts; ++i) {
      group.parts[i].first = data[attributes_.num_parts + i];
      group.parts[i].second = data[2 * attributes_.num_parts + i];
    }
    RowSums<B> rows;
    TF_RETURN_IF_ERROR(group.SumGradients(&work, attributes_, &rows));
    TF_RETURN_IF_ERROR(group.CheckIds(&work, attributes_));
    return work.Done(embedding::cuda::UpdateRows(work.stream(), options, rows));
  }

  GroupAttributes attributes_;
  std::string optimizer_;
};

template <typename T, typename Id>
class UpdateRowsGpuOp : public OpKernel {
 public:
  using B = typename Bits<T>::type;

  explicit UpdateRowsGpuOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("optimizer", &optimizer_));
  }

  void Compute(OpKernelContext* context) override { OP_REQUIRES_OK(context, Run(context)); }

 private:
  absl::Status Run(OpKernelContext* context) {
    GpuWork work(context);
    const Tensor *indices = nullptr, *values = nullptr;
    TF_RETURN_IF_ERROR(context->input("indices", &indices));
    TF_RETURN_IF_ERROR(context->input("values", &values));
    LockedVariables locked;
    embedding::UpdateOptions options;
    std::vector<B*> data;
    TF_RETURN_IF_ERROR(work.LockForUpdate<T>("table", 1, optimizer_, &locked, &options, &data));
    const TensorShape shape = locked.tensor(0)->shape();
    if (shape.dims() != 2 || indices->dims() != 1 || values->dims() != 2 || values->dim_size(0) != indices->dim_size(0) ||
        values->dim_size(1) != shape.dim_size(1)) {
      return absl::InvalidArgumentError(absl::StrCat("indices [n] and values [n, dim] must fit the table, got ",
                                                     indices->shape().DebugString(), ", ", values->shape().DebugString(), " and ",
                                                     shape.DebugString()));
    }
    const int64_t num_rows = shape.dim_size(0), dim = shape.dim_size(1), count = indices->NumElements();
    const PartView<B> part = {data[0], data[1], data[2], 0, num_rows, dim, -1, nullptr, nullptr};
    Contributions<B> contributions;
    RowSums<B> rows;
    int64_t* bad = nullptr;
    const Id* const ids = indices->flat<Id>().data();
    TF_RETURN_IF_ERROR(work.AllocateBad(1, &bad));
    TF_RETURN_IF_ERROR(work.Done(embedding::cuda::Allocate(work.stream(), work.scratch(), count, num_rows, &contributions)));
    TF_RETURN_IF_ERROR(work.Done(
        embedding::cuda::AddRows(work.stream(), ids, count, num_rows, false, DataOf<T>(*values), dim, 0, 0, contributions, bad)));
    TF_RETURN_IF_ERROR(work.Done(embedding::cuda::SortRows(work.stream(), work.scratch(), contributions, &part, 1, &rows)));
    TF_RETURN_IF_ERROR(work.Done(embedding::cuda::SumRows(work.stream(), work.scratch(), &rows)));
    TF_RETURN_IF_ERROR(work.CheckRows(bad, ids, "rows to update", num_rows));
    return work.Done(embedding::cuda::UpdateRows(work.stream(), options, rows));
  }

  std::string optimizer_;
};

template <typename T, typename Id, bool kResource>
class PositionsGpuOp : public OpKernel {
 public:
  explicit PositionsGpuOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("dims", &dims_));
  }

  void Compute(OpKernelContext* context) override { OP_REQUIRES_OK(context, Run(context)); }

 private:
  absl::Status Run(OpKernelContext* context) {
    GpuWork work(context);
    LockedVariables locked;
    std::vector<const Tensor*> tables;
    TF_RETURN_IF_ERROR((ReadTables<kResource>(context, &locked, &tables)));
    OpInputList ids;
    TF_RETURN_IF_ERROR(context->input_list("ids", &ids));
    int64_t width = 0;
    TF_RETURN_IF_ERROR(CheckPositions(tables, ids, dims_, tensorflow::DataTypeToEnum<T>::value, &width));
    TensorShape shape = ids[0].shape();
    shape.AddDim(width);
    Tensor* output = nullptr;
    TF_RETURN_IF_ERROR(context->allocate_output(0, shape, &output));
    int64_t* bad = nullptr;
    TF_RETURN_IF_ERROR(work.AllocateBad(static_cast<int64_t>(tables.size()), &bad));
    int64_t column = 0;
    for (size_t t = 0; t < tables.size(); ++t) {
      const Id* const table_ids = ids[static_cast<int>(t)].flat<Id>().data();
      TF_RETURN_IF_ERROR(
          work.Done(embedding::cuda::Positions(work.stream(), DataOf<T>(*tables[t]), tables[t]->dim_size(0), dims_[t], table_ids,
                                               ids[0].NumElements(), MutableDataOf<T>(output) + column, width, bad + t)));
      TF_RETURN_IF_ERROR(work.CheckRows(bad + t, table_ids, absl::StrCat("ids of table ", t), tables[t]->dim_size(0)));
      column += dims_[t];
    }
    return absl::OkStatus();
  }

  std::vector<int> dims_;
};

template <typename T, typename Id>
class PositionsGradGpuOp : public OpKernel {
 public:
  using B = typename Bits<T>::type;

  explicit PositionsGradGpuOp(OpKernelConstruction* context) : OpKernel(context) {
    int num_ids = 0, num_tables = 0;
    OP_REQUIRES_OK(context, context->GetAttr("dims", &dims_));
    OP_REQUIRES_OK(context, context->GetAttr("num_ids", &num_ids));
    OP_REQUIRES_OK(context, context->GetAttr("num_lookups", &num_lookups_));
    OP_REQUIRES_OK(context, context->GetAttr("num_tables", &num_tables));
    OP_REQUIRES(context, static_cast<int>(dims_.size()) == num_tables && num_ids == num_tables * num_lookups_,
                absl::InvalidArgumentError(absl::StrCat(num_lookups_, " lookups into ", dims_.size(), " tables need ",
                                                        num_lookups_ * dims_.size(), " id tensors, got ", num_ids)));
  }

  void Compute(OpKernelContext* context) override { OP_REQUIRES_OK(context, Run(context)); }

 private:
  absl::Status Run(OpKernelContext* context) {
    GpuWork work(context);
    const int num_tables = static_cast<int>(dims_.size());
    OpInputList ids, gradients;
    TF_RETURN_IF_ERROR(context->input_list("ids", &ids));
    TF_RETURN_IF_ERROR(context->input_list("gradients", &gradients));
    int64_t width = 0, total = 0, column = 0;
    TF_RETURN_IF_ERROR(CheckPositionGradients(ids, gradients, dims_, num_lookups_, &width, &total));
    // The op does not know how many rows a table has, so each table is sorted by itself, over all the bits of an id.
    constexpr int64_t kMostRows = sizeof(Id) == 4 ? int64_t{1} << 31 : int64_t{1} << 62;
    for (int t = 0; t < num_tables; ++t) {
      Contributions<B> contributions;
      RowSums<B> rows;
      int64_t* bad = nullptr;
      TF_RETURN_IF_ERROR(work.AllocateBad(1, &bad));
      TF_RETURN_IF_ERROR(work.Done(embedding::cuda::Allocate(work.stream(), work.scratch(), total, kMostRows, &contributions)));
      int64_t slot = 0;
      for (int lookup = 0; lookup < num_lookups_; ++lookup) {
        const Tensor& table_ids = ids[lookup * num_tables + t];
        TF_RETURN_IF_ERROR(
            work.Done(embedding::cuda::AddRows(work.stream(), table_ids.flat<Id>().data(), table_ids.NumElements(), kMostRows,
                                               true, DataOf<T>(gradients[lookup]) + column, width, 0, slot, contributions, bad)));
        slot += table_ids.NumElements();
      }
      std::vector<PartView<B>> parts = {{nullptr, nullptr, nullptr, 0, kMostRows, dims_[t], -1, nullptr, nullptr}};
      TF_RETURN_IF_ERROR(
          work.Done(embedding::cuda::SortRows(work.stream(), work.scratch(), contributions, parts.data(), 1, &rows)));
      TF_RETURN_IF_ERROR(work.Done(embedding::cuda::SumRows(work.stream(), work.scratch(), &rows)));
      TF_RETURN_IF_ERROR((WriteGradients<T, Id>(&work, t, num_tables, &parts, &rows)));
      column += dims_[t];
    }
    return absl::OkStatus();
  }

  std::vector<int> dims_;
  int num_lookups_ = 0;
};

// A test that has the kernels on the CPU registers them there.
#ifndef NANN_GPU_KERNEL
#define NANN_GPU_KERNEL(NAME) Name(NAME).Device(tensorflow::DEVICE_GPU)
#endif
#define NANN_GPU(NAME, T, Id) NANN_GPU_KERNEL(NAME).TypeConstraint<T>("T").TypeConstraint<Id>("Tids")

#define NANN_REGISTER(T, Id)                                                                                                    \
  REGISTER_KERNEL_BUILDER(NANN_GPU("Nann>FusedEmbeddingLookup", T, Id).HostMemory("dense_shapes"), LookupGpuOp<T, Id, false>);  \
  REGISTER_KERNEL_BUILDER(NANN_GPU("Nann>FusedEmbeddingLookupResource", T, Id).HostMemory("dense_shapes").HostMemory("tables"), \
                          LookupGpuOp<T, Id, true>);                                                                            \
  REGISTER_KERNEL_BUILDER(NANN_GPU("Nann>FusedEmbeddingGrad", T, Id).HostMemory("dense_shapes"), GradientGpuOp<T, Id, false>);  \
  REGISTER_KERNEL_BUILDER(NANN_GPU("Nann>FusedEmbeddingGradResource", T, Id).HostMemory("dense_shapes").HostMemory("tables"),   \
                          GradientGpuOp<T, Id, true>);                                                                          \
  REGISTER_KERNEL_BUILDER(NANN_GPU("Nann>FusedEmbeddingWeightsGrad", T, Id).HostMemory("dense_shapes"),                         \
                          WeightsGradientGpuOp<T, Id, false>);                                                                  \
  REGISTER_KERNEL_BUILDER(                                                                                                      \
      NANN_GPU("Nann>FusedEmbeddingWeightsGradResource", T, Id).HostMemory("dense_shapes").HostMemory("tables"),                \
      WeightsGradientGpuOp<T, Id, true>);                                                                                       \
  REGISTER_KERNEL_BUILDER(NANN_GPU("Nann>FusedEmbeddingUpdate", T, Id)                                                          \
                              .HostMemory("dense_shapes")                                                                       \
                              .HostMemory("tables")                                                                             \
                              .HostMemory("slots")                                                                              \
                              .HostMemory("options"),                                                                           \
                          UpdateGpuOp<T, Id>);                                                                                  \
  REGISTER_KERNEL_BUILDER(                                                                                                      \
      NANN_GPU("Nann>FusedEmbeddingUpdateRows", T, Id).HostMemory("table").HostMemory("slots").HostMemory("options"),           \
      UpdateRowsGpuOp<T, Id>);                                                                                                  \
  REGISTER_KERNEL_BUILDER(NANN_GPU("Nann>FusedEmbeddingPositions", T, Id), PositionsGpuOp<T, Id, false>);                       \
  REGISTER_KERNEL_BUILDER(NANN_GPU("Nann>FusedEmbeddingPositionsResource", T, Id).HostMemory("tables"),                         \
                          PositionsGpuOp<T, Id, true>);                                                                         \
  REGISTER_KERNEL_BUILDER(NANN_GPU("Nann>FusedEmbeddingPositionsGrad", T, Id), PositionsGradGpuOp<T, Id>);

NANN_FOR_EACH_TYPE(NANN_REGISTER)

}  // namespace
}  // namespace nann

#endif  // NANN_CUDA
