// Programs made ready for a batch of users, and run.

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "ops/cc/tile_program.h"

namespace nann {
namespace tile {
namespace {

// Of a register or a parameter; and of the memory a thread works in, 1 GiB: sums of such numbers do not overflow.
constexpr int64_t kMostWidth = int64_t{1} << 20, kMostFloats = int64_t{1} << 28;

int64_t RoundUp(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// [ceil(n / kPanel), k, kPanel] of a matrix [k, n], or [n, k] where transposed.
void Pack(const float* matrix, int64_t k, int64_t n, bool transposed, float* panels) {
  for (int64_t first = 0; first < n; first += kPanel, panels += k * kPanel) {
    const int64_t count = std::min(kPanel, n - first);
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < kPanel; ++j) {
        panels[i * kPanel + j] = j >= count ? 0.0f : transposed ? matrix[(first + j) * k + i] : matrix[i * n + first + j];
      }
    }
  }
}

}  // namespace

std::string Scorer::Prepare(const Program& program, const std::vector<Parameter>& parameters, int64_t item_dim, int64_t batch,
                            bool shared_items) {
  program_ = &program;
  kernels_ = &GetTileKernels();
  item_dim_ = item_dim;
  flops_ = 0;
  const size_t count = parameters.size();
  if (count != program.parameters.size()) {
    return "the program has " + std::to_string(program.parameters.size()) + " parameters, got " + std::to_string(count);
  }
  user_strides_.assign(count, 0);
  n_.assign(count, 0);
  k_.assign(count, 0);
  values_.assign(count, nullptr);
  packed_.assign(count, {});
  for (size_t i = 0; i < count; ++i) {
    const Parameter& parameter = parameters[i];
    if (parameter.rows != 1 && parameter.rows != batch) {
      return "parameter " + std::to_string(i) + " has " + std::to_string(parameter.rows) + " rows for " + std::to_string(batch) +
             " users";
    }
    if (parameter.k > kMostWidth || parameter.n > kMostWidth) {
      return "parameter " + std::to_string(i) + " is [" + std::to_string(parameter.k) + ", " + std::to_string(parameter.n) +
             "], its sizes must be at most " + std::to_string(kMostWidth);
    }
    k_[i] = parameter.k;
    n_[i] = parameter.n;
    int64_t stride = parameter.n;
    if (program.parameters[i] == ParameterKind::kVector) {
      values_[i] = parameter.values;
    } else {
      stride = RoundUp(parameter.n, kPanel) * parameter.k;
      packed_[i].resize(stride * parameter.rows);
      for (int64_t row = 0; row < parameter.rows; ++row) {
        Pack(parameter.values + row * parameter.k * parameter.n, parameter.k, parameter.n,
             program.parameters[i] == ParameterKind::kTransposed, packed_[i].data() + row * stride);
      }
      values_[i] = packed_[i].data();
    }
    user_strides_[i] = parameter.rows == 1 ? 0 : stride;
  }

  if (item_dim > kMostWidth) {
    return "items must have at most " + std::to_string(kMostWidth) + " columns, got " + std::to_string(item_dim);
  }
  widths_.assign(program.num_registers, 0);
  widths_[0] = item_dim;
  std::vector<bool> per_user(program.num_registers, false);
  steps_.clear();
  const auto width_of = [&](const Operand& o) { return o.kind == Operand::kRegister ? widths_[o.index] : n_[o.index]; };
  for (const Instruction& instruction : program.instructions) {
    bool depends = !shared_items;
    for (const Operand* o : {&instruction.a, &instruction.b, &instruction.c, &instruction.d}) {
      depends |=
          o->kind == Operand::kRegister ? per_user[o->index] : o->kind == Operand::kParameter && user_strides_[o->index] > 0;
    }
    int64_t width = width_of(instruction.a);
    const auto widen = [&width](int64_t other) {
      // What is 0 wide has no element to repeat: it fits nothing else.
      const bool fits = width == other || (width == 1 && other > 1) || (other == 1 && width > 1);
      width = std::max(width, other);
      return fits;
    };
    bool fits = true;
    switch (instruction.op) {
      case Opcode::kMatmul:
        fits = width == k_[instruction.b.index];
        width = n_[instruction.b.index];
        flops_ += 2 * width * k_[instruction.b.index];
        if (instruction.c.kind != Operand::kNone) fits &= width_of(instruction.c) == width || width_of(instruction.c) == 1;
        if (instruction.d.kind == Operand::kParameter) fits &= width_of(instruction.d) == width;
        break;
      case Opcode::kReduceMax:
      case Opcode::kReduceSum:
        width = 1;
        break;
      case Opcode::kSlice:
        fits = instruction.first >= 0 && instruction.width >= 1 && instruction.width <= width &&
               instruction.first <= width - instruction.width;
        width = instruction.width;
        break;
      case Opcode::kConcat:
        width += width_of(instruction.b);
        break;
      case Opcode::kPrelu:
        fits = width_of(instruction.b) == width || width_of(instruction.b) == 1;
        break;
      default:
        if (instruction.b.kind != Operand::kNone) fits &= widen(width_of(instruction.b));
        if (instruction.c.kind != Operand::kNone) fits &= widen(width_of(instruction.c));
    }
    if (!fits) return "the operands of r" + std::to_string(instruction.out) + " do not fit together";
    if (width > kMostWidth) {
      return "r" + std::to_string(instruction.out) + " is " + std::to_string(width) + " wide, a register may be at most " +
             std::to_string(kMostWidth);
    }
    flops_ += 2 * width;
    widths_[instruction.out] = width;
    per_user[instruction.out] = depends;
    steps_.push_back({instruction, depends});
  }
  if (widths_[program.result] != 1) return "the result is " + std::to_string(widths_[program.result]) + " wide, not a score";

  // What all users share keeps its place; the rest is given the place of what is not needed any more.
  std::vector<int> last_use(program.num_registers, -1);
  for (size_t i = 0; i < steps_.size(); ++i) {
    for (const Operand* o : {&steps_[i].instruction.a, &steps_[i].instruction.b, &steps_[i].instruction.c}) {
      if (o->kind == Operand::kRegister) last_use[o->index] = static_cast<int>(i);
    }
  }
  last_use[program.result] = static_cast<int>(steps_.size());
  std::vector<std::vector<int>> unused_after(steps_.size());  // registers by the step that is the last to read them
  for (int r = 1; r < program.num_registers; ++r) {
    if (last_use[r] >= 0 && last_use[r] < static_cast<int>(steps_.size())) unused_after[last_use[r]].push_back(r);
  }
  offsets_.assign(program.num_registers, 0);
  workspace_size_ = 0;
  const auto append = [this](int64_t width) {
    const int64_t offset = workspace_size_;
    workspace_size_ += width * kTileItems;
    return offset;
  };
  offsets_[0] = append(item_dim);
  for (const Step& step : steps_) {
    if (!step.per_user) offsets_[step.instruction.out] = append(widths_[step.instruction.out]);
  }
  std::multimap<int64_t, int64_t> free;  // width -> offset
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (!steps_[i].per_user) continue;
    const int out = steps_[i].instruction.out;
    const auto smallest = free.lower_bound(widths_[out]);
    if (smallest != free.end()) {
      offsets_[out] = smallest->second;
      free.erase(smallest);
    } else {
      offsets_[out] = append(widths_[out]);
    }
    for (const int r : unused_after[i]) {
      if (per_user[r]) free.emplace(widths_[r], offsets_[r]);
    }
  }
  if (workspace_size_ > kMostFloats) {
    return "the program works in " + std::to_string(workspace_size_) + " floats per thread, at most " +
           std::to_string(kMostFloats) + " are allowed";
  }
  return "";
}

void Scorer::Load(const float* const* rows, int64_t count, float* workspace) const {
  const float* all[kTileItems];
  for (int64_t i = 0; i < kTileItems; ++i) all[i] = rows[i < count ? i : 0];
  kernels_->load(all, item_dim_, workspace + offsets_[0]);
}

void Scorer::RunShared(float* workspace) const {
  for (const Step& step : steps_) {
    if (!step.per_user) Run(step.instruction, 0, workspace);
  }
}

const float* Scorer::RunUser(int64_t user, float* workspace) const {
  for (const Step& step : steps_) {
    if (step.per_user) Run(step.instruction, user, workspace);
  }
  return workspace + offsets_[program_->result];
}

const float* Scorer::At(const Operand& operand, int64_t user, const float* workspace) const {
  if (operand.kind == Operand::kRegister) return workspace + offsets_[operand.index];
  if (operand.kind == Operand::kParameter) return values_[operand.index] + user * user_strides_[operand.index];
  return nullptr;
}

void Scorer::Run(const Instruction& instruction, int64_t user, float* workspace) const {
  const auto source = [&](const Operand& o, int64_t width) {
    const bool is_register = o.kind == Operand::kRegister;
    const int64_t own = o.kind == Operand::kNone ? width : is_register ? widths_[o.index] : n_[o.index];
    return Source{At(o, user, workspace), is_register, own == 1 && width != 1};
  };
  const float* const in = At(instruction.a, user, workspace);
  float* const out = workspace + offsets_[instruction.out];
  const int64_t width = widths_[instruction.out];
  switch (instruction.op) {
    case Opcode::kMatmul:
      kernels_->matmul(in, k_[instruction.b.index], At(instruction.b, user, workspace), width, source(instruction.c, width),
                       instruction.d.kind == Operand::kRelu, At(instruction.d, user, workspace), out);
      break;
    case Opcode::kPrelu:
      kernels_->prelu(in, source(instruction.b, width), width, out);
      break;
    case Opcode::kSelect:
      kernels_->select(source(instruction.a, width), source(instruction.b, width), source(instruction.c, width), width, out);
      break;
    case Opcode::kSoftmax:
      kernels_->softmax(in, width, out);
      break;
    case Opcode::kReduceMax:
    case Opcode::kReduceSum:
      kernels_->reduce(instruction.op, in, widths_[instruction.a.index], out);
      break;
    case Opcode::kSlice:
      std::memcpy(out, in + instruction.first * kTileItems, width * kTileItems * sizeof(float));
      break;
    case Opcode::kConcat: {
      const int64_t first = widths_[instruction.a.index] * kTileItems;
      std::memcpy(out, in, first * sizeof(float));
      std::memcpy(out + first, At(instruction.b, user, workspace), (width * kTileItems - first) * sizeof(float));
      break;
    }
    default:
      if (IsBinary(instruction.op)) {
        kernels_->binary(instruction.op, source(instruction.a, width), source(instruction.b, width), width, out);
      } else {
        kernels_->unary(instruction.op, in, width, out);
      }
  }
}

}  // namespace tile
}  // namespace nann
