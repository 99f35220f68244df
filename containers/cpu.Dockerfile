# The image the components run in, CPU only. No ENTRYPOINT: `podman run IMAGE nann --help` works, and so does kfp's own command.
#
#   make images            # or: podman build -t nann-pipeline:TAG-cpu -f containers/cpu.Dockerfile .
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
RUN python3 -m venv /opt/nann
WORKDIR /build
COPY pyproject.toml containers/requirements.lock ./
# Requirements first: they change less often than the sources.
RUN python3 -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; e = p["optional-dependencies"]; \
print("\n".join(p["dependencies"] + e["cpu"] + e["pipeline"]))' > requirements.txt \
 && /opt/nann/bin/pip install --constraint requirements.lock --requirement requirements.txt
RUN /opt/nann/bin/pip install --constraint requirements.lock scikit-build-core cmake ninja
COPY CMakeLists.txt README.md ./
COPY ops ops
COPY data_prep data_prep
COPY nann nann
COPY components components
COPY pipelines pipelines
RUN /opt/nann/bin/pip install --no-build-isolation --no-deps . \
 && /opt/nann/bin/pip uninstall --yes scikit-build-core cmake ninja \
 && /opt/nann/bin/python -m compileall -q /opt/nann/lib/python3.11/site-packages/nann

FROM ${BASE}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="nann-pipeline" \
      org.opencontainers.image.description="Steps of an offline deep-retrieval pipeline, CPU" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=builder /opt/nann /opt/nann
# kfp's launcher runs `sh`, `mktemp` and `python3` from the PATH. Caches go where any user may write.
ENV PATH=/opt/nann/bin:${PATH} PYTHONUNBUFFERED=1 MPLCONFIGDIR=/tmp/matplotlib HOME=/home/nann
RUN useradd --create-home --home-dir /home/nann --uid 1000 nann && chmod 777 /home/nann
USER 1000
WORKDIR /home/nann
CMD ["nann", "--help"]
