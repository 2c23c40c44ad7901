package domain

import (
	"context"
	"fmt"
	"slices"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// ImportRow is one variant of a product file, known by its handle and option
// values. A new variant whose patch has no title takes title, description,
// vendor, type, tags and status from an item with the same handle, and so does
// an option without a name.
type ImportRow struct {
	Handle  string
	Options []Option
	Patch   Patch
	// AddImages are added to those that the variant has; an import removes none.
	AddImages []string
	// ImagesOnly: the row adds its images to every item of the handle and does nothing else.
	ImagesOnly bool
}

// Outcome is what an import did with a row.
type Outcome string

// The outcomes.
const (
	Created   Outcome = "created"
	Updated   Outcome = "updated"
	Unchanged Outcome = "unchanged"
	Rejected  Outcome = "rejected"
)

// ImportResult is the outcome of one row; Problem says why it was rejected.
type ImportResult struct {
	Outcome Outcome
	ID      int64
	Problem fault.Field
}

// Merge gives what the variant becomes: current changed by the row, or a new
// item, which takes what belongs to the product from sibling when the row has
// no title. sibling is nil when the handle has no item yet.
func (r ImportRow) Merge(current, sibling *Fields) (Fields, error) {
	var base Fields
	switch {
	case current != nil:
		base = *current
	case r.Patch.Title == nil && sibling == nil:
		return Fields{}, fault.Invalid("title", "is missing, and no item has the handle %q", r.Handle)
	case r.Patch.Title == nil:
		base = Fields{Title: sibling.Title, Description: sibling.Description, Vendor: sibling.Vendor, Type: sibling.Type, Tags: sibling.Tags, Status: sibling.Status, Options: sibling.Options}
	default:
		base = Fields{Status: Active}
	}
	merged := r.Patch.Apply(base)
	merged.Handle, merged.Options = r.Handle, nameOptions(r.Options, base.Options)
	merged.Images = addImages(merged.Images, r.AddImages)
	return merged, merged.Validate()
}

// MergeImages gives current with the row's images added.
func (r ImportRow) MergeImages(current Fields) (Fields, error) {
	current.Images = addImages(current.Images, r.AddImages)
	return current, current.Validate()
}

// nameOptions gives options the names that known has at the same place, or
// Option1, Option2, Option3, where they have none.
func nameOptions(options, known []Option) []Option {
	named := slices.Clone(options)
	for i := range named {
		switch {
		case named[i].Name != "":
		case i < len(known):
			named[i].Name = known[i].Name
		default:
			named[i].Name = fmt.Sprintf("Option%d", i+1)
		}
	}
	return named
}

func addImages(images, more []string) []string {
	images = slices.Clone(images)
	for _, image := range more {
		if !slices.Contains(images, image) {
			images = append(images, image)
		}
	}
	return images
}

// Import applies the rows of a product file. The same rows again change nothing.
func (c *Catalogue) Import(ctx context.Context, rows []ImportRow) ([]ImportResult, error) {
	if len(rows) > MaxImportRows {
		return nil, fault.Invalid("rows", "must be at most %d, not %d", MaxImportRows, len(rows))
	}
	for i, row := range rows {
		if row.Handle == "" {
			return nil, fault.Invalid("rows", "must all have a handle; row %d has none", i)
		}
	}
	return c.Store.Import(ctx, rows, c.Now())
}
