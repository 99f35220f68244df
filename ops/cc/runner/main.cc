// nann-runner GRAPH --inputs NAME=VALUE ... --outputs NAME[=FILE.npy] ...: runs a frozen graph or a SavedModel without Python.

#include <cstdlib>
#include <exception>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "ops/cc/runner/array.h"
#include "ops/cc/runner/load.h"
#include "ops/cc/runner/model.h"
#include "ops/cc/runner/parsing.h"

namespace nann::runner {
namespace {

constexpr char kUsage[] = R"(usage: nann-runner GRAPH --inputs NAME=VALUE ... [--outputs NAME[=FILE.npy] ...] [options]

Runs GRAPH once and prints its outputs, a line per row; or drives load and prints one JSON object.

  GRAPH                  directory of a SavedModel, or file of a frozen graph
  --inputs NAME=VALUE    a .npy file, or values separated by commas (one row); names are the signature's, or tensors of a frozen graph
  --outputs NAME[=FILE]  what to print, or to write to a .npy file; default: all outputs of the signature
  --signature NAME       of a SavedModel (serving_default)
  --library FILE         op library to load first, such as libnann_ops.so; may be repeated
  --intra-op-threads N   threads of one op; 0: one per core (0)
load, with --duration:
  --duration SECONDS     measured time
  --warmup SECONDS       load before that (1)
  --threads N            clients (1)
  --rate N               requests per second; 0: each client sends the next when the last is answered (0)
  --batch N              rows of the inputs per request, taken in turn (1)
)";

struct Options {
  std::string graph, signature = "serving_default";
  std::vector<std::string> inputs, outputs, libraries;
  int intra_op_threads = 0;
  LoadOptions load;
};

// Most clients, rows of a request, seconds and requests per second: beyond them nothing is measured.
constexpr double kMostThreads = 1024, kMostRows = 1 << 24, kMostSeconds = 1e6, kMostRate = 1e6;

Options Parse(const std::vector<std::string>& words) {
  Options options;
  std::vector<std::string>* list = nullptr;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.rfind("--", 0) != 0) {
      if (list != nullptr) {
        list->push_back(word);
      } else if (options.graph.empty()) {
        options.graph = word;
      } else {
        throw std::invalid_argument("unexpected argument '" + word + "'");
      }
      continue;
    }
    if (word == "--inputs" || word == "--outputs") {
      list = word == "--inputs" ? &options.inputs : &options.outputs;
      continue;
    }
    if (i + 1 == words.size()) throw std::invalid_argument(word + " needs a value, or is no option");
    const std::string& value = words[++i];
    list = nullptr;
    if (word == "--signature") {
      options.signature = value;
    } else if (word == "--library") {
      options.libraries.push_back(value);
    } else if (word == "--intra-op-threads") {
      options.intra_op_threads = static_cast<int>(ParseOption(word, value, 0, kMostThreads, true));
    } else if (word == "--duration") {
      options.load.duration_seconds = ParseOption(word, value, 0, kMostSeconds, false);
    } else if (word == "--warmup") {
      options.load.warmup_seconds = ParseOption(word, value, 0, kMostSeconds, false);
    } else if (word == "--threads") {
      options.load.threads = static_cast<int>(ParseOption(word, value, 1, kMostThreads, true));
    } else if (word == "--rate") {
      options.load.requests_per_s = ParseOption(word, value, 0, kMostRate, false);
    } else if (word == "--batch") {
      options.load.batch_size = static_cast<int64_t>(ParseOption(word, value, 1, kMostRows, true));
    } else {
      throw std::invalid_argument("no such option: " + word);
    }
  }
  if (options.graph.empty() || options.inputs.empty()) throw std::invalid_argument("GRAPH and --inputs are needed");
  return options;
}

void LoadLibraries(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    TF_Status* status = TF_NewStatus();
    TF_LoadLibrary(path.c_str(), status);  // never unloaded: its ops stay registered
    const std::string message = TF_GetCode(status) == TF_OK ? "" : TF_Message(status);
    TF_DeleteStatus(status);
    if (!message.empty()) throw std::runtime_error(path + " cannot be loaded: " + message);
  }
}

bool IsNpy(const std::string& text) { return text.size() > 4 && text.substr(text.size() - 4) == ".npy"; }

int Run(const Options& options) {
  std::map<std::string, TensorPtr> inputs;
  std::map<std::string, std::string> texts;
  for (const std::string& input : options.inputs) {
    const size_t equals = input.find('=');
    if (equals == std::string::npos) throw std::invalid_argument("--inputs needs NAME=VALUE, got '" + input + "'");
    const std::string name = input.substr(0, equals), value = input.substr(equals + 1);
    if (IsNpy(value)) {
      inputs[name] = ReadNpy(value);
    } else {
      texts[name] = value;
    }
  }
  LoadLibraries(options.libraries);
  const Model model(options.graph, options.signature, options.intra_op_threads);
  for (const auto& [name, text] : texts) inputs[name] = ParseValues(text, model.InputType(name));
  std::vector<std::string> names, files;
  for (const std::string& output : options.outputs) {
    const size_t equals = output.find('=');
    names.push_back(output.substr(0, equals));
    files.push_back(equals == std::string::npos ? "" : output.substr(equals + 1));
  }
  if (names.empty()) names = model.OutputNames();
  if (names.empty()) throw std::invalid_argument("a frozen graph has no signature; give --outputs");
  files.resize(names.size());

  if (options.load.duration_seconds > 0) {
    const auto request = [&](int64_t number) {
      std::map<std::string, TensorPtr> rows;
      for (const auto& [name, tensor] : inputs) {
        rows[name] = TakeRows(tensor.get(), number * options.load.batch_size, options.load.batch_size);
      }
      model.Run(rows, names);
    };
    request(0);
    std::cout << RunLoad(request, options.load) << "\n";
    return EXIT_SUCCESS;
  }
  const std::vector<TensorPtr> outputs = model.Run(inputs, names);
  for (size_t i = 0; i < names.size(); ++i) {
    if (!files[i].empty()) {
      WriteNpy(files[i], outputs[i].get());
      continue;
    }
    std::cout << names[i] << ":\n";
    for (const std::string& row : FormatRows(outputs[i].get())) std::cout << row << "\n";
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace nann::runner

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.empty() || words[0] == "--help" || words[0] == "-h") {
    std::cout << nann::runner::kUsage;
    return words.empty() ? 2 : EXIT_SUCCESS;
  }
  try {
    const int outcome = nann::runner::Run(nann::runner::Parse(words));
    if (!std::cout.flush()) throw std::runtime_error("cannot write to the standard output");
    return outcome;
  } catch (const std::invalid_argument& error) {
    std::cerr << "error: " << error.what() << "; see nann-runner --help\n";
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return EXIT_FAILURE;
  }
}
