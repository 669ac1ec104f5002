# The image of provider-gateway: both roles, and the sample model. It runs as any user of group 0, on a read-only root file system.
#
# Another base image has to have Python 3.11 to 3.13 and pip, such as Red Hat's UBI. Pin yours by its digest:
#   docker build --build-arg PYTHON_IMAGE=registry.access.redhat.com/ubi9/python-312@sha256:… .
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# UBI's images have another user.
USER 0
WORKDIR /src
# Each file that is downloaded has a known hash, and none is built from its source.
COPY image-requirements.txt ./
RUN pip wheel --require-hashes --only-binary :all: --requirement image-requirements.txt --wheel-dir /wheels \
 && pip install --no-cache-dir --no-index --find-links /wheels setuptools
COPY setup.py pyproject.toml README.md LICENSE ./
COPY provider_gateway provider_gateway
COPY twisted twisted
RUN pip wheel --no-index --no-build-isolation --no-deps --wheel-dir /wheels .
# Install only from the wheels, so that nothing unpinned gets in. The image does not need pip.
RUN python -m venv --without-pip /opt/provider-gateway \
 && pip --python /opt/provider-gateway/bin/python install --no-cache-dir --no-compile --no-index --find-links /wheels 'provider-gateway[postgresql,grpc]'
# Bytecode that is never compared with its source: layers round file times, and bytecode cannot be written again later.
# Twisted considers its plugin cache stale unless it is newer than every plugin, in whole seconds: hence the old date.
RUN python -m compileall -q --invalidation-mode unchecked-hash /opt/provider-gateway/lib \
 && touch --date=2000-01-01 /opt/provider-gateway/lib/python3.*/site-packages/twisted/plugins/*.py \
 && /opt/provider-gateway/bin/python -c "from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))" \
 && chmod -R u=rwX,go=rX /opt/provider-gateway

FROM ${PYTHON_IMAGE}
USER 0
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="provider-gateway" \
      org.opencontainers.image.description="HTTPS and AMQP in, machine-learning model out: one Twisted process around RabbitMQ" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Set before anything runs: Python would otherwise write bytecode that is compared with file times.
ENV PATH=/opt/provider-gateway/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=build /opt/provider-gateway /opt/provider-gateway
# Python's images contain no bytecode of the standard library: each start would compile it in memory.
# The base image's pip goes, wherever Debian or UBI have it: nothing is to be installed any more.
RUN python -m compileall -q --invalidation-mode unchecked-hash -x '/(site-packages|test|tests|idlelib|lib2to3|ensurepip)/' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && for base in "$(python -c 'import sys; print(sys.base_prefix)')" /opt/app-root; do \
        rm -rf "$base"/bin/pip* "$base"/lib*/python3*/ensurepip "$base"/share/python*-wheels \
            "$base"/lib*/python3*/site-packages/pip "$base"/lib*/python3*/site-packages/pip-*; \
    done
# For a volume with the SQLite file of RESULT_STORE: a new volume of a container engine takes over who may write there.
RUN mkdir --mode=0770 /data
# A mounted conf/queue_config.yaml is found relative to this folder.
WORKDIR /app
# Any other user of group 0 works as well. Nothing is writable but /data, and nothing else has to be.
USER 1001:0
EXPOSE 5050 5080
# No HEALTHCHECK: orchestrators ask /health/live and /health/ready of port 5080.
ENTRYPOINT ["twistd", "-n", "--pidfile=", "provider-gateway"]
