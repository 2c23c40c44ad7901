package domain

import (
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// FuzzProductReader reads whatever it is given: it ends, and a row that it does
// not refuse is one that the services can take.
func FuzzProductReader(f *testing.F) {
	const header = "Handle,Title,Option1 Name,Option1 Value,Variant Price,Variant Inventory Qty,Tags,Image Src\n"
	for _, file := range []string{
		"", "Handle,Title,Variant Price", header, "\ufeff" + header + "a,A,Size,S,1.50,3,\"x, y\",\r\n",
		header + "a,\"A\nB\",,,,,,https://example.com/a.jpg\n,,,,,,,\n", header + "a,\"open", header + "a,b\"c\n\xff\xfe,\x00",
		header + "a,A,,,99999999999999999999,-1,,\na,A,,,0x1p4,1e9,,\na,A,,,NaN,,,\n",
	} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file string) {
		reader, err := newProductReader(strings.NewReader(file), "EUR")
		if err != nil {
			if fault.CodeOf(err) != fault.InvalidArgument {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		line := 1
		for {
			row, err := reader.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if wrong, ok := errors.AsType[*RowError](err); ok {
				if wrong.Line <= 1 || wrong.Reason == "" {
					t.Fatalf("refused with %+v", wrong)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if row.line <= line {
				t.Fatalf("line %d follows line %d", row.line, line)
			}
			line = row.line
			if row.handle == "" || !utf8.ValidString(row.handle) || row.variant == nil && row.image == "" {
				t.Fatalf("row %+v", row)
			}
			if v := row.variant; v != nil && (v.quantity < 0 || v.quantity > maxQuantity || v.price != nil && v.price.Amount < 0) {
				t.Fatalf("variant %+v", v)
			}
		}
	})
}

func TestPricesAreReadInTheCurrencysMinorUnit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		currency, text string
		amount         int64
		refused        bool
	}{
		{"EUR", "19.99", 1999, false},
		{"EUR", "19.9", 1990, false},
		{"EUR", "19", 1900, false},
		{"EUR", "0.00", 0, false},
		{"EUR", "5.000", 500, false},
		{"EUR", "5.001", 0, true},
		{"JPY", "500", 500, false},
		{"JPY", "500.5", 0, true},
		{"KWD", "1.234", 1234, false},
		{"EUR", "1,99", 0, true},
		{"EUR", "-1", 0, true},
		{"EUR", "1e2", 0, true},
		{"EUR", "NaN", 0, true},
		{"EUR", "..", 0, true},
		{"EUR", "99999999999999999999", 0, true},
	} {
		reader, err := newProductReader(strings.NewReader("Handle,Title,Variant Price\nh,t,\""+c.text+"\"\n"), c.currency)
		if err != nil {
			t.Fatal(err)
		}
		row, err := reader.next()
		if c.refused {
			if wrong, ok := errors.AsType[*RowError](err); !ok || wrong.Column != "Variant Price" {
				t.Errorf("%s %s was read as %+v, %v", c.currency, c.text, row.variant, err)
			}
			continue
		}
		if err != nil || *row.variant.price != (Money{c.amount, c.currency}) {
			t.Errorf("%s %s was read as %+v, %v; want %d", c.currency, c.text, row.variant, err, c.amount)
		}
	}
}
