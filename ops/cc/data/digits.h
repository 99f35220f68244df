#ifndef NANN_OPS_CC_DATA_DIGITS_H_
#define NANN_OPS_CC_DATA_DIGITS_H_

namespace nann {

inline bool IsDigit(char c) { return static_cast<unsigned char>(c - '0') <= 9; }

}  // namespace nann

#endif  // NANN_OPS_CC_DATA_DIGITS_H_
