// Exceptions in kernels: TensorFlow has none, so one that leaves a kernel, or a thread of the pool, ends the process.

#ifndef NANN_OPS_CC_GUARDED_H_
#define NANN_OPS_CC_GUARDED_H_

#include <exception>
#include <functional>
#include <mutex>
#include <new>
#include <stdexcept>

#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/util/work_sharder.h"

namespace nann {

// Keeps the first exception of work on several threads for the thread that waits for them.
class FirstException {
 public:
  template <typename Work>
  void Catch(const Work& work) noexcept {
    try {
      work();
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (first_ == nullptr) first_ = std::current_exception();
    }
  }
  void Rethrow() const {
    if (first_ != nullptr) std::rethrow_exception(first_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr first_;
};

// tensorflow::Shard whose work may throw; what it throws comes out of here once all threads are done.
inline void ShardRanges(const tensorflow::DeviceBase::CpuWorkerThreads& workers, int64_t n, int64_t cost,
                        const std::function<void(int64_t, int64_t)>& work) {
  FirstException exception;
  tensorflow::Shard(workers.num_threads, workers.workers, n, cost,
                    [&](int64_t begin, int64_t end) { exception.Catch([&] { work(begin, end); }); });
  exception.Rethrow();
}

// A kernel whose exceptions become a Status; register kernels as this.
template <typename Kernel>
class Guarded : public Kernel {
 public:
  using Kernel::Kernel;

  void Compute(tensorflow::OpKernelContext* context) override {
    try {
      Kernel::Compute(context);
    } catch (const std::bad_alloc&) {
      context->CtxFailure(TooLarge(context));
    } catch (const std::length_error&) {
      context->CtxFailure(TooLarge(context));
    } catch (const std::exception& error) {
      context->CtxFailure(absl::InternalError(absl::StrCat(context->op_kernel().type_string(), ": ", error.what())));
    }
  }

 private:
  static absl::Status TooLarge(tensorflow::OpKernelContext* context) {
    return absl::ResourceExhaustedError(
        absl::StrCat("there is not enough memory for the sizes given to ", context->op_kernel().type_string()));
  }
};

// Allocates an output of any sizes: sizes that are negative, or overflow together, are an error.
inline absl::Status AllocateOutput(tensorflow::OpKernelContext* context, int output, std::initializer_list<int64_t> sizes,
                                   tensorflow::Tensor** tensor) {
  tensorflow::TensorShape shape;
  TF_RETURN_IF_ERROR(tensorflow::TensorShape::BuildTensorShape(sizes, &shape));
  return context->allocate_output(output, shape, tensor);
}

}  // namespace nann

#endif  // NANN_OPS_CC_GUARDED_H_
