package e2e

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// grpcurl is the gRPC client that most people have at hand. It knows no
// contract of ours: it asks the server for everything.
type grpcurl struct {
	t       *testing.T
	program string
}

func newGrpcurl(t *testing.T) grpcurl {
	t.Helper()
	find := exec.Command("go", "tool", "-modfile=../../.ci/tools.mod", "-n", "grpcurl")
	find.Env = append(os.Environ(), "GOFLAGS=") // not once more for the race detector
	program, err := find.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, program)
	}
	return grpcurl{t, strings.TrimSpace(string(program))}
}

// try runs grpcurl with a request in JSON, which may be empty, and gives what it prints.
func (g grpcurl) try(request string, args ...string) (string, error) {
	g.t.Helper()
	args = append([]string{"-plaintext", "-format-error"}, args...)
	if request != "" {
		args = append([]string{"-d", request}, args...)
	}
	output, err := exec.Command(g.program, args...).CombinedOutput()
	return string(output), err
}

func (g grpcurl) call(at net.Addr, method, request string, answer any) {
	g.t.Helper()
	output, err := g.try(request, at.String(), method)
	if err != nil {
		g.t.Fatalf("%s: %v\n%s", method, err, output)
	}
	if err := json.Unmarshal([]byte(output), answer); err != nil {
		g.t.Fatalf("%s: %v\n%s", method, err, output)
	}
}

func TestGRPCServesTheShopToAClientThatKnowsNothingOfIt(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	g := newGrpcurl(t)
	for service, at := range map[string]net.Addr{"item.ItemService": s.ItemAddr(), "stock.StockService": s.StockAddr()} {
		listed, err := g.try("", at.String(), "list")
		if want := []string{"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection", service}; err != nil ||
			!slices.Equal(strings.Fields(listed), want) {
			t.Errorf("services = %v, %v; want %v", strings.Fields(listed), err, want)
		}
		for _, name := range []string{"", service} {
			var health struct{ Status string }
			g.call(at, "grpc.health.v1.Health/Check", `{"service":"`+name+`"}`, &health)
			if health.Status != "SERVING" {
				t.Errorf("the health of %q is %s", name, health.Status)
			}
		}
	}

	var got struct {
		Item struct{ ID, Title, Stock string }
	}
	g.call(s.ItemAddr(), "item.ItemService/GetItem", `{"id":1024}`, &got)
	if got.Item.ID != "1024" || got.Item.Title != "Kitex" || got.Item.Stock != "100" {
		t.Errorf("item = %+v, want 1024, Kitex, 100", got.Item)
	}

	described, err := g.try("", s.StockAddr().String(), "describe", "stock.Balance")
	if err != nil || !strings.Contains(described, "int64 on_hand = 1;") {
		t.Errorf("the description of a balance: %v\n%s", err, described)
	}

	refused, err := g.try(`{"lines":[{"item_id":1024,"quantity":101}],"idempotency_key":"cart-7"}`, s.StockAddr().String(), "stock.StockService/Reserve")
	if err == nil {
		t.Fatalf("101 of 100 units are reserved: %s", refused)
	}
	var problem struct {
		Code    int
		Details []struct {
			Reason   string
			Domain   string
			Metadata struct{ Lines string }
		}
	}
	if err := json.Unmarshal([]byte(refused), &problem); err != nil {
		t.Fatalf("%v\n%s", err, refused)
	}
	if len(problem.Details) != 1 || problem.Code != 9 || problem.Details[0].Reason != "sold_out" || problem.Details[0].Domain != "kiteshop" ||
		!strings.Contains(problem.Details[0].Metadata.Lines, `"available":100`) { // 9 is FailedPrecondition
		t.Errorf("the refusal is %s", refused)
	}
}
