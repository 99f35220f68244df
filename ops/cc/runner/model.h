// A frozen graph or a SavedModel in a session of TensorFlow's C API.

#ifndef NANN_OPS_CC_RUNNER_MODEL_H_
#define NANN_OPS_CC_RUNNER_MODEL_H_

#include <map>
#include <string>
#include <vector>

#include "ops/cc/runner/array.h"
#include "tensorflow/c/c_api.h"

namespace nann::runner {

class Model {
 public:
  // Opens a directory as a SavedModel, with the names of one of its signatures, and a file as a frozen GraphDef, with the names
  // of its nodes. `intra_op_threads` 0: as many as there are cores. Throws std::runtime_error.
  Model(const std::string& path, const std::string& signature, int intra_op_threads);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // Names of the signature's outputs; empty for a frozen graph.
  std::vector<std::string> OutputNames() const;
  TF_DataType InputType(const std::string& name) const;
  // May be called from several threads. Throws std::runtime_error.
  std::vector<TensorPtr> Run(const std::map<std::string, TensorPtr>& inputs, const std::vector<std::string>& outputs) const;

 private:
  void OpenSavedModel(const std::string& path, const std::string& signature, const TF_SessionOptions* options);
  void OpenFrozenGraph(const std::string& path, const TF_SessionOptions* options);
  TF_Output Find(const std::map<std::string, std::string>& signature, const std::string& name, const char* what) const;

  TF_Graph* graph_ = nullptr;
  TF_Session* session_ = nullptr;
  bool has_signature_ = false;
  std::map<std::string, std::string> inputs_, outputs_;  // name in the signature -> tensor
};

}  // namespace nann::runner

#endif  // NANN_OPS_CC_RUNNER_MODEL_H_
