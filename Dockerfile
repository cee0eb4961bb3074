# The gateway in a container: docker build -t interlock . && docker run -p 8400:8400 -v interlock:/var/lib/interlock interlock
# With models of your own: -v ./interlock.yaml:/etc/interlock/interlock.yaml:ro and "--config /etc/interlock/interlock.yaml" at the end.
FROM python:3.12-slim AS build
WORKDIR /build
RUN python -m venv /opt/interlock
COPY requirements/base.lock requirements/base.lock
RUN /opt/interlock/bin/pip install --no-cache-dir --require-hashes -r requirements/base.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
RUN /opt/interlock/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim
RUN useradd --system --uid 8400 --home-dir /var/lib/interlock --create-home interlock
COPY --from=build /opt/interlock /opt/interlock
USER interlock
WORKDIR /var/lib/interlock
VOLUME /var/lib/interlock
EXPOSE 8400
# A decision's way crosses no blocking call, so a slow answer here means a process that is gone.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["/opt/interlock/bin/python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8400/healthz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/interlock/bin/interlock", "serve", "--host", "0.0.0.0", "--port", "8400", "--ledger", "/var/lib/interlock/ledger.db"]
