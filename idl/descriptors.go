package idl

import "embed"

//go:embed kitex_gen/descriptors.binpb policies.yaml
var contracts embed.FS

// Descriptors is the FileDescriptorSet of the .proto files, with all that they
// import. The generated Go code, which are plain structs, does not hold it.
func Descriptors() []byte {
	set, _ := contracts.ReadFile("kitex_gen/descriptors.binpb") // what is embedded can be read
	return set
}

// Policies is policies.yaml: how each method is called and served.
func Policies() []byte {
	text, _ := contracts.ReadFile("policies.yaml") // what is embedded can be read
	return text
}
