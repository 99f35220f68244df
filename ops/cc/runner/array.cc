#include "ops/cc/runner/array.h"

#include <cstring>
#include <fstream>
#include <map>
#include <numeric>
#include <sstream>
#include <stdexcept>

#include "ops/cc/runner/parsing.h"
#include "tensorflow/c/tf_tstring.h"

namespace nann::runner {
namespace {

const std::map<std::string, TF_DataType>& Types() {
  static const std::map<std::string, TF_DataType> types = {
      {"<i8", TF_INT64}, {"<i4", TF_INT32}, {"<f4", TF_FLOAT}, {"|b1", TF_BOOL}};
  return types;
}

int64_t Elements(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<int64_t>());
}

TensorPtr Allocate(TF_DataType type, const std::vector<int64_t>& shape, const std::string& what) {
  const int64_t size = type == TF_STRING ? sizeof(TF_TString) : TF_DataTypeSize(type);  // for strings it says 0
  const int64_t bytes = BytesOf(shape, size, what);
  TensorPtr tensor(TF_AllocateTensor(type, shape.data(), static_cast<int>(shape.size()), bytes));
  if (tensor == nullptr || (bytes > 0 && TF_TensorData(tensor.get()) == nullptr))
    throw std::runtime_error(what + " needs " + std::to_string(bytes) + " bytes, which are not free; give smaller sizes");
  return tensor;
}

template <typename T>
void PutNumbers(const std::vector<std::string>& parts, TF_Tensor* tensor) {
  T* out = static_cast<T*>(TF_TensorData(tensor));
  for (const std::string& part : parts) *out++ = ParseNumber<T>(part);
}

}  // namespace

std::vector<int64_t> ShapeOf(const TF_Tensor* tensor) {
  std::vector<int64_t> shape;
  for (int axis = 0; axis < TF_NumDims(tensor); ++axis) shape.push_back(TF_Dim(tensor, axis));
  return shape;
}

TensorPtr ReadNpy(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  const NpyHead head = ReadNpyHead(file, path);
  const auto type = Types().find(head.descr);
  if (type == Types().end()) throw std::runtime_error(path + " holds " + head.descr + "; give int32, int64, float32 or bool");
  const int64_t bytes = BytesOf(head.shape, TF_DataTypeSize(type->second), path);
  const std::streampos values = file.tellg();
  file.seekg(0, std::ios::end);
  if (!file || file.tellg() - values < bytes) throw std::runtime_error(path + " ends before its last value");
  file.seekg(values);
  TensorPtr tensor = Allocate(type->second, head.shape, path);
  file.read(static_cast<char*>(TF_TensorData(tensor.get())), bytes);
  if (!file) throw std::runtime_error(path + " ends before its last value");
  return tensor;
}

void WriteNpy(const std::string& path, const TF_Tensor* tensor) {
  std::string descr;
  for (const auto& [name, type] : Types()) {
    if (type == TF_TensorType(tensor)) descr = name;
  }
  if (descr.empty()) throw std::runtime_error("only numbers can be written to " + path);
  std::string header = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (";
  for (const int64_t dim : ShapeOf(tensor)) header += std::to_string(dim) + ",";
  header += "), }";
  header.append(63 - (header.size() + 10) % 64, ' ');
  header += '\n';
  const uint16_t length = static_cast<uint16_t>(header.size());
  std::ofstream file(path, std::ios::binary);
  file.write("\x93NUMPY\x01\x00", 8).write(reinterpret_cast<const char*>(&length), 2).write(header.data(), length);
  file.write(static_cast<const char*>(TF_TensorData(tensor)), static_cast<std::streamsize>(TF_TensorByteSize(tensor)));
  file.close();  // what is not on the disk until then
  if (!file) throw std::runtime_error("cannot write " + path);
}

TensorPtr ParseValues(const std::string& text, TF_DataType type) {
  const std::vector<std::string> parts = SplitAtCommas(text);
  TensorPtr tensor = Allocate(type, {1, static_cast<int64_t>(parts.size())}, "an input");
  if (type == TF_INT64) {
    PutNumbers<int64_t>(parts, tensor.get());
  } else if (type == TF_INT32) {
    PutNumbers<int32_t>(parts, tensor.get());
  } else if (type == TF_FLOAT) {
    PutNumbers<float>(parts, tensor.get());
  } else if (type == TF_STRING) {
    TF_TString* out = static_cast<TF_TString*>(TF_TensorData(tensor.get()));
    for (const std::string& part : parts) {
      TF_StringInit(out);
      TF_StringCopy(out++, part.data(), part.size());
    }
  } else {
    throw std::runtime_error("values of this type cannot be given on the command line; give a .npy file");
  }
  return tensor;
}

TensorPtr TakeRows(const TF_Tensor* tensor, int64_t first, int64_t count) {
  std::vector<int64_t> shape = ShapeOf(tensor);
  if (shape.empty() || shape[0] == 0) throw std::runtime_error("an input of a load needs at least one row");
  if (TF_TensorType(tensor) == TF_STRING) throw std::runtime_error("a load takes numeric inputs only");
  const int64_t rows = shape[0];
  const size_t row_bytes = TF_TensorByteSize(tensor) / rows;
  shape[0] = count;
  TensorPtr taken = Allocate(TF_TensorType(tensor), shape, "a request of " + std::to_string(count) + " rows");
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(static_cast<char*>(TF_TensorData(taken.get())) + i * row_bytes,
                static_cast<const char*>(TF_TensorData(tensor)) + (first + i) % rows * row_bytes, row_bytes);
  }
  return taken;
}

std::vector<std::string> FormatRows(const TF_Tensor* tensor) {
  const std::vector<int64_t> shape = ShapeOf(tensor);
  const int64_t total = Elements(shape), width = shape.empty() ? 1 : shape.back();
  const void* data = TF_TensorData(tensor);
  std::vector<std::string> rows;
  for (int64_t begin = 0; begin < total; begin += width) {
    std::ostringstream line;
    line.precision(9);
    for (int64_t i = begin; i < begin + width; ++i) {
      if (i > begin) line << ' ';
      switch (TF_TensorType(tensor)) {
        case TF_INT64:
          line << static_cast<const int64_t*>(data)[i];
          break;
        case TF_INT32:
          line << static_cast<const int32_t*>(data)[i];
          break;
        case TF_FLOAT:
          line << static_cast<const float*>(data)[i];
          break;
        case TF_BOOL:
          line << static_cast<const bool*>(data)[i];
          break;
        case TF_STRING: {
          const TF_TString* text = static_cast<const TF_TString*>(data) + i;
          line.write(TF_StringGetDataPointer(text), static_cast<std::streamsize>(TF_StringGetSize(text)));
          break;
        }
        default:
          throw std::runtime_error("an output has a type that cannot be printed");
      }
    }
    rows.push_back(line.str());
  }
  return rows;
}

}  // namespace nann::runner
