# docker build --build-arg VERSION=$(git describe --tags --always) -t entra-aws-exporter .
FROM golang:1.26 AS build
ARG VERSION=unknown
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
      -ldflags "-s -w -X github.com/prometheus/common/version.Version=${VERSION}" \
      -o /out/entra-aws-exporter ./cmd/exporter && \
    CGO_ENABLED=0 go build -trimpath -buildvcs=false \
      -ldflags "-s -w -X github.com/prometheus/common/version.Version=${VERSION}" \
      -o /out/entra-aws-simulator ./cmd/simulator && \
    mkdir -p /out/state

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/entra-aws-exporter /out/entra-aws-simulator /usr/local/bin/
COPY --from=build --chown=nonroot:nonroot /out/state /var/lib/entra-aws-exporter
USER nonroot
# `docker exec … entra-aws-exporter doctor` then finds config.yaml without a flag.
WORKDIR /etc/entra-aws-exporter
VOLUME /var/lib/entra-aws-exporter
EXPOSE 10199
ENTRYPOINT ["/usr/local/bin/entra-aws-exporter"]
CMD ["--config.file=/etc/entra-aws-exporter/config.yaml"]
