// A scorer as a program on tiles of items: all its layers on a few items at a time, so that what lies between two layers stays in
// the processor's caches. Knows nothing of TensorFlow.
//
// A program is text, a line per parameter or instruction. Register r0 holds the items; every register is written once.
//
//   param matrix | matrix_t | vector     p0, p1, ...: [R, k, n], [R, n, k] and [R, w], one per user (R = B) or for all (R = 1)
//   matmul r1 r0 p0 INIT ACTIVATION      r1 = ACTIVATION(INIT + r0 x p0); INIT: -, a vector or a register;
//                                        ACTIVATION: -, relu, or a vector of slopes below 0 (PReLU)
//   add|sub|mul|div|max|min r2 A B       element by element; A and B registers or vectors, of one width or of width 1
//   relu|exp|log|log1p|softplus|sigmoid|tanh|sqrt|rsqrt|neg|square|isfinite r3 r2
//   prelu r3 r2 p1                       max(r2, 0) + p1 min(r2, 0)
//   softmax r4 r3                        over the row
//   reduce_max|reduce_sum r5 r4          of the row, width 1
//   select r6 A B C                      B where A is not 0, else C
//   slice r7 r0 FIRST WIDTH              columns of a register
//   concat r8 r6 r7                      columns of two registers
//   result r8                            width 1: the score

#ifndef NANN_OPS_CC_TILE_PROGRAM_H_
#define NANN_OPS_CC_TILE_PROGRAM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ops/cc/tile_kernels.h"

namespace nann {
namespace tile {

enum class ParameterKind { kMatrix, kTransposed, kVector };

struct Operand {
  enum Kind { kNone, kRegister, kParameter, kRelu } kind = kNone;
  int index = 0;
};

inline bool IsBinary(Opcode op) { return op >= Opcode::kAdd && op <= Opcode::kMin; }

struct Instruction {
  Opcode op;
  int out;
  Operand a, b, c, d;
  int64_t first = 0, width = 0;
};

// What was parsed; empty `error` or the line that is wrong and why.
struct Program {
  std::vector<ParameterKind> parameters;
  std::vector<Instruction> instructions;
  int num_registers = 1;
  int result = 0;
  std::string error;
};

Program Parse(const std::string& text);

// A parameter's values: [rows, k, n] (n, k where transposed), or [rows, n] with k = 1 for a vector.
struct Parameter {
  const float* values;
  int64_t rows, k, n;
};

// A program with the parameters of a batch of users, ready to run. Reading it is safe from several threads.
class Scorer {
 public:
  // Returns "", or what does not fit. `program` must outlive the scorer. Where users have the same items, `shared_items`, what
  // does not depend on the user is computed once for all of them.
  std::string Prepare(const Program& program, const std::vector<Parameter>& parameters, int64_t item_dim, int64_t batch,
                      bool shared_items);

  int64_t workspace_size() const { return workspace_size_; }  // floats, 64-byte aligned
  // FLOPs of one item of one user, roughly: for dividing work among threads.
  int64_t flops_per_item() const { return flops_; }

  // Loads up to kTileItems rows of [item_dim] floats; the places after `count` repeat the first row.
  void Load(const float* const* rows, int64_t count, float* workspace) const;
  // Runs what does not depend on the user, once per tile.
  void RunShared(float* workspace) const;
  // Runs the rest for one user; returns the scores of the tile.
  const float* RunUser(int64_t user, float* workspace) const;

 private:
  struct Step {
    Instruction instruction;
    bool per_user;
  };

  const float* At(const Operand& operand, int64_t user, const float* workspace) const;
  void Run(const Instruction& instruction, int64_t user, float* workspace) const;

  const Program* program_ = nullptr;
  const TileKernels* kernels_ = nullptr;
  std::vector<Step> steps_;
  std::vector<int64_t> widths_, offsets_;      // of the registers
  std::vector<int64_t> user_strides_, n_, k_;  // of the parameters
  std::vector<const float*> values_;           // packed matrices, and vectors as they came
  std::vector<std::vector<float>> packed_;
  int64_t item_dim_ = 0, workspace_size_ = 0, flops_ = 0;
};

}  // namespace tile
}  // namespace nann

#endif  // NANN_OPS_CC_TILE_PROGRAM_H_
