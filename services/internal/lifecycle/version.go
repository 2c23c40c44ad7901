package lifecycle

import "runtime/debug"

// version is set by the linker: -X github.com/kiteshop/kiteshop/services/internal/lifecycle.version=v1.2.3
var version string

// Version is that of the program: what the linker was told, else what Go knows of the source.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
}
