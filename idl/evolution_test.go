package idl_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/cloudwego/thriftgo/parser"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func TestTheContractsKeepWhatTheLastReleasePromised(t *testing.T) {
	t.Parallel()
	for _, breach := range breaches(read(t, "released"), read(t, ".")) {
		t.Error(breach)
	}
}

const exampleProto = `syntax = "proto3"; package p;
enum Colour { COLOUR_UNSPECIFIED = 0; COLOUR_RED = 1; }
message Hat { reserved 9; reserved "rim"; int64 id = 1; optional string title = 2; map<string, int64> sizes = 3; message Band { bool on = 1; } Band band = 4; }
service Hats { rpc Get(Hat) returns (Hat); rpc Drop(Hat) returns (Hat); }`

const exampleThrift = `namespace go t
enum Kind { A = 0, B = 1 }
struct Hat { 1: i64 id, 2: optional list<string> names }
service Hats { oneway void Drop(1: Hat hat), Hat Get(1: Hat hat) throws (1: Lost lost) }
service Caps { void Ping() }
exception Lost { 1: string why }`

func TestEveryBreachIsFound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, old, new, want string }{
		{"nothing changed", "", "", ""},
		{"a field is new", "string title = 2;", "string title = 2; bool used = 5;", ""},
		{"a field is reserved", "optional string title = 2;", `reserved 2; reserved "title";`, ""},
		{"a method is new", "rpc Drop", "rpc Add(Hat) returns (Hat); rpc Drop", ""},
		{"a value is new", "COLOUR_RED = 1;", "COLOUR_RED = 1; COLOUR_BLUE = 2;", ""},

		{"a type changed", "int64 id", "int32 id", `field 1 of p.Hat is "int32 id" and was "int64 id"`},
		{"a number was reused", "optional string title = 2", "optional string brand = 2", `field 2 of p.Hat is "optional string brand" and was "optional string title"`},
		{"presence changed", "optional string title", "string title", `field 2 of p.Hat is "string title" and was "optional string title"`},
		{"a list was made", "int64 id", "repeated int64 id", `field 1 of p.Hat is "repeated int64 id" and was "int64 id"`},
		{"a map's value changed", "map<string, int64>", "map<string, bool>", `field 2 of p.Hat.SizesEntry is "bool value" and was "int64 value"`},
		{"a nested message changed", "bool on", "string on", `field 1 of p.Hat.Band is "string on" and was "bool on"`},
		{"a field is gone", "optional string title = 2;", "", "field 2 of p.Hat is gone and not reserved"},
		{"only the number is reserved", "optional string title = 2;", "reserved 2;", "field 2 of p.Hat is gone and not reserved"},
		{"only the name is reserved", "optional string title = 2;", `reserved "title";`, "field 2 of p.Hat is gone and not reserved"},
		{"a reserved number was taken", "reserved 9;", "bool new = 9;", "field 9 of p.Hat was reserved"},
		{"a reserved number is free again", "reserved 9;", "", "field 9 of p.Hat was reserved"},
		{"a reserved name is free again", `reserved "rim";`, "", "the field name rim of p.Hat was reserved"},
		{"a value is gone", "COLOUR_RED = 1;", "", "value 1 of p.Colour is gone"},
		{"a value was renamed", "COLOUR_RED", "COLOUR_GREEN", `value 1 of p.Colour is "COLOUR_GREEN" and was "COLOUR_RED"`},
		{"a method is gone", "rpc Drop(Hat) returns (Hat);", "", "method Drop of p.Hats is gone"},
		{"a method answers otherwise", "rpc Get(Hat) returns (Hat)", "rpc Get(Hat) returns (stream Hat)", `method Get of p.Hats is "(p.Hat) stream p.Hat" and was "(p.Hat) p.Hat"`},
		{"a service is gone", "service Hats { rpc", "service Caps { rpc", "service p.Hats is gone"},

		{"Thrift: a field is new", "i64 id,", "i64 id, 3: i64 more,", ""},
		{"Thrift: a type changed", "i64 id", "i32 id", `field 1 of t.Hat is "default i32 id" and was "default i64 id"`},
		{"Thrift: an element's type changed", "list<string>", "list<i64>", `field 2 of t.Hat is "optional list<i64> names" and was "optional list<string> names"`},
		{"Thrift: a number was reused", "1: i64 id", "1: i64 size", `field 1 of t.Hat is "default i64 size" and was "default i64 id"`},
		{"Thrift: a field is gone", "1: i64 id,", "", "field 1 of t.Hat is gone and not reserved"},
		{"Thrift: a new field is required", "1: i64 id,", "1: i64 id, 3: required i64 more,", "field 3 of t.Hat is new and required"},
		{"Thrift: a value is gone", ", B = 1", "", "value 1 of t.Kind is gone"},
		{"Thrift: a method is gone", "oneway void Drop(1: Hat hat),", "", "method Drop of t.Hats is gone"},
		{"Thrift: a method is answered", "oneway void Drop", "void Drop", `method Drop of t.Hats is "void(1: Hat)" and was "oneway void(1: Hat)"`},
		{"Thrift: an exception is gone", " throws (1: Lost lost)", "", `method Get of t.Hats is "Hat(1: Hat)" and was "Hat(1: Hat; 1: Lost)"`},
		{"Thrift: a service is gone", "service Caps { void Ping() }", "", "service t.Caps is gone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			after := map[string]string{"e.proto": exampleProto, "e.thrift": exampleThrift}
			file := "e.proto"
			if !strings.Contains(exampleProto, c.old) || strings.HasPrefix(c.name, "Thrift") {
				file = "e.thrift"
			}
			if !strings.Contains(after[file], c.old) {
				t.Fatalf("the example has no %s", c.old)
			}
			after[file] = strings.Replace(after[file], c.old, c.new, 1)
			got := breaches(parse(t, map[string]string{"e.proto": exampleProto, "e.thrift": exampleThrift}), parse(t, after))
			if c.want == "" && len(got) > 0 || c.want != "" && !slices.Contains(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

// contract is what callers rely on. A promise has a name and what it says, as
// "field 1 of item.Money" and "int64 amount".
type contract struct {
	promises map[string]string
	reserved map[string]bool // "field 9 of item.Money", "the field name rim of item.Money"
}

// breaches are the promises of a release that a contract does not keep.
func breaches(released, now contract) []string {
	var found []string
	for promise, was := range released.promises {
		is, kept := now.promises[promise]
		number, of, isField := strings.Cut(promise, " of ")
		isField = isField && strings.HasPrefix(number, "field ")
		name := was[strings.LastIndexByte(was, ' ')+1:]
		switch {
		case kept && is != was:
			found = append(found, fmt.Sprintf("%s is %q and was %q", promise, is, was))
		case kept:
		case !isField:
			found = append(found, promise+" is gone")
		case !now.reserved[promise] || !now.reserved["the field name "+name+" of "+of]:
			found = append(found, promise+" is gone and not reserved")
		}
	}
	for one := range released.reserved {
		if !now.reserved[one] {
			found = append(found, one+" was reserved")
		}
	}
	for promise, is := range now.promises {
		_, of, _ := strings.Cut(promise, " of ")
		_, known := released.promises[promise]
		_, older := released.promises["struct "+of]
		if !known && older && strings.HasPrefix(is, "required ") {
			found = append(found, promise+" is new and required")
		}
	}
	slices.Sort(found)
	return found
}

// read parses the contracts in a folder.
func read(t *testing.T, folder string) contract {
	t.Helper()
	files := map[string]string{}
	for _, pattern := range []string{"*.proto", "*.thrift"} {
		paths, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("there is no %s in %s: %v", pattern, folder, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files[filepath.Base(path)] = string(text)
		}
	}
	return parse(t, files)
}

func parse(t *testing.T, files map[string]string) contract {
	t.Helper()
	c := contract{map[string]string{}, map[string]bool{}}
	compiler := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
		Accessor: protocompile.SourceAccessorFromMap(files),
	})}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if filepath.Ext(name) == ".thrift" {
			parsed, err := parser.ParseString(name, files[name])
			if err != nil {
				t.Fatal(err)
			}
			c.addThrift(parsed)
			continue
		}
		parsed, err := compiler.Compile(context.Background(), name)
		if err != nil {
			t.Fatal(err)
		}
		c.addMessages(parsed[0].Messages())
		c.addEnums(parsed[0].Enums())
		c.addServices(parsed[0].Services())
	}
	return c
}

func (c contract) addMessages(messages protoreflect.MessageDescriptors) {
	for i := range messages.Len() {
		message := messages.Get(i)
		c.promises["message "+string(message.FullName())] = ""
		for i := range message.Fields().Len() {
			field := message.Fields().Get(i)
			c.promises[fmt.Sprintf("field %d of %s", field.Number(), message.FullName())] = protoType(field) + " " + string(field.Name())
		}
		for i := range message.ReservedRanges().Len() {
			numbers := message.ReservedRanges().Get(i)
			for n := numbers[0]; n < min(numbers[1], numbers[0]+1000); n++ { // "to max" is 536,870,911
				c.reserved[fmt.Sprintf("field %d of %s", n, message.FullName())] = true
			}
		}
		for i := range message.ReservedNames().Len() {
			c.reserved[fmt.Sprintf("the field name %s of %s", message.ReservedNames().Get(i), message.FullName())] = true
		}
		c.addMessages(message.Messages())
		c.addEnums(message.Enums())
	}
}

func protoType(field protoreflect.FieldDescriptor) string {
	text := field.Kind().String()
	if field.Message() != nil {
		text = string(field.Message().FullName())
	} else if field.Enum() != nil {
		text = string(field.Enum().FullName())
	}
	switch {
	case field.Cardinality() == protoreflect.Repeated:
		return "repeated " + text
	case field.HasOptionalKeyword():
		return "optional " + text
	case field.ContainingOneof() != nil:
		return "oneof " + string(field.ContainingOneof().Name()) + " " + text
	default:
		return text
	}
}

func (c contract) addEnums(enums protoreflect.EnumDescriptors) {
	for i := range enums.Len() {
		enum := enums.Get(i)
		for i := range enum.Values().Len() {
			value := enum.Values().Get(i)
			c.promises[fmt.Sprintf("value %d of %s", value.Number(), enum.FullName())] = string(value.Name())
		}
	}
}

func (c contract) addServices(services protoreflect.ServiceDescriptors) {
	stream := map[bool]string{true: "stream "}
	for i := range services.Len() {
		service := services.Get(i)
		c.promises["service "+string(service.FullName())] = ""
		for i := range service.Methods().Len() {
			method := service.Methods().Get(i)
			c.promises[fmt.Sprintf("method %s of %s", method.Name(), service.FullName())] = fmt.Sprintf("(%s%s) %s%s",
				stream[method.IsStreamingClient()], method.Input().FullName(), stream[method.IsStreamingServer()], method.Output().FullName())
		}
	}
}

func (c contract) addThrift(file *parser.Thrift) {
	space := file.Namespaces[0].Name + "."
	for _, one := range slices.Concat(file.Structs, file.Unions, file.Exceptions) {
		c.promises["struct "+space+one.Name] = one.Category
		for _, field := range one.Fields {
			c.promises[fmt.Sprintf("field %d of %s%s", field.ID, space, one.Name)] =
				strings.ToLower(field.Requiredness.String()) + " " + thriftType(field.Type) + " " + field.Name
		}
	}
	for _, enum := range file.Enums {
		for _, value := range enum.Values {
			c.promises[fmt.Sprintf("value %d of %s%s", value.Value, space, enum.Name)] = value.Name
		}
	}
	for _, service := range file.Services {
		c.promises["service "+space+service.Name] = ""
		for _, method := range service.Functions {
			oneway := map[bool]string{true: "oneway "}[method.Oneway]
			fields := thriftFields(method.Arguments)
			if len(method.Throws) > 0 {
				fields += "; " + thriftFields(method.Throws)
			}
			c.promises[fmt.Sprintf("method %s of %s%s", method.Name, space, service.Name)] =
				oneway + thriftType(method.FunctionType) + "(" + fields + ")"
		}
	}
}

func thriftFields(fields []*parser.Field) string {
	texts := make([]string, len(fields))
	for i, field := range fields {
		texts[i] = fmt.Sprintf("%d: %s", field.ID, thriftType(field.Type))
	}
	return strings.Join(texts, ", ")
}

func thriftType(of *parser.Type) string {
	switch {
	case of.KeyType != nil:
		return fmt.Sprintf("map<%s, %s>", thriftType(of.KeyType), thriftType(of.ValueType))
	case of.ValueType != nil:
		return fmt.Sprintf("%s<%s>", of.Name, thriftType(of.ValueType))
	default:
		return of.Name
	}
}
