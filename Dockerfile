# Two images from one wheel: `gatehouse` (the service, the default) and `demo` (with Envoy and the demo's servers).
#   docker build -t gatehouse .
#   docker build -t gatehouse-demo --target demo .

FROM python:3.11-slim AS wheel
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1
# The exact versions that the tests ran with.
COPY constraints.txt /tmp/constraints.txt
COPY --from=wheel /wheels /wheels
RUN useradd --system --no-create-home --uid 10001 gatehouse && install -d -o gatehouse -m 0700 /var/lib/gatehouse
# Where policies keep state unless the bundle says otherwise: mount a volume here, for it to outlive the container.
ENV STATE_DIRECTORY=/var/lib/gatehouse

FROM base AS demo
RUN pip install --no-cache-dir -c /tmp/constraints.txt "$(echo /wheels/gatehouse-*.whl)[demo]"
USER 10001
ENTRYPOINT ["gatehouse"]

# The last stage is what `docker build` makes unless told otherwise.
FROM base AS gatehouse
RUN pip install --no-cache-dir -c /tmp/constraints.txt /wheels/gatehouse-*.whl
# Replace it with a bundle of your own: mount one here.
COPY policies/bundles/default.yaml /etc/gatehouse/bundle.yaml
USER 10001
# 50051: gRPC, for Envoy. The admin endpoint stays on the container's loopback.
EXPOSE 50051
ENTRYPOINT ["gatehouse"]
CMD ["serve", "--bundle", "/etc/gatehouse/bundle.yaml", "--listen", "0.0.0.0:50051"]
