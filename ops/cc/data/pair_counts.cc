// Counts, for each item, the items that stand near it in histories. One pass over the item's own events into an array of all
// items: the memory is that of two such arrays a thread, however many pairs there are, and nothing is sorted but what is kept.

#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

struct Pair {
  float score;
  int32_t item;
};

bool Better(const Pair& a, const Pair& b) { return a.score > b.score || (a.score == b.score && a.item < b.item); }

}  // namespace

#define NANN_EXPORT extern "C" __attribute__((visibility("default")))

// order[starts[i]..starts[i + 1]) are the positions of item i's events, ascending. starts: [num_items + 2], overwritten.
NANN_EXPORT int64_t nann_index_events(const int32_t* items, int64_t num_events, int64_t num_items, int64_t* starts,
                                      uint32_t* order) {
  std::fill_n(starts, num_items + 2, 0);
  for (int64_t event = 0; event < num_events; ++event) ++starts[items[event] + 1];
  for (int64_t item = 0; item <= num_items; ++item) starts[item + 1] += starts[item];
  std::vector<int64_t> next(starts, starts + num_items + 1);
  for (int64_t event = 0; event < num_events; ++event) order[next[items[event]]++] = static_cast<uint32_t>(event);
  return num_events;
}

// For each source item s: over its events at position p of a user's history the other events at p + g (forward) and p - g
// (backward), g = 1..window, each adding user_weights[user] / g to its item. Of these items the `keep` with the highest (forward
// + back * backward) * item_weights[item] go to places[s].. in order of item, their number to sizes[s]; the sums over all items
// to totals[2 s] (forward) and totals[2 s + 1] (backward). places[s + 1] - places[s] holds what is kept at most.
NANN_EXPORT int64_t nann_count_pairs(const int32_t* items, const int32_t* users, const int64_t* row_splits,
                                     const float* user_weights, const int64_t* starts, const uint32_t* order, int64_t num_items,
                                     const int32_t* sources, int64_t num_sources, int64_t window, float back,
                                     const float* item_weights, int64_t keep, const int64_t* places, int32_t* kept_items,
                                     float* forward, float* backward, int64_t* sizes, double* totals) {
  std::vector<float> ahead(num_items + 1, 0.0F), behind(num_items + 1, 0.0F);
  std::vector<uint8_t> met(num_items + 1, 0);
  std::vector<int32_t> touched;
  std::vector<Pair> pairs;
  std::vector<float> per_gap(window + 1, 0.0F);
  for (int64_t gap = 1; gap <= window; ++gap) per_gap[gap] = 1.0F / static_cast<float>(gap);
  for (int64_t s = 0; s < num_sources; ++s) {
    double total_ahead = 0, total_behind = 0;
    for (int64_t place = starts[sources[s]]; place < starts[sources[s] + 1]; ++place) {
      const int64_t event = order[place], user = users[event];
      const float weight = user_weights[user];
      const int64_t last = std::min(event + window, row_splits[user + 1] - 1), first = std::max(event - window, row_splits[user]);
      const auto add = [&](int64_t other, int64_t gap, std::vector<float>* sums, double* total) {
        const int32_t item = items[other];
        if (!met[item]) {
          met[item] = 1;
          touched.push_back(item);
        }
        const float value = weight * per_gap[gap];
        (*sums)[item] += value;
        *total += value;
      };
      for (int64_t other = event + 1; other <= last; ++other) add(other, other - event, &ahead, &total_ahead);
      for (int64_t other = event - 1; other >= first; --other) add(other, event - other, &behind, &total_behind);
    }
    pairs.clear();
    for (const int32_t item : touched) pairs.push_back({(ahead[item] + back * behind[item]) * item_weights[item], item});
    if (static_cast<int64_t>(pairs.size()) > keep) {
      std::nth_element(pairs.begin(), pairs.begin() + keep, pairs.end(), Better);
      pairs.resize(keep);
    }
    std::sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.item < b.item; });
    int64_t to = places[s];
    for (const Pair& pair : pairs) {
      kept_items[to] = pair.item;
      forward[to] = ahead[pair.item];
      backward[to] = behind[pair.item];
      ++to;
    }
    sizes[s] = to - places[s];
    totals[2 * s] = total_ahead;
    totals[2 * s + 1] = total_behind;
    for (const int32_t item : touched) {
      ahead[item] = behind[item] = 0.0F;
      met[item] = 0;
    }
    touched.clear();
  }
  return num_sources;
}
