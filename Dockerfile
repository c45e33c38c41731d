# docker build --target cpu -t sth-workbench .     or --target cuda, for a host with NVIDIA's container toolkit
# docker run sth-workbench --help
FROM python:3.12-slim-bookworm AS build
WORKDIR /build
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim-bookworm AS base
# A browser for PDF, SVG and PNG. Its version is Debian's newest: it gets security updates.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends chromium-headless-shell fonts-dejavu-core \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 sth \
    && install --directory --owner sth /runs
COPY requirements.txt /constraints.txt
COPY --from=build /wheels /wheels
# Everything that is not a result goes to /tmp, so that the rest may be read-only.
ENV HOME=/tmp XDG_CACHE_HOME=/tmp/cache PYTHONUNBUFFERED=1
WORKDIR /runs
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=90s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
ENTRYPOINT ["sth"]
CMD ["app", "/runs", "--host", "0.0.0.0"]

FROM base AS cuda
# Triton compiles its kernels' launchers with a C compiler.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir --constraint /constraints.txt "$(echo /wheels/*.whl)[transformers,tensorboard,export]"
USER 1000

FROM base AS cpu
RUN pip install --no-cache-dir --constraint /constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu \
    "$(echo /wheels/*.whl)[transformers,tensorboard,export]"
USER 1000
