# The same for NVIDIA GPUs: TensorFlow with the CUDA libraries as Python packages, so the base needs none; the driver comes from the node
# (nvidia-container-toolkit). No ENTRYPOINT: `podman run --device nvidia.com/gpu=all IMAGE nann --help` works, and so does kfp's own command.
#
#   make images FLAVOURS=gpu        # or: podman build -t nann-pipeline:TAG-gpu -f containers/gpu.Dockerfile .
# `make images` resolves the tag to a digest, builds on that, and records it in images.lock.
ARG BASE=docker.io/library/python:3.11-slim

FROM ${BASE} AS builder
# Python.h is part of the official image; Debian keeps it in a package of its own.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ \
 && { test -f "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
      || apt-get install --yes --no-install-recommends python3-dev; } \
 && rm -rf /var/lib/apt/lists/*
# hnswlib is compiled here; with the builder's own instruction set it might crash on another CPU.
ENV HNSWLIB_NO_NATIVE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Requirements first: they change less often than the sources. Only files with the hashes of the lock are taken.
WORKDIR /build
COPY containers/gpu.lock containers/requirements.lock containers/
RUN python3 -m venv /opt/nann && /opt/nann/bin/pip install --require-hashes --requirement containers/gpu.lock
# The build only links against TensorFlow; without nvcc the ops' CUDA kernels are left out and stock ones serve.
# What the build and its tests need on top lies elsewhere and stays behind.
RUN python3 -m venv --system-site-packages /opt/tools \
 && echo /opt/nann/lib/python3.11/site-packages > /opt/tools/lib/python3.11/site-packages/nann.pth \
 && grep -E '^(#|(scikit_build_core|pathspec|packaging|cmake|ninja|pytest|pytest-xdist|execnet|pluggy|iniconfig|hypothesis|sortedcontainers)==)' \
      containers/requirements.lock > containers/tools.lock \
 && /opt/tools/bin/pip install --require-hashes --no-deps --ignore-installed --requirement containers/tools.lock
COPY pyproject.toml CMakeLists.txt README.md ./
COPY ops ops
COPY data_prep data_prep
COPY nann nann
COPY components components
COPY pipelines pipelines
RUN PATH=/opt/tools/bin:${PATH} /opt/tools/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /wheels .
RUN /opt/nann/bin/pip install --no-deps /wheels/*.whl && rm -rf ops data_prep nann components pipelines

# The wheel as it is installed, not the sources: tests that need neither the working copy nor much time.
FROM builder AS test
WORKDIR /test
COPY pyproject.toml ./
COPY tests tests
RUN CUDA_VISIBLE_DEVICES=-1 TF_CPP_MIN_LOG_LEVEL=2 NANN_REQUIRE_NATIVE=1 /opt/tools/bin/python -m pytest -q -m "not slow" -p no:cacheprovider -n 2 --dist loadfile \
      tests/ops tests/data_prep tests/nann/index tests/nann/models \
 && /opt/nann/bin/nann --version > /tested

FROM ${BASE}
ARG REVISION=unknown
ARG VERSION=unknown
LABEL org.opencontainers.image.title="nann-pipeline" \
      org.opencontainers.image.description="Steps of an offline deep-retrieval pipeline, NVIDIA GPUs" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A thread of its own for launching kernels; memory as it is needed.
# kfp's launcher runs `sh`, `mktemp` and `python3` from the PATH. Caches go where any user may write.
ENV PATH=/opt/nann/bin:${PATH} PYTHONUNBUFFERED=1 MPLCONFIGDIR=/tmp/matplotlib HOME=/tmp \
    TF_GPU_THREAD_MODE=gpu_private TF_GPU_THREAD_COUNT=1 TF_FORCE_GPU_ALLOW_GROWTH=true NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN useradd --create-home --home-dir /home/nann --uid 1000 nann
COPY --from=builder /opt/nann /opt/nann
# Not made unless the tests pass.
COPY --from=test /tested /opt/nann/tested
USER 1000
WORKDIR /home/nann
CMD ["nann", "--help"]
