// Lists per user, as values with row splits: checked, worked on in parallel, and written.

#ifndef NANN_OPS_CC_RAGGED_H_
#define NANN_OPS_CC_RAGGED_H_

#include <algorithm>
#include <vector>

#include "ops/cc/guarded.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace nann {

inline absl::Status CheckRagged(const char* name, const tensorflow::Tensor& values, const tensorflow::Tensor& splits) {
  if (!tensorflow::TensorShapeUtils::IsVector(values.shape()) || !tensorflow::TensorShapeUtils::IsVector(splits.shape()) ||
      splits.NumElements() < 1) {
    return absl::InvalidArgumentError(absl::StrCat(name, " must be a vector with row splits [B + 1], got shapes ",
                                                   values.shape().DebugString(), " and ", splits.shape().DebugString()));
  }
  const auto flat = splits.flat<int64_t>();
  const int64_t last = splits.NumElements() - 1;
  bool ascending = flat(0) == 0 && flat(last) == values.NumElements();
  for (int64_t row = 0; row < last && ascending; ++row) ascending = flat(row) <= flat(row + 1);
  if (!ascending) {
    return absl::InvalidArgumentError(absl::StrCat("row splits of the ", name, " must ascend from 0 to ", values.NumElements(),
                                                   ", got ", flat(0), " to ", flat(last)));
  }
  return absl::OkStatus();
}

template <typename Work>
void ForUsers(tensorflow::OpKernelContext* context, int64_t batch, int64_t cost, const Work& work) {
  ShardRanges(*context->device()->tensorflow_cpu_worker_threads(), batch, cost, [&work](int64_t begin, int64_t end) {
    for (int64_t user = begin; user < end; ++user) work(user);
  });
}

// Writes per-user lists as a flat output and its row splits.
inline absl::Status OutputRagged(tensorflow::OpKernelContext* context, int output,
                                 const std::vector<std::vector<int64_t>>& lists) {
  const int64_t batch = static_cast<int64_t>(lists.size());
  tensorflow::Tensor* splits = nullptr;
  TF_RETURN_IF_ERROR(context->allocate_output(output + 1, tensorflow::TensorShape({batch + 1}), &splits));
  auto flat = splits->flat<int64_t>();
  flat(0) = 0;
  for (int64_t user = 0; user < batch; ++user) flat(user + 1) = flat(user) + static_cast<int64_t>(lists[user].size());
  tensorflow::Tensor* values = nullptr;
  TF_RETURN_IF_ERROR(context->allocate_output(output, tensorflow::TensorShape({flat(batch)}), &values));
  for (int64_t user = 0; user < batch; ++user) {
    std::copy(lists[user].begin(), lists[user].end(), values->flat<int64_t>().data() + flat(user));
  }
  return absl::OkStatus();
}

}  // namespace nann

#endif  // NANN_OPS_CC_RAGGED_H_
