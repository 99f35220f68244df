// Threads of execution that are switched by hand.

#ifndef CUDA_ON_HOST_FIBER_H_
#define CUDA_ON_HOST_FIBER_H_

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace cuda_on_host {

class Fiber {
 public:
  // A fiber that runs entry() on the given stack when it is switched to; entry may not return.
  void Start(void (*entry)(), char* stack, size_t size);
  // Leaves the running fiber, to be taken up again where it is, for another one.
  static void Switch(Fiber* from, Fiber* to, bool from_ends = false);

 private:
  static void Enter();
#if defined(__x86_64__)
  void* stack_pointer_ = nullptr;
#else
  ucontext_t context_;
#endif
  void (*entry_)() = nullptr;
  const void* stack_ = nullptr;  // null for the fiber that the program began with
  size_t size_ = 0;
  void* sanitizer_stack_ = nullptr;
};

}  // namespace cuda_on_host

#endif  // CUDA_ON_HOST_FIBER_H_
