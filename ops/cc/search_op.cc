#include "ops/cc/search_op.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "ops/cc/guarded.h"

namespace nann {
namespace {

using tile::kTileItems;

void Prefetch(const float* item_embs, int64_t dim, const int64_t* positions, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const char* const row = reinterpret_cast<const char*>(item_embs + positions[i] * dim);
    for (int64_t byte = 0; byte < dim * static_cast<int64_t>(sizeof(float)); byte += 64) __builtin_prefetch(row + byte);
  }
}

}  // namespace

absl::Status SearchOp::ReadSearch(OpKernelContext* context, Search* search) const {
  TF_RETURN_IF_ERROR(ReadScalar(context, "batch", 0, kMostUsers, &search->batch));
  TF_RETURN_IF_ERROR(ReadScalar(context, "top_k", 1, kNoLimit, &search->top_k));
  const Tensor &ef = context->input(2), &rounds = context->input(3), &enter_points = context->input(4),
               &items = context->input(5);
  TF_RETURN_IF_ERROR(ReadItems(items));
  TF_RETURN_IF_ERROR(CheckTopK(search->top_k, items.dim_size(0)));
  if (!(TensorShapeUtils::IsVector(ef.shape()) && ef.shape() == rounds.shape() && ef.NumElements() >= 1)) {
    return absl::InvalidArgumentError(absl::StrCat("ef and rounds must be vectors of one length, got ", ef.shape().DebugString(),
                                                   " and ", rounds.shape().DebugString()));
  }
  search->num_items = items.dim_size(0);
  search->dim = items.dim_size(1);
  search->item_embs = items.flat<float>().data();
  search->entries = enter_points.flat<int64_t>().data();
  search->num_entries = enter_points.NumElements();
  for (int64_t i = 0; i < search->num_entries; ++i) {
    if (!(search->entries[i] >= 0 && search->entries[i] < search->num_items)) {
      return absl::InvalidArgumentError(
          absl::StrCat("enter_points must be in 0..", search->num_items - 1, ", got ", search->entries[i]));
    }
  }
  OpInputList values, splits;
  TF_RETURN_IF_ERROR(context->input_list("neighbor_values", &values));
  TF_RETURN_IF_ERROR(context->input_list("neighbor_row_splits", &splits));
  search->pool_size = search->top_k;
  for (int64_t level = 0; level < ef.NumElements(); ++level) {
    // More than all items are never among the best.
    const int64_t level_ef = std::clamp<int64_t>(ef.flat<int64_t>()(level), 1, search->num_items);
    search->pool_size = std::max(search->pool_size, level_ef);
    if (level >= values.size()) continue;
    if (!(splits[level].NumElements() == search->num_items + 1)) {
      return absl::InvalidArgumentError(absl::StrCat("row splits of level ", level, " must be [", search->num_items + 1,
                                                     "], got ", splits[level].shape().DebugString()));
    }
    search->levels.push_back({{values[level].flat<int32_t>().data(), values[level].NumElements(),
                               splits[level].flat<int64_t>().data(), search->num_items},
                              level_ef,
                              rounds.flat<int64_t>()(level)});
  }
  return absl::OkStatus();
}

absl::Status SearchOp::SearchAll(OpKernelContext* context, Search* search, const One& one) const {
  Tensor *positions = nullptr, *scores = nullptr, *items_scored = nullptr, *microseconds = nullptr;
  TF_RETURN_IF_ERROR(AllocateOutput(context, 0, {search->batch, search->top_k}, &positions));
  TF_RETURN_IF_ERROR(AllocateOutput(context, 1, {search->batch, search->top_k}, &scores));
  TF_RETURN_IF_ERROR(AllocateOutput(context, 2, {search->batch}, &items_scored));
  TF_RETURN_IF_ERROR(AllocateOutput(context, 3, {2}, &microseconds));
  TF_RETURN_IF_ERROR(ReadMemory(context, search->batch, search->num_items, &search->memory));
  if (has_memory()) TF_RETURN_IF_ERROR(ReadScalar(context, "memory_entries", 0, kNoLimit, &search->memory_entries));
  tile::Scorer scorer;
  TF_RETURN_IF_ERROR(Prepare(context, search->dim, search->batch, /*shared_items=*/false, &scorer));
  search->scorer = &scorer;
  const auto& workers = *context->device()->tensorflow_cpu_worker_threads();
  // Work is never divided within divided work: a thread that waits for others could keep them waiting.
  const bool by_user = search->batch >= workers.num_threads;
  std::atomic<int64_t> bad_user{-1}, bad_item{0}, walking{0}, scoring{0};
  const auto search_user = [&](int64_t user) {
    Times times;
    int64_t outside = 0;
    const Answer answer{positions->flat<int64_t>().data() + user * search->top_k,
                        scores->flat<float>().data() + user * search->top_k, items_scored->flat<int64_t>().data() + user};
    if (!one(user, by_user ? nullptr : &workers, answer, &times, &outside)) {
      bad_user = user;
      bad_item = outside;
    }
    walking += times.walking;
    scoring += times.scoring;
  };
  if (by_user) {
    const int64_t cost = CostPerTile(scorer, 1) * (search->pool_size / 4 + 1);
    ShardRanges(workers, search->batch, cost, [&search_user](int64_t begin, int64_t end) {
      for (int64_t user = begin; user < end; ++user) search_user(user);
    });
  } else {
    for (int64_t user = 0; user < search->batch; ++user) search_user(user);
  }
  microseconds->flat<int64_t>()(0) = walking / 1000;
  microseconds->flat<int64_t>()(1) = scoring / 1000;
  search->scorer = nullptr;
  if (bad_user < 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the walk of user ", bad_user.load(), " met item ", bad_item.load(),
                                                 ", which is outside 0..", search->num_items - 1,
                                                 ", or its row splits are not within the neighbour lists"));
}

void SearchOp::ScoreTiles(const Search& search, int64_t user, const int64_t* positions, int64_t count, int64_t first,
                          int64_t last, const float* remembered, float* scores) {
  float* const workspace = Workspace(search.scorer->workspace_size());
  const float* rows[kTileItems];
  for (int64_t number = first; number < last; ++number) {
    const int64_t begin = number * kTileItems, size = std::min(kTileItems, count - begin);
    if (number + 1 < last)
      Prefetch(search.item_embs, search.dim, positions + begin + kTileItems, std::min(kTileItems, count - begin - kTileItems));
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

void SearchOp::AddMemoryEntries(const Search& search, int64_t user, uint8_t* visited, std::vector<int64_t>* candidates) {
  const int64_t first = search.memory->row_splits[user], size = search.memory->row_splits[user + 1] - first;
  for (int64_t i = 0; i < std::min(size, search.memory_entries); ++i) {
    const int64_t position = search.memory->positions[first + i];
    if (!Visit(visited, position)) candidates->push_back(position);
  }
}

void SearchOp::ScoreItems(const Search& search, int64_t user, const Workers* workers, const int64_t* positions, int64_t count,
                          const float* remembered, float* scores) {
  const int64_t tiles = (count + kTileItems - 1) / kTileItems;
  const auto score = [&](int64_t first, int64_t last) {
    ScoreTiles(search, user, positions, count, first, last, remembered, scores);
  };
  if (workers == nullptr) {
    score(0, tiles);
  } else {
    ShardRanges(*workers, tiles, CostPerTile(*search.scorer, 1), score);
  }
}

}  // namespace nann
