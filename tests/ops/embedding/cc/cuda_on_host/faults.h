// Faults: the first one stands until cudaGetLastError takes it.

#ifndef CUDA_ON_HOST_FAULTS_H_
#define CUDA_ON_HOST_FAULTS_H_

#include <string>

namespace cuda_on_host {

// Notes a fault. In a thread of a kernel it names kernel, block and thread, ends the launch and does not return.
void Fault(const std::string& what);
bool HasFault();

}  // namespace cuda_on_host

#endif  // CUDA_ON_HOST_FAULTS_H_
