// The Grappler optimizer "nann_sample_aware_compression": hands the graph of a session to the rewriting in Python and takes the
// result.
//
// The rewriting itself lives in ops/graph_optimizer; it registers a callback with nann_set_graph_rewriter. A session that was
// made with graph_optimizer.session_config() calls it once per set of fetches. If the callback declines (nothing is declared for
// the graph), the graph stays as it is; after an error in it the graph comes back such that its fetches fail with the error's
// text.

#include <cstddef>
#include <string>

#include "tensorflow/core/framework/graph.pb.h"
#include "tensorflow/core/grappler/grappler_item.h"
#include "tensorflow/core/grappler/optimizers/custom_graph_optimizer.h"
#include "tensorflow/core/grappler/optimizers/custom_graph_optimizer_registry.h"

namespace nann {
namespace {

// Gets the serialized graph and the fetches, one per line; answers with nann_put_graph and 1, or 0 to leave the graph alone.
using Rewriter = int (*)(const char* graph, size_t graph_size, const char* fetches, size_t fetches_size);

Rewriter rewriter = nullptr;
thread_local std::string result;

class SampleAwareOptimizer : public tensorflow::grappler::CustomGraphOptimizer {
 public:
  absl::Status Init(const tensorflow::RewriterConfig_CustomGraphOptimizer* config) override { return absl::OkStatus(); }
  std::string name() const override { return "nann_sample_aware_compression"; }
  bool UsesFunctionLibrary() const override { return true; }

  absl::Status Optimize(tensorflow::grappler::Cluster* cluster, const tensorflow::grappler::GrapplerItem& item,
                        tensorflow::GraphDef* optimized) override {
    *optimized = item.graph;
    if (rewriter == nullptr) return absl::OkStatus();
    std::string graph = item.graph.SerializeAsString();
    std::string fetches;
    for (const std::string& fetch : item.fetch) fetches += fetch + "\n";
    result.clear();
    if (rewriter(graph.data(), graph.size(), fetches.data(), fetches.size()) == 0) return absl::OkStatus();
    if (!optimized->ParseFromString(result)) return absl::InternalError("the rewritten graph cannot be parsed");
    return absl::OkStatus();
  }
};

REGISTER_GRAPH_OPTIMIZER_AS(SampleAwareOptimizer, "nann_sample_aware_compression");

}  // namespace
}  // namespace nann

extern "C" {
void nann_set_graph_rewriter(nann::Rewriter rewriter) { nann::rewriter = rewriter; }
void nann_put_graph(const char* graph, size_t size) { nann::result.assign(graph, size); }
}
