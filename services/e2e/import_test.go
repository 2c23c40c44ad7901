package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

const header = "Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Option1 Name,Option1 Value,Option2 Name,Option2 Value," +
	"Variant SKU,Variant Inventory Qty,Variant Inventory Policy,Variant Price,Image Src,Status\n"

func TestAProductFileBecomesItemsAndStock(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("testdata/products.csv")
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, config(t.TempDir()))
	got := s.importCSV(string(file), "")
	if want := (report{Created: 7, Rows: 9, Errors: []rowError{}}); !reflect.DeepEqual(got, want) {
		t.Fatalf("the import reported %+v, want %+v", got, want)
	}
	var all page
	s.send("GET", "/api/v1/items", "").want(t, http.StatusOK, &all)
	three := int64(3)
	want := item{
		ID: 1026, SKU: "linen-shirt-M-White", Title: "Linen Shirt", Description: "<p>A light shirt.\nWash it \"cold\".</p>",
		Handle: "linen-shirt", Options: map[string]string{"Size": "M", "Colour": "White"}, Vendor: "Northwind", Type: "Shirts",
		Tags: []string{"summer", "linen"}, Price: &money{4950, "EUR"}, Status: "active", Stock: &three, Version: 1,
		Images:    []string{"https://cdn.example.com/linen-1.jpg", "https://cdn.example.com/linen-2.jpg"},
		CreatedAt: all.Items[2].CreatedAt, UpdatedAt: all.Items[2].CreatedAt,
	}
	if !reflect.DeepEqual(all.Items[2], want) {
		t.Errorf("the second variant is %+v, want %+v", all.Items[2], want)
	}
	var lamp stock
	s.send("GET", "/api/v1/stock/1030", "").want(t, http.StatusOK, &lamp)
	if lamp.Policy != "backorder" || lamp.OnHand != 0 {
		t.Errorf("the lamp is %+v", lamp)
	}
	s.send("POST", "/api/v1/stock/1030/movements", `{"delta":-4,"reason":"sold"}`).want(t, http.StatusCreated, nil)

	again := s.importCSV(string(file), "")
	if want := (report{Unchanged: 7, Rows: 9, Errors: []rowError{}}); !reflect.DeepEqual(again, want) {
		t.Errorf("the same file again reported %+v, want %+v", again, want)
	}
	s.send("GET", "/api/v1/stock/1030", "").want(t, http.StatusOK, &lamp)
	if lamp.OnHand != -4 {
		t.Errorf("importing after sales left %d on hand", lamp.OnHand)
	}
}

func TestAByteOrderMarkAndCRLFMakeNoDifference(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("testdata/products.csv")
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, config(t.TempDir()))
	windows := "\ufeff" + strings.ReplaceAll(string(file), "\n", "\r\n")
	if got, want := s.importCSV(windows, ""), (report{Created: 7, Rows: 9, Errors: []rowError{}}); !reflect.DeepEqual(got, want) {
		t.Errorf("reported %+v, want %+v", got, want)
	}
	if got, want := s.importCSV(string(file), ""), (report{Unchanged: 7, Rows: 9, Errors: []rowError{}}); !reflect.DeepEqual(got, want) {
		t.Errorf("the same with LF reported %+v, want %+v", got, want)
	}
}

func TestABadRowIsReportedAndTheOthersGoIn(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	s.send("POST", "/api/v1/items", `{"title":"x","sku":"TAKEN"}`).want(t, http.StatusCreated, nil)
	got := s.importCSV(header+
		"a,A,,,,,,Size,S,,,,1,,9.99,,\n"+ // line 2, good
		"a,,,,,,,,M,,,,many,,9.99,,\n"+
		"a,,,,,,,,L,,,,1,maybe,9.99,,\n"+
		"a,,,,,,,,XL,,,,1,,9.999,,\n"+
		"a,,,,,,,,XXL,,,,-1,,9.99,,\n"+
		",B,,,,,,,S,,,,1,,9.99,,\n"+
		"a,,,,,,,,S,,,,1,,9.99,,\n"+ // line 8, the variant of line 2
		"c,,,,,,,,S,,,,1,,9.99,,\n"+
		"d,D,,,,,,,S,,,TAKEN,1,,9.99,,\n"+
		"e,E,\"over\nthree\nlines\",,,,,,S,,,,1,,1e3,,\n"+ // lines 11 to 13
		"f,F,,,,,,,S,,,,1,,9.99,,sold\n"+
		"g,"+strings.Repeat("g", 256)+",,,,,,,S,,,,1,,9.99,,\n"+
		"h,\xff,,,,,,,S,,,,1,,9.99,,\n"+
		"i,I,,,,,,,,,,,,,,,\n"+
		"j,J\"J,,,,,,,S,,,,1,,9.99,,\n"+
		"k,K,,,,,,,S,,,,1,,9.99,,,too,many\n"+
		"l,L,,,,,,,S,,,,1,,-9.99,,\n"+
		"m,,,,,,,,,,,,,,,https://cdn.example.com/m.jpg,\n"+
		",,,,,,,,,,,,,,,,\n"+ // blank: no row
		"n,N,,,,,,,S,,,,2,,5,,\n", "") // line 23, good
	want := report{Created: 2, Rows: 19, Errors: []rowError{
		{3, "Variant Inventory Qty", `is "many"; it must be a whole number from 0 to 1000000000, or blank for 0`},
		{4, "Variant Inventory Policy", `is "maybe"; it must be deny, continue, or blank for deny`},
		{5, "Variant Price", `is "9.999"; it must be a decimal number of at least 0 with at most 2 digits after the point, as EUR has`},
		{6, "Variant Inventory Qty", `is "-1"; it must be a whole number from 0 to 1000000000, or blank for 0`},
		{7, "Handle", "is blank; every row needs the handle of its product"},
		{8, "Handle", "has the handle and option values of line 2"},
		{9, "Title", `is missing, and no item has the handle "c"`},
		{10, "Variant SKU", `"TAKEN" is taken by item 1025`},
		{13, "Variant Price", `is "1e3"; it must be a decimal number of at least 0 with at most 2 digits after the point, as EUR has`},
		{14, "Status", `is "sold"; it must be active, draft, archived or blank`},
		{15, "Title", "must have at most 255 characters, not 256"},
		{16, "Title", "is not valid UTF-8; save the file as UTF-8"},
		{17, "Variant Price", "is blank, and so are Option1 Value and Image Src: the row has neither a variant nor an image"},
		{18, "", `cannot be read: bare " in non-quoted-field`},
		{19, "", "has 19 cells, and the header has 17"},
		{20, "Variant Price", `is "-9.99"; it must be a decimal number of at least 0 with at most 2 digits after the point, as EUR has`},
		{21, "Handle", `"m" has no item that the image could belong to`},
	}}
	for i := range min(len(got.Errors), len(want.Errors)) {
		if got.Errors[i] != want.Errors[i] {
			t.Errorf("error %d is %+v, want %+v", i, got.Errors[i], want.Errors[i])
		}
	}
	if len(got.Errors) != len(want.Errors) || got.Created != want.Created || got.Rows != want.Rows {
		t.Errorf("reported %+v, want %+v", got, want)
	}
	var all page
	s.send("GET", "/api/v1/items", "").want(t, http.StatusOK, &all)
	if len(all.Items) != 4 || all.Items[2].SKU != "a-S" || all.Items[3].SKU != "n-S" {
		t.Errorf("the catalogue is %+v", all.Items)
	}
}

func TestAQuoteThatIsNotClosedEndsTheImportInBoundedMemory(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	file := io.MultiReader(strings.NewReader(header+"a,A,,,,,,Size,S,,,,1,,9.99,,\nb,\"B"), strings.NewReader(strings.Repeat("x", 3<<20)))
	answered, err := s.try("POST", "/api/v1/imports", file, "Content-Type: text/csv")
	if err != nil {
		t.Fatal(err)
	}
	var got report
	answered.want(t, http.StatusOK, &got)
	if got.Created != 1 || len(got.Errors) != 1 || got.Errors[0].Line != 3 ||
		got.Errors[0].Reason != "is longer than 1048576 bytes, as when a quote is not closed; nothing after it was read" {
		t.Errorf("reported %+v", got)
	}
}

func TestAChangedQuantityIsAppliedOnlyOnRequest(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	row := func(quantity int) string {
		return header + fmt.Sprintf("a,A,,,,,,Size,S,,,,%d,,9.99,,\n", quantity)
	}
	s.importCSV(row(5), "")
	s.send("POST", "/api/v1/stock/1025/movements", `{"delta":-2,"reason":"sold"}`).want(t, http.StatusCreated, nil)

	got := s.importCSV(row(8), "")
	want := report{Unchanged: 1, Rows: 1, Errors: []rowError{{2, "Variant Inventory Qty",
		"is 8, and was 5 when the variant was first imported: not applied; ask for set_stock to make it so"}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("reported %+v, want %+v", got, want)
	}
	onHand := func() int64 {
		var now stock
		s.send("GET", "/api/v1/stock/1025", "").want(t, http.StatusOK, &now)
		return now.OnHand
	}
	if onHand() != 3 {
		t.Errorf("%d on hand", onHand())
	}
	if got, want := s.importCSV(row(8), "?set_stock=true"), (report{Updated: 1, Rows: 1, Errors: []rowError{}}); !reflect.DeepEqual(got, want) {
		t.Errorf("with set_stock reported %+v, want %+v", got, want)
	}
	if onHand() != 8 {
		t.Errorf("with set_stock %d on hand", onHand())
	}
	if got, want := s.importCSV(row(8), ""), (report{Unchanged: 1, Rows: 1, Errors: []rowError{}}); !reflect.DeepEqual(got, want) {
		t.Errorf("the new quantity again reported %+v, want %+v", got, want)
	}
}

func TestAnItemDeletedAndImportedAgainHasItsStock(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	file := header + "a,A,,,,,,Size,S,,,,5,,9.99,,\n"
	s.importCSV(file, "")
	s.send("DELETE", "/api/v1/items/1025", "").want(t, http.StatusNoContent, nil)
	if got := s.importCSV(file, ""); got.Created != 1 {
		t.Errorf("reported %+v", got)
	}
	var now stock
	s.send("GET", "/api/v1/stock/1026", "").want(t, http.StatusOK, &now)
	if now.OnHand != 5 {
		t.Errorf("%d on hand", now.OnHand)
	}
}

func TestRowsOfAProductThatStandApartBelongTogether(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	file := header +
		"a,A,body,V,T,x,,Size,S,,,,1,,9.99,https://cdn.example.com/1.jpg,draft\n" +
		"b,B,,,,,,Size,S,,,,1,,9.99,,\n" +
		"a,,,,,,,,M,,,,2,,8.99,,\n" +
		"b,,,,,,,,,,,,,,,https://cdn.example.com/b.jpg,\n"
	if got, want := s.importCSV(file, ""), (report{Created: 3, Rows: 4, Errors: []rowError{}}); got.Created != want.Created || len(got.Errors) != 0 {
		t.Fatalf("reported %+v, want %+v", got, want)
	}
	var got item
	s.send("GET", "/api/v1/items/1027", "").want(t, http.StatusOK, &got)
	if got.Title != "A" || got.Description != "body" || got.Vendor != "V" || got.Status != "draft" || got.Options["Size"] != "M" || *got.Stock != 2 {
		t.Errorf("the variant that stands apart is %+v", got)
	}
	s.send("GET", "/api/v1/items/1026", "").want(t, http.StatusOK, &got)
	if !reflect.DeepEqual(got.Images, []string{"https://cdn.example.com/b.jpg"}) {
		t.Errorf("the images of b are %v", got.Images)
	}
	if again := s.importCSV(file, ""); again.Unchanged != 3 || again.Updated != 0 || len(again.Errors) != 0 {
		t.Errorf("the same again reported %+v", again)
	}
}

// manyProducts makes a product file of n rows, three a product.
func manyProducts(n int) string {
	var file strings.Builder
	file.WriteString(header)
	for i := range n {
		title := ""
		if i%3 == 0 {
			title = fmt.Sprintf("Product %d", i/3)
		}
		fmt.Fprintf(&file, "p-%d,%s,,,,,,Size,%d,,,,%d,,9.99,,\n", i/3, title, i%3, i%7)
	}
	return file.String()
}

// TestKilledInTheMiddleAndImportedAgainAnImportIsComplete kills the shop with
// SIGKILL at random moments of an import, then lets it finish.
func TestKilledInTheMiddleAndImportedAgainAnImportIsComplete(t *testing.T) {
	t.Parallel()
	const rows = 3_000
	dir, file := t.TempDir(), manyProducts(rows)
	for range 4 {
		p := start(t, dir)
		interrupted := make(chan error, 1)
		go func() {
			_, err := p.try("POST", "/api/v1/imports", strings.NewReader(file), "Content-Type: text/csv")
			interrupted <- err
		}()
		select { // the moment is random; nothing waits for it
		case <-time.After(time.Duration(50+rand.IntN(400)) * time.Millisecond):
		case <-interrupted:
		}
		p.kill()
	}
	p := start(t, dir)
	got := p.importCSV(file, "")
	if got.Created+got.Updated+got.Unchanged != rows || len(got.Errors) != 0 {
		t.Fatalf("the last import reported %+v", got)
	}
	if again, want := p.importCSV(file, ""), (report{Unchanged: rows, Rows: rows, Errors: []rowError{}}); !reflect.DeepEqual(again, want) {
		t.Errorf("once more it reported %+v, want %+v", again, want)
	}
	units, items, cursor := int64(0), 0, ""
	for {
		var got page
		p.send("GET", "/api/v1/items?limit=100"+cursor, "").want(t, http.StatusOK, &got)
		for _, one := range got.Items {
			units += *one.Stock
			items++
		}
		if got.Next == "" {
			break
		}
		cursor = "&cursor=" + got.Next
	}
	want := int64(100) // of the demo item
	for i := range rows {
		want += int64(i % 7)
	}
	if items != rows+1 || units != want {
		t.Errorf("%d items with %d units, want %d with %d", items, units, rows+1, want)
	}
}

func TestAPolicyThatTheStockCannotKeepIsReportedAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	row := func(policy string, quantity int) string {
		return header + fmt.Sprintf("a,A,,,,,,Size,S,,,,%d,%s,9.99,,\n", quantity, policy)
	}
	s.importCSV(row("continue", 1), "")
	s.send("POST", "/api/v1/stock/1025/movements", `{"delta":-4,"reason":"sold"}`).want(t, http.StatusCreated, nil)
	got := s.importCSV(row("deny", 5), "?set_stock=true")
	want := report{Unchanged: 1, Rows: 1, Errors: []rowError{{2, "Variant Inventory Qty", "-3 available at main, and the policy deny allows no less than 0"}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("reported %+v, want %+v", got, want)
	}
	var now stock
	s.send("GET", "/api/v1/stock/1025", "").want(t, http.StatusOK, &now)
	if now.OnHand != -3 || now.Policy != "backorder" || now.Version != 2 {
		t.Errorf("the stock is %+v", now)
	}
}
