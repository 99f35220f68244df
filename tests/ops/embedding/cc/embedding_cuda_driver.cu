// Drives the CUDA launchers without TensorFlow: random lookups of all types against loops on the host, forward, gradients,
// updates, positions, and the edges of cuda_edges.h. Prints "ok", then the number of cases and a digest of all results; exits
// with 1 at the first difference, with 77 if there is no GPU. With the argument "quick" it takes fewer sizes of rows.

#include <cstdio>
#include <map>
#include <memory>
#include <string>

#include "cuda_edges.h"
#include "cuda_testing.h"

using namespace cuda_testing;

namespace {

struct Case {
  int64_t dim, parts, batch, rows;
  bool mod, weighted, sparse;
  cuda::Pooling pooling;
  double max_norm;
  int64_t default_id;
  bool heavy;  // most ids are one id
  bool prune, fill;
};

template <typename T, typename Id>
void Run(std::mt19937* random, const Case& c) {
  std::uniform_real_distribution<double> uniform(-1, 1);
  const double tolerance = sizeof(T) == 2 ? 0.06 : 2e-4;
  const auto any = [&](int64_t count) {
    std::vector<T> values(count);
    for (T& value : values) Store(std::round(uniform(*random) * 64) / 64, &value);
    return values;
  };
  ++cases;
  Memory memory;
  // The table, whole on the host and in parts on the device.
  const std::vector<T> table = any(c.rows * c.dim);
  std::vector<int64_t> part_rows, part_of(c.rows), row_in(c.rows);
  for (int64_t p = 0; p < c.parts; ++p) part_rows.push_back(c.rows / c.parts + (p < c.rows % c.parts));
  std::vector<std::vector<T>> parts(c.parts);
  for (int64_t id = 0, part = 0, row = 0; id < c.rows; ++id) {
    if (c.mod) {
      part_of[id] = id % c.parts;
      row_in[id] = id / c.parts;
    } else {
      while (row == part_rows[part]) ++part, row = 0;
      part_of[id] = part;
      row_in[id] = row++;
    }
  }
  for (int64_t p = 0; p < c.parts; ++p) parts[p].resize(part_rows[p] * c.dim);
  for (int64_t id = 0; id < c.rows; ++id) {
    std::copy_n(&table[id * c.dim], c.dim, &parts[part_of[id]][row_in[id] * c.dim]);
  }
  // Ids by row, pruned ones among them.
  std::vector<int64_t> splits(1, 0);
  std::vector<Id> ids;
  std::vector<T> weights;
  for (int64_t r = 0; r < c.batch; ++r) {
    for (int64_t k = (*random)() % (c.heavy ? 40 : 8); k > 0; --k) {
      ids.push_back(
          static_cast<Id>(c.heavy && (*random)() % 4 ? 0 : static_cast<int64_t>((*random)() % (c.rows + c.prune)) - c.prune));
      T weight;
      Store(std::round(uniform(*random) * 4), &weight);
      weights.push_back(weight);
    }
    splits.push_back(static_cast<int64_t>(ids.size()));
  }
  const int64_t num_ids = static_cast<int64_t>(ids.size());
  int64_t* const bad = memory.NoBad();
  cuda::FeatureView<T, Id> feature = {};
  for (int64_t p = 0; p < c.parts; ++p) feature.parts[p] = memory.Put(parts[p]);
  feature.num_parts = static_cast<int>(c.parts);
  feature.pooling = c.pooling;
  feature.mod = c.mod;
  feature.prune = c.prune;
  feature.fill = c.fill;
  feature.table_rows = c.rows;
  feature.dim = c.dim;
  feature.default_id = c.default_id;
  feature.max_norm = c.max_norm;
  feature.num_rows = c.batch;
  feature.num_ids = num_ids;
  feature.bad = bad;
  feature.stride = c.dim + 3;           // as in a wider, concatenated output
  std::vector<int64_t> place(num_ids);  // of id k in the device's order
  for (int64_t k = 0; k < num_ids; ++k) place[k] = k;
  if (c.sparse) {
    std::vector<int64_t> row_of(num_ids), shuffled(num_ids);
    for (int64_t r = 0; r < c.batch; ++r) std::fill(&row_of[0] + splits[r], &row_of[0] + splits[r + 1], r);
    // Stable within a row, otherwise in any order.
    std::vector<int64_t> order(num_ids);
    for (int64_t k = 0; k < num_ids; ++k) order[k] = k;
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return row_of[a] % 3 < row_of[b] % 3; });
    std::vector<int64_t> indices;
    std::vector<Id> given_ids(num_ids);
    std::vector<T> given_weights(num_ids);
    for (int64_t k = 0; k < num_ids; ++k) {
      place[order[k]] = k;
      given_ids[k] = ids[order[k]];
      given_weights[k] = weights[order[k]];
      indices.push_back(row_of[order[k]]);
      indices.push_back(0);
    }
    const int64_t shape[] = {c.batch, 9};
    int64_t* const out_splits = memory.New<int64_t>(c.batch + 1);
    int32_t* const out_order = memory.New<int32_t>(num_ids);
    Check(cuda::SplitIndices(nullptr, &memory, memory.Put(indices), num_ids, shape, 2, out_splits, out_order, bad));
    if (Memory::Get(out_splits, c.batch + 1) != splits) Fail("splits of indices");
    std::vector<int32_t> stable(num_ids);
    for (int64_t k = 0; k < num_ids; ++k) stable[k] = static_cast<int32_t>(place[k]);
    if (Memory::Get(out_order, num_ids) != stable) Fail("the order of the ids of a row");
    feature.splits = out_splits;
    feature.order = out_order;
    feature.ids = memory.Put(given_ids);
    if (c.weighted) feature.weights = memory.Put(given_weights);
  } else {
    feature.splits = memory.Put(splits);
    feature.ids = memory.Put(ids);
    if (c.weighted) feature.weights = memory.Put(weights);
  }
  const std::vector<T> gradient = any(c.batch * feature.stride);
  feature.gradient = memory.Put(gradient);
  feature.pooled = memory.Patterned<T>(c.batch * feature.stride);
  feature.weight_gradient = memory.New<T>(num_ids);
  Check(cuda::FillBytes(nullptr, feature.weight_gradient, 0, num_ids * sizeof(T)));

  // The same on the host.
  std::vector<double> scale(c.rows, 1.0), norm(c.rows, 0.0);
  for (int64_t id = 0; id < c.rows; ++id) {
    for (int64_t i = 0; i < c.dim; ++i) norm[id] += std::pow(Value(table[id * c.dim + i]), 2);
    norm[id] = std::sqrt(norm[id]);
    if (c.max_norm >= 0 && norm[id] >= c.max_norm) scale[id] = c.max_norm / norm[id];
  }
  std::vector<double> pooled(c.batch * c.dim, 0.0), dense(c.rows * c.dim, 0.0), weight_gradient(num_ids, 0.0);
  std::vector<bool> touched(c.rows, false);
  for (int64_t r = 0; r < c.batch; ++r) {
    struct Kept {
      int64_t position, id;
      double weight;
    };
    std::vector<Kept> kept;
    for (int64_t k = splits[r]; k < splits[r + 1]; ++k) {
      const double weight = c.weighted ? Value(weights[k]) : 1.0;
      if (ids[k] >= 0 && (!c.weighted || !c.prune || c.pooling == cuda::Pooling::kSum || weight > 0))
        kept.push_back({k, ids[k], weight});
    }
    if (kept.empty() && c.fill && c.default_id >= 0) kept.push_back({-1, c.default_id, 1.0});
    double sum = 0, squares = 0, total = 0;
    for (const Kept& k : kept) sum += k.weight, squares += k.weight * k.weight;
    const double divisor = c.pooling == cuda::Pooling::kSum ? 1 : c.pooling == cuda::Pooling::kMean ? sum : std::sqrt(squares);
    std::vector<double> products;
    for (const Kept& k : kept) {
      double product = 0;
      touched[k.id] = true;
      for (int64_t i = 0; i < c.dim; ++i) {
        const double value = Value(table[k.id * c.dim + i]) * scale[k.id], g = Value(gradient[r * feature.stride + i]);
        if (divisor != 0) {
          pooled[r * c.dim + i] += k.weight * value / divisor;
          dense[k.id * c.dim + i] += k.weight * g / divisor;
        }
        product += value * g;
      }
      products.push_back(product);
      total += k.weight * product;
    }
    for (size_t i = 0; i < kept.size(); ++i) {
      if (kept[i].position < 0 || divisor == 0) continue;
      double derivative = products[i];
      if (c.pooling == cuda::Pooling::kMean) derivative = (derivative - total / divisor) / divisor;
      if (c.pooling == cuda::Pooling::kSqrtn) {
        derivative = derivative / divisor - kept[i].weight * total / (divisor * divisor * divisor);
      }
      weight_gradient[kept[i].position] = derivative;
    }
  }
  for (int64_t id = 0; id < c.rows; ++id) {
    if (!(c.max_norm >= 0 && norm[id] >= c.max_norm)) continue;
    double along = 0;
    for (int64_t i = 0; i < c.dim; ++i) along += Value(table[id * c.dim + i]) * dense[id * c.dim + i] / (norm[id] * norm[id]);
    for (int64_t i = 0; i < c.dim; ++i) {
      dense[id * c.dim + i] = scale[id] * (dense[id * c.dim + i] - Value(table[id * c.dim + i]) * along);
    }
  }

  Check(cuda::Forward(nullptr, &feature, 1));
  const std::vector<T> out = Memory::Get(feature.pooled, c.batch * feature.stride);
  for (int64_t r = 0; r < c.batch; ++r) {
    for (int64_t i = 0; i < feature.stride; ++i) {
      const T value = out[r * feature.stride + i];
      if (i >= c.dim && !IsPattern(value)) Fail("a column beside the output was written");
      if (i < c.dim && !Close(pooled[r * c.dim + i], Value(value), tolerance)) Fail("forward");
    }
  }
  if (c.weighted) {
    Check(cuda::WeightGradient(nullptr, &feature, 1));
    const std::vector<T> found = Memory::Get(feature.weight_gradient, num_ids);
    for (int64_t k = 0; k < num_ids; ++k) {
      if (!Close(weight_gradient[k], Value(found[place[k]]), 20 * tolerance)) Fail("gradient of the weights");
    }
  }
  // Twice: equal bits.
  std::vector<std::vector<T>> first_values;
  for (int round = 0; round < 2; ++round) {
    cuda::Contributions<T> contributions;
    cuda::RowSums<T> sums;
    std::vector<cuda::PartView<T>> views;
    int64_t key = 0;
    for (int64_t p = 0; p < c.parts; ++p) {
      views.push_back({feature.parts[p], nullptr, nullptr, key, part_rows[p], c.dim, c.max_norm, nullptr, nullptr});
      key += part_rows[p];
    }
    Check(cuda::Allocate(nullptr, &memory, cuda::ContributionsOf(feature), c.rows, &contributions));
    Check(cuda::AddLookups(nullptr, &feature, 1, contributions));
    Check(cuda::SortRows(nullptr, &memory, contributions, views.data(), static_cast<int>(c.parts), &sums));
    Check(cuda::SumRows(nullptr, &memory, &sums));
    const std::vector<int64_t> starts = Memory::Get(sums.part_starts, c.parts + 1);
    if (!InTheirOrder(sums)) Fail("the order of contributions to a row");
    for (int64_t p = 0; p < c.parts; ++p) {
      const int64_t count = starts[p + 1] - starts[p];
      views[p].indices = memory.New<Id>(count);
      views[p].values = memory.New<T>(count * c.dim);
    }
    Check(cuda::WriteRows<T, Id>(nullptr, &memory, views.data(), &sums));
    std::vector<double> found(c.rows * c.dim, 0.0);
    std::vector<bool> seen(c.rows, false);
    for (int64_t p = 0; p < c.parts; ++p) {
      const int64_t count = starts[p + 1] - starts[p];
      const std::vector<Id> indices = Memory::Get(static_cast<const Id*>(views[p].indices), count);
      const std::vector<T> values = Memory::Get(views[p].values, count * c.dim);
      if (round == 0) first_values.push_back(values);
      if (round == 1 && count > 0 && std::memcmp(values.data(), first_values[p].data(), count * c.dim * sizeof(T)) != 0)
        Fail("bits");
      for (int64_t u = 0; u < count; ++u) {
        int64_t id = 0;
        while (id < c.rows && !(part_of[id] == p && row_in[id] == indices[u])) ++id;
        if (id == c.rows || seen[id]) Fail("indices of the gradient");
        seen[id] = true;
        for (int64_t i = 0; i < c.dim; ++i) found[id * c.dim + i] = Value(values[u * c.dim + i]);
      }
    }
    if (seen != touched) Fail("rows of the gradient");
    for (size_t i = 0; i < found.size(); ++i) {
      if (!Close(dense[i], found[i], (c.heavy ? 20 : 4) * tolerance)) Fail("gradient");
    }
    if (round == 0) continue;
    // One step of each optimizer, from slots of ones.
    for (const Optimizer optimizer : {Optimizer::kSgd, Optimizer::kAdagrad, Optimizer::kAdam, Optimizer::kFtrl}) {
      const UpdateOptions options = {optimizer, 0.1, 0.9, 0.999, 1e-8, 0.01, 0.1, 0.1, 0.1, -0.5};
      const std::vector<cuda::PartView<T>> without = views;
      for (int64_t p = 0; p < c.parts; ++p) {
        std::vector<T> ones(part_rows[p] * c.dim);
        for (T& value : ones) Store(1, &value);
        views[p].rows = memory.Put(parts[p]);
        views[p].first = memory.Put(ones);
        views[p].second = memory.Put(ones);
      }
      cuda::RowSums<T> again;
      Check(cuda::SortRows(nullptr, &memory, contributions, views.data(), static_cast<int>(c.parts), &again));
      Check(cuda::SumRows(nullptr, &memory, &again));
      Check(cuda::UpdateRows(nullptr, options, again));
      for (int64_t id = 0; id < c.rows; ++id) {
        const auto& view = views[part_of[id]];
        const std::vector<T> row = Memory::Get(view.rows + row_in[id] * c.dim, c.dim);
        for (int64_t i = 0; i < c.dim; ++i) {
          const double old = Value(table[id * c.dim + i]), g = found[id * c.dim + i];
          double expected = old;
          if (touched[id]) {
            const double sum = 1 + g * g, m = 1 + 0.1 * (g - 1), v = 1 + 0.001 * (g * g - 1);
            const double linear = 1 + g - (std::sqrt(sum) - 1) / 0.1 * old;
            if (optimizer == Optimizer::kSgd) expected = old - 0.1 * g;
            if (optimizer == Optimizer::kAdagrad) expected = old - 0.1 * g / (std::sqrt(sum) + 1e-8);
            if (optimizer == Optimizer::kAdam) expected = old - (0.1 * m / (std::sqrt(v) + 1e-8) + 0.1 * 0.01 * old);
            if (optimizer == Optimizer::kFtrl) {
              const double clipped = (linear < 0 ? -0.1 : 0.1) - linear;
              expected = std::fabs(linear) > 0.1 ? clipped / (std::sqrt(sum) / 0.1 + 0.2) : 0;
            }
          }
          if (!Close(expected, Value(row[i]), 20 * tolerance)) Fail("update");
          if (!touched[id] && std::memcmp(&row[i], &table[id * c.dim + i], sizeof(T)) != 0) Fail("a row outside the batch");
        }
      }
      views = without;
    }
  }
  if (Memory::Get(bad, 1)[0] != cuda::kNoBadPlace) Fail("a good id was noted");
}

template <typename T>
void All(std::mt19937* random, bool quick) {
  const std::vector<int64_t> dims =
      quick ? std::vector<int64_t>{1, 17, 130} : std::vector<int64_t>{1, 3, 8, 16, 17, 33, 130, 1025};
  for (const int64_t dim : dims) {
    for (const cuda::Pooling pooling : {cuda::Pooling::kSum, cuda::Pooling::kMean, cuda::Pooling::kSqrtn}) {
      for (int bits = 0; bits < 8; ++bits) {
        // The other types differ from float in little.
        if (quick && sizeof(T) != sizeof(float) && bits % 3 != static_cast<int>(pooling)) continue;
        const bool mod = (bits & 2) != 0, many_parts = (bits & 1) != 0;
        Case c = {};
        c.dim = dim;
        c.parts = many_parts ? 3 : 1;
        c.batch = static_cast<int64_t>((*random)() % (quick ? 20 : 40));
        c.rows = 1 + static_cast<int64_t>((*random)() % 50);
        c.mod = mod;
        c.weighted = (bits & 4) != 0;
        c.sparse = !mod;
        c.pooling = pooling;
        c.max_norm = mod ? 0.7 : -1.0;
        c.default_id = many_parts ? std::min<int64_t>(2, c.rows - 1) : -1;
        c.heavy = bits == 5;
        c.prune = (*random)() % 4 != 0;
        c.fill = (*random)() % 4 != 0;
#ifndef NANN_ONE_TYPE
        if (mod) {
          Run<T, int32_t>(random, c);
          continue;
        }
#endif
        Run<T, int64_t>(random, c);
      }
    }
  }
  Edges<T>(random, quick);
}

}  // namespace

int main(int argc, char** argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("no GPU");
    return 77;
  }
  const bool quick = argc > 1 && std::string(argv[1]) == "quick";
  std::mt19937 random(7);
  All<float>(&random, quick);
#ifndef NANN_ONE_TYPE
  All<Half>(&random, quick);
  All<BFloat16>(&random, quick);
  All<double>(&random, quick);
#endif
  std::printf("ok\n%d cases, digest %016llx\n", cases, static_cast<unsigned long long>(digest));
}
