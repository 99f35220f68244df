// Programs from their text.

#include "ops/cc/tile_program.h"

#include <cctype>
#include <cstdlib>
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

constexpr int64_t kMostInstructions = 16384;

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
  if (token.size() < 2 || (token[0] != 'r' && token[0] != 'p') || !std::isdigit(static_cast<unsigned char>(token[1])))
    return false;
  char* end = nullptr;
  const long long index = std::strtoll(token.c_str() + 1, &end, 10);
  const bool is_register = token[0] == 'r';
  const long long count = is_register ? program.num_registers : static_cast<long long>(program.parameters.size());
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
      if (words >> token) return fail("nothing may follow the kind of a parameter");
      continue;
    }
    if (name == "result") {
      Operand result;
      if (!(words >> token) || !ParseOperand(token, program, &result) || result.kind != Operand::kRegister) {
        return fail("the result is a register");
      }
      if (words >> token) return fail("nothing may follow the result");
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
    if (words >> token) return fail("nothing may follow the operands");
    if (program.num_registers > kMostInstructions) {
      return fail(("a program has at most " + std::to_string(kMostInstructions) + " instructions").c_str());
    }
    if (!Fits(program, instruction)) return fail("an operand is of the wrong kind");
    program.instructions.push_back(instruction);
    ++program.num_registers;
  }
  if (!ended) program.error = "the program has no result";
  return program;
}

}  // namespace tile
}  // namespace nann
