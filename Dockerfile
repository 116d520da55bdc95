# docker build -t sluice . ; without an engine and without a registry: deploy/image (docs/install.md).
ARG BUILD_IMAGE=rust:1-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY . .
ARG COMMIT=unknown
RUN SLUICE_COMMIT=${COMMIT} cargo build --release --locked && mkdir /out && strip --strip-debug -o /out/sluice target/release/sluice \
  && cp /etc/ssl/certs/ca-certificates.crt /out/

FROM ${BASE_IMAGE}
COPY --from=build /out/sluice /usr/local/bin/sluice
# For webhooks and spans to https.
COPY --from=build /out/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# Nobody's number, which Kubernetes can check by itself; it needs no entry in /etc/passwd.
USER 65532:65532
# The page; admin address and health on loopback. By environment, so that the health check below reads the same settings.
ENV SLUICE_HTTP__LISTEN=0.0.0.0:8080 SLUICE_ADMIN__LISTEN=127.0.0.1:8081
# The page, and media by UDP and TCP on one port. Behind Docker's NAT, tell clients the host's address:
#   docker run -p 8080:8080 -p 7882:7882/udp -p 7882:7882/tcp -e SLUICE_ACCESS__KEYS__MAIN=SECRET IMAGE --advertise HOST_IP
# Without a key it refuses to start, unless --open lets everybody in (docs/tokens.md).
EXPOSE 8080/tcp 7882/udp 7882/tcp
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["sluice", "health"]
# SIGTERM drains; stop with a timeout longer than shutdown.drain_seconds.
STOPSIGNAL SIGTERM
ENTRYPOINT ["sluice"]
