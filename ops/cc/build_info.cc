// Lets ops/native.py see, without loading the library, which TensorFlow it was built for.

extern "C" __attribute__((visibility("default"), used)) const char nann_build_info[] =
    "<nann ops built for TensorFlow " NANN_TENSORFLOW_VERSION ">";
