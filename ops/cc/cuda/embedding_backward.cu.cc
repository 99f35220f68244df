// CUDA: gradients by row, written out or applied.

#include "ops/cc/cuda/embedding_device.cuh"

namespace nann {
namespace embedding {
namespace cuda {
namespace {

constexpr int64_t kHeavyRow = 64;  // contributions above which a row is summed by a whole block
constexpr int kWarps = kThreads / 32;

// A thread per row of ids: their keys, coefficients and gradients.
template <typename T, typename Id>
__global__ void __launch_bounds__(kThreads)
    AddLookupsKernel(const __grid_constant__ Batch<T, Id> batch, const Contributions<T> contributions) {
  using A = Accumulator<T>;
  const FeatureView<T, Id>& feature = batch.features[blockIdx.y];
  const bool has_default = feature.fill && feature.default_id >= 0;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  const auto key_of = [&](int64_t id) {
    int64_t part, row;
    Find(feature, id, &part, &row);
    return static_cast<uint64_t>(feature.first_key + PartStart(feature, part) + row);
  };
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; row < feature.num_rows; row += step) {
    int64_t begin, end;
    RangeOf(feature, row, &begin, &end);
    const T* const gradient = feature.gradient + row * feature.stride;
    Item<T> item;
    A sum = 0, squares = 0;
    int64_t kept = 0;
    for (int64_t k = begin; k < end; ++k) {
      if (!ItemAt(feature, k, &item)) continue;
      sum += item.weight;
      squares += item.weight * item.weight;
      ++kept;
    }
    const A divisor = DivisorOf(feature, kept, sum, squares);
    int64_t slot = feature.first_slot + begin + (has_default ? row : 0);
    for (int64_t k = begin; k < end; ++k, ++slot) {
      const bool keeps = ItemAt(feature, k, &item);
      contributions.keys[slot] = keeps ? key_of(item.id) : static_cast<uint64_t>(contributions.no_key);
      contributions.gradients[slot] = gradient;
      contributions.coefficients[slot] = divisor == 0 ? A(0) * item.weight : item.weight / divisor;
    }
    if (!has_default) continue;
    const bool fills = kept == 0 && TakesDefault(feature);
    contributions.keys[slot] = fills ? key_of(feature.default_id) : static_cast<uint64_t>(contributions.no_key);
    contributions.gradients[slot] = gradient;
    contributions.coefficients[slot] = A(1);
  }
}

template <typename T, typename Id>
__global__ void __launch_bounds__(kThreads)
    AddRowsKernel(const Id* ids, int64_t count, int64_t table_rows, bool skip_zero, const T* gradient, int64_t stride,
                  int64_t first_key, int64_t first_slot, const Contributions<T> contributions, int64_t* bad) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count; i += step) {
    const int64_t id = static_cast<int64_t>(ids[i]), slot = first_slot + i;
    const bool inside = id >= 0 && id < table_rows, keeps = inside && !(skip_zero && id == 0);
    if (!inside && !(skip_zero && id == 0)) NoteBad(bad, i);
    contributions.keys[slot] = static_cast<uint64_t>(keeps ? first_key + id : contributions.no_key);
    contributions.gradients[slot] = gradient + i * stride;
    contributions.coefficients[slot] = 1;
  }
}

// A warp per distinct row, for rows of few contributions.
template <typename T>
__global__ void __launch_bounds__(kThreads) SumLightKernel(const RowSums<T> rows) {
  using A = Accumulator<T>;
  const int lane = threadIdx.x % 32;
  const int64_t distinct = rows.part_starts[rows.num_parts], step = static_cast<int64_t>(gridDim.x) * kWarps;
  for (int64_t u = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32; u < distinct; u += step) {
    const int64_t begin = rows.starts[u], end = rows.starts[u + 1];
    if (end - begin > kHeavyRow) continue;
    int part = 0;
    while (rows.part_starts[part + 1] <= u) ++part;
    const int64_t dim = rows.parts[part].dim;
    A* const out = rows.sums + rows.value_starts[part] + (u - rows.part_starts[part]) * dim;
    for (int64_t column = 0; column < dim; column += 32 * kValuesPerLane) {
      A sums[kValuesPerLane] = {};
      for (int64_t k = begin; k < end; ++k) {
        const int32_t from = rows.order[k];
        const T* const gradient = rows.contributions.gradients[from];
        const A coefficient = rows.contributions.coefficients[from];
#pragma unroll
        for (int v = 0; v < kValuesPerLane; ++v) {
          const int64_t i = column + v * 32 + lane;
          if (i < dim) sums[v] += coefficient * Widen(gradient[i]);
        }
      }
#pragma unroll
      for (int v = 0; v < kValuesPerLane; ++v) {
        const int64_t i = column + v * 32 + lane;
        if (i < dim) out[i] = sums[v];
      }
    }
  }
}

// A block per distinct row, for rows of many contributions: each warp takes every kWarps-th, and their sums are added in turn.
template <typename T>
__global__ void __launch_bounds__(kThreads) SumHeavyKernel(const RowSums<T> rows) {
  using A = Accumulator<T>;
  __shared__ A partial[kWarps][32 * kValuesPerLane];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t distinct = rows.part_starts[rows.num_parts];
  for (int64_t u = blockIdx.x; u < distinct; u += gridDim.x) {
    const int64_t begin = rows.starts[u], end = rows.starts[u + 1];
    if (end - begin <= kHeavyRow) continue;  // the same for the whole block
    int part = 0;
    while (rows.part_starts[part + 1] <= u) ++part;
    const int64_t dim = rows.parts[part].dim;
    A* const out = rows.sums + rows.value_starts[part] + (u - rows.part_starts[part]) * dim;
    for (int64_t column = 0; column < dim; column += 32 * kValuesPerLane) {
      A sums[kValuesPerLane] = {};
      for (int64_t k = begin + warp; k < end; k += kWarps) {
        const int32_t from = rows.order[k];
        const T* const gradient = rows.contributions.gradients[from];
        const A coefficient = rows.contributions.coefficients[from];
#pragma unroll
        for (int v = 0; v < kValuesPerLane; ++v) {
          const int64_t i = column + v * 32 + lane;
          if (i < dim) sums[v] += coefficient * Widen(gradient[i]);
        }
      }
#pragma unroll
      for (int v = 0; v < kValuesPerLane; ++v) partial[warp][v * 32 + lane] = sums[v];
      __syncthreads();
      for (int i = threadIdx.x; i < 32 * kValuesPerLane; i += kThreads) {
        A sum = 0;
        for (int w = 0; w < kWarps; ++w) sum += partial[w][i];
        if (column + i < dim) out[column + i] = sum;
      }
      __syncthreads();
    }
  }
}

// The Jacobian of tf.clip_by_norm on the gradient of a clipped row, see ClipGradient of embedding_backward.h; by a warp.
template <typename T>
__device__ void ClipGradient(const T* row, int64_t dim, double max_norm, int lane, Accumulator<T>* gradient) {
  using A = Accumulator<T>;
  const A norm = sqrt(RowDot<32>(row, row, dim, lane));
  if (!(norm >= static_cast<A>(max_norm))) return;
  A product = 0;
  for (int64_t i = lane; i < dim; i += 32) product += Widen(row[i]) * gradient[i];
  const A along = GroupSum<32>(product) / (norm * norm), scale = ClipScale(norm, max_norm);
  for (int64_t i = lane; i < dim; i += 32) gradient[i] = scale * (gradient[i] - Widen(row[i]) * along);
}

// Calls finish(part, row in the part, number among the part's distinct rows, sums, lane) with a warp per distinct row.
template <typename T, typename Finish>
__device__ void EachRow(const RowSums<T>& rows, const Finish& finish) {
  const int lane = threadIdx.x % 32;
  const int64_t distinct = rows.part_starts[rows.num_parts], step = static_cast<int64_t>(gridDim.x) * kWarps;
  for (int64_t u = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32; u < distinct; u += step) {
    int number = 0;
    while (rows.part_starts[number + 1] <= u) ++number;
    const PartView<T>& part = rows.parts[number];
    const int64_t within = u - rows.part_starts[number];
    finish(part, static_cast<int64_t>(rows.distinct[u]) - part.first_key, within,
           rows.sums + rows.value_starts[number] + within * part.dim, lane);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) ClipKernel(const RowSums<T> rows) {
  EachRow(rows, [](const PartView<T>& part, int64_t row, int64_t, Accumulator<T>* sums, int lane) {
    if (part.max_norm >= 0) ClipGradient(part.rows + row * part.dim, part.dim, part.max_norm, lane, sums);
  });
}

template <typename T, typename Id>
__global__ void __launch_bounds__(kThreads) WriteKernel(const RowSums<T> rows) {
  EachRow(rows, [](const PartView<T>& part, int64_t row, int64_t within, const Accumulator<T>* sums, int lane) {
    if (lane == 0) static_cast<Id*>(part.indices)[within] = static_cast<Id>(row);
    for (int64_t i = lane; i < part.dim; i += 32) Narrow(sums[i], part.values + within * part.dim + i);
  });
}

// One value's step; the same arithmetic as Update of embedding_rows_impl.h.
template <typename T>
__device__ void UpdateValue(const UpdateOptions& options, Accumulator<T> gradient, T* row, T* first, T* second) {
  using A = Accumulator<T>;
  const A rate = options.learning_rate, epsilon = options.epsilon, old = Widen(*row);
  switch (options.optimizer) {
    case Optimizer::kSgd:
      Narrow(old - rate * gradient, row);
      return;
    case Optimizer::kAdagrad: {
      const A sum = Widen(*first) + gradient * gradient;
      Narrow(sum, first);
      Narrow(old - rate * gradient / (sqrt(sum) + epsilon), row);
      return;
    }
    case Optimizer::kAdam: {
      const A keep_1 = 1 - options.beta_1, keep_2 = 1 - options.beta_2, shrink = options.decay_rate * options.decay;
      A m = Widen(*first), v = Widen(*second);
      m += keep_1 * (gradient - m);
      v += keep_2 * (gradient * gradient - v);
      Narrow(m, first);
      Narrow(v, second);
      Narrow(old - (rate * m / (sqrt(v) + epsilon) + shrink * old), row);
      return;
    }
    case Optimizer::kFtrl: {
      const A l1 = options.l1, l2 = options.l2, power = options.power, sum = Widen(*first), new_sum = sum + gradient * gradient;
      const A strength = power == A(-0.5) ? sqrt(new_sum) : pow(new_sum, -power);
      const A before = power == A(-0.5) ? sqrt(sum) : pow(sum, -power);
      const A linear = Widen(*second) + gradient - (strength - before) / rate * old;
      const A clipped = (linear < 0 ? -l1 : l1) - linear;
      Narrow(new_sum, first);
      Narrow(linear, second);
      Narrow((linear < 0 ? -linear : linear) > l1 ? clipped / (strength / rate + 2 * l2) : A(0), row);
      return;
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) UpdateKernel(const UpdateOptions options, const RowSums<T> rows) {
  EachRow(rows, [&](const PartView<T>& part, int64_t row, int64_t, const Accumulator<T>* sums, int lane) {
    for (int64_t i = lane; i < part.dim; i += 32) {
      const int64_t at = row * part.dim + i;
      UpdateValue(options, sums[i], part.rows + at, part.first == nullptr ? nullptr : part.first + at,
                  part.second == nullptr ? nullptr : part.second + at);
    }
  });
}

}  // namespace

template <typename T>
const char* Allocate(Stream stream, Scratch* scratch, int64_t count, int64_t no_key, Contributions<T>* contributions) {
  contributions->count = count;
  contributions->no_key = no_key;
  const size_t size = static_cast<size_t>(std::max<int64_t>(1, count));
  contributions->keys = static_cast<uint64_t*>(scratch->Allocate(size * sizeof(uint64_t)));
  contributions->gradients = static_cast<const T**>(scratch->Allocate(size * sizeof(T*)));
  contributions->coefficients = static_cast<Accumulator<T>*>(scratch->Allocate(size * sizeof(Accumulator<T>)));
  if (contributions->keys == nullptr || contributions->gradients == nullptr || contributions->coefficients == nullptr) {
    return "no device memory is left for the contributions of a gradient";
  }
  return FillBytes(stream, contributions->keys, 0xff, size * sizeof(uint64_t));  // keys past all rows
}

template <typename T, typename Id>
const char* AddLookups(Stream stream, const FeatureView<T, Id>* features, int num_features,
                       const Contributions<T>& contributions) {
  return InBatches(features, num_features, [&](const Batch<T, Id>& batch, int count, int64_t rows, int64_t) {
    NANN_LAUNCH((AddLookupsKernel<T, Id>), dim3(BlocksFor(rows), count), kThreads, Native(stream), batch, contributions);
  });
}

template <typename T, typename Id>
const char* AddRows(Stream stream, const Id* ids, int64_t count, int64_t table_rows, bool skip_zero, const T* gradient,
                    int64_t stride, int64_t first_key, int64_t first_slot, const Contributions<T>& contributions, int64_t* bad) {
  if (count == 0) return nullptr;
  NANN_LAUNCH((AddRowsKernel<T, Id>), BlocksFor(count), kThreads, Native(stream), ids, count, table_rows, skip_zero, gradient,
              stride, first_key, first_slot, contributions, bad);
  return Launched();
}

template <typename T>
const char* SumRows(Stream stream, Scratch* scratch, RowSums<T>* rows) {
  const int64_t count = rows->contributions.count;
  rows->sums = nullptr;
  if (count == 0) return nullptr;
  int64_t values = 0;
  bool clips = false;
  // How many rows are distinct is known on the device only: room for as many as there are contributions, or rows.
  int64_t most_dim = 0;
  for (int p = 0; p < rows->num_parts; ++p) {
    most_dim = std::max(most_dim, rows->host_parts[p].dim);
    clips = clips || rows->host_parts[p].max_norm >= 0;
    values += std::min(count, rows->host_parts[p].num_rows) * rows->host_parts[p].dim;
  }
  values = std::min(values, count * most_dim);
  rows->sums = static_cast<Accumulator<T>*>(scratch->Allocate(std::max<int64_t>(1, values) * sizeof(Accumulator<T>)));
  if (rows->sums == nullptr) return "no device memory is left for the sums of a gradient";
  NANN_LAUNCH((SumLightKernel<T>), BlocksFor(count * 32), kThreads, Native(stream), *rows);
  NANN_CUDA_TRY(Launched());
  if (count > kHeavyRow) {
    NANN_LAUNCH((SumHeavyKernel<T>), BlocksFor(count / kHeavyRow * kThreads), kThreads, Native(stream), *rows);
    NANN_CUDA_TRY(Launched());
  }
  if (clips) {
    NANN_LAUNCH((ClipKernel<T>), BlocksFor(count * 32), kThreads, Native(stream), *rows);
    NANN_CUDA_TRY(Launched());
  }
  return nullptr;
}

template <typename T, typename Id>
const char* WriteRows(Stream stream, Scratch* scratch, const PartView<T>* parts, RowSums<T>* rows) {
  if (rows->contributions.count == 0) return nullptr;
  const size_t size = rows->num_parts * sizeof(PartView<T>);
  PartView<T>* const copy = static_cast<PartView<T>*>(scratch->Allocate(size));
  if (copy == nullptr) return "no device memory is left for the outputs of a gradient";
  NANN_CUDA_TRY(Text(cudaMemcpyAsync(copy, parts, size, cudaMemcpyHostToDevice, Native(stream))));
  rows->parts = copy;
  NANN_LAUNCH((WriteKernel<T, Id>), BlocksFor(rows->contributions.count * 32), kThreads, Native(stream), *rows);
  return Launched();
}

template <typename T>
const char* UpdateRows(Stream stream, const UpdateOptions& options, const RowSums<T>& rows) {
  if (rows.contributions.count == 0) return nullptr;
  NANN_LAUNCH((UpdateKernel<T>), BlocksFor(rows.contributions.count * 32), kThreads, Native(stream), options, rows);
  return Launched();
}

#define NANN_DEFINE(T, Id)                                                                                            \
  template const char* AddLookups<T, Id>(Stream, const FeatureView<T, Id>*, int, const Contributions<T>&);            \
  template const char* AddRows<T, Id>(Stream, const Id*, int64_t, int64_t, bool, const T*, int64_t, int64_t, int64_t, \
                                      const Contributions<T>&, int64_t*);                                             \
  template const char* WriteRows<T, Id>(Stream, Scratch*, const PartView<T>*, RowSums<T>*);
NANN_CUDA_TYPES(NANN_DEFINE)

#define NANN_DEFINE_TYPE(T)                                                                \
  template const char* Allocate<T>(Stream, Scratch*, int64_t, int64_t, Contributions<T>*); \
  template const char* SumRows<T>(Stream, Scratch*, RowSums<T>*);                          \
  template const char* UpdateRows<T>(Stream, const UpdateOptions&, const RowSums<T>&);
NANN_DEFINE_TYPE(Half)
NANN_DEFINE_TYPE(BFloat16)
NANN_DEFINE_TYPE(float)
NANN_DEFINE_TYPE(double)

}  // namespace cuda
}  // namespace embedding
}  // namespace nann
