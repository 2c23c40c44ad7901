package domain

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"

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
