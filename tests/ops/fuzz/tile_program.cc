// Programs of scorers: any text is parsed and, where it is a program, prepared and run on arrays of exactly its sizes.

#include "ops/cc/tile_program.h"

#include <memory>
#include <vector>

#include "tests/ops/fuzz/bytes.h"

namespace nann {
namespace tile {
// Kernels of one width do for all, and are compiled in a third of the time.
extern const TileKernels kAvx2Kernels;
const TileKernels& GetTileKernels() { return kAvx2Kernels; }
}  // namespace tile
}  // namespace nann

namespace tile = nann::tile;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Bytes bytes(data, size);
  const int64_t item_dim = bytes.Number(9), batch = 1 + bytes.Number(2);
  const bool shared = bytes.Number(1) == 1;
  int sizes[8];
  for (int& one : sizes) one = bytes.Number(9);
  const tile::Program program = tile::Parse(bytes.Rest());
  if (!program.error.empty()) return 0;
  std::vector<std::vector<float>> values;
  std::vector<tile::Parameter> parameters;
  for (size_t i = 0; i < program.parameters.size() && i < 64; ++i) {
    const bool vector = program.parameters[i] == tile::ParameterKind::kVector;
    const int64_t rows = sizes[i % 8] % 2 == 1 ? batch : 1, k = vector ? 1 : sizes[i % 8], n = sizes[(i + 1) % 8];
    values.emplace_back(rows * k * n, 0.25f);
    parameters.push_back({values.back().data(), rows, k, n});
  }
  for (size_t i = 0; i < parameters.size(); ++i) parameters[i].values = values[i].data();
  tile::Scorer scorer;
  if (!scorer.Prepare(program, parameters, item_dim, batch, shared).empty()) return 0;
  fuzz::Require(scorer.workspace_size() >= 0, "the workspace has a size");
  if (scorer.workspace_size() > 1 << 18 || program.instructions.size() > 512) return 0;  // it fits; running it takes long
  const size_t floats = scorer.workspace_size();
  std::unique_ptr<float, decltype(&std::free)> workspace(
      static_cast<float*>(std::aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64)), std::free);
  const std::vector<float> items(3 * item_dim, 0.5f);
  const float* rows[3] = {items.data(), items.data() + item_dim, items.data() + 2 * item_dim};
  scorer.Load(rows, 3, workspace.get());
  scorer.RunShared(workspace.get());
  for (int64_t user = 0; user < batch; ++user) {
    const float* const scores = scorer.RunUser(user, workspace.get());
    fuzz::Require(scores >= workspace.get() && scores + tile::kTileItems <= workspace.get() + floats,
                  "scores lie in the workspace");
  }
  return 0;
}
