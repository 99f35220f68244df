// Arrays in and out of the runner: .npy files and values on the command line.

#ifndef NANN_OPS_CC_RUNNER_ARRAY_H_
#define NANN_OPS_CC_RUNNER_ARRAY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tensorflow/c/tf_tensor.h"

namespace nann::runner {

struct DeleteTensor {
  void operator()(TF_Tensor* tensor) const { TF_DeleteTensor(tensor); }
};
using TensorPtr = std::unique_ptr<TF_Tensor, DeleteTensor>;

// Reads a .npy file (format 1 to 3, C order, little-endian int32, int64, float32 or bool). Throws std::runtime_error.
TensorPtr ReadNpy(const std::string& path);

// Writes a numeric tensor as .npy. Throws std::runtime_error.
void WriteNpy(const std::string& path, const TF_Tensor* tensor);

// Values separated by commas as a tensor [1, n] of a given type: int32, int64, float32 or string. Throws std::runtime_error.
TensorPtr ParseValues(const std::string& text, TF_DataType type);

// Rows first .. first + count - 1 of the leading axis, wrapped around at its end.
TensorPtr TakeRows(const TF_Tensor* tensor, int64_t first, int64_t count);

// The values of a tensor, one line per row of the last axis.
std::vector<std::string> FormatRows(const TF_Tensor* tensor);

std::vector<int64_t> ShapeOf(const TF_Tensor* tensor);

}  // namespace nann::runner

#endif  // NANN_OPS_CC_RUNNER_ARRAY_H_
