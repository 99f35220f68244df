#include "ops/cc/scoring_op.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

namespace nann {
namespace {

constexpr double kFlopsPerCycle = 16;

absl::Status ReadVector(OpKernelContext* context, const char* name, int64_t size, const Tensor** tensor) {
  TF_RETURN_IF_ERROR(context->input(name, tensor));
  if (TensorShapeUtils::IsVector((*tensor)->shape()) && (*tensor)->NumElements() == size) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " must be [", size, "], got ", (*tensor)->shape().DebugString()));
}

}  // namespace

float* Workspace(int64_t size) {
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  static thread_local std::unique_ptr<float, Free> memory;
  static thread_local int64_t capacity = 0;
  if (capacity < size) {
    capacity = 0;
    memory.reset(static_cast<float*>(std::aligned_alloc(64, (size * sizeof(float) + 63) / 64 * 64)));
    if (memory == nullptr) throw std::bad_alloc();
    capacity = size;
  }
  return memory.get();
}

absl::Status ReadScalar(OpKernelContext* context, const char* name, int64_t least, int64_t most, int64_t* value) {
  const Tensor* tensor = nullptr;
  TF_RETURN_IF_ERROR(context->input(name, &tensor));
  if (!TensorShapeUtils::IsScalar(tensor->shape())) {
    return absl::InvalidArgumentError(absl::StrCat(name, " must be a scalar, got shape ", tensor->shape().DebugString()));
  }
  *value = tensor->scalar<int64_t>()();
  if (*value < least) return absl::InvalidArgumentError(absl::StrCat(name, " must be at least ", least, ", got ", *value));
  if (*value > most) return absl::InvalidArgumentError(absl::StrCat(name, " must be at most ", most, ", got ", *value));
  return absl::OkStatus();
}

absl::Status ReadItems(const Tensor& item_embs) {
  if (TensorShapeUtils::IsMatrix(item_embs.shape()) && item_embs.dim_size(0) >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("item_embs must be [N, D] with N at least 1, got ", item_embs.shape().DebugString()));
}

absl::Status CheckTopK(int64_t top_k, int64_t num_items) {
  constexpr int64_t kAlwaysAllowed = 65536;
  const int64_t most = std::max(num_items, kAlwaysAllowed);
  if (top_k <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("top_k must be at most ", most, " for ", num_items, " items, got ", top_k));
}

int64_t CostPerTile(const tile::Scorer& scorer, int64_t users) {
  return static_cast<int64_t>(users * tile::kTileItems * scorer.flops_per_item() / kFlopsPerCycle) + 1000;
}

ScoringOp::ScoringOp(OpKernelConstruction* context, bool has_memory) : OpKernel(context), has_memory_(has_memory) {
  std::string text;
  OP_REQUIRES_OK(context, context->GetAttr("program", &text));
  program_ = tile::Parse(text);
  OP_REQUIRES(context, program_.error.empty(), absl::InvalidArgumentError(program_.error));
}

absl::Status ScoringOp::Prepare(OpKernelContext* context, int64_t item_dim, int64_t batch, bool shared_items,
                                tile::Scorer* scorer) const {
  OpInputList inputs;
  TF_RETURN_IF_ERROR(context->input_list("parameters", &inputs));
  std::vector<tile::Parameter> parameters;
  for (int i = 0; i < inputs.size(); ++i) {
    const bool is_vector = program_.parameters.size() > i && program_.parameters[i] == tile::ParameterKind::kVector;
    const bool transposed = program_.parameters.size() > i && program_.parameters[i] == tile::ParameterKind::kTransposed;
    const TensorShape& shape = inputs[i].shape();
    if (shape.dims() != (is_vector ? 2 : 3)) {
      return absl::InvalidArgumentError(
          absl::StrCat("parameter ", i, " must have ", is_vector ? 2 : 3, " axes, got ", shape.DebugString()));
    }
    const int64_t second = shape.dim_size(1), third = is_vector ? 1 : shape.dim_size(2);
    parameters.push_back({inputs[i].flat<float>().data(), shape.dim_size(0),
                          is_vector    ? 1
                          : transposed ? third
                                       : second,
                          is_vector || transposed ? second : third});
  }
  const std::string problem = scorer->Prepare(program_, parameters, item_dim, batch, shared_items);
  return problem.empty() ? absl::OkStatus() : absl::InvalidArgumentError(problem);
}

absl::Status ScoringOp::ReadMemory(OpKernelContext* context, int64_t batch, int64_t num_items,
                                   std::optional<UserMemory>* memory) const {
  if (!has_memory_) return absl::OkStatus();
  const Tensor *row_splits = nullptr, *positions = nullptr, *values = nullptr, *item_scale = nullptr, *item_prior = nullptr;
  TF_RETURN_IF_ERROR(ReadVector(context, "memory_row_splits", batch + 1, &row_splits));
  TF_RETURN_IF_ERROR(context->input("memory_positions", &positions));
  const int64_t size = positions->NumElements();
  TF_RETURN_IF_ERROR(ReadVector(context, "memory_positions", size, &positions));
  TF_RETURN_IF_ERROR(ReadVector(context, "memory_values", size, &values));
  TF_RETURN_IF_ERROR(ReadVector(context, "item_scale", num_items, &item_scale));
  TF_RETURN_IF_ERROR(ReadVector(context, "item_prior", num_items, &item_prior));
  *memory = {row_splits->flat<int64_t>().data(), positions->flat<int64_t>().data(), values->flat<float>().data(), size,
             item_scale->flat<float>().data(),   item_prior->flat<float>().data()};
  const std::string problem = CheckMemory(**memory, batch, num_items);
  return problem.empty() ? absl::OkStatus() : absl::InvalidArgumentError(problem);
}

}  // namespace nann
