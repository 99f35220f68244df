// What the ops that retrieve with a scorer given as a program have in common: reading and checking of their inputs.

#ifndef NANN_OPS_CC_SCORING_OP_H_
#define NANN_OPS_CC_SCORING_OP_H_

#include <cstdint>
#include <limits>
#include <optional>

#include "ops/cc/tile_program.h"
#include "ops/cc/user_memory.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace nann {

using tensorflow::OpInputList;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::TensorShapeUtils;

// A thread's scratch memory of at least `size` floats, 64-byte aligned and kept between calls: fresh pages cost as much as the
// arithmetic on them.
float* Workspace(int64_t size);

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
absl::Status ReadScalar(OpKernelContext* context, const char* name, int64_t least, int64_t most, int64_t* value);
absl::Status ReadItems(const Tensor& item_embs);
// A corpus may be smaller than what is asked for, within reason: outputs and pools have a place for each.
absl::Status CheckTopK(int64_t top_k, int64_t num_items);

// For the sharder.
int64_t CostPerTile(const tile::Scorer& scorer, int64_t users);

// The program, the scorer it makes with the parameters of a call, and the users' memories.
class ScoringOp : public OpKernel {
 public:
  explicit ScoringOp(OpKernelConstruction* context, bool has_memory = false);

 protected:
  absl::Status Prepare(OpKernelContext* context, int64_t item_dim, int64_t batch, bool shared_items, tile::Scorer* scorer) const;

  // The memories of a call, checked; nothing for an op without.
  absl::Status ReadMemory(OpKernelContext* context, int64_t batch, int64_t num_items, std::optional<UserMemory>* memory) const;

  bool has_memory() const { return has_memory_; }

 private:
  tile::Program program_;
  bool has_memory_;
};

}  // namespace nann

#endif  // NANN_OPS_CC_SCORING_OP_H_
