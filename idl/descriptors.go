package idl

import "embed"

//go:embed kitex_gen/descriptors.binpb
var generated embed.FS

// Descriptors is the FileDescriptorSet of the .proto files, with all that they
// import. The generated Go code, which are plain structs, does not hold it.
func Descriptors() []byte {
	set, _ := generated.ReadFile("kitex_gen/descriptors.binpb") // what is embedded can be read
	return set
}
