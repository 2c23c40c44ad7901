package e2e

import (
	"database/sql"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestReconcileTellsWhatDrifts(t *testing.T) {
	t.Parallel()
	program, dir := build(t, "../.."), t.TempDir()
	s := open(t, config(dir))
	hat, kite := s.stocked("Hat", 10), s.stocked("Kite", 5)
	s.configure(kite, `{"low_stock_threshold":6}`)
	s.reserve(hat, 3)
	sold := s.reserve(hat, 2)
	s.step(sold.ID, "commit")
	s.step(sold.ID, "fulfil")

	run := func(args ...string) (code int, output string) {
		cmd := exec.Command(program, append([]string{"reconcile"}, args...)...)
		text, _ := cmd.CombinedOutput()
		return cmd.ProcessState.ExitCode(), string(text)
	}
	reconcile := func(code int, want string) {
		t.Helper()
		if got, output := run("-stock", s.StockAddr().String()); got != code || output != want {
			t.Errorf("it ended with %d and said\n%swant %d and\n%s", got, output, code, want)
		}
	}
	reconcile(0, "3 balances compared, 1 items low on stock\n")

	db, err := sql.Open("sqlite", filepath.Join(dir, "stock.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, change := range []string{
		fmt.Sprintf(`UPDATE movements SET delta = 7 WHERE item_id = %d`, kite),
		fmt.Sprintf(`UPDATE stock SET held = held - 1, available = available + 1 WHERE item_id = %d`, hat),
		fmt.Sprintf(`UPDATE reservations SET lines = json_set(lines, '$[0].Quantity', 4) WHERE id = '%s'`, sold.ID),
	} {
		if _, err := db.Exec(change); err != nil {
			t.Fatal(err)
		}
	}
	reconcile(1, fmt.Sprintf(`3 balances compared, 1 items low on stock
ITEM   LOCATION   FIELD       RECORDED   COUNTED
%[1]d   main       held        2          3
%[1]d   main       fulfilled   2          4
%[2]d   main       on_hand     5          7
kiteshop: 3 numbers are not what the ledger and the reservations add up to
`, hat, kite))

	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"-stock", freePort(t)}, "kiteshop: unavailable: the stock service cannot be reached"},
		{[]string{"now"}, `kiteshop: reconcile takes flags only, and was given ["now"]`},
	} {
		if code, output := run(c.args...); code != 1 || !strings.Contains(output, c.says) {
			t.Errorf("%q: it ended with %d and said %s, want %s", c.args, code, output, c.says)
		}
	}
}
