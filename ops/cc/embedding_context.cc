#include "ops/cc/embedding_context.h"

#include <atomic>
#include <thread>

#include "ops/cc/guarded.h"
#include "tensorflow/core/platform/denormal.h"

namespace nann {
namespace {

// Blocks of work that threads take until there are none left.
struct Blocks {
  std::atomic<int64_t> next{0}, done{0};
  int64_t n = 0, size = 1, count = 0;
  const std::function<void(int64_t, int64_t)>* work = nullptr;  // alive until all blocks are done
  FirstException exception;

  void Take() {
    const tensorflow::port::ScopedFlushDenormal flush;  // on whichever thread, the same bits
    int64_t block;
    while ((block = next.fetch_add(1, std::memory_order_relaxed)) < count) {
      exception.Catch([&] { (*work)(block* size, std::min(n, (block + 1) * size)); });
      done.fetch_add(1, std::memory_order_release);
    }
  }
};

}  // namespace

// Unlike Shard, the caller starts at once and never waits for a thread of the pool to wake up, only for blocks that one has
// begun. Waking a thread takes as long as a whole lookup of a small batch.
void ShareWork(tensorflow::thread::ThreadPool* pool, int num_threads, int64_t n, int64_t cost,
               const std::function<void(int64_t, int64_t)>& work) {
  constexpr int64_t kLeastNanoseconds = 10000, kBlocksPerThread = 16;
  if (n <= 0) return;
  const auto blocks = std::make_shared<Blocks>();
  blocks->n = n;
  blocks->size = std::max((n + num_threads * kBlocksPerThread - 1) / (num_threads * kBlocksPerThread),
                          (kLeastNanoseconds + cost - 1) / std::max<int64_t>(1, cost));
  blocks->count = (n + blocks->size - 1) / blocks->size;
  blocks->work = &work;
  for (int64_t helper = 1; helper < std::min<int64_t>(num_threads, blocks->count); ++helper) {
    pool->Schedule([blocks] { blocks->Take(); });
  }
  blocks->Take();
  constexpr int kSpins = 2000;
  for (int spin = 0; blocks->done.load(std::memory_order_acquire) < blocks->count; ++spin) {
    if (spin > kSpins) std::this_thread::yield();
  }
  blocks->exception.Rethrow();
}

absl::Status CheckHandle(const Tensor& tensor) {
  if (tensor.NumElements() == 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a table or slot is one handle of a variable, got a tensor of shape ", tensor.shape().DebugString()));
}

absl::Status GroupAttributes::Read(OpKernelConstruction* context) {
  std::vector<int> tables_of;
  std::vector<std::string> strategies, combiners;
  std::vector<float> max_norms;
  std::vector<int64_t> default_ids;
  std::vector<bool> prune, fill;
  int num_outputs = 0;
  std::vector<tensorflow::DataType> weight_types;
  TF_RETURN_IF_ERROR(context->GetAttr("num_parts", &num_parts));
  TF_RETURN_IF_ERROR(context->GetAttr("num_features", &num_features));
  TF_RETURN_IF_ERROR(context->GetAttr("Tweights", &weight_types));
  TF_RETURN_IF_ERROR(context->GetAttr("num_outputs", &num_outputs));
  TF_RETURN_IF_ERROR(context->GetAttr("concat", &concat));
  TF_RETURN_IF_ERROR(context->GetAttr("dims", &dims));
  TF_RETURN_IF_ERROR(context->GetAttr("table_parts", &table_parts));
  TF_RETURN_IF_ERROR(context->GetAttr("strategies", &strategies));
  TF_RETURN_IF_ERROR(context->GetAttr("tables_of", &tables_of));
  TF_RETURN_IF_ERROR(context->GetAttr("combiners", &combiners));
  TF_RETURN_IF_ERROR(context->GetAttr("max_norms", &max_norms));
  TF_RETURN_IF_ERROR(context->GetAttr("default_ids", &default_ids));
  TF_RETURN_IF_ERROR(context->GetAttr("prune", &prune));
  TF_RETURN_IF_ERROR(context->GetAttr("fill", &fill));
  TF_RETURN_IF_ERROR(context->GetAttr("weighted", &weighted));
  const size_t f = num_features;
  const int64_t num_weights = static_cast<int64_t>(weight_types.size());
  if (tables_of.size() != f || combiners.size() != f || max_norms.size() != f || default_ids.size() != f || prune.size() != f ||
      fill.size() != f || weighted.size() != f) {
    return absl::InvalidArgumentError(absl::StrCat("every attribute of the features needs ", f, " entries"));
  }
  if (table_parts.size() != dims.size() || strategies.size() != dims.size()) {
    return absl::InvalidArgumentError(absl::StrCat("table_parts and strategies need ", dims.size(), " entries, one per table"));
  }
  if (std::count(weighted.begin(), weighted.end(), true) != num_weights || num_outputs != (concat ? 1 : num_features)) {
    return absl::InvalidArgumentError(
        absl::StrCat("got ", num_weights, " weights and ", num_outputs, " outputs, which is not what the features ask for"));
  }
  int part = 0;
  for (size_t t = 0; t < dims.size(); ++t) {
    if (dims[t] < 1 || table_parts[t] < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("a table needs dim and parts of at least 1, got ", dims[t], " and ", table_parts[t]));
    }
    if (strategies[t] != "div" && strategies[t] != "mod") {
      return absl::InvalidArgumentError(absl::StrCat("a partition strategy must be div or mod, got ", strategies[t]));
    }
    mod.push_back(strategies[t] == "mod");
    first_part.push_back(part);
    part += table_parts[t];
  }
  if (part != num_parts) {
    return absl::InvalidArgumentError(absl::StrCat("table_parts must sum to the number of tables ", num_parts, ", got ", part));
  }
  table_max_norms.assign(dims.size(), -2);
  for (int i = 0; i < num_features; ++i) {
    embedding::Feature feature;
    feature.name = num_features == 1 ? "the feature" : absl::StrCat("feature ", i);
    if (tables_of[i] < 0 || tables_of[i] >= static_cast<int>(dims.size())) {
      return absl::InvalidArgumentError(absl::StrCat("tables_of must lie in [0, ", dims.size(), "), got ", tables_of[i]));
    }
    feature.table = tables_of[i];
    if (combiners[i] == "sum") {
      feature.combiner = embedding::Combiner::kSum;
    } else if (combiners[i] == "mean") {
      feature.combiner = embedding::Combiner::kMean;
    } else if (combiners[i] == "sqrtn") {
      feature.combiner = embedding::Combiner::kSqrtn;
    } else {
      return absl::InvalidArgumentError(absl::StrCat("a combiner must be sum, mean or sqrtn, got ", combiners[i]));
    }
    feature.max_norm = max_norms[i] < 0 ? -1 : max_norms[i];
    feature.default_id = default_ids[i];
    feature.prune = prune[i];
    feature.fill = fill[i];
    double& common = table_max_norms[feature.table];
    if (common != -2 && common != feature.max_norm) {
      return absl::InvalidArgumentError(
          absl::StrCat("features that share a table need the same max_norm, got ", common, " and ", feature.max_norm));
    }
    common = feature.max_norm;
    features.push_back(feature);
  }
  return absl::OkStatus();
}

absl::Status CheckDtype(const Tensor& tensor, tensorflow::DataType expected) {
  if (tensor.dtype() == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("tables, slots and weights must be of type ",
                                                 tensorflow::DataTypeString(expected), ", got ",
                                                 tensorflow::DataTypeString(tensor.dtype())));
}

absl::Status ReadUpdateOptions(const std::string& optimizer, const Tensor& tensor, embedding::UpdateOptions* options) {
  constexpr int kOptions = 10;
  if (tensor.NumElements() != kOptions) {
    return absl::InvalidArgumentError(absl::StrCat("options must be ", kOptions, " numbers, got ", tensor.NumElements()));
  }
  const auto values = tensor.flat<double>();
  options->optimizer = optimizer == "sgd"       ? embedding::Optimizer::kSgd
                       : optimizer == "adagrad" ? embedding::Optimizer::kAdagrad
                       : optimizer == "adam"    ? embedding::Optimizer::kAdam
                                                : embedding::Optimizer::kFtrl;
  options->learning_rate = values(0);
  options->beta_1 = values(1);
  options->beta_2 = values(2);
  options->epsilon = values(3);
  options->decay = values(4);
  options->decay_rate = values(5);
  options->l1 = values(6);
  options->l2 = values(7);
  options->power = values(8);
  return absl::OkStatus();
}

}  // namespace nann
