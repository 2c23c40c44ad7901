package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheTutorialsAddressAnswersAsTheTutorialSays(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	const line = `item:{id:1024 title:"Kitex" description:"Kitex is an excellent framework!"}`
	for _, path := range []string{"/api/item", "/api/item?id=1024"} {
		if got := s.send("GET", path, "", "Accept: text/plain").want(t, http.StatusOK, nil).body; got != line {
			t.Errorf("%s as text is %s", path, got)
		}
		var got struct{ Item item }
		s.send("GET", path, "").want(t, http.StatusOK, &got)
		if got.Item.ID != 1024 || got.Item.Title != "Kitex" || got.Item.Description != "Kitex is an excellent framework!" || *got.Item.Stock != 100 {
			t.Errorf("%s as JSON is %+v", path, got.Item)
		}
	}
}

func TestWithoutTheDemoTheShopIsEmpty(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	cfg.Item.Demo = false
	s := open(t, cfg)
	s.send("GET", "/api/item", "").want(t, http.StatusNotFound, nil)
	if made := s.create("first"); made.ID != 1 {
		t.Errorf("the first id is %d", made.ID)
	}
}

func TestADeletedDemoItemStaysDeleted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	t.Run("before", func(t *testing.T) {
		open(t, config(dir)).send("DELETE", "/api/v1/items/1024", "").want(t, http.StatusNoContent, nil)
	})
	open(t, config(dir)).send("GET", "/api/item", "").want(t, http.StatusNotFound, nil)
}

// tutorial generates code from the tutorial's files, letter by letter, with the
// tutorial's command, and builds a program of testdata/tutorial with it.
func tutorial(t *testing.T, program string) (binary string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/tutorial")); err != nil {
		t.Fatal(err)
	}
	module, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile("../../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod": strings.Replace(string(module), "module github.com/kiteshop/kiteshop", "module mykitex", 1),
		"go.sum": string(sums),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(dir, program, "main.go.txt"), filepath.Join(dir, program, "main.go")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"tool", "kitex", "-module", "mykitex", "idl/item.proto"},
		{"tool", "kitex", "-module", "mykitex", "idl/stock.proto"},
		{"build", "-o", "program", "./" + program},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, output)
		}
	}
	return filepath.Join(dir, "program")
}

func TestAClientMadeFromTheTutorialsOwnContractsIsServed(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	got, err := exec.Command(tutorial(t, "client"), s.ItemAddr().String(), s.StockAddr().String()).CombinedOutput()
	want := `item 1024 "Kitex" "Kitex is an excellent framework!" 100 ok
item 1: remote or network error[remote]: not_found: there is no item 1
stock 100 ok
`
	if err != nil || !strings.HasSuffix(string(got), want) {
		t.Errorf("the client said\n%s (error %v), want\n%s", got, err, want)
	}
}
