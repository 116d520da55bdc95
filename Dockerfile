# syntax=docker/dockerfile:1
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN useradd --system --no-create-home sluice
COPY --from=build /src/target/release/sluice /usr/local/bin/sluice
USER sluice
# The page, and media by UDP and TCP on one port. Behind Docker's NAT, tell clients the host's address:
#   docker run -p 8080:8080 -p 7882:7882/udp -p 7882:7882/tcp -e SLUICE_ACCESS__KEYS__MAIN=SECRET IMAGE --http 0.0.0.0:8080 --advertise HOST_IP
# Without a key it refuses to start there, unless --open lets everybody in (docs/tokens.md).
EXPOSE 8080/tcp 7882/udp 7882/tcp
ENTRYPOINT ["sluice"]
CMD ["--http", "0.0.0.0:8080"]
