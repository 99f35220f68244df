// CUDA: the grouped forward pass, the gradient of the weights, and the lookup by position.

#include "ops/cc/cuda/embedding_device.cuh"

namespace nann {
namespace embedding {
namespace cuda {
namespace {

// A group of kLanes threads per row of ids; columns beyond kLanes * kValuesPerLane in further rounds.
template <typename T, typename Id, int kLanes>
__global__ void __launch_bounds__(kThreads) ForwardKernel(const __grid_constant__ Batch<T, Id> batch) {
  using A = Accumulator<T>;
  const FeatureView<T, Id>& feature = batch.features[blockIdx.y];
  const int lane = threadIdx.x % kLanes;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads / kLanes;
  for (int64_t row = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kLanes; row < feature.num_rows; row += step) {
    int64_t begin, end;
    RangeOf(feature, row, &begin, &end);
    for (int64_t column = 0; column < feature.dim; column += kLanes * kValuesPerLane) {
      A sums[kValuesPerLane] = {}, sum = 0, squares = 0;
      int64_t kept = 0;
      const auto add = [&](int64_t id, A weight) {
        const T* const values = RowOf(feature, id);
        A scale = weight;
        if (feature.max_norm >= 0) scale *= ClipScale(sqrt(RowDot<kLanes>(values, values, feature.dim, lane)), feature.max_norm);
#pragma unroll
        for (int v = 0; v < kValuesPerLane; ++v) {
          const int64_t i = column + v * kLanes + lane;
          if (i < feature.dim) sums[v] += scale * Widen(values[i]);
        }
        sum += weight;
        squares += weight * weight;
        ++kept;
      };
      Item<T> item;
      for (int64_t k = begin; k < end; ++k) {
        if (ItemAt(feature, k, &item)) add(item.id, item.weight);
      }
      if (kept == 0 && TakesDefault(feature)) add(feature.default_id, A(1));
      const A divisor = DivisorOf(feature, kept, sum, squares);
#pragma unroll
      for (int v = 0; v < kValuesPerLane; ++v) {
        const int64_t i = column + v * kLanes + lane;
        if (i < feature.dim) Narrow(divisor == 0 ? A(0) : sums[v] / divisor, feature.pooled + row * feature.stride + i);
      }
    }
  }
}

// d loss / d weight, see WeightGradient of embedding_forward.h. A warp per row, two rounds over its ids: the products with the
// gradient are cheaper made twice than kept.
template <typename T, typename Id>
__global__ void __launch_bounds__(kThreads) WeightGradientKernel(const __grid_constant__ Batch<T, Id> batch) {
  using A = Accumulator<T>;
  const FeatureView<T, Id>& feature = batch.features[blockIdx.y];
  if (feature.weight_gradient == nullptr) return;
  const int lane = threadIdx.x % 32;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads / 32;
  for (int64_t row = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / 32; row < feature.num_rows; row += step) {
    int64_t begin, end;
    RangeOf(feature, row, &begin, &end);
    const T* const gradient = feature.gradient + row * feature.stride;
    const auto product_of = [&](int64_t id) {
      const T* const values = RowOf(feature, id);
      const A product = RowDot<32>(values, gradient, feature.dim, lane);
      if (feature.max_norm < 0) return product;
      return product * ClipScale(sqrt(RowDot<32>(values, values, feature.dim, lane)), feature.max_norm);
    };
    Item<T> item;
    A total = 0, sum = 0, squares = 0;
    int64_t kept = 0;
    for (int64_t k = begin; k < end; ++k) {
      if (!ItemAt(feature, k, &item)) continue;
      total += item.weight * product_of(item.id);
      sum += item.weight;
      squares += item.weight * item.weight;
      ++kept;
    }
    const A divisor = DivisorOf(feature, kept, sum, squares);
    for (int64_t k = begin; k < end; ++k) {
      if (!ItemAt(feature, k, &item)) continue;
      A derivative = product_of(item.id);
      if (feature.pooling != Pooling::kSum) {
        if (divisor == 0) {
          derivative = 0;
        } else if (feature.pooling == Pooling::kMean) {
          derivative = (derivative - total / divisor) / divisor;
        } else {
          derivative = derivative / divisor - item.weight * total / (divisor * divisor * divisor);
        }
      }
      if (lane == 0) Narrow(derivative, feature.weight_gradient + item.position);
    }
  }
}

template <typename T, typename Id>
__global__ void __launch_bounds__(kThreads) PositionsKernel(const T* table, int64_t table_rows, int64_t dim, const Id* ids,
                                                            int64_t num_ids, T* out, int64_t stride, int64_t* bad) {
  const int64_t total = num_ids * dim, step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < total; i += step) {
    const int64_t k = i / dim, column = i % dim, id = static_cast<int64_t>(ids[k]);
    T value = {};
    if (id < 0 || id >= table_rows) {
      if (id != 0 && column == 0) NoteBad(bad, k);
    } else if (id > 0) {
      value = table[id * dim + column];
    }
    out[k * stride + column] = value;
  }
}

}  // namespace

template <typename T, typename Id>
const char* Forward(Stream stream, const FeatureView<T, Id>* features, int num_features) {
  return InBatches(features, num_features, [&](const Batch<T, Id>& batch, int count, int64_t rows, int64_t dim) {
    const auto blocks = [&](int lanes) { return dim3(BlocksFor(rows * lanes), count); };
    if (dim <= 8) {
      NANN_LAUNCH((ForwardKernel<T, Id, 8>), blocks(8), kThreads, Native(stream), batch);
    } else if (dim <= 16) {
      NANN_LAUNCH((ForwardKernel<T, Id, 16>), blocks(16), kThreads, Native(stream), batch);
    } else {
      NANN_LAUNCH((ForwardKernel<T, Id, 32>), blocks(32), kThreads, Native(stream), batch);
    }
  });
}

template <typename T, typename Id>
const char* WeightGradient(Stream stream, const FeatureView<T, Id>* features, int num_features) {
  return InBatches(features, num_features, [&](const Batch<T, Id>& batch, int count, int64_t rows, int64_t) {
    NANN_LAUNCH((WeightGradientKernel<T, Id>), dim3(BlocksFor(rows * 32), count), kThreads, Native(stream), batch);
  });
}

template <typename T, typename Id>
const char* Positions(Stream stream, const T* table, int64_t table_rows, int64_t dim, const Id* ids, int64_t num_ids, T* out,
                      int64_t stride, int64_t* bad) {
  if (num_ids == 0 || dim == 0) return nullptr;
  NANN_LAUNCH((PositionsKernel<T, Id>), BlocksFor(num_ids * dim), kThreads, Native(stream), table, table_rows, dim, ids, num_ids,
              out, stride, bad);
  return Launched();
}

#define NANN_DEFINE(T, Id)                                                            \
  template const char* Forward<T, Id>(Stream, const FeatureView<T, Id>*, int);        \
  template const char* WeightGradient<T, Id>(Stream, const FeatureView<T, Id>*, int); \
  template const char* Positions<T, Id>(Stream, const T*, int64_t, int64_t, const Id*, int64_t, T*, int64_t, int64_t*);
NANN_CUDA_TYPES(NANN_DEFINE)

}  // namespace cuda
}  // namespace embedding
}  // namespace nann
