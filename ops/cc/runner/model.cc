#include "ops/cc/runner/model.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>

#include "ops/cc/runner/parsing.h"
#include "tensorflow/core/protobuf/config.pb.h"
#include "tensorflow/core/protobuf/meta_graph.pb.h"

namespace nann::runner {
namespace {

struct Status {
  TF_Status* status = TF_NewStatus();
  ~Status() { TF_DeleteStatus(status); }
  void Require(const std::string& what) const {
    if (TF_GetCode(status) != TF_OK) throw std::runtime_error(what + ": " + TF_Message(status));
  }
};

std::map<std::string, std::string> TensorNames(const google::protobuf::Map<std::string, tensorflow::TensorInfo>& infos) {
  std::map<std::string, std::string> names;
  for (const auto& [name, info] : infos) names[name] = info.name();
  return names;
}

}  // namespace

Model::Model(const std::string& path, const std::string& signature, int intra_op_threads) : graph_(TF_NewGraph()) {
  std::unique_ptr<TF_SessionOptions, decltype(&TF_DeleteSessionOptions)> options(TF_NewSessionOptions(), TF_DeleteSessionOptions);
  tensorflow::ConfigProto config;
  config.set_intra_op_parallelism_threads(intra_op_threads);
  const std::string bytes = config.SerializeAsString();
  const Status status;
  TF_SetConfig(options.get(), bytes.data(), bytes.size(), status.status);
  status.Require("session options");
  if (std::filesystem::is_directory(path)) {
    OpenSavedModel(path, signature, options.get());
  } else {
    OpenFrozenGraph(path, options.get());
  }
}

Model::~Model() {
  const Status status;
  if (session_ != nullptr) TF_CloseSession(session_, status.status);
  if (session_ != nullptr) TF_DeleteSession(session_, status.status);
  TF_DeleteGraph(graph_);
}

void Model::OpenSavedModel(const std::string& path, const std::string& signature, const TF_SessionOptions* options) {
  const Status status;
  std::unique_ptr<TF_Buffer, decltype(&TF_DeleteBuffer)> buffer(TF_NewBuffer(), TF_DeleteBuffer);
  const char* const tags[] = {"serve"};
  session_ = TF_LoadSessionFromSavedModel(options, nullptr, path.c_str(), tags, 1, graph_, buffer.get(), status.status);
  status.Require(path + " cannot be loaded");
  tensorflow::MetaGraphDef meta;
  if (!meta.ParseFromArray(buffer->data, static_cast<int>(buffer->length)))
    throw std::runtime_error(path + " has no readable MetaGraph");
  const auto found = meta.signature_def().find(signature);
  if (found == meta.signature_def().end()) {
    std::string known;
    for (const auto& [name, definition] : meta.signature_def()) known += " " + name;
    throw std::runtime_error(path + " has no signature " + signature + "; it has:" + known);
  }
  has_signature_ = true;
  inputs_ = TensorNames(found->second.inputs());
  outputs_ = TensorNames(found->second.outputs());
}

void Model::OpenFrozenGraph(const std::string& path, const TF_SessionOptions* options) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::stringstream content;
  content << file.rdbuf();
  const std::string bytes = content.str();
  const Status status;
  std::unique_ptr<TF_Buffer, decltype(&TF_DeleteBuffer)> buffer(TF_NewBufferFromString(bytes.data(), bytes.size()),
                                                                TF_DeleteBuffer);
  std::unique_ptr<TF_ImportGraphDefOptions, decltype(&TF_DeleteImportGraphDefOptions)> import(TF_NewImportGraphDefOptions(),
                                                                                              TF_DeleteImportGraphDefOptions);
  TF_GraphImportGraphDef(graph_, buffer.get(), import.get(), status.status);
  status.Require(path + " is no GraphDef");
  session_ = TF_NewSession(graph_, options, status.status);
  status.Require("session");
}

std::vector<std::string> Model::OutputNames() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : outputs_) names.push_back(name);
  return names;
}

TF_Output Model::Find(const std::map<std::string, std::string>& signature, const std::string& name, const char* what) const {
  std::string tensor = name;
  if (has_signature_) {
    const auto found = signature.find(name);
    if (found == signature.end()) {
      std::string known;
      for (const auto& [other, unused] : signature) known += " " + other;
      throw std::runtime_error("the signature has no " + std::string(what) + " " + name + "; it has:" + known);
    }
    tensor = found->second;
  }
  const auto [node, index] = ParseTensorName(tensor);
  TF_Operation* operation = TF_GraphOperationByName(graph_, node.c_str());
  if (operation == nullptr) throw std::runtime_error("the graph has no node named " + node);
  if (index >= TF_OperationNumOutputs(operation))
    throw std::runtime_error("the node " + node + " has " + std::to_string(TF_OperationNumOutputs(operation)) +
                             " outputs, there is no " + tensor);
  return {operation, index};
}

TF_DataType Model::InputType(const std::string& name) const { return TF_OperationOutputType(Find(inputs_, name, "input")); }

std::vector<TensorPtr> Model::Run(const std::map<std::string, TensorPtr>& inputs, const std::vector<std::string>& outputs) const {
  std::vector<TF_Output> feeds, fetches;
  std::vector<TF_Tensor*> values;
  for (const auto& [name, tensor] : inputs) {
    feeds.push_back(Find(inputs_, name, "input"));
    values.push_back(tensor.get());
  }
  for (const std::string& name : outputs) fetches.push_back(Find(outputs_, name, "output"));
  std::vector<TF_Tensor*> results(outputs.size(), nullptr);
  const Status status;
  TF_SessionRun(session_, nullptr, feeds.data(), values.data(), static_cast<int>(feeds.size()), fetches.data(), results.data(),
                static_cast<int>(fetches.size()), nullptr, 0, nullptr, status.status);
  status.Require("run");
  std::vector<TensorPtr> owned;
  for (TF_Tensor* result : results) owned.emplace_back(result);
  return owned;
}

}  // namespace nann::runner
