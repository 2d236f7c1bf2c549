# The image of the exporter, for the platforms of `docker buildx build --platform`:
#   docker build --build-arg VERSION=$(git describe --tags --always) -t entra-aws-exporter .
# The target simulator is for demos. The target release takes binaries that are already built.
# Run it with a read-only root: only /var/lib/entra-aws-exporter is written.

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm@sha256:a688600ca24f8a4d3ca77f95b0dd40704a9fc787c826660eb7ba0b641b8b175d AS source
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
# The compiler runs on the builder's platform, so that no emulator is needed.
ARG TARGETOS TARGETARCH VERSION=unknown REVISION=unknown
ENV CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH GOFLAGS="-trimpath -buildvcs=false"
ENV LDFLAGS="-s -w -X github.com/prometheus/common/version.Version=$VERSION -X github.com/prometheus/common/version.Revision=$REVISION"

FROM source AS build
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go build -ldflags "$LDFLAGS" -o /out/entra-aws-exporter ./cmd/exporter

FROM source AS build-simulator
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go build -ldflags "$LDFLAGS" -o /out/entra-aws-simulator ./cmd/simulator

FROM scratch AS empty
WORKDIR /directory

FROM gcr.io/distroless/static-debian12:nonroot@sha256:d093aa3e30dbadd3efe1310db061a14da60299baff8450a17fe0ccc514a16639 AS base
LABEL org.opencontainers.image.title=entra-aws-exporter \
      org.opencontainers.image.description="Prometheus exporter for Microsoft Entra ID provisioning to AWS IAM Identity Center" \
      org.opencontainers.image.licenses=Apache-2.0
COPY --from=empty --chown=65532:65532 /directory /var/lib/entra-aws-exporter
USER 65532:65532
VOLUME /var/lib/entra-aws-exporter

FROM base AS simulator
COPY --from=build-simulator /out/entra-aws-simulator /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/entra-aws-simulator"]

FROM base AS exporter-base
# `docker exec … entra-aws-exporter doctor` then finds config.yaml without a flag.
WORKDIR /etc/entra-aws-exporter
EXPOSE 10199
# With TLS or basic authentication, replace this by `healthcheck --url=…`.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["/usr/local/bin/entra-aws-exporter", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/entra-aws-exporter"]
CMD ["--config.file=/etc/entra-aws-exporter/config.yaml"]

FROM exporter-base AS release
ARG TARGETPLATFORM
COPY $TARGETPLATFORM/entra-aws-exporter /usr/local/bin/

FROM exporter-base
COPY --from=build /out/entra-aws-exporter /usr/local/bin/
