# The image of provider-gateway: both roles, and the sample model. It runs as any user of group 0, on a read-only root file system.
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY constraints.txt setup.py pyproject.toml README.md ./
COPY provider_gateway provider_gateway
COPY twisted twisted
RUN pip wheel --constraint constraints.txt --wheel-dir /wheels '.[postgresql,grpc]'
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
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="provider-gateway" \
      org.opencontainers.image.description="HTTPS and AMQP in, machine-learning model out: one Twisted process around RabbitMQ" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Set before anything runs: Python would otherwise write bytecode that is compared with file times.
ENV PATH=/opt/provider-gateway/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Python's images contain no bytecode of the standard library: each start would compile it in memory.
RUN python -m compileall -q --invalidation-mode unchecked-hash -x '/(site-packages|test|tests|idlelib|lib2to3)/' /usr/local/lib/python3.*
COPY --from=build /opt/provider-gateway /opt/provider-gateway
# For a volume with the SQLite file of RESULT_STORE: a new volume of a container engine takes over who may write there.
RUN mkdir --mode=0770 /data
# A mounted conf/queue_config.yaml is found relative to this folder.
WORKDIR /app
# Any other user of group 0 works as well. Nothing is writable but /data, and nothing else has to be.
USER 1001:0
EXPOSE 5050 5080
# No HEALTHCHECK: orchestrators ask /health/live and /health/ready of port 5080.
ENTRYPOINT ["twistd", "-n", "--pidfile=", "provider-gateway"]
