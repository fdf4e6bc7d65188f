# Images with the command `vidscale`:
#
#     docker build --target cpu -t vidscale .
#     docker build --target cuda -t vidscale:cuda .
#     docker run --rm -v "$PWD:/media" vidscale encode movie.mp4 --scale 2 --crf 28
#     docker run --rm --gpus all -v "$PWD:/media" vidscale:cuda encode movie.mp4 --device cuda
#
# Written without a Docker engine at hand: it was never built. Please report what it lacks.

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS base
ENV PATH=/opt/vidscale/bin:$PATH
RUN useradd --create-home --uid 1000 vidscale
WORKDIR /media

FROM base AS source
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY vidscale vidscale
# vidscale/pipelines is a link to it.
COPY pipelines pipelines
RUN python -m venv /opt/vidscale

# pip's own index has torch with CUDA, gigabytes of it. The address of one with torch for the CPU alone makes this
# image slim: --build-arg CPU_INDEX=...
FROM source AS cpu-install
ARG CPU_INDEX=
RUN PIP_EXTRA_INDEX_URL="$CPU_INDEX" pip install --no-cache-dir --constraint constraints.txt .

FROM source AS cuda-install
ARG CUDA_INDEX=
RUN PIP_EXTRA_INDEX_URL="$CUDA_INDEX" pip install --no-cache-dir --constraint constraints.txt .

# torch's wheel holds CUDA itself; of the host it needs the driver, which the NVIDIA container toolkit lends.
# Triton compiles the code that launches its kernels with gcc.
FROM base AS cuda
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=cuda-install /opt/vidscale /opt/vidscale
USER vidscale
ENTRYPOINT ["vidscale"]
CMD ["--help"]

# The last one is what `docker build` makes when no target is named.
FROM base AS cpu
COPY --from=cpu-install /opt/vidscale /opt/vidscale
USER vidscale
ENTRYPOINT ["vidscale"]
CMD ["--help"]
