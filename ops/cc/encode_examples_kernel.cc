// Kernel of Nann>EncodeExamples. Pass 1 computes the size of every record, pass 2 writes each at its place; both run in parallel.

#include <algorithm>
#include <atomic>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "ops/cc/crc32c.h"
#include "ops/cc/wire_format.h"
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
using tensorflow::tstring;

// Field numbers of tensorflow/core/example/{example,feature}.proto.
constexpr int kExampleFeatures = 1;
constexpr int kFeaturesEntry = 1;
constexpr int kEntryKey = 1;
constexpr int kEntryValue = 2;
constexpr int kListValue = 1;
enum Kind : int { kBytes = 1, kFloat = 2, kInt64 = 3 };  // the fields of message Feature

constexpr int64_t kLengthBytes = 8;
constexpr int64_t kCrcBytes = 4;
constexpr int64_t kFrameBytes = kLengthBytes + 2 * kCrcBytes;

struct Column {
  Kind kind;
  const std::string* name;
  const void* values;
  const int64_t* row_splits;

  const int64_t* int64s() const { return static_cast<const int64_t*>(values); }
  const float* floats() const { return static_cast<const float*>(values); }
  const tstring* strings() const { return static_cast<const tstring*>(values); }

  // Bytes of the list's values in one record: of the packed field's body, or for bytes of all elements with their heads.
  int64_t ValueSize(int64_t row) const {
    const int64_t begin = row_splits[row], end = row_splits[row + 1];
    if (kind == kFloat) return (end - begin) * static_cast<int64_t>(sizeof(float));
    int64_t size = 0;
    if (kind == kInt64) {
      for (int64_t i = begin; i < end; ++i) size += VarintSize(static_cast<uint64_t>(int64s()[i]));
    } else {
      for (int64_t i = begin; i < end; ++i) size += DelimitedSize(static_cast<int64_t>(strings()[i].size()));
    }
    return size;
  }

  // Bytes of the list message: a packed field is left out when it is empty; elements of bytes carry their own heads.
  int64_t ListSize(int64_t value_size) const {
    return kind == kBytes || value_size == 0 ? value_size : DelimitedSize(value_size);
  }

  int64_t EntrySize(int64_t value_size) const {
    return DelimitedSize(static_cast<int64_t>(name->size())) + DelimitedSize(DelimitedSize(ListSize(value_size)));
  }

  uint8_t* Put(uint8_t* out, int64_t row, int64_t value_size) const {
    const int64_t list_size = ListSize(value_size);
    out = PutDelimitedHead(out, kFeaturesEntry, EntrySize(value_size));
    out = PutDelimitedHead(out, kEntryKey, static_cast<int64_t>(name->size()));
    out = PutBytes(out, name->data(), name->size());
    out = PutDelimitedHead(out, kEntryValue, DelimitedSize(list_size));
    out = PutDelimitedHead(out, kind, list_size);
    const int64_t begin = row_splits[row], end = row_splits[row + 1];
    if (kind == kBytes) {
      for (int64_t i = begin; i < end; ++i) {
        const tstring& value = strings()[i];
        out = PutDelimitedHead(out, kListValue, static_cast<int64_t>(value.size()));
        out = PutBytes(out, value.data(), value.size());
      }
      return out;
    }
    if (value_size == 0) return out;
    out = PutDelimitedHead(out, kListValue, value_size);
    if (kind == kFloat) return PutBytes(out, floats() + begin, value_size);  // little-endian hosts only, as TensorFlow's wheels
    for (int64_t i = begin; i < end; ++i) out = PutVarint(out, static_cast<uint64_t>(int64s()[i]));
    return out;
  }
};

class EncodeExamplesOp : public OpKernel {
 public:
  explicit EncodeExamplesOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("names", &names_));
    int num_features = 0;
    OP_REQUIRES_OK(context, context->GetAttr("num_features", &num_features));
    OP_REQUIRES(context, static_cast<int>(names_.size()) == num_features,
                absl::InvalidArgumentError(absl::StrCat("every feature needs a name and row splits, got ", names_.size(),
                                                        " names and ", num_features, " row splits")));
    order_.resize(names_.size());
    std::iota(order_.begin(), order_.end(), 0);
    std::sort(order_.begin(), order_.end(), [this](int a, int b) { return names_[a] < names_[b]; });
    for (size_t i = 1; i < order_.size(); ++i) {
      OP_REQUIRES(context, names_[order_[i - 1]] != names_[order_[i]],
                  absl::InvalidArgumentError(absl::StrCat("feature names must differ, got ", names_[order_[i]], " twice")));
    }
  }

  void Compute(OpKernelContext* context) override {
    std::vector<Column> columns;
    int64_t num_rows = 0;
    OP_REQUIRES_OK(context, ReadColumns(context, &columns, &num_rows));
    const int64_t width = static_cast<int64_t>(columns.size());
    std::vector<int64_t> value_sizes(num_rows * width);
    std::vector<int64_t> features_sizes(num_rows);
    std::vector<int64_t> starts(num_rows + 1, 0);
    std::atomic<int64_t> too_large{-1};
    const auto measure = [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        int64_t features_size = 0;
        for (int64_t c = 0; c < width; ++c) {
          const int64_t value_size = columns[c].ValueSize(row);
          value_sizes[row * width + c] = value_size;
          features_size += DelimitedSize(columns[c].EntrySize(value_size));
        }
        features_sizes[row] = features_size;
        const int64_t payload = DelimitedSize(features_size);
        if (payload > std::numeric_limits<int32_t>::max()) too_large = row;
        starts[row + 1] = payload + kFrameBytes;
      }
    };
    const auto& workers = *context->device()->tensorflow_cpu_worker_threads();
    const int64_t cost = 100 * width + 3 * TotalValues(columns, num_rows) / std::max<int64_t>(num_rows, 1);
    tensorflow::Shard(workers.num_threads, workers.workers, num_rows, cost, measure);
    OP_REQUIRES(context, too_large < 0,
                absl::InvalidArgumentError(absl::StrCat("a record may have at most 2^31 - 1 bytes, but record ", too_large.load(),
                                                        " has ", starts[too_large + 1] - kFrameBytes)));
    std::partial_sum(starts.begin(), starts.end(), starts.begin());
    Tensor* output = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, TensorShape({starts[num_rows]}), &output));
    uint8_t* const base = output->flat<uint8_t>().data();
    const auto write = [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        uint8_t* const frame = base + starts[row];
        uint8_t* const payload = frame + kLengthBytes + kCrcBytes;
        uint8_t* out = PutDelimitedHead(payload, kExampleFeatures, features_sizes[row]);
        for (int64_t c = 0; c < width; ++c) out = columns[c].Put(out, row, value_sizes[row * width + c]);
        PutFixed64(frame, out - payload);
        PutFixed32(frame + kLengthBytes, MaskedCrc32c(frame, kLengthBytes));
        PutFixed32(out, MaskedCrc32c(payload, out - payload));
      }
    };
    tensorflow::Shard(workers.num_threads, workers.workers, num_rows, 2 * cost, write);
  }

 private:
  // The columns in the order of their names. After this every row range lies within its values.
  absl::Status ReadColumns(OpKernelContext* context, std::vector<Column>* columns, int64_t* num_rows) const {
    OpInputList int64_values, float_values, bytes_values, row_splits;
    TF_RETURN_IF_ERROR(context->input_list("int64_values", &int64_values));
    TF_RETURN_IF_ERROR(context->input_list("float_values", &float_values));
    TF_RETURN_IF_ERROR(context->input_list("bytes_values", &bytes_values));
    TF_RETURN_IF_ERROR(context->input_list("row_splits", &row_splits));
    std::vector<std::pair<Kind, const Tensor*>> values;
    for (const Tensor& tensor : int64_values) values.emplace_back(kInt64, &tensor);
    for (const Tensor& tensor : float_values) values.emplace_back(kFloat, &tensor);
    for (const Tensor& tensor : bytes_values) values.emplace_back(kBytes, &tensor);
    if (values.size() != names_.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("every name needs values, got ", names_.size(), " names and ", values.size(), " lists of values"));
    }
    *num_rows = row_splits[0].NumElements() - 1;
    for (const int feature : order_) {
      const auto& [kind, tensor] = values[feature];
      const Tensor& splits = row_splits[feature];
      TF_RETURN_IF_ERROR(CheckSplits(names_[feature], *tensor, splits, *num_rows));
      const void* data = kind == kInt64   ? static_cast<const void*>(tensor->flat<int64_t>().data())
                         : kind == kFloat ? static_cast<const void*>(tensor->flat<float>().data())
                                          : static_cast<const void*>(tensor->flat<tstring>().data());
      columns->push_back({kind, &names_[feature], data, splits.flat<int64_t>().data()});
    }
    return absl::OkStatus();
  }

  static absl::Status CheckSplits(const std::string& name, const Tensor& values, const Tensor& splits, int64_t num_rows) {
    if (!TensorShapeUtils::IsVector(values.shape()) || !TensorShapeUtils::IsVector(splits.shape())) {
      return absl::InvalidArgumentError(absl::StrCat("values and row_splits of feature ", name, " must be vectors, got shapes ",
                                                     values.shape().DebugString(), " and ", splits.shape().DebugString()));
    }
    if (splits.NumElements() != num_rows + 1 || num_rows < 0) {
      return absl::InvalidArgumentError(absl::StrCat("row_splits of all features need the same length of at least 1, got ",
                                                     splits.NumElements(), " for ", name, " and ", num_rows + 1,
                                                     " for the first"));
    }
    const auto flat = splits.flat<int64_t>();
    if (flat(0) != 0 || flat(num_rows) != values.NumElements()) {
      return absl::InvalidArgumentError(absl::StrCat("row_splits of feature ", name, " must go from 0 to the number of values ",
                                                     values.NumElements(), ", got ", flat(0), " to ", flat(num_rows)));
    }
    for (int64_t row = 0; row < num_rows; ++row) {
      if (flat(row) > flat(row + 1)) {
        return absl::InvalidArgumentError(absl::StrCat("row_splits of feature ", name, " must not descend, got ", flat(row),
                                                       " before ", flat(row + 1), " at ", row));
      }
    }
    return absl::OkStatus();
  }

  static int64_t TotalValues(const std::vector<Column>& columns, int64_t num_rows) {
    int64_t total = 0;
    for (const Column& column : columns) total += column.row_splits[num_rows];
    return total;
  }

  std::vector<std::string> names_;
  std::vector<int> order_;  // features by ascending name
};

REGISTER_KERNEL_BUILDER(Name("Nann>EncodeExamples").Device(tensorflow::DEVICE_CPU), EncodeExamplesOp);

}  // namespace
}  // namespace nann
