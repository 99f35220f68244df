// Keeps the best items of a stream of scores; knows nothing of TensorFlow.

#ifndef NANN_OPS_CC_BEST_ITEMS_H_
#define NANN_OPS_CC_BEST_ITEMS_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace nann {

// The best of a stream: by score, then by position. Kept in a buffer of twice the size that is cut now and then.
class Best {
 public:
  explicit Best(int64_t size) : size_(size) { entries_.reserve(2 * size); }

  void Add(float score, int64_t position) {
    if (!(score > least_.score || (score == least_.score && position < least_.position))) return;
    entries_.push_back({score, position});
    if (static_cast<int64_t>(entries_.size()) == 2 * size_) Cut();
  }

  void Add(const Best& other) {
    for (const Entry& entry : other.entries_) Add(entry.score, entry.position);
  }

  // To `places` places, empty ones behind the items.
  void Write(int64_t places, int64_t* positions, float* scores) {
    std::sort(entries_.begin(), entries_.end(), Better);
    const int64_t count = std::min<int64_t>(size_, entries_.size());
    for (int64_t i = 0; i < places; ++i) {
      const bool there = i < count;
      positions[i] = there ? entries_[i].position : -1;
      scores[i] = there ? entries_[i].score : -std::numeric_limits<float>::infinity();
    }
  }

 private:
  struct Entry {
    float score;
    int64_t position;
  };
  static bool Better(const Entry& a, const Entry& b) {
    return a.score > b.score || (a.score == b.score && a.position < b.position);
  }

  void Cut() {
    std::nth_element(entries_.begin(), entries_.begin() + size_ - 1, entries_.end(), Better);
    entries_.resize(size_);
    least_ = entries_.back();
  }

  int64_t size_;
  Entry least_{-std::numeric_limits<float>::infinity(), std::numeric_limits<int64_t>::max()};
  std::vector<Entry> entries_;
};

}  // namespace nann

#endif  // NANN_OPS_CC_BEST_ITEMS_H_
