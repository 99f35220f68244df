// CPU kernels of the lookup by position, its gradient, and the update of given rows.

#include "absl/strings/str_join.h"
#include "ops/cc/embedding_context.h"
#include "ops/cc/embedding_positions.h"
#include "ops/cc/guarded.h"

namespace nann {
namespace {

constexpr int64_t kPositionsPerChunk = 2048;

template <typename T, typename Id, bool kResource>
class PositionsOp : public OpKernel {
 public:
  explicit PositionsOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("dims", &dims_));
  }

  void Compute(OpKernelContext* context) override {
    LockedVariables locked;
    std::vector<const Tensor*> tables;
    OP_REQUIRES_OK(context, (ReadTables<kResource>(context, &locked, &tables)));
    OpInputList ids;
    OP_REQUIRES_OK(context, context->input_list("ids", &ids));
    int64_t width = 0;
    OP_REQUIRES_OK(context, CheckPositions(tables, ids, dims_, tensorflow::DataTypeToEnum<T>::value, &width));
    TensorShape shape = ids[0].shape();
    OP_REQUIRES_OK(context, shape.AddDimWithStatus(width));
    Tensor* output = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &output));
    const int64_t num_ids = ids[0].NumElements();
    char* const out = reinterpret_cast<char*>(output->flat<T>().data());
    embedding::FirstError first_error;
    ParallelOn(context)(num_ids, static_cast<int64_t>(tables.size()) * 20, [&](int64_t begin, int64_t end) {
      int64_t column = 0;
      for (size_t t = 0; t < tables.size(); ++t) {
        const int64_t rows = tables[t]->dim_size(0);
        const size_t size = dims_[t] * sizeof(T);
        const char* const table = reinterpret_cast<const char*>(tables[t]->flat<T>().data());
        const Id* const table_ids = ids[static_cast<int>(t)].flat<Id>().data();
        constexpr int64_t kAhead = 8;
        for (int64_t k = begin; k < end; ++k) {
          if (k + kAhead < end) {
            const int64_t next = table_ids[k + kAhead];
            if (next > 0 && next < rows) {
              for (size_t byte = 0; byte < size; byte += 64) __builtin_prefetch(table + next * size + byte);
            }
          }
          const int64_t id = table_ids[k];
          char* const to = out + (k * width + column) * sizeof(T);
          if (id == 0) {
            std::memset(to, 0, size);
          } else if (id < 0 || id >= rows) {
            first_error.Set(static_cast<int64_t>(t) * num_ids + k,
                            absl::StrCat("ids of table ", t, " must lie in [0, ", rows, "), got id ", id, " at position ", k));
            return;
          } else {
            std::memcpy(to, table + id * size, size);
          }
        }
        column += dims_[t];
      }
    });
    OP_REQUIRES(context, first_error.ok(), absl::InvalidArgumentError(first_error.message()));
  }

 private:
  std::vector<int> dims_;
};

template <typename T, typename Id>
class PositionsGradOp : public OpKernel {
 public:
  using B = typename Bits<T>::type;

  explicit PositionsGradOp(OpKernelConstruction* context) : OpKernel(context) {
    int num_ids = 0;
    OP_REQUIRES_OK(context, context->GetAttr("dims", &dims_));
    OP_REQUIRES_OK(context, context->GetAttr("num_ids", &num_ids));
    OP_REQUIRES_OK(context, context->GetAttr("num_lookups", &num_lookups_));
    int num_tables = 0;
    OP_REQUIRES_OK(context, context->GetAttr("num_tables", &num_tables));
    OP_REQUIRES(context, std::all_of(dims_.begin(), dims_.end(), [](int dim) { return dim >= 0; }),
                absl::InvalidArgumentError(absl::StrCat("dims must be at least 0, got ", absl::StrJoin(dims_, ", "))));
    OP_REQUIRES(context, static_cast<int>(dims_.size()) == num_tables && num_ids == num_tables * num_lookups_,
                absl::InvalidArgumentError(absl::StrCat(num_lookups_, " lookups into ", dims_.size(), " tables need ",
                                                        num_lookups_ * dims_.size(), " id tensors, got ", num_ids)));
  }

  void Compute(OpKernelContext* context) override {
    const int num_tables = static_cast<int>(dims_.size());
    OpInputList ids, gradients;
    OP_REQUIRES_OK(context, context->input_list("ids", &ids));
    OP_REQUIRES_OK(context, context->input_list("gradients", &gradients));
    int64_t width = 0, total = 0;
    OP_REQUIRES_OK(context, CheckPositionGradients(ids, gradients, dims_, num_lookups_, &width, &total));
    struct Piece {
      int lookup, table;
      int64_t column, begin, end;
    };
    std::vector<Piece> pieces;
    for (int lookup = 0; lookup < num_lookups_; ++lookup) {
      const int64_t size = ids[lookup * num_tables].NumElements();
      int64_t column = 0;
      for (int t = 0; t < num_tables; ++t) {
        for (int64_t begin = 0; begin < size; begin += kPositionsPerChunk) {
          pieces.push_back({lookup, t, column, begin, std::min(size, begin + kPositionsPerChunk)});
        }
        column += dims_[t];
      }
    }
    embedding::RowGradients<B> rows(std::vector<int64_t>(num_tables, total), static_cast<int64_t>(pieces.size()));
    const auto parallel = ParallelOn(context);
    parallel(static_cast<int64_t>(pieces.size()), kPositionsPerChunk * 5, [&](int64_t begin, int64_t end) {
      std::vector<int32_t> present(kPositionsPerChunk);
      for (int64_t p = begin; p < end; ++p) {
        const Piece& piece = pieces[p];
        const Id* const piece_ids = ids[piece.lookup * num_tables + piece.table].template flat<Id>().data() + piece.begin;
        int64_t count = 0;
        for (int32_t k = 0; k < static_cast<int32_t>(piece.end - piece.begin); ++k) {
          present[count] = k;
          count += piece_ids[k] != 0;
        }
        rows.Add(
            p, piece.table, 1, DataOf<T>(gradients[piece.lookup]) + piece.begin * width + piece.column, width, count,
            [](int64_t) { return 0; }, [&](int64_t i) { return static_cast<int64_t>(piece_ids[present[i]]); },
            [&](int64_t i) { return present[i]; }, [](int64_t) { return embedding::Accumulator<B>(1); });
      }
    });
    rows.Seal();
    rows.Group(parallel);
    std::vector<int64_t> starts;
    const std::vector<int64_t> counts = embedding::DistinctRows(rows, num_tables, &starts);
    std::vector<embedding::Target<B>> targets(num_tables);
    std::vector<embedding::SparseRows<B, Id>> outputs(num_tables);
    for (int t = 0; t < num_tables; ++t) {
      Tensor *indices = nullptr, *values = nullptr;
      OP_REQUIRES_OK(context, context->allocate_output(t, TensorShape({counts[t]}), &indices));
      OP_REQUIRES_OK(context, context->allocate_output(num_tables + t, TensorShape({counts[t], dims_[t]}), &values));
      outputs[t] = {indices->flat<Id>().data(), MutableDataOf<T>(values)};
      targets[t].dim = dims_[t];
    }
    embedding::WriteRows(rows, targets, outputs, starts, parallel);
  }

 private:
  std::vector<int> dims_;
  int num_lookups_ = 0;
};

template <typename T, typename Id>
class UpdateRowsOp : public OpKernel {
 public:
  using B = typename Bits<T>::type;

  explicit UpdateRowsOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("optimizer", &optimizer_));
  }

  void Compute(OpKernelContext* context) override { OP_REQUIRES_OK(context, Run(context)); }

 private:
  absl::Status Run(OpKernelContext* context) {
    std::vector<int> numbers;
    TF_RETURN_IF_ERROR(InputNumbers(context, "table", &numbers));
    TF_RETURN_IF_ERROR(InputNumbers(context, "slots", &numbers));
    const size_t slots = optimizer_ == "sgd" ? 0 : optimizer_ == "adagrad" ? 1 : 2;
    if (numbers.size() != 1 + slots) {
      return absl::InvalidArgumentError(absl::StrCat(optimizer_, " needs ", slots, " slots, got ", numbers.size() - 1));
    }
    const Tensor *indices = nullptr, *values = nullptr, *option_tensor = nullptr;
    TF_RETURN_IF_ERROR(context->input("indices", &indices));
    TF_RETURN_IF_ERROR(context->input("values", &values));
    TF_RETURN_IF_ERROR(context->input("options", &option_tensor));
    embedding::UpdateOptions options;
    TF_RETURN_IF_ERROR(ReadUpdateOptions(optimizer_, *option_tensor, &options));
    LockedVariables locked;
    TF_RETURN_IF_ERROR(locked.Lock(context, numbers, /*exclusive=*/true));
    const TensorShape shape = locked.tensor(0)->shape();
    if (shape.dims() != 2 || indices->dims() != 1 || values->dims() != 2 || values->dim_size(0) != indices->dim_size(0) ||
        values->dim_size(1) != shape.dim_size(1)) {
      return absl::InvalidArgumentError(absl::StrCat("indices [n] and values [n, dim] must fit the table, got ",
                                                     indices->shape().DebugString(), ", ", values->shape().DebugString(), " and ",
                                                     shape.DebugString()));
    }
    B* data[3] = {nullptr, nullptr, nullptr};
    for (size_t i = 0; i < numbers.size(); ++i) {
      const int number = static_cast<int>(i);
      TF_RETURN_IF_ERROR(CheckDtype(*locked.tensor(number), tensorflow::DataTypeToEnum<T>::value));
      if (locked.tensor(number)->shape() != shape) {
        return absl::InvalidArgumentError(absl::StrCat("a slot must have the shape of its table ", shape.DebugString(), ", got ",
                                                       locked.tensor(number)->shape().DebugString()));
      }
      TF_RETURN_IF_ERROR(locked.MakeWritable(context, number, std::memcpy));
      data[i] = MutableDataOf<T>(locked.tensor(number));
    }
    const int64_t size = indices->NumElements(), dim = shape.dim_size(1);
    const int64_t pieces = (size + kPositionsPerChunk - 1) / kPositionsPerChunk;
    embedding::RowGradients<B> rows({size}, pieces);
    const auto parallel = ParallelOn(context);
    const Id* const row_ids = indices->flat<Id>().data();
    const B* const gradient = DataOf<T>(*values);
    embedding::FirstError first_error;
    parallel(pieces, kPositionsPerChunk * 5, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const int64_t first = p * kPositionsPerChunk, count = std::min(size - first, kPositionsPerChunk);
        for (int64_t k = first; k < first + count; ++k) {
          if (row_ids[k] >= 0 && row_ids[k] < shape.dim_size(0)) continue;
          first_error.Set(p, absl::StrCat("rows to update must lie in [0, ", shape.dim_size(0), "), got ", row_ids[k]));
          return;
        }
        rows.Add(
            p, 0, 1, gradient + first * dim, dim, count, [](int64_t) { return 0; },
            [&](int64_t i) { return static_cast<int64_t>(row_ids[first + i]); },
            [](int64_t i) { return static_cast<int32_t>(i); }, [](int64_t) { return embedding::Accumulator<B>(1); });
      }
    });
    if (!first_error.ok()) return absl::InvalidArgumentError(first_error.message());
    rows.Seal();
    embedding::UpdateRows(rows, {{data[0], data[1], data[2], shape.dim_size(0), dim, -1}}, options, parallel);
    return absl::OkStatus();
  }

  std::string optimizer_;
};

#define NANN_REGISTER(T, Id)                                                                                                     \
  REGISTER_KERNEL_BUILDER(                                                                                                       \
      Name("Nann>FusedEmbeddingPositions").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T").TypeConstraint<Id>("Tids"),     \
      Guarded<PositionsOp<T, Id, false>>);                                                                                       \
  REGISTER_KERNEL_BUILDER(Name("Nann>FusedEmbeddingPositionsResource")                                                           \
                              .Device(tensorflow::DEVICE_CPU)                                                                    \
                              .TypeConstraint<T>("T")                                                                            \
                              .TypeConstraint<Id>("Tids"),                                                                       \
                          Guarded<PositionsOp<T, Id, true>>);                                                                    \
  REGISTER_KERNEL_BUILDER(                                                                                                       \
      Name("Nann>FusedEmbeddingPositionsGrad").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T").TypeConstraint<Id>("Tids"), \
      Guarded<PositionsGradOp<T, Id>>);                                                                                          \
  REGISTER_KERNEL_BUILDER(                                                                                                       \
      Name("Nann>FusedEmbeddingUpdateRows").Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T").TypeConstraint<Id>("Tids"),    \
      Guarded<UpdateRowsOp<T, Id>>);

NANN_FOR_EACH_TYPE(NANN_REGISTER)

}  // namespace
}  // namespace nann
