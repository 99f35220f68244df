// Included before the ops' side of the GPU kernels: registers them for the CPU, under a label that graphs and calls have to ask
// for.

#ifndef CUDA_ON_HOST_OPS_ON_HOST_H_
#define CUDA_ON_HOST_OPS_ON_HOST_H_

#define NANN_GPU_KERNEL(NAME) Name(NAME).Device(tensorflow::DEVICE_CPU).Label("cuda_on_host")

#endif  // CUDA_ON_HOST_OPS_ON_HOST_H_
