package domain

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// Limits of an import.
const (
	// MaxImportRows is how many rows of a file are read.
	MaxImportRows = 1_000_000
	// MaxRowErrors is how many wrong rows are listed; the rest is counted.
	MaxRowErrors = 1_000
	// batchRows and batchBytes bound what goes to the services at a time; a
	// group of rows with one handle is bounded by batchBytes too.
	batchRows  = 500
	batchBytes = 4 << 20
	// groupRows is how many rows of one handle are looked at together.
	groupRows = 1_000
)

// ImportRow is one variant of a product, or the images of one.
type ImportRow struct {
	Handle    string
	Options   []Option
	Fields    Change
	AddImages []string
	// ImagesOnly: the images go to every item of the handle.
	ImagesOnly bool
}

// The outcomes of a row.
const (
	Created   = "created"
	Updated   = "updated"
	Unchanged = "unchanged"
	Rejected  = "rejected"
)

// ImportOutcome is what the catalogue did with a row.
type ImportOutcome struct {
	Outcome string
	ID      int64
	Problem fault.Field
}

// ItemImporter takes rows; the same rows again change nothing.
type ItemImporter interface {
	Import(ctx context.Context, rows []ImportRow) ([]ImportOutcome, error)
}

// StockLine is the first stock of an item.
type StockLine struct {
	ItemID   int64
	Key      string
	Quantity int64
	Policy   string
}

// StockOutcome is what the inventory did with a line.
type StockOutcome struct {
	Changed bool
	// Earlier is the quantity of an import before, when it was another and still holds.
	Earlier *int64
	// Problem says why the line was refused.
	Problem string
}

// StockImporter takes lines; the same lines again change nothing.
type StockImporter interface {
	Import(ctx context.Context, lines []StockLine, set bool) ([]StockOutcome, error)
}

// Report says what an import did. Created, Updated and Unchanged count variants.
type Report struct {
	Created   int        `json:"created"`
	Unchanged int        `json:"unchanged"`
	Updated   int        `json:"updated"`
	Rows      int        `json:"rows"`
	Errors    []RowError `json:"errors"`
	// MoreErrors counts those beyond MaxRowErrors.
	MoreErrors int `json:"more_errors,omitzero"`
}

// Import reads a Shopify product CSV and brings items and stock to what it
// says. A row that is wrong is reported and the others go in. When a service
// fails in the middle, importing the file again completes it.
func (s *Shop) Import(ctx context.Context, file io.Reader, setStock bool) (Report, error) {
	reader, err := newProductReader(file, s.Currency)
	if err != nil {
		return Report{}, err
	}
	run := &importRun{shop: s, setStock: setStock, seed: maphash.MakeSeed(), seen: map[uint64]int{}}
	run.report.Errors = []RowError{}
	for {
		row, err := reader.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, errRecordTooLong) {
			run.wrong(RowError{Line: reader.line + 1, Reason: err.Error()})
			break
		}
		if run.report.Rows == MaxImportRows {
			run.wrong(RowError{Line: row.line, Reason: fmt.Sprintf("is beyond the limit of %d rows; it and what follows was not read", MaxImportRows)})
			break
		}
		if err := run.take(ctx, row, err); err != nil {
			return run.report, err
		}
	}
	if err := run.endGroup(ctx); err != nil {
		return run.report, err
	}
	if err := run.send(ctx); err != nil {
		return run.report, err
	}
	slices.SortStableFunc(run.report.Errors, func(a, b RowError) int { return a.Line - b.Line })
	return run.report, nil
}

// importRun is one import. Rows of one handle gather in group, then go to
// batch, which goes to the services.
type importRun struct {
	shop     *Shop
	setStock bool
	report   Report
	seed     maphash.Seed
	seen     map[uint64]int // the line of each variant, by the hash of its key

	group      []productRow
	groupBytes int

	batch      []batchRow
	batchBytes int
}

// batchRow is a row on its way, with what its stock will be.
type batchRow struct {
	ImportRow
	line    int
	variant *variant
}

func (r *importRun) wrong(e RowError) {
	if len(r.report.Errors) < MaxRowErrors {
		r.report.Errors = append(r.report.Errors, e)
	} else {
		r.report.MoreErrors++
	}
}

// take adds a row, or reports it when readErr is about the row alone.
func (r *importRun) take(ctx context.Context, row productRow, readErr error) error {
	problem, isRow := errors.AsType[*RowError](readErr)
	if readErr != nil && !isRow {
		return readErr
	}
	r.report.Rows++
	if len(r.group) > 0 && row.handle != "" {
		full := len(r.group) == groupRows || r.groupBytes > batchBytes
		if full || r.group[0].handle != row.handle {
			if err := r.endGroup(ctx); err != nil {
				return err
			}
		}
	}
	if isRow {
		r.wrong(*problem)
		return nil
	}
	if first, twice := r.duplicate(row); twice {
		r.wrong(RowError{Line: row.line, Column: colHandle, Reason: fmt.Sprintf("has the handle and option values of line %d", first)})
		return nil
	}
	r.group = append(r.group, row)
	if row.product != nil {
		r.groupBytes += row.product.size()
	}
	return nil
}

// duplicate tells whether the file has had the variant before, and where.
func (r *importRun) duplicate(row productRow) (line int, twice bool) {
	if row.variant == nil {
		return 0, false
	}
	hash := maphash.String(r.seed, importKey(row.handle, row.options))
	if line, twice = r.seen[hash]; !twice {
		r.seen[hash] = row.line
	}
	return line, twice
}

// endGroup turns the rows of a handle into rows for the catalogue: the first
// one with a title speaks for the product, and its images belong to all variants.
func (r *importRun) endGroup(ctx context.Context) error {
	if len(r.group) == 0 {
		return nil
	}
	group := r.group
	r.group, r.groupBytes = nil, 0
	var product Change
	if at := slices.IndexFunc(group, func(row productRow) bool { return row.product != nil }); at >= 0 {
		product = *group[at].product
	}
	var images []string
	for _, row := range group {
		if row.image != "" && !slices.Contains(images, row.image) {
			images = append(images, row.image)
		}
	}
	variants := slices.DeleteFunc(slices.Clone(group), func(row productRow) bool { return row.variant == nil })
	if len(variants) == 0 {
		return r.queue(ctx, batchRow{line: group[0].line, ImportRow: ImportRow{Handle: group[0].handle, AddImages: images, ImagesOnly: true}})
	}
	names := variants[0].options
	for _, row := range variants {
		fields := product
		fields.SKU, fields.Price = row.variant.sku, &row.variant.price
		for i := range row.options {
			if row.options[i].Name == "" && i < len(names) {
				row.options[i].Name = names[i].Name
			}
		}
		err := r.queue(ctx, batchRow{
			line: row.line, variant: row.variant,
			ImportRow: ImportRow{Handle: row.handle, Options: row.options, Fields: fields, AddImages: images},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *importRun) queue(ctx context.Context, row batchRow) error {
	size := row.size()
	if len(r.batch) == batchRows || len(r.batch) > 0 && r.batchBytes+size > batchBytes {
		if err := r.send(ctx); err != nil {
			return err
		}
	}
	r.batch = append(r.batch, row)
	r.batchBytes += size
	return nil
}

// size is about how many bytes the change has on the wire.
func (c Change) size() int {
	size := 200
	for _, text := range []*string{c.Title, c.Description, c.Vendor, c.Type} {
		if text != nil {
			size += len(*text)
		}
	}
	if c.Tags != nil {
		for _, tag := range *c.Tags {
			size += len(tag)
		}
	}
	return size
}

// size is about how many bytes the row has on the wire.
func (row batchRow) size() int {
	size := row.Fields.size()
	for _, image := range row.AddImages {
		size += len(image)
	}
	return size
}

// send gives the batch to the catalogue, then its stock to the inventory.
func (r *importRun) send(ctx context.Context) error {
	if len(r.batch) == 0 {
		return nil
	}
	batch := r.batch
	r.batch, r.batchBytes = nil, 0
	rows := make([]ImportRow, len(batch))
	for i, row := range batch {
		rows[i] = row.ImportRow
	}
	outcomes, err := r.shop.Items.Import(ctx, rows)
	if err != nil {
		return err
	}
	var lines []StockLine
	var of []int // the row of each line
	for i, outcome := range outcomes {
		switch row := batch[i]; {
		case outcome.Outcome == Rejected:
			r.wrong(RowError{Line: row.line, Column: columnOf(outcome.Problem.Field), Reason: outcome.Problem.Reason})
		case row.variant != nil:
			lines = append(lines, StockLine{ItemID: outcome.ID, Key: importKey(row.Handle, row.Options), Quantity: row.variant.quantity, Policy: row.variant.policy})
			of = append(of, i)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	stocked, err := r.shop.Stocks.Import(ctx, lines, r.setStock)
	if err != nil {
		return err
	}
	for i, stock := range stocked {
		r.count(outcomes[of[i]].Outcome, stock, lines[i], batch[of[i]].line)
	}
	return nil
}

// count adds one variant to the report.
func (r *importRun) count(outcome string, stock StockOutcome, line StockLine, at int) {
	switch {
	case outcome == Created:
		r.report.Created++
	case outcome == Updated || stock.Changed:
		r.report.Updated++
	default:
		r.report.Unchanged++
	}
	if stock.Problem != "" {
		r.wrong(RowError{Line: at, Column: colQuantity, Reason: stock.Problem})
	}
	if stock.Earlier != nil {
		r.wrong(RowError{Line: at, Column: colQuantity, Reason: fmt.Sprintf(
			"is %d, and was %d when the variant was first imported: not applied; ask for set_stock to make it so", line.Quantity, *stock.Earlier)})
	}
}

// importKey names the first receipt of a variant: import/<handle>/<option values>.
func importKey(handle string, options []Option) string {
	parts := []string{"import", url.PathEscape(handle)}
	for _, option := range options {
		parts = append(parts, url.PathEscape(option.Value))
	}
	return strings.Join(parts, "/")
}

// columnOf is the column that a field of an item comes from.
func columnOf(field string) string {
	field, _, _ = strings.Cut(field, ".")
	field, _, _ = strings.Cut(field, "[")
	switch field {
	case "title":
		return colTitle
	case "description":
		return colBody
	case "vendor":
		return colVendor
	case "type":
		return colType
	case "tags":
		return colTags
	case "sku":
		return colSKU
	case "price":
		return colPrice
	case "images":
		return colImage
	case "status":
		return colStatus
	case "options":
		return "Option1 Value"
	default:
		return colHandle
	}
}
