# Two images. `service` serves and has neither trainer nor compiler; `trainer` trains and publishes.
#
#   docker build --target service -t segue-service .
#   docker build --target trainer -t segue-trainer .
#
# Both run as user 10001 or any other user, with a read-only root. They write models, and temporary files in /tmp.
# The service listens on all addresses of its container. So it needs SEGUE_KEYS (a key file), or
# SEGUE_ALLOW_ANYONE=true if something in front of it authorizes requests; see docs/deployment.md.

FROM python:3.11-slim AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*
# By default Annoy compiles for the builder's processor. These flags are for any x86-64.
ENV ANNOY_COMPILER_ARGS=-O3,-march=x86-64,-mtune=generic,-ffast-math,-fno-associative-math,-fpermissive,-DANNOYLIB_MULTITHREADED_BUILD,-std=c++14 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_BUILD_CONSTRAINT=/src/constraints.txt
WORKDIR /src
COPY constraints.txt ./
RUN python -m venv /opt/segue && /opt/segue/bin/pip install --constraint constraints.txt pip
# Dependencies first, without our code, so that this layer stays cached when the code changes.
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
# Group root may write to /models too: platforms that choose a random user put it in that group.
RUN groupadd --gid 10001 segue \
 && useradd --uid 10001 --gid segue --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin segue \
 && install --directory --owner segue --group root --mode 775 /models
# Compile the standard library; pip has compiled the packages. The root is read-only, so otherwise every start and every
# health check would compile its imports again. With unchecked hashes, Python does not read the sources.
RUN python -m compileall -q -x '/(test|idlelib|lib2to3|turtledemo|site-packages)/' --invalidation-mode unchecked-hash \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
ENV PATH=/opt/segue/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The default of `--models` is `models`, which is /models from here.
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
