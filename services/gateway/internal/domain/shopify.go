package domain

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bojanz/currency"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// The columns of Shopify's product CSV that are read. Others are ignored.
const (
	colHandle    = "Handle"
	colTitle     = "Title"
	colBody      = "Body (HTML)"
	colVendor    = "Vendor"
	colType      = "Type"
	colTags      = "Tags"
	colPublished = "Published"
	colStatus    = "Status"
	colSKU       = "Variant SKU"
	colQuantity  = "Variant Inventory Qty"
	colPolicy    = "Variant Inventory Policy"
	colPrice     = "Variant Price"
	colImage     = "Image Src"
)

// maxRecordBytes bounds one record, so that a quote that nobody closes does not
// read the whole file into memory.
const maxRecordBytes = 1 << 20

// byteOrderMark is what some programs put before UTF-8.
const byteOrderMark = "\ufeff"

// maxQuantity is the most units of one row.
const maxQuantity = 1_000_000_000

// RowError says what is wrong with a row of a file. Lines count from 1, the header included.
type RowError struct {
	Line   int    `json:"line"`
	Column string `json:"column"`
	Reason string `json:"reason"`
}

// Error implements error.
func (e *RowError) Error() string {
	return fmt.Sprintf("line %d, %s: %s", e.Line, e.Column, e.Reason)
}

// productRow is one row: what it says of the product, of a variant, and an image.
type productRow struct {
	line    int
	handle  string
	product *Change  // nil without a title: the row continues a product
	options []Option // without names where the row has none
	variant *variant // nil: the row only adds an image
	image   string
}

type variant struct {
	sku      *string
	price    *Money
	quantity int64
	policy   string
}

// productReader reads rows from a file.
type productReader struct {
	csv      *csv.Reader
	limit    *recordLimit
	columns  map[string]int
	width    int // of the header
	currency string
	record   []string
	line     int // where the last record began
}

// newProductReader reads the header. It returns an InvalidArgument fault when
// the file has none or lacks columns.
func newProductReader(file io.Reader, currencyCode string) (*productReader, error) {
	limit := &recordLimit{file: file}
	limit.reset()
	buffered := bufio.NewReader(limit)
	if mark, _ := buffered.Peek(len(byteOrderMark)); string(mark) == byteOrderMark {
		_, _ = buffered.Discard(len(byteOrderMark))
	}
	reader := csv.NewReader(buffered)
	reader.FieldsPerRecord = -1
	reader.ReuseRecord = true
	header, err := reader.Read()
	if errors.Is(err, io.EOF) {
		return nil, fault.Invalid("body", "is empty; it must be a CSV file with a header")
	}
	if err != nil {
		return nil, readFault(err)
	}
	p := &productReader{csv: reader, limit: limit, columns: map[string]int{}, width: len(header), line: 1, currency: currencyCode}
	for i, name := range header {
		if _, twice := p.columns[strings.TrimSpace(name)]; !twice {
			p.columns[strings.TrimSpace(name)] = i
		}
	}
	var missing []fault.Field
	for _, required := range []string{colHandle, colTitle, colPrice} {
		if _, ok := p.columns[required]; !ok {
			missing = append(missing, fault.Field{Field: required, Reason: "is missing; the header must have the columns Handle, Title and Variant Price"})
		}
	}
	if len(missing) > 0 {
		return nil, fault.InvalidFields(missing...)
	}
	return p, nil
}

// readFault keeps faults, such as a body over its limit, and makes one of a broken header.
func readFault(err error) error {
	if broken, ok := errors.AsType[*csv.ParseError](err); ok {
		return fault.Invalid("body", "is no CSV file: line %d: %v", broken.Line, broken.Err)
	}
	return err
}

// next returns the next row that is not blank, a *RowError for one that is
// wrong, io.EOF at the end, or any other error when nothing more can be read.
func (p *productReader) next() (productRow, error) {
	for {
		p.limit.reset()
		record, err := p.csv.Read()
		if broken, ok := errors.AsType[*csv.ParseError](err); ok {
			p.line = broken.StartLine
			return productRow{}, &RowError{Line: broken.Line, Reason: "cannot be read: " + broken.Err.Error()}
		}
		if err != nil {
			return productRow{}, err
		}
		p.record = record
		p.line, _ = p.csv.FieldPos(0)
		if slices.ContainsFunc(record, func(cell string) bool { return strings.TrimSpace(cell) != "" }) {
			return p.row()
		}
	}
}

func (p *productReader) row() (productRow, error) {
	row := productRow{line: p.line, handle: p.cell(colHandle), image: p.cell(colImage), options: p.options()}
	if len(p.record) > p.width && strings.Join(p.record[p.width:], "") != "" {
		return row, &RowError{Line: p.line, Reason: fmt.Sprintf("has %d cells, and the header has %d", len(p.record), p.width)}
	}
	for name, i := range p.columns {
		if i < len(p.record) && !utf8.ValidString(p.record[i]) {
			return row, p.wrong(name, "is not valid UTF-8; save the file as UTF-8")
		}
	}
	if row.handle == "" {
		return row, p.wrong(colHandle, "is blank; every row needs the handle of its product")
	}
	var err error
	if row.product, err = p.product(); err != nil {
		return row, err
	}
	if len(row.options) == 0 && p.cell(colPrice) == "" {
		if row.image == "" {
			return row, p.wrong(colPrice, "is blank, and so are Option1 Value and Image Src: the row has neither a variant nor an image")
		}
		return row, nil
	}
	row.variant, err = p.variant()
	return row, err
}

// product reads what the first row of a handle says of all its variants.
func (p *productReader) product() (*Change, error) {
	title := p.cell(colTitle)
	if title == "" {
		return nil, nil
	}
	status, err := p.status()
	if err != nil {
		return nil, err
	}
	change := &Change{
		Title: &title, Description: p.optional(colBody), Vendor: p.optional(colVendor), Type: p.optional(colType), Status: status,
	}
	if list := p.optional(colTags); list != nil {
		tags := []string{}
		for tag := range strings.SplitSeq(*list, ",") {
			if tag = strings.TrimSpace(tag); tag != "" && !slices.Contains(tags, tag) {
				tags = append(tags, tag)
			}
		}
		change.Tags = &tags
	}
	return change, nil
}

// status is the column Status, or draft for what is not published.
func (p *productReader) status() (*string, error) {
	status := strings.ToLower(p.cell(colStatus))
	switch {
	case status == "" && strings.EqualFold(p.cell(colPublished), "false"):
		status = "draft"
	case status == "":
		status = "active"
	case status != "active" && status != "draft" && status != "archived":
		return nil, p.wrong(colStatus, "is %q; it must be active, draft, archived or blank", status)
	}
	return &status, nil
}

func (p *productReader) variant() (*variant, error) {
	var v variant
	if sku := p.cell(colSKU); sku != "" {
		v.sku = &sku
	}
	var err error
	if v.price, err = p.price(); err != nil {
		return nil, err
	}
	if text := p.cell(colQuantity); text != "" {
		v.quantity, err = strconv.ParseInt(text, 10, 64)
		if err != nil || v.quantity < 0 || v.quantity > maxQuantity {
			return nil, p.wrong(colQuantity, "is %q; it must be a whole number from 0 to %d, or blank for 0", text, maxQuantity)
		}
	}
	switch policy := p.cell(colPolicy); policy {
	case "", "deny":
		v.policy = "deny"
	case "continue":
		v.policy = "backorder"
	default:
		return nil, p.wrong(colPolicy, "is %q; it must be deny, continue, or blank for deny", policy)
	}
	return &v, nil
}

// price reads a decimal in the shop's currency; blank is no price.
func (p *productReader) price() (*Money, error) {
	text := p.cell(colPrice)
	if text == "" {
		return nil, nil
	}
	amount, err := currency.NewAmount(text, p.currency)
	if err == nil && strings.Trim(text, "0123456789.") == "" && amount.Round().Equal(amount) {
		if minor, err := amount.Int64(); err == nil {
			return &Money{Amount: minor, Currency: p.currency}, nil
		}
	}
	digits, _ := currency.GetDigits(p.currency)
	return nil, p.wrong(colPrice, "is %q; it must be a decimal number of at least 0 with at most %d digits after the point, as %s has", text, digits, p.currency)
}

// options are the choices up to the first without a value.
func (p *productReader) options() []Option {
	var options []Option
	for _, column := range []string{"Option1", "Option2", "Option3"} {
		value := p.cell(column + " Value")
		if value == "" {
			break
		}
		options = append(options, Option{Name: p.cell(column + " Name"), Value: value})
	}
	return options
}

// cell is the trimmed text in a column, or "" when the row or the file has none.
func (p *productReader) cell(column string) string {
	if i, ok := p.columns[column]; ok && i < len(p.record) {
		return strings.Clone(strings.TrimSpace(p.record[i]))
	}
	return ""
}

// optional is the text in a column, or nil when the file lacks the column.
func (p *productReader) optional(column string) *string {
	if _, ok := p.columns[column]; !ok {
		return nil
	}
	text := p.cell(column)
	return &text
}

func (p *productReader) wrong(column, format string, args ...any) error {
	line := p.line
	if i, ok := p.columns[column]; ok && i < len(p.record) {
		line, _ = p.csv.FieldPos(i)
	}
	return &RowError{Line: line, Column: column, Reason: fmt.Sprintf(format, args...)}
}

var errRecordTooLong = fmt.Errorf("is longer than %d bytes, as when a quote is not closed; nothing after it was read", maxRecordBytes)

// recordLimit fails when more than maxRecordBytes are read between two resets.
type recordLimit struct {
	file io.Reader
	left int
}

func (l *recordLimit) reset() { l.left = maxRecordBytes }

func (l *recordLimit) Read(buffer []byte) (int, error) {
	if l.left <= 0 {
		return 0, errRecordTooLong
	}
	n, err := l.file.Read(buffer[:min(len(buffer), l.left)])
	l.left -= n
	return n, err
}
