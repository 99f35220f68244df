// CPU kernels of the grouped lookup and its gradients.

#include <mutex>

#include "ops/cc/embedding_context.h"
#include "ops/cc/guarded.h"

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
      TF_RETURN_IF_ERROR(AllocateOutput(context, 0, {inputs.lookups[0].num_rows, width}, &out));
      B* data = MutableDataOf<T>(out);
      for (const auto& feature : attributes.features) {
        outputs.push_back({data, width});
        data += attributes.dims[feature.table];
      }
    } else {
      for (int f = 0; f < attributes.num_features; ++f) {
        const int64_t dim = attributes.dims[attributes.features[f].table];
        Tensor* out = nullptr;
        TF_RETURN_IF_ERROR(AllocateOutput(context, f, {inputs.lookups[f].num_rows, dim}, &out));
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

// The backward pass table by table: what one table needs fits the caches of a core, what all need does not. Tables go to threads
// where there are enough of them, otherwise threads share each table. Bits do not depend on it.
template <typename T, typename Id>
class Backward {
 public:
  using B = typename Bits<T>::type;
  // Takes the sorted contributions of one table.
  using Finish = std::function<absl::Status(size_t table, embedding::RowGradients<B>*, const embedding::ParallelFor& parallel)>;

  Backward(const GroupAttributes& attributes, const GroupInputs<T, Id>& inputs)
      : attributes_(attributes),
        inputs_(inputs),
        chunks_(embedding::MakeChunks(inputs.lookups, embedding::kBackwardIdsPerChunk)),
        chunks_of_(attributes.dims.size()) {
    for (const embedding::Chunk& chunk : chunks_) chunks_of_[attributes.features[chunk.feature].table].push_back(chunk);
  }

  // For work on several tables that must not begin if any id is bad; the contributions of one table check all its ids.
  absl::Status CheckIds(OpKernelContext* context) const {
    if (attributes_.dims.size() == 1) return absl::OkStatus();
    std::string error;
    if (embedding::CheckIds(attributes_.features, inputs_.partitions, inputs_.lookups, chunks_, ParallelOn(context), &error)) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(error);
  }

  absl::Status Run(OpKernelContext* context, const std::vector<embedding::Slab<const B>>& given, const Finish& finish) const {
    const size_t tables = attributes_.dims.size();
    const auto parallel = ParallelOn(context);
    if (tables < 2 * static_cast<size_t>(context->device()->tensorflow_cpu_worker_threads()->num_threads)) {
      for (size_t t = 0; t < tables; ++t) TF_RETURN_IF_ERROR(RunTable(t, given, finish, parallel));
      return absl::OkStatus();
    }
    constexpr int64_t kNanosecondsPerTable = 1000000;
    std::vector<absl::Status> statuses(tables);
    parallel(static_cast<int64_t>(tables), kNanosecondsPerTable, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) statuses[t] = RunTable(t, given, finish, embedding::RunInline);
    });
    for (const absl::Status& status : statuses) TF_RETURN_IF_ERROR(status);
    return absl::OkStatus();
  }

 private:
  absl::Status RunTable(size_t t, const std::vector<embedding::Slab<const B>>& given, const Finish& finish,
                        const embedding::ParallelFor& parallel) const {
    // Sizes of the parts' gradients for a guess at the buckets: the ids of the table, spread over its parts.
    int64_t ids = 0;
    for (const embedding::Chunk& chunk : chunks_of_[t]) {
      const int64_t* const splits = inputs_.lookups[chunk.feature].splits;
      ids += splits[chunk.end] - splits[chunk.begin];
    }
    const int parts = attributes_.table_parts[t];
    embedding::RowGradients<B> gradients(std::vector<int64_t>(parts, ids / parts), static_cast<int64_t>(chunks_of_[t].size()));
    std::string error;
    if (!embedding::Scatter(attributes_.features, inputs_.partitions[t], inputs_.lookups, given, chunks_of_[t], parallel,
                            &gradients, &error)) {
      return absl::InvalidArgumentError(error);
    }
    return finish(t, &gradients, parallel);
  }

  const GroupAttributes& attributes_;
  const GroupInputs<T, Id>& inputs_;
  std::vector<embedding::Chunk> chunks_;
  std::vector<std::vector<embedding::Chunk>> chunks_of_;
};

template <typename T, typename Id, bool kResource>
class GradientOp : public GroupOp<T, Id, kResource> {
 public:
  using GroupOp<T, Id, kResource>::GroupOp;
  using B = typename Bits<T>::type;

  absl::Status Run(OpKernelContext* context, const GroupInputs<T, Id>& inputs) override {
    const GroupAttributes& attributes = this->attributes_;
    std::vector<embedding::Slab<const B>> given;
    TF_RETURN_IF_ERROR(ReadGradients<T>(context, attributes, inputs.NumRows(), &given));
    std::mutex allocation;
    return Backward<T, Id>(attributes, inputs)
        .Run(context, given, [&](size_t t, embedding::RowGradients<B>* gradients, const embedding::ParallelFor& parallel) {
          gradients->Group(parallel);
          std::vector<int64_t> starts;
          const std::vector<int64_t> counts = embedding::DistinctRows(*gradients, attributes.table_parts[t], &starts);
          std::vector<embedding::Target<B>> targets;
          std::vector<embedding::SparseRows<B, Id>> outputs;
          for (int i = 0; i < attributes.table_parts[t]; ++i) {
            const int part = attributes.first_part[t] + i;
            const int64_t dim = attributes.dims[t];
            Tensor *indices = nullptr, *values = nullptr;
            const std::lock_guard<std::mutex> lock(allocation);
            TF_RETURN_IF_ERROR(context->allocate_output(part, TensorShape({counts[i]}), &indices));
            TF_RETURN_IF_ERROR(context->allocate_output(attributes.num_parts + part, TensorShape({counts[i], dim}), &values));
            outputs.push_back({indices->flat<Id>().data(), MutableDataOf<T>(values)});
            targets.push_back({inputs.tables[t].parts[i], nullptr, nullptr, inputs.partitions[t].part_rows(i), dim,
                               attributes.table_max_norms[t]});
          }
          embedding::WriteRows(*gradients, targets, outputs, starts, parallel);
          return absl::OkStatus();
        });
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
    TF_RETURN_IF_ERROR(ReadGradients<T>(context, attributes, inputs.NumRows(), &given));
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
      TF_RETURN_IF_ERROR(locked.MakeWritable(context, static_cast<int>(i), std::memcpy));
    }
    std::vector<const Tensor*> parts;
    for (int i = 0; i < num_parts; ++i) parts.push_back(locked.tensor(i));
    GroupInputs<T, Id> inputs;
    TF_RETURN_IF_ERROR(inputs.Read(context, attributes_, parts));
    std::vector<embedding::Slab<const B>> given;
    TF_RETURN_IF_ERROR(ReadGradients<T>(context, attributes_, inputs.NumRows(), &given));
    std::vector<std::vector<embedding::Target<B>>> targets(attributes_.dims.size());
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
        targets[t].push_back({inputs.tables[t].parts[i], slot[0], slot[1], inputs.partitions[t].part_rows(i), attributes_.dims[t],
                              attributes_.table_max_norms[t]});
      }
    }
    const Backward<T, Id> backward(attributes_, inputs);
    TF_RETURN_IF_ERROR(backward.CheckIds(context));  // before any row is written
    return backward.Run(context, given,
                        [&](size_t t, embedding::RowGradients<B>* gradients, const embedding::ParallelFor& parallel) {
                          embedding::UpdateRows(*gradients, targets[t], options, parallel);
                          return absl::OkStatus();
                        });
  }

  GroupAttributes attributes_;
  std::string optimizer_;
};

#define NANN_REGISTER(T, Id)                                                                                                    \
  REGISTER_KERNEL_BUILDER(                                                                                                      \
      Name("Nann>FusedEmbeddingLookup").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T").TypeConstraint<Id>("Tids"),       \
      Guarded<LookupOp<T, Id, false>>);                                                                                         \
  REGISTER_KERNEL_BUILDER(Name("Nann>FusedEmbeddingLookupResource")                                                             \
                              .Device(tensorflow::DEVICE_CPU)                                                                   \
                              .TypeConstraint<T>("T")                                                                           \
                              .TypeConstraint<Id>("Tids"),                                                                      \
                          Guarded<LookupOp<T, Id, true>>);                                                                      \
  REGISTER_KERNEL_BUILDER(                                                                                                      \
      Name("Nann>FusedEmbeddingGrad").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T").TypeConstraint<Id>("Tids"),         \
      Guarded<GradientOp<T, Id, false>>);                                                                                       \
  REGISTER_KERNEL_BUILDER(                                                                                                      \
      Name("Nann>FusedEmbeddingGradResource").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T").TypeConstraint<Id>("Tids"), \
      Guarded<GradientOp<T, Id, true>>);                                                                                        \
  REGISTER_KERNEL_BUILDER(                                                                                                      \
      Name("Nann>FusedEmbeddingWeightsGrad").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T").TypeConstraint<Id>("Tids"),  \
      Guarded<WeightsGradientOp<T, Id, false>>);                                                                                \
  REGISTER_KERNEL_BUILDER(Name("Nann>FusedEmbeddingWeightsGradResource")                                                        \
                              .Device(tensorflow::DEVICE_CPU)                                                                   \
                              .TypeConstraint<T>("T")                                                                           \
                              .TypeConstraint<Id>("Tids"),                                                                      \
                          Guarded<WeightsGradientOp<T, Id, true>>);                                                             \
  REGISTER_KERNEL_BUILDER(                                                                                                      \
      Name("Nann>FusedEmbeddingUpdate").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T").TypeConstraint<Id>("Tids"),       \
      Guarded<UpdateOp<T, Id>>);

NANN_FOR_EACH_TYPE(NANN_REGISTER)

}  // namespace
}  // namespace nann
