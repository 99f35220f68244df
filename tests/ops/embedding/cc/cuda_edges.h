// Edges of the CUDA launchers: positions, refusals, rows of up to 70,000 ids, many features in one call, given rows, nothing at
// all, and memory beyond 2^31 values.

#ifndef NANN_TESTS_OPS_EMBEDDING_CC_CUDA_EDGES_H_
#define NANN_TESTS_OPS_EMBEDDING_CC_CUDA_EDGES_H_

#include "cuda_testing.h"

namespace cuda_testing {

template <typename T, typename Id>
void Positions(std::mt19937* random) {
  Memory memory;
  const int64_t rows = 9, dim = 5, count = 300, width = 8;
  std::vector<T> table(rows * dim);
  for (T& value : table) Store(std::round((*random)() % 100) / 8, &value);
  std::vector<Id> ids;
  for (int64_t k = 0; k < count; ++k) ids.push_back(static_cast<Id>((*random)() % rows));
  T* const out = memory.Patterned<T>(count * width);
  int64_t* const bad = memory.NoBad();
  Check(cuda::Positions(nullptr, memory.Put(table), rows, dim, memory.Put(ids), count, out + 2, width, bad));
  const std::vector<T> found = Memory::Get(out, count * width);
  for (int64_t k = 0; k < count; ++k) {
    for (int64_t i = 0; i < dim; ++i) {
      const double expected = ids[k] == 0 ? 0 : Value(table[ids[k] * dim + i]);
      if (Value(found[k * width + 2 + i]) != expected) Fail("positions");
    }
  }
  if (Memory::Get(bad, 1)[0] != cuda::kNoBadPlace) Fail("a good position was noted");
  ids[17] = static_cast<Id>(rows);
  ids[40] = -1;
  Check(cuda::Positions(nullptr, memory.Put(table), rows, dim, memory.Put(ids), count, out + 2, width, bad));
  if (Memory::Get(bad, 1)[0] != 17) Fail("the first bad position");
}

inline void Refusals() {
  Memory memory;
  int64_t* const bad = static_cast<int64_t*>(memory.Allocate(sizeof(int64_t)));
  const std::vector<int64_t> ids = {1, int64_t{1} << 62, 5, -1};
  cuda::FeatureView<float, int64_t> feature = {};
  feature.parts[0] = memory.Put(std::vector<float>(8, 1.0f));
  feature.num_parts = 1;
  feature.prune = true;
  feature.table_rows = 4;
  feature.dim = feature.stride = 2;
  feature.default_id = -1;
  feature.max_norm = -1;
  feature.ids = memory.Put(ids);
  feature.num_rows = 1;
  feature.num_ids = 4;
  feature.pooled = memory.New<float>(2);
  feature.bad = bad;
  const auto noted = [&](const std::vector<int64_t>& splits) {
    feature.splits = memory.Put(splits);
    Check(cuda::FillBytes(nullptr, bad, 0x7f, sizeof(int64_t)));
    Check(cuda::Forward(nullptr, &feature, 1));
    return Memory::Get(bad, 1)[0];
  };
  if (noted({0, 4}) != 1) Fail("an id past the table");
  if (Memory::Get(feature.pooled, 2) != std::vector<float>(2, 1.0f)) Fail("what a bad id contributes");
  for (const auto& splits : {std::vector<int64_t>{0, 5}, {3, 1}, {1, 4}, {0, 3}}) {
    if (noted(splits) != cuda::kBadSplits) Fail("row splits that do not fit");
  }
  feature.num_ids = 0;
  feature.fill = true;
  feature.default_id = 4;
  if (noted({0, 0}) != cuda::kBadDefault) Fail("a default id past the table");
}

// A feature of one table without parts; ids in ragged form.
template <typename T, typename Id>
struct Simple {
  std::vector<T> table;
  std::vector<Id> ids;
  std::vector<int64_t> splits = {0};
  cuda::FeatureView<T, Id> feature = {};

  void Place(Memory* memory, int64_t dim, cuda::Pooling pooling, int64_t stride) {
    feature.parts[0] = memory->Put(table);
    feature.num_parts = 1;
    feature.pooling = pooling;
    feature.prune = feature.fill = true;
    feature.table_rows = static_cast<int64_t>(table.size()) / dim;
    feature.dim = dim;
    feature.default_id = feature.max_norm = -1;
    feature.ids = memory->Put(ids);
    feature.splits = memory->Put(splits);
    feature.num_rows = static_cast<int64_t>(splits.size()) - 1;
    feature.num_ids = static_cast<int64_t>(ids.size());
    feature.stride = stride;
    feature.bad = memory->NoBad();
  }
};

// The dense gradient of parts: their rows in turn.
template <typename T, typename Id>
std::vector<double> GradientOf(Memory* memory, const std::vector<cuda::FeatureView<T, Id>>& features,
                               std::vector<cuda::PartView<T>> parts) {
  int64_t count = 0, keys = 0, values = 0;
  for (const auto& feature : features) count += cuda::ContributionsOf(feature);
  for (const auto& part : parts) keys += part.num_rows, values += part.num_rows * part.dim;
  cuda::Contributions<T> contributions;
  cuda::RowSums<T> sums;
  const int num_parts = static_cast<int>(parts.size());
  Check(cuda::Allocate(nullptr, memory, count, keys, &contributions));
  Check(cuda::AddLookups(nullptr, features.data(), static_cast<int>(features.size()), contributions));
  Check(cuda::SortRows(nullptr, memory, contributions, parts.data(), num_parts, &sums));
  Check(cuda::SumRows(nullptr, memory, &sums));
  const std::vector<int64_t> starts = Memory::Get(sums.part_starts, parts.size() + 1);
  for (int p = 0; p < num_parts; ++p) {
    parts[p].indices = memory->New<Id>(starts[p + 1] - starts[p]);
    parts[p].values = memory->New<T>((starts[p + 1] - starts[p]) * parts[p].dim);
  }
  Check(cuda::WriteRows<T, Id>(nullptr, memory, parts.data(), &sums));
  std::vector<double> dense(values, 0.0);
  int64_t first = 0;
  for (int p = 0; p < num_parts; ++p) {
    const int64_t rows = starts[p + 1] - starts[p], dim = parts[p].dim;
    const std::vector<Id> indices = Memory::Get(static_cast<const Id*>(parts[p].indices), rows);
    const std::vector<T> found = Memory::Get(parts[p].values, rows * dim);
    for (int64_t u = 0; u < rows; ++u) {
      for (int64_t i = 0; i < dim; ++i) dense[first + indices[u] * dim + i] = Value(found[u * dim + i]);
    }
    first += parts[p].num_rows * dim;
  }
  return dense;
}

// Rows of 1 to 70,000 ids, at and about the number from which a block sums a row.
template <typename T>
void LongRows(std::mt19937* random, bool quick) {
  const int64_t dim = 3, rows = 200;
  Memory memory;
  Simple<T, int64_t> lookup;
  lookup.table = Exact<T>(random, rows * dim);
  int64_t id = 0;
  for (const int64_t length : {1, 0, 64, 65, 66, 255, 1000, quick ? 3000 : 70000}) {
    // Each row has ids of its own, mostly one, so that a row of the table gets about as many contributions.
    for (int64_t k = 0; k < length; ++k) lookup.ids.push_back(k % 50 == 49 ? rows - 1 : id);
    lookup.splits.push_back(static_cast<int64_t>(lookup.ids.size()));
    ++id;
  }
  lookup.Place(&memory, dim, cuda::Pooling::kMean, dim);
  const int64_t batch = lookup.feature.num_rows;
  const std::vector<T> gradient = Exact<T>(random, batch * dim);
  lookup.feature.pooled = memory.New<T>(batch * dim);
  lookup.feature.gradient = memory.Put(gradient);
  Check(cuda::Forward(nullptr, &lookup.feature, 1));
  const std::vector<T> pooled = Memory::Get(lookup.feature.pooled, batch * dim);
  const std::vector<double> dense = GradientOf<T, int64_t>(
      &memory, {lookup.feature}, {{lookup.feature.parts[0], nullptr, nullptr, 0, rows, dim, -1, nullptr, nullptr}});
  std::vector<double> expected(batch * dim, 0.0), expected_gradient(rows * dim, 0.0);
  for (int64_t r = 0; r < batch; ++r) {
    const double length = static_cast<double>(lookup.splits[r + 1] - lookup.splits[r]);
    for (int64_t k = lookup.splits[r]; k < lookup.splits[r + 1]; ++k) {
      for (int64_t i = 0; i < dim; ++i) {
        expected[r * dim + i] += Value(lookup.table[lookup.ids[k] * dim + i]) / length;
        expected_gradient[lookup.ids[k] * dim + i] += Value(gradient[r * dim + i]) / length;
      }
    }
  }
  const double tolerance = sizeof(T) == 2 ? 0.01 : sizeof(T) == 4 ? 1e-4 : 1e-9;
  for (int64_t i = 0; i < batch * dim; ++i) {
    if (!Close(expected[i], Value(pooled[i]), tolerance)) Fail("a long row");
  }
  for (int64_t i = 0; i < rows * dim; ++i) {
    if (!Close(expected_gradient[i], dense[i], tolerance)) Fail("the gradient of long rows");
  }
  ++cases;
}

// More features than a launch takes, of several tables and dims, into one concatenated output; then each by itself: equal bits.
template <typename T>
void ManyFeatures(std::mt19937* random) {
  constexpr int kFeatures = 30, kTables = 3;
  const int64_t dims[kTables] = {4, 20, 9}, rows[kTables] = {17, 5, 40}, batch = 11;
  Memory memory;
  std::vector<T> tables[kTables];
  T* placed[kTables];
  int64_t first_keys[kTables], first_values[kTables], keys = 0, values = 0, width = 0;
  std::vector<cuda::PartView<T>> parts;
  for (int t = 0; t < kTables; ++t) {
    tables[t] = Exact<T>(random, rows[t] * dims[t]);
    placed[t] = memory.Put(tables[t]);
    parts.push_back({placed[t], nullptr, nullptr, keys, rows[t], dims[t], -1, nullptr, nullptr});
    first_keys[t] = keys;
    first_values[t] = values;
    keys += rows[t];
    values += rows[t] * dims[t];
  }
  std::vector<Simple<T, int32_t>> lookups(kFeatures);
  std::vector<cuda::FeatureView<T, int32_t>> features;
  for (int f = 0; f < kFeatures; ++f) width += dims[f % kTables];
  T* const out = memory.Patterned<T>(batch * width);
  const std::vector<T> gradient = Exact<T>(random, batch * width);
  const T* const placed_gradient = memory.Put(gradient);
  std::vector<double> expected(values, 0.0);
  int64_t column = 0, slot = 0;
  for (int f = 0; f < kFeatures; ++f) {
    const int t = f % kTables;
    Simple<T, int32_t>& lookup = lookups[f];
    lookup.table = tables[t];
    for (int64_t r = 0; r < batch; ++r) {
      for (int64_t k = (*random)() % 4; k > 0; --k) {
        const int32_t id = static_cast<int32_t>((*random)() % rows[t]);
        lookup.ids.push_back(id);
        for (int64_t i = 0; i < dims[t]; ++i) {
          expected[first_values[t] + id * dims[t] + i] += Value(gradient[r * width + column + i]);
        }
      }
      lookup.splits.push_back(static_cast<int64_t>(lookup.ids.size()));
    }
    lookup.Place(&memory, dims[t], cuda::Pooling::kSum, width);
    lookup.feature.parts[0] = placed[t];
    lookup.feature.pooled = out + column;
    lookup.feature.gradient = placed_gradient + column;
    lookup.feature.first_key = first_keys[t];
    lookup.feature.first_slot = slot;
    slot += cuda::ContributionsOf(lookup.feature);
    column += dims[t];
    features.push_back(lookup.feature);
  }
  Check(cuda::Forward(nullptr, features.data(), kFeatures));
  const std::vector<T> together = Memory::Get(out, batch * width);
  T* const alone = memory.Patterned<T>(batch * width);
  for (auto feature : features) {
    feature.pooled = alone + (feature.pooled - out);
    Check(cuda::Forward(nullptr, &feature, 1));
  }
  // A launch with wide rows beside narrow ones takes wider groups, which changes no sum here: each column is one lane's.
  if (std::memcmp(Memory::Get(alone, batch * width).data(), together.data(), batch * width * sizeof(T)) != 0)
    Fail("many features");
  const std::vector<double> dense = GradientOf<T, int32_t>(&memory, features, parts);
  for (int64_t i = 0; i < values; ++i) {
    if (!Close(expected[i], dense[i], sizeof(T) == 2 ? 0.02 : 1e-5)) Fail("the gradient of many features");
  }
  ++cases;
}

// Rows with their ids given, some of them outside the table: gradients added up, and one step of each optimizer.
template <typename T, typename Id>
void GivenRows(std::mt19937* random) {
  const int64_t rows = 13, dim = 37, count = 150;
  const std::vector<T> table = Exact<T>(random, rows * dim), gradient = Exact<T>(random, count * dim);
  std::vector<Id> ids;
  for (int64_t k = 0; k < count; ++k) ids.push_back(static_cast<Id>(k < 80 ? 5 : (*random)() % rows));
  ids[20] = static_cast<Id>(rows);
  ids[90] = -2;
  std::vector<double> sums(rows * dim, 0.0);
  std::vector<bool> touched(rows, false);
  for (int64_t k = 0; k < count; ++k) {
    if (ids[k] < 0 || ids[k] >= rows) continue;
    touched[ids[k]] = true;
    for (int64_t i = 0; i < dim; ++i) sums[ids[k] * dim + i] += Value(gradient[k * dim + i]);
  }
  for (const Optimizer optimizer : {Optimizer::kSgd, Optimizer::kAdagrad, Optimizer::kAdam, Optimizer::kFtrl}) {
    Memory memory;
    const UpdateOptions options = {optimizer, 0.125, 0.9, 0.999, 1e-8, 0.01, 0.1, 0.1, 0.1, -0.75};
    std::vector<T> ones(rows * dim);
    for (T& value : ones) Store(1, &value);
    const cuda::PartView<T> part = {memory.Put(table), memory.Put(ones), memory.Put(ones), 0, rows, dim, -1, nullptr, nullptr};
    int64_t* const bad = memory.NoBad();
    cuda::Contributions<T> contributions;
    cuda::RowSums<T> found;
    Check(cuda::Allocate(nullptr, &memory, count, rows, &contributions));
    Check(cuda::AddRows(nullptr, memory.Put(ids), count, rows, false, memory.Put(gradient), dim, 0, 0, contributions, bad));
    Check(cuda::SortRows(nullptr, &memory, contributions, &part, 1, &found));
    Check(cuda::SumRows(nullptr, &memory, &found));
    Check(cuda::UpdateRows(nullptr, options, found));
    if (Memory::Get(bad, 1)[0] != 20) Fail("the first bad row");
    const std::vector<T> out = Memory::Get(part.rows, rows * dim);
    for (int64_t i = 0; i < rows * dim; ++i) {
      const double old = Value(table[i]), g = sums[i], sum = 1 + g * g;
      double expected = old;
      if (optimizer == Optimizer::kSgd) expected = old - 0.125 * g;
      if (optimizer == Optimizer::kAdagrad) expected = old - 0.125 * g / (std::sqrt(sum) + 1e-8);
      if (optimizer == Optimizer::kAdam) {
        const double m = 1 + (1 - 0.9) * (g - 1), v = 1 + (1 - 0.999) * (g * g - 1);
        expected = old - (0.125 * m / (std::sqrt(v) + 1e-8) + 0.1 * 0.01 * old);
      }
      if (optimizer == Optimizer::kFtrl) {
        const double strength = std::pow(sum, 0.75), linear = 1 + g - (strength - 1) / 0.125 * old;
        expected = std::fabs(linear) > 0.1 ? ((linear < 0 ? -0.1 : 0.1) - linear) / (strength / 0.125 + 0.2) : 0;
      }
      if (!touched[i / dim] && std::memcmp(&out[i], &table[i], sizeof(T)) != 0) Fail("a row outside those given");
      if (touched[i / dim] && !Close(expected, Value(out[i]), sizeof(T) == 2 ? 0.03 : 1e-3)) Fail("a step of given rows");
    }
    ++cases;
  }
}

// No rows, and no ids.
template <typename T>
void Nothing() {
  for (const int64_t batch : {0, 7}) {
    Memory memory;
    Simple<T, int64_t> lookup;
    lookup.table.resize(12);
    lookup.splits.assign(batch + 1, 0);
    lookup.Place(&memory, 4, cuda::Pooling::kSqrtn, 4);
    lookup.feature.pooled = memory.Patterned<T>(batch * 4);
    lookup.feature.gradient = memory.Put(std::vector<T>(batch * 4));
    int64_t* const splits = memory.New<int64_t>(batch + 1);
    const int64_t shape[] = {batch, 3};
    Check(cuda::SplitIndices(nullptr, &memory, memory.New<int64_t>(0), 0, shape, 2, splits, memory.New<int32_t>(1),
                             lookup.feature.bad));
    if (Memory::Get(splits, batch + 1) != lookup.splits) Fail("splits of no ids");
    Check(cuda::Forward(nullptr, &lookup.feature, 1));
    for (const T& value : Memory::Get(lookup.feature.pooled, batch * 4)) {
      if (Value(value) != 0) Fail("rows without ids");
    }
    const std::vector<double> dense = GradientOf<T, int64_t>(
        &memory, {lookup.feature}, {{lookup.feature.parts[0], nullptr, nullptr, 0, 3, 4, -1, nullptr, nullptr}});
    if (dense != std::vector<double>(12, 0.0)) Fail("the gradient of no ids");
    ++cases;
  }
}

// Tables, outputs and gradients whose places do not fit 32 bits; where a GPU has too little memory this is left out.
template <typename T>
void FarMemory() {
  const int64_t dim = 2, stride = (int64_t{1} << 31) + 6, rows = (int64_t{1} << 30) + 5, last = rows - 1;
  Memory memory;
  T* const out = static_cast<T*>(memory.TryAllocate((stride + dim) * sizeof(T)));
  T* const gradient = static_cast<T*>(memory.TryAllocate((stride + dim) * sizeof(T)));
  T* const table = static_cast<T*>(memory.TryAllocate(rows * dim * sizeof(T)));
  if (out == nullptr || gradient == nullptr || table == nullptr) return;
  const auto put = [](T* to, double first, double second) {
    std::vector<T> values(2);
    Store(first, &values[0]);
    Store(second, &values[1]);
    Check(cudaMemcpy(to, values.data(), 2 * sizeof(T), cudaMemcpyHostToDevice));
  };
  const auto holds = [](const T* from, double first, double second) {
    const std::vector<T> found = Memory::Get(from, 2);
    return Value(found[0]) == first && Value(found[1]) == second;
  };
  put(table + 2, 1, 2);
  put(table + last * dim, 3, -4);
  put(gradient, 0.5, 0.25);
  put(gradient + stride, 8, 16);
  Simple<T, int64_t> lookup;
  lookup.ids = {1, last, last, 1};
  lookup.splits = {0, 1, 4};
  lookup.Place(&memory, dim, cuda::Pooling::kSum, stride);
  lookup.feature.parts[0] = table;
  lookup.feature.table_rows = rows;
  lookup.feature.pooled = out;
  lookup.feature.gradient = gradient;
  Check(cuda::Forward(nullptr, &lookup.feature, 1));
  if (!holds(out, 1, 2) || !holds(out + stride, 7, -6)) Fail("an output beyond 2^31 values");
  cuda::Contributions<T> contributions;
  cuda::RowSums<T> sums;
  const cuda::PartView<T> part = {table, nullptr, nullptr, 0, rows, dim, -1, nullptr, nullptr};
  Check(cuda::Allocate(nullptr, &memory, 4, rows, &contributions));
  Check(cuda::AddLookups(nullptr, &lookup.feature, 1, contributions));
  Check(cuda::SortRows(nullptr, &memory, contributions, &part, 1, &sums));
  Check(cuda::SumRows(nullptr, &memory, &sums));
  Check(cuda::UpdateRows(nullptr, {Optimizer::kSgd, 1, 0, 0, 0, 0, 0, 0, 0, 0}, sums));
  if (!holds(table + 2, 1 - 8.5, 2 - 16.25) || !holds(table + last * dim, 3 - 16, -4 - 32)) Fail("an update beyond 2^31 values");
  int64_t* const bad = memory.NoBad();
  Check(cuda::Positions(nullptr, table, rows, dim, memory.Put(std::vector<int64_t>{0, last}), 2, out, stride, bad));
  if (!holds(out, 0, 0) || !holds(out + stride, -13, -36)) Fail("positions beyond 2^31 values");
  if (Memory::Get(bad, 1)[0] != cuda::kNoBadPlace) Fail("a good place far away was noted");
  ++cases;
}

// Bad ids in a gradient add nothing, wherever indices put them; indices outside their shape drop their ids.
template <typename T>
void BadIds() {
  Memory memory;
  const std::vector<int64_t> indices = {0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 7, 0, 2, 0};  // [5, 3] in shape [2, 2, 9]
  const int64_t shape[] = {2, 2, 9};
  Simple<T, int64_t> lookup;
  lookup.table = std::vector<T>(8);
  lookup.ids = {1, 9, 2, 1, 3};  // the second lies outside the table; the last is at no row
  lookup.splits.assign(5, 0);
  lookup.Place(&memory, 2, cuda::Pooling::kSum, 2);
  int64_t* const splits = memory.New<int64_t>(5);
  int32_t* const order = memory.New<int32_t>(5);
  int64_t* const bad_indices = memory.NoBad();
  Check(cuda::SplitIndices(nullptr, &memory, memory.Put(indices), 5, shape, 3, splits, order, bad_indices));
  if (Memory::Get(splits, 5) != std::vector<int64_t>{0, 1, 2, 4, 4} ||
      Memory::Get(order, 4) != std::vector<int32_t>{2, 0, 1, 3}) {
    Fail("rows of indices");
  }
  if (Memory::Get(bad_indices, 1)[0] != cuda::kBadIndex + 4) Fail("an index outside its shape");
  lookup.feature.splits = splits;
  lookup.feature.order = order;
  std::vector<T> gradient(8);
  for (int i = 0; i < 8; ++i) Store(1 << i, &gradient[i]);
  lookup.feature.gradient = memory.Put(gradient);
  const std::vector<double> dense = GradientOf<T, int64_t>(
      &memory, {lookup.feature}, {{lookup.feature.parts[0], nullptr, nullptr, 0, 4, 2, -1, nullptr, nullptr}});
  if (dense != std::vector<double>{0, 0, 4 + 16, 8 + 32, 1, 2, 0, 0}) Fail("the gradient beside bad ids");
  if (Memory::Get(lookup.feature.bad, 1)[0] != 1) Fail("a bad id of a gradient");
  ++cases;
}

template <typename T>
void Edges(std::mt19937* random, bool quick) {
#ifndef NANN_ONE_TYPE
  Positions<T, int32_t>(random);
  GivenRows<T, int32_t>(random);
  ManyFeatures<T>(random);
  Refusals();
#endif
  Positions<T, int64_t>(random);
  GivenRows<T, int64_t>(random);
  LongRows<T>(random, quick);
  Nothing<T>();
  BadIds<T>();
  FarMemory<T>();
}

}  // namespace cuda_testing

#endif  // NANN_TESTS_OPS_EMBEDDING_CC_CUDA_EDGES_H_
