// Arithmetic on embedding rows, built once per instruction set and chosen when the library is loaded. No TensorFlow in here.

#ifndef NANN_OPS_CC_EMBEDDING_ROWS_H_
#define NANN_OPS_CC_EMBEDDING_ROWS_H_

#include <stdint.h>

namespace nann {
namespace embedding {

// Storage of the 16 bit types; arithmetic is in float.
struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

// What sums are kept in: float for the 16 bit types and float, double for double.
template <typename T>
struct AccumulatorOf {
  using type = float;
};
template <>
struct AccumulatorOf<double> {
  using type = double;
};
template <typename T>
using Accumulator = typename AccumulatorOf<T>::type;

enum class Optimizer : int { kSgd, kAdagrad, kAdam, kFtrl };

// Hyperparameters of one update. Adagrad: Duchi et al., JMLR 12 (2011); Adam: arXiv 1412.6980, in its lazy form with the
// decoupled decay of arXiv 1711.05101; FTRL: McMahan et al., KDD 2013, algorithm 1.
struct UpdateOptions {
  Optimizer optimizer;
  double learning_rate;
  double beta_1, beta_2, epsilon, decay;  // Adam; epsilon also of Adagrad. The learning rate of Adam holds the bias corrections,
  double decay_rate;                      // the rate of the decay does not
  double l1, l2, power;                   // FTRL: power is -0.5 as a rule
};

// What one id adds to the gradient of its row: a coefficient times a row of pooled gradients.
template <typename T>
struct Contribution {
  int64_t row;
  int32_t gradient;
  Accumulator<T> coefficient;
};

template <typename T>
struct RowKernels {
  using A = Accumulator<T>;
  // out[r] = sum of coefficients[k] * rows[k] for k in [offsets[r], offsets[r + 1]), divided by divisors[r] (0 gives zeros). A
  // null `coefficients` means ones, a null `divisors` no division. Rows of `dim` values; `stride` values between rows of `out`.
  void (*pool)(const T* const* rows, const A* coefficients, const int32_t* offsets, const A* divisors, int64_t num_rows,
               int64_t dim, A* out, int64_t stride);
  // sums[places[i]] += contributions[i].coefficient * gradients[contributions[i].gradient] for i in [0, count), in this order.
  // `stride` values between rows of `gradients`, `dim` between rows of `sums`.
  void (*accumulate)(const T* gradients, int64_t stride, const Contribution<T>* contributions, const int32_t* places,
                     int64_t count, int64_t dim, A* sums);
  // Inner product of a row with another, or with itself.
  A (*dot)(const T* a, const T* b, int64_t dim);
  // One optimizer step of one row. `first` and `second` are the optimizer's slots of the row, null where it has none.
  void (*update)(const UpdateOptions& options, const A* gradient, int64_t dim, T* row, T* first, T* second);
};

// The kernels for the processor this runs on.
template <typename T>
const RowKernels<T>& GetRowKernels();

float ToFloat(Half value);
float ToFloat(BFloat16 value);
inline float ToFloat(float value) { return value; }
inline double ToFloat(double value) { return value; }
void FromFloat(float value, Half* out);
void FromFloat(float value, BFloat16* out);
inline void FromFloat(float value, float* out) { *out = value; }
inline void FromFloat(double value, double* out) { *out = value; }

}  // namespace embedding
}  // namespace nann

#endif  // NANN_OPS_CC_EMBEDDING_ROWS_H_
