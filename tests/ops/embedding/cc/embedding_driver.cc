// Drives the embedding kernels without TensorFlow, for the sanitizers: random
// lookups of all types, forward, backward and updates, on two threads, and the
// inputs that must be refused. Compares with a straightforward loop; exits with
// 1 at the first difference.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <thread>

#include "ops/cc/embedding_backward.h"

using namespace nann::embedding;

namespace {

void Fail(const char *what) {
  std::fprintf(stderr, "differs: %s\n", what);
  std::exit(1);
}

void OnTwoThreads(int64_t n, int64_t,
                  const std::function<void(int64_t, int64_t)> &work) {
  std::thread other([&] { work(n / 2, n); });
  work(0, n / 2);
  other.join();
}

// Heap copies of exactly the right size, so that a read past the end is seen.
template <typename T> std::unique_ptr<T[]> Exact(const std::vector<T> &values) {
  std::unique_ptr<T[]> copy(new T[values.size()]);
  for (size_t i = 0; i < values.size(); ++i)
    copy[i] = values[i];
  return copy;
}

template <typename T, typename Id>
void Check(std::mt19937 *random, int64_t dim, int64_t parts, bool mod,
           Combiner combiner, bool weighted, double max_norm,
           int64_t default_id) {
  using A = Accumulator<T>;
  const int64_t rows = 1 + (*random)() % 200, batch = (*random)() % 70;
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<std::unique_ptr<T[]>> memory, first, second;
  Table<T> table;
  table.dim = dim;
  std::vector<int64_t> part_rows;
  for (int64_t p = 0; p < parts; ++p) {
    part_rows.push_back(rows / parts + (p < rows % parts));
    std::vector<T> values(part_rows.back() * dim), ones(values.size());
    for (T &value : values)
      FromFloat(static_cast<A>(uniform(*random)), &value);
    for (T &value : ones)
      FromFloat(A(1), &value);
    memory.push_back(Exact(values));
    first.push_back(Exact(ones));
    second.push_back(Exact(ones));
    table.parts.push_back(memory.back().get());
  }
  table.partition = Partition(part_rows, mod);
  Feature feature;
  feature.name = "f";
  feature.combiner = combiner;
  feature.max_norm = max_norm;
  feature.default_id = default_id < rows ? default_id : 0;
  std::vector<int64_t> splits(1, 0);
  std::vector<Id> ids;
  std::vector<T> weights;
  for (int64_t r = 0; r < batch; ++r) {
    for (int64_t k = (*random)() % 9; k > 0; --k) {
      ids.push_back(static_cast<Id>((*random)() % (rows + 1)) - 1);
      T weight;
      FromFloat(static_cast<A>(std::round(uniform(*random) * 4)), &weight);
      weights.push_back(weight);
    }
    splits.push_back(static_cast<int64_t>(ids.size()));
  }
  const auto exact_ids = Exact(ids);
  const auto exact_splits = Exact(splits);
  const auto exact_weights = Exact(weights);
  const std::vector<Lookup<T, Id>> lookups = {
      {exact_ids.get(), weighted ? exact_weights.get() : nullptr,
       exact_splits.get(), nullptr, batch}};
  std::unique_ptr<T[]> out(new T[batch * dim]), again(new T[batch * dim]),
      gradient(new T[batch * dim]), weight_gradient(new T[ids.size()]);
  for (int64_t i = 0; i < batch * dim; ++i)
    FromFloat(static_cast<A>(uniform(*random)), &gradient[i]);
  std::string error;
  if (!Forward<T, Id>({feature}, {table}, lookups, {{out.get(), dim}},
                      RunInline, &error))
    Fail(error.c_str());
  if (!Forward<T, Id>({feature}, {table}, lookups, {{again.get(), dim}},
                      OnTwoThreads, &error))
    Fail(error.c_str());
  const double tolerance = sizeof(T) == 2 ? 0.1 : 1e-4;
  for (int64_t r = 0; r < batch; ++r) {
    std::vector<double> expected(dim, 0.0);
    double sum = 0, squares = 0;
    int64_t kept = 0;
    const auto add = [&](int64_t id, double weight) {
      const T *row = table.Row(id);
      double norm = 0;
      for (int64_t i = 0; i < dim; ++i)
        norm += static_cast<double>(ToFloat(row[i])) * ToFloat(row[i]);
      norm = std::sqrt(norm);
      const double scale =
          max_norm >= 0 && norm > max_norm ? max_norm / norm : 1;
      for (int64_t i = 0; i < dim; ++i)
        expected[i] += weight * scale * ToFloat(row[i]);
      sum += weight;
      squares += weight * weight;
      ++kept;
    };
    for (int64_t k = splits[r]; k < splits[r + 1]; ++k) {
      const double weight = weighted ? ToFloat(weights[k]) : 1;
      if (ids[k] >= 0 && (combiner == Combiner::kSum || weight > 0))
        add(ids[k], weight);
    }
    if (kept == 0 && feature.default_id >= 0)
      add(feature.default_id, 1);
    const double divisor = combiner == Combiner::kSum    ? 1
                           : combiner == Combiner::kMean ? sum
                                                         : std::sqrt(squares);
    for (int64_t i = 0; i < dim; ++i) {
      const double value = divisor == 0 ? 0 : expected[i] / divisor;
      if (!(std::fabs(value - ToFloat(out[r * dim + i])) <=
            tolerance * (1 + std::fabs(value))))
        Fail("forward");
      if (ToFloat(out[r * dim + i]) != ToFloat(again[r * dim + i]))
        Fail("bits over threads");
    }
  }
  const auto chunks = MakeChunks(lookups, 64);
  std::vector<int64_t> sizes(parts, int64_t{kContributionsPerBucket} * 4);
  RowGradients<T> gradients(sizes, static_cast<int64_t>(chunks.size()));
  if (!Scatter<T, Id>({feature}, table.partition, lookups,
                      {{gradient.get(), dim}}, chunks, OnTwoThreads, &gradients,
                      &error)) {
    Fail(error.c_str());
  }
  gradients.Group(OnTwoThreads);
  std::vector<int64_t> starts;
  const auto counts = DistinctRows(gradients, static_cast<int>(parts), &starts);
  std::vector<Target<T>> targets;
  std::vector<std::unique_ptr<Id[]>> indices;
  std::vector<std::unique_ptr<T[]>> values;
  std::vector<SparseRows<T, Id>> sparse;
  for (int64_t p = 0; p < parts; ++p) {
    targets.push_back({memory[p].get(), first[p].get(), second[p].get(),
                       part_rows[p], dim, max_norm});
    indices.emplace_back(new Id[counts[p]]);
    values.emplace_back(new T[counts[p] * dim]);
    sparse.push_back({indices.back().get(), values.back().get()});
  }
  WriteRows(gradients, targets, sparse, starts, OnTwoThreads);
  if (weighted && !WeightGradient<T, Id>(
                      {feature}, {table}, lookups, {{gradient.get(), dim}},
                      {weight_gradient.get()}, OnTwoThreads, &error)) {
    Fail(error.c_str());
  }
  for (const Optimizer optimizer : {Optimizer::kSgd, Optimizer::kAdagrad,
                                    Optimizer::kAdam, Optimizer::kFtrl}) {
    const UpdateOptions options = {optimizer, 0.1, 0.9, 0.999, 1e-8,
                                   0.01,      0.1, 0.1, 0.1,   -0.5};
    UpdateRows(gradients, targets, options, OnTwoThreads);
  }
}

void Refusals() {
  std::string error;
  std::vector<int64_t> splits, order;
  const int64_t indices[] = {0, 0, 5, 0}, shape[] = {2, 3},
                huge[] = {int64_t{1} << 40, int64_t{1} << 40, 2},
                wrong[] = {0, 2, 1};
  if (SplitsOfIndices(indices, 2, shape, 2, &splits, &order, &error))
    Fail("index out of its shape");
  if (SplitsOfIndices(indices, 0, huge, 3, &splits, &order, &error))
    Fail("too many rows");
  if (CheckSplits(wrong, 3, 1, &error) || CheckSplits(wrong, 0, 0, &error) ||
      CheckSplits(wrong, 3, 7, &error))
    Fail("splits");
  const int64_t unsorted[] = {1, 0, 0, 0, 1, 1};
  if (!SplitsOfIndices(unsorted, 3, shape, 2, &splits, &order, &error) ||
      order != std::vector<int64_t>({1, 0, 2}))
    Fail("order");
  const int64_t ids[] = {int64_t{1} << 62}, one[] = {0, 1};
  float row = 1, out = 0;
  Table<float> table{Partition({1}, false), {&row}, 1};
  Feature feature;
  if (Forward<float, int64_t>({feature}, {table},
                              {{ids, nullptr, one, nullptr, 1}}, {{&out, 1}},
                              RunInline, &error))
    Fail("id");
}

template <typename T> void All(std::mt19937 *random) {
  for (const int64_t dim : {1, 3, 8, 16, 17, 33, 70, 1025}) {
    for (const Combiner combiner :
         {Combiner::kSum, Combiner::kMean, Combiner::kSqrtn}) {
      for (int bits = 0; bits < 8; ++bits) {
        const int64_t parts = (bits & 1) ? 3 : 1;
        Check<T, int32_t>(random, dim, parts, bits & 2, combiner, bits & 4,
                          (bits & 2) ? 0.7 : -1, (bits & 1) ? 2 : -1);
        Check<T, int64_t>(random, dim, parts, bits & 4, combiner, bits & 2,
                          (bits & 4) ? 0.7 : -1, (bits & 2) ? 0 : -1);
      }
    }
  }
}

} // namespace

int main() {
  std::mt19937 random(7);
  All<Half>(&random);
  All<BFloat16>(&random);
  All<float>(&random);
  All<double>(&random);
  Refusals();
  std::puts("ok");
}
