// What the kernels share: tables behind resource handles or in tensors, and the attributes and inputs of the grouped lookup.

#ifndef NANN_OPS_CC_EMBEDDING_CONTEXT_H_
#define NANN_OPS_CC_EMBEDDING_CONTEXT_H_

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "ops/cc/embedding_backward.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/lib/core/threadpool.h"

namespace nann {

using tensorflow::OpInputList;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::Var;

// The type of the arithmetic for a TensorFlow type; both have the same bits.
template <typename T>
struct Bits {
  using type = T;
};
template <>
struct Bits<Eigen::half> {
  using type = embedding::Half;
};
template <>
struct Bits<Eigen::bfloat16> {
  using type = embedding::BFloat16;
};

template <typename T>
const typename Bits<T>::type* DataOf(const Tensor& tensor) {
  return reinterpret_cast<const typename Bits<T>::type*>(tensor.flat<T>().data());
}
template <typename T>
typename Bits<T>::type* MutableDataOf(Tensor* tensor) {
  return reinterpret_cast<typename Bits<T>::type*>(tensor->flat<T>().data());
}

// Runs work on the calling thread and, where it is worth it, on the intra-op pool beside it. See embedding_context.cc.
void ShareWork(tensorflow::thread::ThreadPool* pool, int num_threads, int64_t n, int64_t cost,
               const std::function<void(int64_t, int64_t)>& work);
absl::Status CheckHandle(const Tensor& tensor);

inline embedding::ParallelFor ParallelOn(OpKernelContext* context) {
  const auto* workers = context->device()->tensorflow_cpu_worker_threads();
  return [workers](int64_t n, int64_t cost, const std::function<void(int64_t, int64_t)>& work) {
    ShareWork(workers->workers, workers->num_threads, n, cost, work);
  };
}

// Variables behind handles, locked for as long as this lives: in the order of their addresses, each once.
class LockedVariables {
 public:
  LockedVariables() = default;
  ~LockedVariables() {
    for (Var* var : locked_) exclusive_ ? var->mu()->unlock() : var->mu()->unlock_shared();
  }
  LockedVariables(const LockedVariables&) = delete;
  LockedVariables& operator=(const LockedVariables&) = delete;

  absl::Status Lock(OpKernelContext* context, const std::vector<int>& inputs, bool exclusive) {
    exclusive_ = exclusive;
    for (const int input : inputs) {
      TF_RETURN_IF_ERROR(CheckHandle(context->input(input)));
      tensorflow::core::RefCountPtr<Var> var;
      TF_RETURN_IF_ERROR(LookupResource(context, tensorflow::HandleFromInput(context, input), &var));
      variables_.push_back(std::move(var));
    }
    std::vector<Var*> order;
    for (const auto& var : variables_) order.push_back(var.get());
    std::sort(order.begin(), order.end());
    order.erase(std::unique(order.begin(), order.end()), order.end());
    for (Var* var : order) {
      exclusive ? var->mu()->lock() : var->mu()->lock_shared();
      locked_.push_back(var);
    }
    for (const auto& var : variables_) {
      if (!var->tensor()->IsInitialized()) {
        return absl::FailedPreconditionError(
            "an embedding table or slot is not initialized; run the initializer or restore it first");
      }
    }
    return absl::OkStatus();
  }
  Tensor* tensor(int i) const { return variables_[i]->tensor(); }
  int size() const { return static_cast<int>(variables_.size()); }

  // Makes the buffer ours alone, so that tensors read before keep their values. Variables in copy-on-read mode hand out copies
  // anyway. `copy(to, from, size)` copies on the variable's device.
  template <typename Copy>
  absl::Status MakeWritable(OpKernelContext* context, int i, const Copy& copy) const {
    Var* var = variables_[i].get();
    if (var->copy_on_read_mode.load() || var->tensor()->RefCountIsOne()) return absl::OkStatus();
    Tensor mine;
    TF_RETURN_IF_ERROR(context->allocate_temp(var->tensor()->dtype(), var->tensor()->shape(), &mine));
    copy(const_cast<char*>(mine.tensor_data().data()), var->tensor()->tensor_data().data(), mine.TotalBytes());
    *var->tensor() = mine;
    return absl::OkStatus();
  }
  absl::Status MakeWritable(OpKernelContext* context, int i) const { return MakeWritable(context, i, std::memcpy); }

 private:
  bool exclusive_ = false;
  std::vector<tensorflow::core::RefCountPtr<Var>> variables_;
  std::vector<Var*> locked_;
};

// The attributes of the grouped lookup, checked against each other.
struct GroupAttributes {
  int num_parts = 0, num_features = 0;
  bool concat = false;
  std::vector<int> dims, table_parts, first_part;
  std::vector<bool> mod, weighted;
  std::vector<embedding::Feature> features;
  std::vector<double> table_max_norms;

  absl::Status Read(OpKernelConstruction* context);
};

// Inputs of the grouped lookup for one call.
template <typename T, typename Id>
struct GroupInputs {
  using B = typename Bits<T>::type;
  std::vector<embedding::Table<B>> tables;
  std::vector<embedding::Partition> partitions;
  std::vector<embedding::Lookup<B, Id>> lookups;
  std::vector<std::vector<int64_t>> splits, orders;  // of sparse inputs

  absl::Status Read(OpKernelContext* context, const GroupAttributes& attributes, const std::vector<const Tensor*>& parts);

  std::vector<int64_t> NumRows() const {
    std::vector<int64_t> rows;
    for (const auto& lookup : lookups) rows.push_back(lookup.num_rows);
    return rows;
  }

 private:
  absl::Status ReadSplits(OpKernelContext* context, const GroupAttributes& attributes, const OpInputList& ids,
                          const OpInputList& segments, const OpInputList& dense_shapes);
};

// Numbers of the inputs of a list, in order.
inline absl::Status InputNumbers(OpKernelContext* context, const char* name, std::vector<int>* numbers) {
  int begin = 0, end = 0;
  TF_RETURN_IF_ERROR(context->op_kernel().InputRange(name, &begin, &end));
  for (int i = begin; i < end; ++i) numbers->push_back(i);
  return absl::OkStatus();
}

// The tables of an op: tensors, or locked variables.
template <bool kResource>
absl::Status ReadTables(OpKernelContext* context, LockedVariables* locked, std::vector<const Tensor*>* parts) {
  std::vector<int> numbers;
  TF_RETURN_IF_ERROR(InputNumbers(context, "tables", &numbers));
  if constexpr (kResource) TF_RETURN_IF_ERROR(locked->Lock(context, numbers, /*exclusive=*/false));
  for (size_t i = 0; i < numbers.size(); ++i) {
    parts->push_back(kResource ? locked->tensor(static_cast<int>(i)) : &context->input(numbers[i]));
  }
  return absl::OkStatus();
}

absl::Status ReadUpdateOptions(const std::string& optimizer, const Tensor& tensor, embedding::UpdateOptions* options);
absl::Status CheckDtype(const Tensor& tensor, tensorflow::DataType expected);

// The tables of an op from their parts, checked against the attributes; the parts may lie on any device.
template <typename T>
absl::Status MakeTables(const GroupAttributes& attributes, const std::vector<const Tensor*>& parts,
                        std::vector<embedding::Table<typename Bits<T>::type>>* tables) {
  using B = typename Bits<T>::type;
  for (size_t t = 0; t < attributes.dims.size(); ++t) {
    embedding::Table<B> table;
    table.dim = attributes.dims[t];
    std::vector<int64_t> rows;
    for (int i = 0; i < attributes.table_parts[t]; ++i) {
      const Tensor& part = *parts[attributes.first_part[t] + i];
      TF_RETURN_IF_ERROR(CheckDtype(part, tensorflow::DataTypeToEnum<T>::value));
      if (part.dims() != 2 || part.dim_size(1) != table.dim) {
        return absl::InvalidArgumentError(absl::StrCat("part ", i, " of table ", t, " must have shape [rows, ", table.dim,
                                                       "], got ", part.shape().DebugString()));
      }
      rows.push_back(part.dim_size(0));
      table.parts.push_back(const_cast<B*>(DataOf<T>(part)));
    }
    table.partition = embedding::Partition(rows, attributes.mod[t]);
    const int64_t total = table.partition.num_rows(), count = static_cast<int64_t>(rows.size());
    for (int64_t i = 0; i < count; ++i) {
      if (count > 1 && rows[i] != total / count + (i < total % count)) {
        return absl::InvalidArgumentError(absl::StrCat("part ", i, " of ", count, " of a table of ", total, " rows must have ",
                                                       total / count + (i < total % count), " rows, got ", rows[i],
                                                       "; partition the table as tf.nn.embedding_lookup asks for"));
      }
    }
    tables->push_back(std::move(table));
  }
  return absl::OkStatus();
}

template <typename T, typename Id>
absl::Status GroupInputs<T, Id>::Read(OpKernelContext* context, const GroupAttributes& attributes,
                                      const std::vector<const Tensor*>& parts) {
  TF_RETURN_IF_ERROR(MakeTables<T>(attributes, parts, &tables));
  for (const auto& table : tables) partitions.push_back(table.partition);
  OpInputList ids, segments, dense_shapes, weights;
  TF_RETURN_IF_ERROR(context->input_list("ids", &ids));
  TF_RETURN_IF_ERROR(context->input_list("segments", &segments));
  TF_RETURN_IF_ERROR(context->input_list("dense_shapes", &dense_shapes));
  TF_RETURN_IF_ERROR(context->input_list("weights", &weights));
  splits.resize(attributes.num_features);
  orders.resize(attributes.num_features);
  TF_RETURN_IF_ERROR(ReadSplits(context, attributes, ids, segments, dense_shapes));
  int weight = 0;
  for (int f = 0; f < attributes.num_features; ++f) {
    const std::string& name = attributes.features[f].name;
    embedding::Lookup<B, Id> lookup;
    const Tensor& values = ids[f];
    lookup.ids = values.flat<Id>().data();
    if (segments[f].dims() == 1) {
      lookup.splits = segments[f].flat<int64_t>().data();
      lookup.num_rows = segments[f].NumElements() - 1;
    } else {
      lookup.splits = splits[f].data();
      lookup.num_rows = static_cast<int64_t>(splits[f].size()) - 1;
      if (!orders[f].empty()) lookup.order = orders[f].data();
    }
    if (attributes.weighted[f]) {
      if (weight >= weights.size()) return absl::InvalidArgumentError("there are fewer weights than weighted features");
      const Tensor& given = weights[weight++];
      TF_RETURN_IF_ERROR(CheckDtype(given, tensorflow::DataTypeToEnum<T>::value));
      if (given.dims() != 1 || given.NumElements() != values.NumElements()) {
        return absl::InvalidArgumentError(absl::StrCat("weights of ", name, " must be as many as its ids, got ",
                                                       given.NumElements(), " weights and ", values.NumElements(), " ids"));
      }
      lookup.weights = DataOf<T>(given);
    }
    if (attributes.concat && lookup.num_rows != (f == 0 ? lookup.num_rows : lookups[0].num_rows)) {
      return absl::InvalidArgumentError(absl::StrCat("features of one output need the same number of rows, got ",
                                                     lookups[0].num_rows, " for ", attributes.features[0].name, " and ",
                                                     lookup.num_rows, " for ", name));
    }
    lookups.push_back(lookup);
  }
  return absl::OkStatus();
}

// Checks row splits, and makes them of sparse indices.
template <typename T, typename Id>
absl::Status GroupInputs<T, Id>::ReadSplits(OpKernelContext* context, const GroupAttributes& attributes, const OpInputList& ids,
                                            const OpInputList& segments, const OpInputList& dense_shapes) {
  struct Piece {
    int feature;
    int64_t begin, end;
    bool ascends = false;
  };
  constexpr int64_t kIdsPerPiece = 8192;
  std::vector<Piece> pieces;
  std::vector<bool> general(attributes.num_features, false);
  for (int f = 0; f < attributes.num_features; ++f) {
    const std::string& name = attributes.features[f].name;
    const Tensor &values = ids[f], &indices = segments[f];
    std::string error;
    if (values.dims() != 1) {
      return absl::InvalidArgumentError(absl::StrCat("ids of ", name, " must be a vector, got ", values.shape().DebugString()));
    }
    const int64_t num_ids = values.NumElements();
    if (indices.dims() == 1) {
      if (!embedding::CheckSplits(indices.flat<int64_t>().data(), indices.NumElements(), num_ids, &error)) {
        return absl::InvalidArgumentError(absl::StrCat(name, ": ", error));
      }
      continue;
    }
    if (indices.dims() != 2 || indices.dim_size(1) < 2 || indices.dim_size(0) != num_ids ||
        dense_shapes[f].NumElements() != indices.dim_size(1)) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": sparse indices must have shape [", num_ids,
                                                     ", rank >= 2] and dense_shape [rank], got ", indices.shape().DebugString(),
                                                     " and ", dense_shapes[f].shape().DebugString()));
    }
    const int64_t rows = dense_shapes[f].flat<int64_t>()(0);
    if (indices.dim_size(1) != 2 || rows < 0 || rows > embedding::kMostRows) {
      general[f] = true;
      continue;
    }
    splits[f].resize(rows + 1);
    for (int64_t begin = 0; begin == 0 || begin < num_ids; begin += kIdsPerPiece) {
      pieces.push_back({f, begin, std::min(num_ids, begin + kIdsPerPiece)});
    }
  }
  ParallelOn(context)(static_cast<int64_t>(pieces.size()), 2 * kIdsPerPiece, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      Piece& piece = pieces[p];
      const int f = piece.feature;
      piece.ascends = embedding::SplitsOfAscendingIndices(segments[f].flat<int64_t>().data(), ids[f].NumElements(),
                                                          static_cast<int64_t>(splits[f].size()) - 1, piece.begin, piece.end,
                                                          splits[f].data());
    }
  });
  for (const Piece& piece : pieces) general[piece.feature] = general[piece.feature] || !piece.ascends;
  for (int f = 0; f < attributes.num_features; ++f) {
    std::string error;
    if (general[f] && !embedding::SplitsOfIndices(segments[f].flat<int64_t>().data(), ids[f].NumElements(),
                                                  dense_shapes[f].flat<int64_t>().data(), segments[f].dim_size(1), &splits[f],
                                                  &orders[f], &error)) {
      return absl::InvalidArgumentError(absl::StrCat(attributes.features[f].name, ": ", error));
    }
  }
  return absl::OkStatus();
}

// The gradients given for the outputs of the grouped lookup, feature by feature.
template <typename T>
absl::Status ReadGradients(OpKernelContext* context, const GroupAttributes& attributes, const std::vector<int64_t>& num_rows,
                           std::vector<embedding::Slab<const typename Bits<T>::type>>* slabs) {
  OpInputList gradients;
  TF_RETURN_IF_ERROR(context->input_list("gradients", &gradients));
  int64_t width = 0, column = 0;
  for (const auto& feature : attributes.features) width += attributes.dims[feature.table];
  for (int f = 0; f < attributes.num_features; ++f) {
    const int64_t dim = attributes.dims[attributes.features[f].table];
    const Tensor& gradient = gradients[attributes.concat ? 0 : f];
    const int64_t columns = attributes.concat ? width : dim;
    if (gradient.dims() != 2 || gradient.dim_size(0) != num_rows[f] || gradient.dim_size(1) != columns) {
      return absl::InvalidArgumentError(absl::StrCat("the gradient of ", attributes.features[f].name, " must have shape [",
                                                     num_rows[f], ", ", columns, "], got ", gradient.shape().DebugString()));
    }
    slabs->push_back({DataOf<T>(gradient) + (attributes.concat ? column : 0), columns});
    column += dim;
  }
  return absl::OkStatus();
}

#define NANN_FOR_EACH_TYPE(REGISTER) \
  REGISTER(Eigen::half, int32_t)     \
  REGISTER(Eigen::half, int64_t)     \
  REGISTER(Eigen::bfloat16, int32_t) \
  REGISTER(Eigen::bfloat16, int64_t) \
  REGISTER(float, int32_t) REGISTER(float, int64_t) REGISTER(double, int32_t) REGISTER(double, int64_t)

}  // namespace nann

#endif  // NANN_OPS_CC_EMBEDDING_CONTEXT_H_
