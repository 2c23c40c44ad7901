package domain

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net/url"
	"slices"
	"strings"
)

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
