// Kernels of the ops that retrieve with a scorer given as a program.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "ops/cc/best_items.h"
#include "ops/cc/retrieval_walk.h"
#include "ops/cc/tile_program.h"
#include "ops/cc/user_memory.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/util/work_sharder.h"

namespace nann {
namespace {

using tensorflow::OpInputList;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::TensorShapeUtils;
using tile::kTileItems;

constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();
constexpr double kFlopsPerCycle = 16;  // for the sharder

// A thread's scratch memory, kept between calls: fresh pages cost as much as the arithmetic on them.
float* Workspace(int64_t size) {
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  static thread_local std::unique_ptr<float, Free> memory;
  static thread_local int64_t capacity = 0;
  if (capacity < size) {
    capacity = size;
    memory.reset(static_cast<float*>(std::aligned_alloc(64, (size * sizeof(float) + 63) / 64 * 64)));
  }
  return memory.get();
}

absl::Status ReadScalar(OpKernelContext* context, const char* name, int64_t least, int64_t* value) {
  const Tensor* tensor = nullptr;
  TF_RETURN_IF_ERROR(context->input(name, &tensor));
  if (!TensorShapeUtils::IsScalar(tensor->shape())) {
    return absl::InvalidArgumentError(absl::StrCat(name, " must be a scalar, got shape ", tensor->shape().DebugString()));
  }
  *value = tensor->scalar<int64_t>()();
  if (*value < least) return absl::InvalidArgumentError(absl::StrCat(name, " must be at least ", least, ", got ", *value));
  return absl::OkStatus();
}

absl::Status ReadItems(const Tensor& item_embs) {
  if (TensorShapeUtils::IsMatrix(item_embs.shape()) && item_embs.dim_size(0) >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("item_embs must be [N, D] with N at least 1, got ", item_embs.shape().DebugString()));
}

absl::Status ReadVector(OpKernelContext* context, const char* name, int64_t size, const Tensor** tensor) {
  TF_RETURN_IF_ERROR(context->input(name, tensor));
  if (TensorShapeUtils::IsVector((*tensor)->shape()) && (*tensor)->NumElements() == size) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " must be [", size, "], got ", (*tensor)->shape().DebugString()));
}

// What the ops have in common: the program, the scorer it makes with the parameters of a call, and the users' memories.
class ScoringOp : public OpKernel {
 public:
  explicit ScoringOp(OpKernelConstruction* context, bool has_memory = false) : OpKernel(context), has_memory_(has_memory) {
    std::string text;
    OP_REQUIRES_OK(context, context->GetAttr("program", &text));
    program_ = tile::Parse(text);
    OP_REQUIRES(context, program_.error.empty(), absl::InvalidArgumentError(program_.error));
  }

 protected:
  absl::Status Prepare(OpKernelContext* context, int64_t item_dim, int64_t batch, bool shared_items, tile::Scorer* scorer) const {
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

  // The memories of a call, checked; nothing for an op without.
  absl::Status ReadMemory(OpKernelContext* context, int64_t batch, int64_t num_items, std::optional<UserMemory>* memory) const {
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

  bool has_memory() const { return has_memory_; }

 private:
  tile::Program program_;
  bool has_memory_;
};

int64_t CostPerTile(const tile::Scorer& scorer, int64_t users) {
  return static_cast<int64_t>(users * kTileItems * scorer.flops_per_item() / kFlopsPerCycle) + 1000;
}

class BeamSearchOp : public ScoringOp {
 public:
  using ScoringOp::ScoringOp;

  void Compute(OpKernelContext* context) override {
    Search search;
    OP_REQUIRES_OK(context, ReadScalar(context, "batch", 0, &search.batch));
    OP_REQUIRES_OK(context, ReadScalar(context, "top_k", 1, &search.top_k));
    const Tensor &ef = context->input(2), &rounds = context->input(3), &enter_points = context->input(4),
                 &items = context->input(5);
    OP_REQUIRES_OK(context, ReadItems(items));
    OP_REQUIRES(context, TensorShapeUtils::IsVector(ef.shape()) && ef.shape() == rounds.shape() && ef.NumElements() >= 1,
                absl::InvalidArgumentError(absl::StrCat("ef and rounds must be vectors of one length, got ",
                                                        ef.shape().DebugString(), " and ", rounds.shape().DebugString())));
    search.num_items = items.dim_size(0);
    search.dim = items.dim_size(1);
    search.item_embs = items.flat<float>().data();
    search.entries = enter_points.flat<int64_t>().data();
    search.num_entries = enter_points.NumElements();
    for (int64_t i = 0; i < search.num_entries; ++i) {
      OP_REQUIRES(context, search.entries[i] >= 0 && search.entries[i] < search.num_items,
                  absl::InvalidArgumentError(
                      absl::StrCat("enter_points must be in 0..", search.num_items - 1, ", got ", search.entries[i])));
    }
    OpInputList values, splits;
    OP_REQUIRES_OK(context, context->input_list("neighbor_values", &values));
    OP_REQUIRES_OK(context, context->input_list("neighbor_row_splits", &splits));
    search.pool_size = search.top_k;
    for (int64_t level = 0; level < ef.NumElements(); ++level) {
      search.pool_size = std::max<int64_t>(search.pool_size, ef.flat<int64_t>()(level));
      if (level >= values.size()) continue;
      OP_REQUIRES(context, splits[level].NumElements() == search.num_items + 1,
                  absl::InvalidArgumentError(absl::StrCat("row splits of level ", level, " must be [", search.num_items + 1,
                                                          "], got ", splits[level].shape().DebugString())));
      search.levels.push_back({{values[level].flat<int32_t>().data(), values[level].NumElements(),
                                splits[level].flat<int64_t>().data(), search.num_items},
                               std::max<int64_t>(ef.flat<int64_t>()(level), 1),
                               rounds.flat<int64_t>()(level)});
    }
    OP_REQUIRES_OK(context, ReadMemory(context, search.batch, search.num_items, &search.memory));
    if (has_memory()) OP_REQUIRES_OK(context, ReadScalar(context, "memory_entries", 0, &search.memory_entries));
    tile::Scorer scorer;
    OP_REQUIRES_OK(context, Prepare(context, search.dim, search.batch, /*shared_items=*/false, &scorer));
    search.scorer = &scorer;

    Tensor *positions = nullptr, *scores = nullptr, *items_scored = nullptr, *microseconds = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({search.batch, search.top_k}), &positions));
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({search.batch, search.top_k}), &scores));
    OP_REQUIRES_OK(context, context->allocate_output(2, TensorShape({search.batch}), &items_scored));
    OP_REQUIRES_OK(context, context->allocate_output(3, TensorShape({2}), &microseconds));
    const auto& workers = *context->device()->tensorflow_cpu_worker_threads();
    // Work is never divided within divided work: a thread that waits for others could keep them waiting.
    const bool by_user = search.batch >= workers.num_threads;
    std::atomic<int64_t> bad_user{-1}, walking{0}, scoring{0};
    const auto one = [&](int64_t user) {
      Times times;
      if (!SearchOne(search, user, by_user ? nullptr : &workers, positions->flat<int64_t>().data() + user * search.top_k,
                     scores->flat<float>().data() + user * search.top_k, items_scored->flat<int64_t>().data() + user, &times)) {
        bad_user = user;
      }
      walking += times.walking;
      scoring += times.scoring;
    };
    if (by_user) {
      const int64_t cost = CostPerTile(scorer, 1) * (search.pool_size / 4 + 1);
      tensorflow::Shard(workers.num_threads, workers.workers, search.batch, cost, [&one](int64_t begin, int64_t end) {
        for (int64_t user = begin; user < end; ++user) one(user);
      });
    } else {
      for (int64_t user = 0; user < search.batch; ++user) one(user);
    }
    microseconds->flat<int64_t>()(0) = walking / 1000;
    microseconds->flat<int64_t>()(1) = scoring / 1000;
    OP_REQUIRES(context, bad_user < 0,
                absl::InvalidArgumentError(absl::StrCat("the walk of user ", bad_user.load(), " met an item outside 0..",
                                                        search.num_items - 1, " or row splits outside the neighbour lists")));
  }

 private:
  struct Level {
    NeighborTable table;
    int64_t ef, rounds;
  };
  struct Search {
    int64_t batch, top_k, pool_size, num_items, dim, num_entries;
    int64_t memory_entries = 0;
    std::optional<UserMemory> memory;
    const float* item_embs;
    const int64_t* entries;
    std::vector<Level> levels;
    const tile::Scorer* scorer;
  };
  struct Times {
    int64_t walking = 0, scoring = 0;  // nanoseconds
  };
  using Clock = std::chrono::steady_clock;
  using Workers = tensorflow::DeviceBase::CpuWorkerThreads;

  static int64_t Nanoseconds(Clock::time_point begin) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin).count();
  }

  static void Prefetch(const Search& search, const int64_t* positions, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const char* const row = reinterpret_cast<const char*>(search.item_embs + positions[i] * search.dim);
      for (int64_t byte = 0; byte < search.dim * static_cast<int64_t>(sizeof(float)); byte += 64) __builtin_prefetch(row + byte);
    }
  }

  // `remembered`: the user's memory as [N], or nullptr for an op without memory.
  static void ScoreTiles(const Search& search, int64_t user, const int64_t* positions, int64_t count, int64_t first, int64_t last,
                         const float* remembered, float* scores) {
    float* const workspace = Workspace(search.scorer->workspace_size());
    const float* rows[kTileItems];
    for (int64_t number = first; number < last; ++number) {
      const int64_t begin = number * kTileItems, size = std::min(kTileItems, count - begin);
      if (number + 1 < last) Prefetch(search, positions + begin + kTileItems, std::min(kTileItems, count - begin - kTileItems));
      for (int64_t i = 0; i < size; ++i) rows[i] = search.item_embs + positions[begin + i] * search.dim;
      search.scorer->Load(rows, size, workspace);
      const float* const logits = search.scorer->RunUser(user, workspace);
      if (remembered == nullptr) {
        std::memcpy(scores + begin, logits, size * sizeof(float));
        continue;
      }
      for (int64_t i = begin; i < begin + size; ++i) {
        scores[i] = Adjusted(*search.memory, positions[i], logits[i - begin]) + remembered[positions[i]];
      }
    }
  }

  static bool SearchOne(const Search& search, int64_t user, const Workers* workers, int64_t* positions_out, float* scores_out,
                        int64_t* items_scored, Times* times) {
    const Clock::time_point begin = Clock::now();
    std::vector<uint8_t> bitmap(BitmapBytes(search.num_items), 0);
    std::vector<int64_t> candidates(search.entries, search.entries + search.num_entries), frontier;
    for (const int64_t entry : candidates) Visit(bitmap.data(), entry);
    std::vector<float> scores;
    std::optional<DenseMemory> remembered;
    if (search.memory) remembered.emplace(*search.memory, user, search.num_items);
    std::vector<int64_t> positions[2] = {std::vector<int64_t>(search.pool_size, -1), std::vector<int64_t>(search.pool_size, -1)};
    std::vector<float> best[2] = {std::vector<float>(search.pool_size, kNegativeInfinity),
                                  std::vector<float>(search.pool_size, kNegativeInfinity)};
    int current = 0;
    *items_scored = 0;
    const auto score_and_merge = [&](int64_t ef) {
      const Clock::time_point scoring = Clock::now();
      const int64_t count = static_cast<int64_t>(candidates.size()), tiles = (count + kTileItems - 1) / kTileItems;
      scores.resize(count);
      const auto score = [&](int64_t first, int64_t last) {
        ScoreTiles(search, user, candidates.data(), count, first, last, remembered ? remembered->values() : nullptr,
                   scores.data());
      };
      if (workers == nullptr) {
        score(0, tiles);
      } else {
        tensorflow::Shard(workers->num_threads, workers->workers, tiles, CostPerTile(*search.scorer, 1), score);
      }
      times->scoring += Nanoseconds(scoring);
      frontier.clear();
      MergeTopEf({positions[current].data(), best[current].data(), search.pool_size}, candidates.data(), scores.data(), count, ef,
                 {positions[1 - current].data(), best[1 - current].data(), search.pool_size}, &frontier);
      current = 1 - current;
      *items_scored += count;
    };
    score_and_merge(0);
    if (search.memory_entries > 0) {
      candidates.clear();
      const int64_t first = search.memory->row_splits[user], size = search.memory->row_splits[user + 1] - first;
      for (int64_t i = 0; i < std::min(size, search.memory_entries); ++i) {
        const int64_t position = search.memory->positions[first + i];
        if (!Visit(bitmap.data(), position)) candidates.push_back(position);
      }
      score_and_merge(0);
    }
    for (auto level = search.levels.rbegin(); level != search.levels.rend(); ++level) {
      frontier.clear();
      for (int64_t i = 0; i < level->ef && positions[current][i] >= 0; ++i) frontier.push_back(positions[current][i]);
      for (int64_t round = 0; round < level->rounds && !frontier.empty(); ++round) {
        candidates.clear();
        const int64_t size = static_cast<int64_t>(frontier.size());
        if (ExpandFrontier(level->table, frontier.data(), size, bitmap.data(), &candidates) != -1) return false;
        score_and_merge(level->ef);
      }
    }
    std::copy_n(positions[current].begin(), search.top_k, positions_out);
    std::copy_n(best[current].begin(), search.top_k, scores_out);
    times->walking = Nanoseconds(begin) - times->scoring;
    return true;
  }
};

class ScanItemsOp : public ScoringOp {
 public:
  using ScoringOp::ScoringOp;

  void Compute(OpKernelContext* context) override {
    int64_t batch = 0, top_k = 0;
    OP_REQUIRES_OK(context, ReadScalar(context, "batch", 0, &batch));
    OP_REQUIRES_OK(context, ReadScalar(context, "top_k", 1, &top_k));
    const Tensor& items = context->input(2);
    OP_REQUIRES_OK(context, ReadItems(items));
    const int64_t count = items.dim_size(0), dim = items.dim_size(1);
    const float* const table = items.flat<float>().data();
    tile::Scorer scorer;
    OP_REQUIRES_OK(context, Prepare(context, dim, batch, /*shared_items=*/true, &scorer));
    std::optional<UserMemory> memory;
    OP_REQUIRES_OK(context, ReadMemory(context, batch, count, &memory));
    const auto& workers = *context->device()->tensorflow_cpu_worker_threads();
    std::vector<Remembered> remembered;
    if (memory) remembered = ByPosition(*memory, batch, workers);
    std::vector<Best> best(batch, Best(top_k));
    absl::Mutex mutex;
    const auto scan = [&](int64_t first, int64_t last) {
      float* const workspace = Workspace(scorer.workspace_size());
      std::vector<Best> own(batch, Best(top_k));
      std::vector<int64_t> remembered_from =
          memory ? FirstFrom(*memory, remembered, batch, first * kTileItems) : std::vector<int64_t>();
      float adjusted[kTileItems];
      const float* rows[kTileItems];
      for (int64_t number = first; number < last; ++number) {
        const int64_t begin = number * kTileItems, size = std::min(kTileItems, count - begin);
        for (int64_t i = 0; i < size; ++i) rows[i] = table + (begin + i) * dim;
        const char* const next = reinterpret_cast<const char*>(table + (begin + size) * dim);
        const int64_t ahead = std::min(kTileItems, count - begin - size) * dim * static_cast<int64_t>(sizeof(float));
        for (int64_t byte = 0; byte < ahead; byte += 64) __builtin_prefetch(next + byte);
        scorer.Load(rows, size, workspace);
        scorer.RunShared(workspace);
        for (int64_t user = 0; user < batch; ++user) {
          const float* scores = scorer.RunUser(user, workspace);
          if (memory) {
            for (int64_t i = 0; i < size; ++i) adjusted[i] = Adjusted(*memory, begin + i, scores[i]);
            for (int64_t& at = remembered_from[user]; at < memory->row_splits[user + 1] && remembered[at].position < begin + size;
                 ++at) {
              adjusted[remembered[at].position - begin] += remembered[at].value;
            }
            scores = adjusted;
          }
          for (int64_t i = 0; i < size; ++i) own[user].Add(scores[i], begin + i);
        }
      }
      const absl::MutexLock lock(&mutex);
      for (int64_t user = 0; user < batch; ++user) best[user].Add(own[user]);
    };
    const int64_t tiles = (count + kTileItems - 1) / kTileItems;
    if (batch > 0) tensorflow::Shard(workers.num_threads, workers.workers, tiles, CostPerTile(scorer, batch), scan);
    Tensor *positions = nullptr, *scores = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({batch, top_k}), &positions));
    OP_REQUIRES_OK(context, context->allocate_output(1, TensorShape({batch, top_k}), &scores));
    for (int64_t user = 0; user < batch; ++user) {
      best[user].Write(positions->flat<int64_t>().data() + user * top_k, scores->flat<float>().data() + user * top_k);
    }
  }

 private:
  struct Remembered {
    int64_t position;
    float value;
  };
  using Workers = tensorflow::DeviceBase::CpuWorkerThreads;

  // The memories with each user's entries in the order of positions, as tiles are.
  static std::vector<Remembered> ByPosition(const UserMemory& memory, int64_t batch, const Workers& workers) {
    std::vector<Remembered> entries(memory.size);
    constexpr int64_t kCyclesPerEntry = 100;  // for the sharder
    const auto sort = [&](int64_t first, int64_t last) {
      const int64_t begin = memory.row_splits[first], end = memory.row_splits[last];
      for (int64_t i = begin; i < end; ++i) entries[i] = {memory.positions[i], memory.values[i]};
      for (int64_t user = first; user < last; ++user) {
        std::sort(entries.begin() + memory.row_splits[user], entries.begin() + memory.row_splits[user + 1],
                  [](const Remembered& a, const Remembered& b) { return a.position < b.position; });
      }
    };
    if (batch > 0) {
      tensorflow::Shard(workers.num_threads, workers.workers, batch, (memory.size / batch + 1) * kCyclesPerEntry, sort);
    }
    return entries;
  }

  // Per user, where the entries from a position on begin.
  static std::vector<int64_t> FirstFrom(const UserMemory& memory, const std::vector<Remembered>& entries, int64_t batch,
                                        int64_t position) {
    std::vector<int64_t> first(batch);
    for (int64_t user = 0; user < batch; ++user) {
      const auto begin = entries.begin() + memory.row_splits[user], end = entries.begin() + memory.row_splits[user + 1];
      first[user] =
          std::lower_bound(begin, end, position, [](const Remembered& entry, int64_t least) { return entry.position < least; }) -
          entries.begin();
    }
    return first;
  }
};

class BeamSearchMemoryOp : public BeamSearchOp {
 public:
  explicit BeamSearchMemoryOp(OpKernelConstruction* context) : BeamSearchOp(context, /*has_memory=*/true) {}
};

class ScanItemsMemoryOp : public ScanItemsOp {
 public:
  explicit ScanItemsMemoryOp(OpKernelConstruction* context) : ScanItemsOp(context, /*has_memory=*/true) {}
};

REGISTER_KERNEL_BUILDER(Name("Nann>BeamSearch").Device(tensorflow::DEVICE_CPU), BeamSearchOp);
REGISTER_KERNEL_BUILDER(Name("Nann>ScanItems").Device(tensorflow::DEVICE_CPU), ScanItemsOp);
REGISTER_KERNEL_BUILDER(Name("Nann>BeamSearchMemory").Device(tensorflow::DEVICE_CPU), BeamSearchMemoryOp);
REGISTER_KERNEL_BUILDER(Name("Nann>ScanItemsMemory").Device(tensorflow::DEVICE_CPU), ScanItemsMemoryOp);

}  // namespace
}  // namespace nann
