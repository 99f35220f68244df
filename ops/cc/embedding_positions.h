// Checks of the lookup by position that do not depend on the device.

#ifndef NANN_OPS_CC_EMBEDDING_POSITIONS_H_
#define NANN_OPS_CC_EMBEDDING_POSITIONS_H_

#include <vector>

#include "ops/cc/embedding_context.h"

namespace nann {

// Tables and ids fit each other; `width` is the sum of dims.
inline absl::Status CheckPositions(const std::vector<const Tensor*>& tables, const OpInputList& ids, const std::vector<int>& dims,
                                   tensorflow::DataType dtype, int64_t* width) {
  if (dims.size() != tables.size()) {
    return absl::InvalidArgumentError(absl::StrCat("dims needs ", tables.size(), " entries, got ", dims.size()));
  }
  *width = 0;
  for (size_t t = 0; t < tables.size(); ++t) {
    TF_RETURN_IF_ERROR(CheckDtype(*tables[t], dtype));
    if (tables[t]->dims() != 2 || tables[t]->dim_size(1) != dims[t]) {
      return absl::InvalidArgumentError(
          absl::StrCat("table ", t, " must have shape [rows, ", dims[t], "], got ", tables[t]->shape().DebugString()));
    }
    const Tensor& table_ids = ids[static_cast<int>(t)];
    if (table_ids.shape() != ids[0].shape()) {
      return absl::InvalidArgumentError(absl::StrCat("ids of all tables need one shape, got ", ids[0].shape().DebugString(),
                                                     " and ", table_ids.shape().DebugString()));
    }
    *width += dims[t];
  }
  return absl::OkStatus();
}

// Gradients and ids fit each other; `total` is the number of ids of all lookups per table.
inline absl::Status CheckPositionGradients(const OpInputList& ids, const OpInputList& gradients, const std::vector<int>& dims,
                                           int num_lookups, int64_t* width, int64_t* total) {
  const int num_tables = static_cast<int>(dims.size());
  *width = *total = 0;
  for (const int dim : dims) *width += dim;
  for (int lookup = 0; lookup < num_lookups; ++lookup) {
    const int64_t size = ids[lookup * num_tables].NumElements();
    for (int t = 0; t < num_tables; ++t) {
      if (ids[lookup * num_tables + t].NumElements() != size || gradients[lookup].NumElements() != size * *width) {
        return absl::InvalidArgumentError(absl::StrCat("a gradient must have ", *width, " values per id, got ",
                                                       gradients[lookup].NumElements(), " values for ", size, " and ",
                                                       ids[lookup * num_tables + t].NumElements(), " ids"));
      }
    }
    *total += size;
  }
  return absl::OkStatus();
}

}  // namespace nann

#endif  // NANN_OPS_CC_EMBEDDING_POSITIONS_H_
