// Package idl holds the contracts between the services. Its Go code is in kitex_gen and only there.
package idl

//go:generate rm -rf kitex_gen
//go:generate go tool kitex -module github.com/kiteshop/kiteshop -I . -gen-path kitex_gen item.proto
//go:generate go tool kitex -module github.com/kiteshop/kiteshop -I . -gen-path kitex_gen -streamx stock.proto
//go:generate go tool kitex -module github.com/kiteshop/kiteshop -I . -gen-path kitex_gen activity.thrift
//go:generate go tool -modfile=../.ci/tools.mod grpcurl -import-path . -proto item.proto -proto stock.proto -protoset-out kitex_gen/descriptors.binpb list
