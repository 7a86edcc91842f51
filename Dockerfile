# make images         targets cpu and cuda, tagged with the version, provenance in build arguments
# Both run as an ordinary user (1000) and write to /tmp and to their volume alone, so that the root may be
# read-only. Stages stand in this order so that a builder without BuildKit makes cpu without making cuda.
# BASE: any image with Python 3.11, venv and ca-certificates.
# TORCH_INDEX: where the CPU build of torch is; GIT_REVISION: named by the provenance of what the image makes.

ARG BASE=python:3.11-slim
FROM ${BASE} AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY constraints.txt pyproject.toml ./
RUN pip install -c constraints.txt pip setuptools wheel \
    && mkdir sugar && touch sugar/__init__.py README.md LICENSE

# What the package needs is installed beside an empty one, so that an edit of the code does not install it again.
# Torch without its dependencies first: an index that cannot be reached is an error, not a build with CUDA.
FROM packages AS cpu-packages
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install -c constraints.txt --index-url ${TORCH_INDEX} --no-deps torch \
    && pip install -c constraints.txt torch
RUN pip install -c constraints.txt --no-build-isolation -e '.[server]'

FROM cpu-packages AS cpu
ENV DS_ACCELERATOR=cpu
COPY . .
RUN pip install --no-deps --no-build-isolation -e . \
    && useradd --create-home --uid 1000 sugar && mkdir /data && chown sugar /app /data
USER 1000
ARG GIT_REVISION=""
ENV HOME=/home/sugar GX_ANALYTICS_ENABLED=false ARROW_DEFAULT_MEMORY_POOL=system SUGAR_GIT_REVISION=${GIT_REVISION}
ENTRYPOINT ["sugar"]
CMD ["--help"]

# On Linux the package index serves torch with CUDA.
FROM packages AS cuda-packages
RUN pip install -c constraints.txt torch
RUN pip install -c constraints.txt --no-build-isolation -e '.[server]'

FROM cuda-packages AS cuda
ENV DS_ACCELERATOR=cuda
COPY . .
RUN pip install --no-deps --no-build-isolation -e . \
    && useradd --create-home --uid 1000 sugar && mkdir /data && chown sugar /app /data
USER 1000
ARG GIT_REVISION=""
ENV HOME=/home/sugar GX_ANALYTICS_ENABLED=false ARROW_DEFAULT_MEMORY_POOL=system SUGAR_GIT_REVISION=${GIT_REVISION}
ENTRYPOINT ["sugar"]
CMD ["--help"]
