// What shape functions of several files of ops check.

#ifndef NANN_OPS_CC_SHAPE_CHECKS_H_
#define NANN_OPS_CC_SHAPE_CHECKS_H_

#include <initializer_list>

#include "tensorflow/core/framework/shape_inference.h"

namespace nann {

// The first inputs have these ranks.
inline absl::Status RequireRanks(tensorflow::shape_inference::InferenceContext* context, std::initializer_list<int> ranks) {
  int input = 0;
  for (const int rank : ranks) {
    tensorflow::shape_inference::ShapeHandle shape;
    TF_RETURN_IF_ERROR(context->WithRank(context->input(input++), rank, &shape));
  }
  return absl::OkStatus();
}

}  // namespace nann

#endif  // NANN_OPS_CC_SHAPE_CHECKS_H_
