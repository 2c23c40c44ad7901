# syntax=docker/dockerfile:1

# Builds every program once; SERVICE, in the last stage only, picks one, so
# that the images share the build:
#
#   docker build --build-arg SERVICE=gateway --build-arg VERSION=0.1.0 --tag ghcr.io/kiteshop/gateway:0.1.0 .
#
# SERVICE is a folder of services/ with a cmd, smoke, the test of an installed shop, or
# load, which asks it without a pause.

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH
ARG VERSION=
# Set by `skaffold debug`: the debugger needs what -s -w and -trimpath leave out.
ARG SKAFFOLD_GO_GCFLAGS=
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build <<'END'
set -eu
export CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH
stamp="-buildid= -X github.com/kiteshop/kiteshop/services/internal/lifecycle.version=$VERSION"
if [ -n "$SKAFFOLD_GO_GCFLAGS" ]; then
    set -- -gcflags "$SKAFFOLD_GO_GCFLAGS" -ldflags "$stamp"
else
    set -- -trimpath -ldflags "-s -w $stamp"
fi
for folder in services/*/cmd; do
    go build "$@" -o "/out/$(basename "$(dirname "$folder")")" "./$folder"
done
go build "$@" -o /out/ ./deploy/smoke ./deploy/load
END

FROM gcr.io/distroless/static-debian12:nonroot
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.source="https://github.com/kiteshop/kiteshop" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
# The runtime's default; `skaffold debug` knows a Go program by it.
ENV GOTRACEBACK=single
ARG SERVICE
COPY --from=build ["/out/${SERVICE:?say which program the image is for, as in --build-arg SERVICE=gateway}", "/kiteshop"]
USER 65532:65532
ENTRYPOINT ["/kiteshop"]
