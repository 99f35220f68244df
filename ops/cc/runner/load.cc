#include "ops/cc/runner/load.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <exception>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

namespace nann::runner {
namespace {

using Clock = std::chrono::steady_clock;

// Linear interpolation between the two nearest of some ascending values, as numpy's default.
double Percentile(const std::vector<double>& sorted, double percent) {
  const double at = percent / 100 * (static_cast<double>(sorted.size()) - 1);
  const size_t below = static_cast<size_t>(std::floor(at));
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

double Seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

Clock::duration Ticks(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

}  // namespace

std::string RunLoad(const std::function<void(int64_t)>& request, const LoadOptions& options) {
  const Clock::time_point first = Clock::now(), begin = first + Ticks(options.warmup_seconds),
                          deadline = begin + Ticks(options.duration_seconds),
                          give_up = deadline + Ticks(options.duration_seconds + 10);
  std::atomic<int64_t> next{0};
  std::atomic<bool> stop{false};
  std::vector<std::vector<double>> latencies(options.threads);
  std::vector<Clock::time_point> ends(options.threads, begin);
  std::vector<std::exception_ptr> failures(options.threads);
  const auto work = [&](int client) {
    while (!stop) {
      Clock::time_point start = Clock::now();
      int64_t number = 0;
      if (options.requests_per_s > 0) {
        number = next++;
        const double due = static_cast<double>(number) / options.requests_per_s;
        if (due >= options.warmup_seconds + options.duration_seconds) return;  // seconds: a low rate's are too many for ticks
        start = first + Ticks(due);
        std::this_thread::sleep_until(start);
        if (Clock::now() >= give_up)
          throw std::runtime_error("the graph answers far fewer requests than --rate asks for; give a lower rate");
      } else {
        if (start >= deadline && !latencies[client].empty()) return;
        number = next++;
      }
      request(number);
      ends[client] = Clock::now();
      if (start >= begin) latencies[client].push_back(1000 * Seconds(ends[client] - start));
    }
  };
  std::vector<std::thread> clients;
  try {
    for (int client = 0; client < options.threads; ++client) {
      clients.emplace_back([&, client] {
        try {
          work(client);
        } catch (...) {
          failures[client] = std::current_exception();
          stop = true;
        }
      });
    }
  } catch (const std::system_error&) {  // the system gives no more threads; those there are have to end before the vector goes
    stop = true;
    for (std::thread& client : clients) client.join();
    throw std::runtime_error("the system starts " + std::to_string(clients.size()) + " of " + std::to_string(options.threads) +
                             " clients; give fewer --threads");
  }
  for (std::thread& client : clients) client.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
  std::vector<double> all;
  for (const std::vector<double>& own : latencies) all.insert(all.end(), own.begin(), own.end());
  if (all.empty()) throw std::runtime_error("no request was answered in the measured time; give a longer --duration");
  std::sort(all.begin(), all.end());
  const double seconds = Seconds(*std::max_element(ends.begin(), ends.end()) - begin);
  const double per_second = static_cast<double>(all.size()) / seconds;
  std::ostringstream json;
  json << "{\"requests\": " << all.size() << ", \"threads\": " << options.threads << ", \"batch_size\": " << options.batch_size
       << ", \"requests_per_s\": " << options.requests_per_s << ", \"measured_seconds\": " << seconds
       << ", \"mean_ms\": " << std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size())
       << ", \"min_ms\": " << all.front() << ", \"p50_ms\": " << Percentile(all, 50) << ", \"p90_ms\": " << Percentile(all, 90)
       << ", \"p99_ms\": " << Percentile(all, 99) << ", \"p999_ms\": " << Percentile(all, 99.9) << ", \"max_ms\": " << all.back()
       << ", \"throughput_requests_per_s\": " << per_second
       << ", \"throughput_users_per_s\": " << per_second * static_cast<double>(options.batch_size) << "}";
  return json.str();
}

}  // namespace nann::runner
