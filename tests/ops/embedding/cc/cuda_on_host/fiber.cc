#include "fiber.h"

#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
// Saves the registers that a call keeps, swaps stacks, and takes the other's.
extern "C" void cuda_on_host_switch(void** from, void* to);
asm(R"(
.text
.type cuda_on_host_switch, @function
cuda_on_host_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_on_host_switch, .-cuda_on_host_switch
)");
#endif

namespace cuda_on_host {
namespace {

Fiber* running = nullptr;
#if defined(__SANITIZE_ADDRESS__)
Fiber* left = nullptr;  // whose stack AddressSanitizer tells to the one that is entered
#endif

}  // namespace

void Fiber::Enter() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &left->stack_, &left->size_);
#endif
  running->entry_();
}

void Fiber::Start(void (*entry)(), char* stack, size_t size) {
  entry_ = entry;
  stack_ = stack;
  size_ = size;
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack, size);  // what the fiber before left on it
#endif
#if defined(__x86_64__)
  constexpr int kSaved = 6;
  void** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack + size) & ~uintptr_t{15});
  *--top = nullptr;  // where Enter would return to; it also aligns the stack as after a call
  *--top = reinterpret_cast<void*>(&Fiber::Enter);
  for (int i = 0; i < kSaved; ++i) *--top = nullptr;
  stack_pointer_ = top;
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack;
  context_.uc_stack.ss_size = size;
  context_.uc_link = nullptr;
  makecontext(&context_, &Fiber::Enter, 0);
#endif
}

void Fiber::Switch(Fiber* from, Fiber* to, bool from_ends) {
  running = to;
#if defined(__SANITIZE_ADDRESS__)
  left = from;
  __sanitizer_start_switch_fiber(from_ends ? nullptr : &from->sanitizer_stack_, to->stack_, to->size_);
#else
  static_cast<void>(from_ends);
#endif
#if defined(__x86_64__)
  cuda_on_host_switch(&from->stack_pointer_, to->stack_pointer_);
#else
  swapcontext(&from->context_, &to->context_);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from->sanitizer_stack_, nullptr, nullptr);
#endif
}

}  // namespace cuda_on_host
