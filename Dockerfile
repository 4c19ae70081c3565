# Two images: `service` serves and holds neither trainer nor compiler; `trainer` trains and publishes.
#
#   docker build --target service -t segue-service .
#   docker build --target trainer -t segue-trainer .
#
# Both run as user 10001, as any other user, and with a read-only root; what they write besides models goes to /tmp.
# The service listens on all addresses of its container, so it starts only with SEGUE_KEYS, a file of API keys, or where
# SEGUE_ALLOW_ANYONE=true says that something else decides who may ask; docs/deployment.md has both.

FROM python:3.11-slim AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
# Annoy compiles for the builder's own processor unless told otherwise; this is any x86-64.
ENV ANNOY_COMPILER_ARGS=-O3,-march=x86-64,-mtune=generic,-ffast-math,-fno-associative-math,-fpermissive,-DANNOYLIB_MULTITHREADED_BUILD,-std=c++14 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_BUILD_CONSTRAINT=/src/constraints.txt
WORKDIR /src
COPY constraints.txt ./
RUN python -m venv /opt/segue && /opt/segue/bin/pip install --constraint constraints.txt pip
# What is depended on first, without a line of our own, so that this layer outlives changes of the code.
COPY pyproject.toml ./
RUN touch README.md LICENSE && /opt/segue/bin/pip install --constraint constraints.txt .

FROM build AS build-service
RUN /opt/segue/bin/pip install --constraint constraints.txt '.[tracing]'
COPY service ./service
RUN /opt/segue/bin/pip install --no-deps .

FROM build AS build-trainer
RUN /opt/segue/bin/pip install --constraint constraints.txt '.[trainer]'
COPY service ./service
COPY trainer ./trainer
RUN /opt/segue/bin/pip install --no-deps .

FROM python:3.11-slim AS base
# Group root may write to /models too: a platform that picks a user at random puts it in that group.
RUN groupadd --gid 10001 segue \
 && useradd --uid 10001 --gid segue --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin segue \
 && install --directory --owner segue --group root --mode 775 /models
# What is installed comes compiled, the standard library does not, and nobody can write it down later: without this every
# start, and every health check, would compile what it imports again. The hash spares a look at each source.
RUN python -m compileall -q -x '/(test|idlelib|lib2to3|turtledemo|site-packages)/' --invalidation-mode unchecked-hash \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
ENV PATH=/opt/segue/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# `--models` is `models` unless given, which is /models from here.
WORKDIR /
USER segue

FROM base AS trainer
USER root
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/*
USER segue
COPY --from=build-trainer /opt/segue /opt/segue
ENTRYPOINT ["python", "-m", "trainer"]
CMD ["--help"]

FROM base AS service
COPY --from=build-service /opt/segue /opt/segue
ENV SEGUE_MODELS=/models SEGUE_HOST=0.0.0.0 SEGUE_PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:$SEGUE_PORT/health/ready', timeout=2)"
ENTRYPOINT ["python", "-m", "service"]
