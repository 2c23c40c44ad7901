package idl_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cloudwego/thriftgo/parser"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/kiteshop/kiteshop/idl"
)

// effects says of each method in the contracts what its policy must say.
func effects(t *testing.T) map[string]string {
	t.Helper()
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(idl.Descriptors(), &set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for i := range service.Methods().Len() {
				method := service.Methods().Get(i)
				found[string(service.Name()+"/"+method.Name())] = effect(method)
			}
		}
		return true
	})
	thrift, err := parser.ParseFile("activity.thrift", nil, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range thrift.Services {
		for _, method := range service.Functions {
			found[service.Name+"/"+method.Name] = map[bool]string{true: "once", false: "read"}[method.Oneway]
		}
	}
	return found
}

func effect(method protoreflect.MethodDescriptor) string {
	switch {
	case method.IsStreamingClient() || method.IsStreamingServer():
		return "stream"
	case method.Input().Fields().ByName("idempotency_key") != nil:
		return "keyed"
	case strings.HasPrefix(string(method.Name()), "Import"):
		return "keyed" // by the handle and the options of what is imported
	default:
		return "read"
	}
}

// policies are the methods of policies.yaml, member by member.
func policies(t *testing.T) map[string]map[string]any {
	t.Helper()
	var file struct{ Methods map[string]map[string]any }
	if err := yaml.Unmarshal(idl.Policies(), &file); err != nil {
		t.Fatal(err)
	}
	return file.Methods
}

func TestEachMethodHasThePolicyThatItsContractAllows(t *testing.T) {
	t.Parallel()
	contracts, ruled := effects(t), policies(t)
	for name, effect := range contracts {
		if ruled[name]["effect"] != effect {
			t.Errorf("%s is %v in policies.yaml; by its contract it is %s", name, ruled[name]["effect"], effect)
		}
		if callers, _ := ruled[name]["callers"].([]any); len(callers) == 0 {
			t.Errorf("%s may be called by nobody", name)
		}
	}
	for name := range ruled {
		if _, known := contracts[name]; !known {
			t.Errorf("policies.yaml has %s, which no contract has", name)
		}
	}
}

var update = flag.Bool("update", false, "write the tables of the policies into the READMEs") //nolint:gochecknoglobals // a flag of the tests

const tableHead = "| method | effect | budget | attempts | hedge | breaker | stale | at once, waiting | callers |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"

func TestTheReadmesShowThePolicies(t *testing.T) {
	t.Parallel()
	ruled := policies(t)
	for service, path := range map[string]string{
		"ItemService": "../services/item/README.md", "StockService": "../services/stock/README.md", "ActivityService": "../services/activity/README.md",
	} {
		var table strings.Builder
		table.WriteString(tableHead)
		for _, name := range slices.Sorted(maps.Keys(ruled)) {
			if method, ok := strings.CutPrefix(name, service+"/"); ok {
				table.WriteString(row(method, ruled[name]))
			}
		}
		readme, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		before, rest, found := bytes.Cut(readme, []byte(tableHead))
		if !found {
			t.Errorf("%s has no table that begins\n%s", path, tableHead)
			continue
		}
		_, after, _ := bytes.Cut(rest, []byte("\n\n"))
		want := slices.Concat(before, []byte(table.String()), []byte("\n"), after)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		} else if !bytes.Equal(readme, want) {
			t.Errorf("%s shows other policies than policies.yaml has; go test ./idl -run Readmes -update writes them", path)
		}
	}
}

func row(method string, p map[string]any) string {
	cell := func(member string) string {
		if value, given := p[member]; given {
			return fmt.Sprint(value)
		}
		return "–"
	}
	calls := "–"
	if p["concurrent"] != nil {
		calls = cell("concurrent") + ", " + cell("waiting")
	}
	callers := strings.Trim(cell("callers"), "[]")
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n",
		method, cell("effect"), cell("budget"), cell("attempts"), cell("hedge"), cell("breaker"), cell("stale"), calls, strings.ReplaceAll(callers, " ", ", "))
}
