// CPU kernels of the grouped lookup and its gradients.

#include "ops/cc/embedding_context.h"

namespace nann {
namespace {

template <typename T, typename Id, bool kResource>
class GroupOp : public OpKernel {
 public:
  explicit GroupOp(OpKernelConstruction* context) : OpKernel(context) { OP_REQUIRES_OK(context, attributes_.Read(context)); }

  void Compute(OpKernelContext* context) override {
    LockedVariables locked;
    std::vector<const Tensor*> parts;
    OP_REQUIRES_OK(context, (ReadTables<kResource>(context, &locked, &parts)));
    GroupInputs<T, Id> inputs;
    OP_REQUIRES_OK(context, inputs.Read(context, attributes_, parts));
    OP_REQUIRES_OK(context, Run(context, inputs));
  }

 protected:
  using B = typename Bits<T>::type;
  virtual absl::Status Run(OpKernelContext* context, const GroupInputs<T, Id>& inputs) = 0;
  GroupAttributes attributes_;
};

template <typename T, typename Id, bool kResource>
class LookupOp : public GroupOp<T, Id, kResource> {
 public:
  using GroupOp<T, Id, kResource>::GroupOp;
  using B = typename Bits<T>::type;

  absl::Status Run(OpKernelContext* context, const GroupInputs<T, Id>& inputs) override {
    const GroupAttributes& attributes = this->attributes_;
    std::vector<embedding::Slab<B>> outputs;
    if (attributes.concat) {
      int64_t width = 0;
      for (const auto& feature : attributes.features) width += attributes.dims[feature.table];
      Tensor* out = nullptr;
      TF_RETURN_IF_ERROR(context->allocate_output(0, TensorShape({inputs.lookups[0].num_rows, width}), &out));
      B* data = MutableDataOf<T>(out);
      for (const auto& feature : attributes.features) {
        outputs.push_back({data, width});
        data += attributes.dims[feature.table];
      }
    } else {
      for (int f = 0; f < attributes.num_features; ++f) {
        const int64_t dim = attributes.dims[attributes.features[f].table];
        Tensor* out = nullptr;
        TF_RETURN_IF_ERROR(context->allocate_output(f, TensorShape({inputs.lookups[f].num_rows, dim}), &out));
        outputs.push_back({MutableDataOf<T>(out), dim});
      }
    }
    std::string error;
    if (!embedding::Forward(attributes.features, inputs.tables, inputs.lookups, outputs, ParallelOn(context), &error)) {
      return absl::InvalidArgumentError(error);
    }
    return absl::OkStatus();
  }
};

// Sizes of the parts' gradients for a guess at the buckets: the ids of a table, spread over its parts.
template <typename T, typename Id>
std::vector<int64_t> PartSizes(const GroupAttributes& attributes, const GroupInputs<T, Id>& inputs) {
  std::vector<int64_t> sizes(attributes.num_parts, 0);
  for (int f = 0; f < attributes.num_features; ++f) {
    const int table = attributes.features[f].table;
    const auto& lookup = inputs.lookups[f];
    for (int i = 0; i < attributes.table_parts[table]; ++i) {
      sizes[attributes.first_part[table] + i] += lookup.splits[lookup.num_rows] / attributes.table_parts[table];
    }
  }
  return sizes;
}

template <typename T, typename Id, bool kResource>
class GradientOp : public GroupOp<T, Id, kResource> {
 public:
  using GroupOp<T, Id, kResource>::GroupOp;
  using B = typename Bits<T>::type;

  absl::Status Run(OpKernelContext* context, const GroupInputs<T, Id>& inputs) override {
    const GroupAttributes& attributes = this->attributes_;
    std::vector<embedding::Slab<const B>> given;
    TF_RETURN_IF_ERROR(ReadGradients(context, attributes, inputs, &given));
    const auto chunks = embedding::MakeChunks(inputs.lookups, embedding::kBackwardIdsPerChunk);
    embedding::RowGradients<B> gradients(PartSizes(attributes, inputs), static_cast<int64_t>(chunks.size()));
    const auto parallel = ParallelOn(context);
    std::string error;
    if (!embedding::Scatter(attributes.features, inputs.partitions, attributes.first_part, inputs.lookups, given, chunks,
                            parallel, &gradients, &error)) {
      return absl::InvalidArgumentError(error);
    }
    std::vector<int64_t> starts;
    const std::vector<int64_t> counts = embedding::DistinctRows(gradients, attributes.num_parts, &starts);
    std::vector<embedding::Target<B>> targets;
    std::vector<embedding::SparseRows<B, Id>> outputs;
    for (size_t t = 0; t < attributes.dims.size(); ++t) {
      for (int i = 0; i < attributes.table_parts[t]; ++i) {
        const int part = attributes.first_part[t] + i;
        const int64_t dim = attributes.dims[t];
        Tensor *indices = nullptr, *values = nullptr;
        TF_RETURN_IF_ERROR(context->allocate_output(part, TensorShape({counts[part]}), &indices));
        TF_RETURN_IF_ERROR(context->allocate_output(attributes.num_parts + part, TensorShape({counts[part], dim}), &values));
        outputs.push_back({indices->flat<Id>().data(), MutableDataOf<T>(values)});
        targets.push_back(
            {inputs.tables[t].parts[i], nullptr, nullptr, inputs.partitions[t].part_rows(i), dim, attributes.table_max_norms[t]});
      }
    }
    embedding::WriteRows(gradients, targets, outputs, starts, parallel);
    return absl::OkStatus();
  }
};

template <typename T, typename Id, bool kResource>
class WeightsGradientOp : public GroupOp<T, Id, kResource> {
 public:
  using GroupOp<T, Id, kResource>::GroupOp;
  using B = typename Bits<T>::type;

  absl::Status Run(OpKernelContext* context, const GroupInputs<T, Id>& inputs) override {
    const GroupAttributes& attributes = this->attributes_;
    std::vector<embedding::Slab<const B>> given;
    TF_RETURN_IF_ERROR(ReadGradients(context, attributes, inputs, &given));
    OpInputList weights;
    TF_RETURN_IF_ERROR(context->input_list("weights", &weights));
    std::vector<B*> outputs(attributes.num_features, nullptr);
    int weight = 0;
    for (int f = 0; f < attributes.num_features; ++f) {
      if (!attributes.weighted[f]) continue;
      Tensor* out = nullptr;
      TF_RETURN_IF_ERROR(context->allocate_output(weight, weights[weight].shape(), &out));
      outputs[f] = MutableDataOf<T>(out);
      std::memset(outputs[f], 0, out->TotalBytes());
      ++weight;
    }
    std::string error;
    if (!embedding::WeightGradient(attributes.features, inputs.tables, inputs.lookups, given, outputs, ParallelOn(context),
                                   &error)) {
      return absl::InvalidArgumentError(error);
    }
    return absl::OkStatus();
  }
};

// Backward pass and optimizer step in one.
template <typename T, typename Id>
class UpdateOp : public OpKernel {
 public:
  using B = typename Bits<T>::type;

  explicit UpdateOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, attributes_.Read(context));
    OP_REQUIRES_OK(context, context->GetAttr("optimizer", &optimizer_));
  }

  void Compute(OpKernelContext* context) override { OP_REQUIRES_OK(context, Run(context)); }

 private:
  absl::Status Run(OpKernelContext* context) {
    const int num_parts = attributes_.num_parts;
    std::vector<int> numbers;
    TF_RETURN_IF_ERROR(InputNumbers(context, "tables", &numbers));
    TF_RETURN_IF_ERROR(InputNumbers(context, "slots", &numbers));
    const int slots = optimizer_ == "sgd" ? 0 : optimizer_ == "adagrad" ? 1 : 2;
    if (static_cast<int>(numbers.size()) != num_parts * (1 + slots)) {
      return absl::InvalidArgumentError(absl::StrCat(optimizer_, " needs ", slots, " slots per part of a table, got ",
                                                     numbers.size() - num_parts, " for ", num_parts));
    }
    const Tensor* option_tensor = nullptr;
    TF_RETURN_IF_ERROR(context->input("options", &option_tensor));
    embedding::UpdateOptions options;
    TF_RETURN_IF_ERROR(ReadUpdateOptions(optimizer_, *option_tensor, &options));
    LockedVariables locked;
    TF_RETURN_IF_ERROR(locked.Lock(context, numbers, /*exclusive=*/true));
    for (size_t i = 0; i < numbers.size(); ++i) {
      TF_RETURN_IF_ERROR(CheckDtype(*locked.tensor(static_cast<int>(i)), tensorflow::DataTypeToEnum<T>::value));
      TF_RETURN_IF_ERROR(locked.MakeWritable(context, static_cast<int>(i)));
    }
    std::vector<const Tensor*> parts;
    for (int i = 0; i < num_parts; ++i) parts.push_back(locked.tensor(i));
    GroupInputs<T, Id> inputs;
    TF_RETURN_IF_ERROR(inputs.Read(context, attributes_, parts));
    std::vector<embedding::Slab<const B>> given;
    TF_RETURN_IF_ERROR(ReadGradients(context, attributes_, inputs, &given));
    std::vector<embedding::Target<B>> targets;
    for (size_t t = 0; t < attributes_.dims.size(); ++t) {
      for (int i = 0; i < attributes_.table_parts[t]; ++i) {
        const int part = attributes_.first_part[t] + i;
        B* slot[2] = {nullptr, nullptr};
        for (int s = 0; s < slots; ++s) {
          Tensor* tensor = locked.tensor(num_parts * (1 + s) + part);
          if (tensor->shape() != parts[part]->shape()) {
            return absl::InvalidArgumentError(absl::StrCat("a slot must have the shape of its table ",
                                                           parts[part]->shape().DebugString(), ", got ",
                                                           tensor->shape().DebugString()));
          }
          slot[s] = MutableDataOf<T>(tensor);
        }
        targets.push_back({inputs.tables[t].parts[i], slot[0], slot[1], inputs.partitions[t].part_rows(i), attributes_.dims[t],
                           attributes_.table_max_norms[t]});
      }
    }
    const auto chunks = embedding::MakeChunks(inputs.lookups, embedding::kBackwardIdsPerChunk);
    embedding::RowGradients<B> gradients(PartSizes(attributes_, inputs), static_cast<int64_t>(chunks.size()));
    const auto parallel = ParallelOn(context);
    std::string error;
    if (!embedding::Scatter(attributes_.features, inputs.partitions, attributes_.first_part, inputs.lookups, given, chunks,
                            parallel, &gradients, &error) ||
        !embedding::UpdateRows(gradients, targets, options, parallel, &error)) {
      return absl::InvalidArgumentError(error);
    }
    return absl::OkStatus();
  }

  GroupAttributes attributes_;
  std::string optimizer_;
};

#define NANN_REGISTER(T, Id)                                                                                                    \
  REGISTER_KERNEL_BUILDER(                                                                                                      \
      Name("Nann>FusedEmbeddingLookup").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T").TypeConstraint<Id>("Tids"),       \
      LookupOp<T, Id, false>);                                                                                                  \
  REGISTER_KERNEL_BUILDER(Name("Nann>FusedEmbeddingLookupResource")                                                             \
                              .Device(tensorflow::DEVICE_CPU)                                                                   \
                              .TypeConstraint<T>("T")                                                                           \
                              .TypeConstraint<Id>("Tids"),                                                                      \
                          LookupOp<T, Id, true>);                                                                               \
  REGISTER_KERNEL_BUILDER(                                                                                                      \
      Name("Nann>FusedEmbeddingGrad").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T").TypeConstraint<Id>("Tids"),         \
      GradientOp<T, Id, false>);                                                                                                \
  REGISTER_KERNEL_BUILDER(                                                                                                      \
      Name("Nann>FusedEmbeddingGradResource").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T").TypeConstraint<Id>("Tids"), \
      GradientOp<T, Id, true>);                                                                                                 \
  REGISTER_KERNEL_BUILDER(                                                                                                      \
      Name("Nann>FusedEmbeddingWeightsGrad").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T").TypeConstraint<Id>("Tids"),  \
      WeightsGradientOp<T, Id, false>);                                                                                         \
  REGISTER_KERNEL_BUILDER(Name("Nann>FusedEmbeddingWeightsGradResource")                                                        \
                              .Device(tensorflow::DEVICE_CPU)                                                                   \
                              .TypeConstraint<T>("T")                                                                           \
                              .TypeConstraint<Id>("Tids"),                                                                      \
                          WeightsGradientOp<T, Id, true>);                                                                      \
  REGISTER_KERNEL_BUILDER(                                                                                                      \
      Name("Nann>FusedEmbeddingUpdate").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T").TypeConstraint<Id>("Tids"),       \
      UpdateOp<T, Id>);

NANN_FOR_EACH_TYPE(NANN_REGISTER)

}  // namespace
}  // namespace nann
