# docker build --target cpu -t sugar:0.1.0 .          the default
# docker build --target cuda -t sugar:0.1.0-cuda .    a GPU cluster
# Both run as an ordinary user. BASE is any image with Python 3.11, venv and ca-certificates.
# --build-arg GIT_REVISION=$(git rev-parse --short=12 HEAD): the provenance of what the image makes names it.

ARG BASE=python:3.11-slim
FROM ${BASE} AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY constraints.txt pyproject.toml ./
RUN pip install -c constraints.txt pip setuptools wheel

FROM packages AS cpu-packages
RUN pip install -c constraints.txt --index-url https://download.pytorch.org/whl/cpu \
    --extra-index-url https://pypi.org/simple torch

# On Linux the package index serves torch with CUDA.
FROM packages AS cuda-packages
RUN pip install -c constraints.txt torch

FROM cuda-packages AS cuda
ENV DS_ACCELERATOR=cuda
COPY . .
RUN pip install -c constraints.txt --no-build-isolation -e . && useradd --create-home --uid 1000 sugar \
    && chown sugar /app
USER 1000
ARG GIT_REVISION=""
ENV HOME=/home/sugar GX_ANALYTICS_ENABLED=false SUGAR_GIT_REVISION=${GIT_REVISION}
ENTRYPOINT ["sugar"]
CMD ["--help"]

FROM cpu-packages AS cpu
ENV DS_ACCELERATOR=cpu
COPY . .
RUN pip install -c constraints.txt --no-build-isolation -e . && useradd --create-home --uid 1000 sugar \
    && chown sugar /app
USER 1000
ARG GIT_REVISION=""
ENV HOME=/home/sugar GX_ANALYTICS_ENABLED=false SUGAR_GIT_REVISION=${GIT_REVISION}
ENTRYPOINT ["sugar"]
CMD ["--help"]
