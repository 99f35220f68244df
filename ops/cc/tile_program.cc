#include "ops/cc/tile_program.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>

namespace nann {
namespace tile {
namespace {

const std::map<std::string, Opcode>& Opcodes() {
  static const auto* const opcodes = new std::map<std::string, Opcode>{{"matmul", Opcode::kMatmul},
                                                                       {"add", Opcode::kAdd},
                                                                       {"sub", Opcode::kSub},
                                                                       {"mul", Opcode::kMul},
                                                                       {"div", Opcode::kDiv},
                                                                       {"max", Opcode::kMax},
                                                                       {"min", Opcode::kMin},
                                                                       {"relu", Opcode::kRelu},
                                                                       {"exp", Opcode::kExp},
                                                                       {"log", Opcode::kLog},
                                                                       {"log1p", Opcode::kLog1p},
                                                                       {"softplus", Opcode::kSoftplus},
                                                                       {"sigmoid", Opcode::kSigmoid},
                                                                       {"tanh", Opcode::kTanh},
                                                                       {"sqrt", Opcode::kSqrt},
                                                                       {"rsqrt", Opcode::kRsqrt},
                                                                       {"neg", Opcode::kNeg},
                                                                       {"square", Opcode::kSquare},
                                                                       {"isfinite", Opcode::kIsFinite},
                                                                       {"prelu", Opcode::kPrelu},
                                                                       {"softmax", Opcode::kSoftmax},
                                                                       {"reduce_max", Opcode::kReduceMax},
                                                                       {"reduce_sum", Opcode::kReduceSum},
                                                                       {"select", Opcode::kSelect},
                                                                       {"slice", Opcode::kSlice},
                                                                       {"concat", Opcode::kConcat}};
  return *opcodes;
}

bool IsBinary(Opcode op) { return op >= Opcode::kAdd && op <= Opcode::kMin; }

// How many operands follow the output; slices have two numbers behind theirs.
int NumOperands(Opcode op) {
  if (op == Opcode::kMatmul) return 4;
  if (op == Opcode::kSelect) return 3;
  return IsBinary(op) || op == Opcode::kPrelu || op == Opcode::kConcat ? 2 : 1;
}

bool ParseOperand(const std::string& token, const Program& program, Operand* operand) {
  if (token == "-") return true;
  if (token == "relu") {
    operand->kind = Operand::kRelu;
    return true;
  }
  if (token.size() < 2 || (token[0] != 'r' && token[0] != 'p')) return false;
  char* end = nullptr;
  const long index = std::strtol(token.c_str() + 1, &end, 10);
  const bool is_register = token[0] == 'r';
  const long count = is_register ? program.num_registers : static_cast<long>(program.parameters.size());
  if (*end != '\0' || index < 0 || index >= count) return false;
  *operand = {is_register ? Operand::kRegister : Operand::kParameter, static_cast<int>(index)};
  return true;
}

// Which kinds an operand may be.
bool Fits(const Program& program, const Instruction& instruction) {
  const auto is_register = [](const Operand& o) { return o.kind == Operand::kRegister; };
  const auto is_vector = [&program](const Operand& o) {
    return o.kind == Operand::kParameter && program.parameters[o.index] == ParameterKind::kVector;
  };
  const auto is_source = [&](const Operand& o) { return is_register(o) || is_vector(o); };
  if (instruction.op == Opcode::kMatmul) {
    return is_register(instruction.a) && instruction.b.kind == Operand::kParameter && !is_vector(instruction.b) &&
           (instruction.c.kind == Operand::kNone || is_source(instruction.c)) &&
           (instruction.d.kind == Operand::kNone || instruction.d.kind == Operand::kRelu || is_vector(instruction.d));
  }
  if (IsBinary(instruction.op)) return is_source(instruction.a) && is_source(instruction.b);
  if (instruction.op == Opcode::kSelect) return is_source(instruction.a) && is_source(instruction.b) && is_source(instruction.c);
  if (instruction.op == Opcode::kPrelu) return is_register(instruction.a) && is_source(instruction.b);
  if (instruction.op == Opcode::kConcat) return is_register(instruction.a) && is_register(instruction.b);
  return is_register(instruction.a);
}

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

Program Parse(const std::string& text) {
  Program program;
  std::istringstream lines(text);
  std::string line;
  bool ended = false;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string name, token;
    if (!(words >> name)) continue;
    const auto fail = [&](const char* why) {
      program.error = std::string(why) + ": \"" + line + "\"";
      return program;
    };
    if (ended) return fail("nothing may follow the result");
    if (name == "param") {
      words >> token;
      if (token == "matrix")
        program.parameters.push_back(ParameterKind::kMatrix);
      else if (token == "matrix_t")
        program.parameters.push_back(ParameterKind::kTransposed);
      else if (token == "vector")
        program.parameters.push_back(ParameterKind::kVector);
      else
        return fail("a parameter is a matrix, a matrix_t or a vector");
      continue;
    }
    if (name == "result") {
      Operand result;
      if (!(words >> token) || !ParseOperand(token, program, &result) || result.kind != Operand::kRegister) {
        return fail("the result is a register");
      }
      program.result = result.index;
      ended = true;
      continue;
    }
    const auto found = Opcodes().find(name);
    if (found == Opcodes().end()) return fail("no such instruction");
    Instruction instruction{found->second, program.num_registers, {}, {}, {}, {}};
    if (!(words >> token) || token != "r" + std::to_string(program.num_registers)) return fail("registers are written in turn");
    Operand* const operands[] = {&instruction.a, &instruction.b, &instruction.c, &instruction.d};
    for (int i = 0; i < NumOperands(instruction.op); ++i) {
      if (!(words >> token) || !ParseOperand(token, program, operands[i])) return fail("an operand is missing or not there yet");
    }
    if (instruction.op == Opcode::kSlice && !(words >> instruction.first >> instruction.width))
      return fail("a slice has two numbers");
    if (!Fits(program, instruction)) return fail("an operand is of the wrong kind");
    program.instructions.push_back(instruction);
    ++program.num_registers;
  }
  if (!ended) program.error = "the program has no result";
  return program;
}

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
      const bool fits = width == other || width == 1 || other == 1;
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
        fits = instruction.first >= 0 && instruction.width >= 1 && instruction.first + instruction.width <= width;
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
  std::vector<std::pair<int64_t, int64_t>> free;  // width, offset
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (!steps_[i].per_user) continue;
    const int out = steps_[i].instruction.out;
    auto best = free.end();
    for (auto place = free.begin(); place != free.end(); ++place) {
      if (place->first >= widths_[out] && (best == free.end() || place->first < best->first)) best = place;
    }
    int64_t size = widths_[out];
    if (best != free.end()) {
      size = best->first;
      offsets_[out] = best->second;
      free.erase(best);
    } else {
      offsets_[out] = append(size);
    }
    for (int r = 1; r < program.num_registers; ++r) {
      if (last_use[r] == static_cast<int>(i) && per_user[r] && r != out) free.emplace_back(widths_[r], offsets_[r]);
    }
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
