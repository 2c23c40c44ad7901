// Package domain holds what an item is and the rules for changing one.
package domain

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bojanz/currency"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// Limits, in characters unless they count something.
const (
	MaxTitle       = 255
	MaxDescription = 65_536
	MaxName        = 255 // handle, vendor, type, tag, option name and value
	MaxOptions     = 3
	MaxTags        = 250
	MaxImages      = 250
	MaxURL         = 2_048
	// MaxSKU is the longest that can be made of a handle and three options.
	MaxSKU = MaxName + MaxOptions*(MaxName+1)
	// MaxAmount keeps money exact in JSON numbers.
	MaxAmount = 1_000_000_000_000
)

// Item is one sellable unit. Items with one handle are variants of one product;
// the handle and the option values tell them apart.
type Item struct {
	ID int64
	Fields
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Fields are what a caller may set.
type Fields struct {
	SKU         string
	Title       string
	Description string
	Handle      string
	Options     []Option
	Vendor      string
	Type        string
	Tags        []string
	Price       *Money
	Images      []string
	Status      Status
}

// Option is one choice, as Size: S.
type Option struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Money is an amount in the minor unit of an ISO 4217 currency.
type Money struct {
	Amount   int64
	Currency string
}

// Status says whether an item is for sale.
type Status string

// The statuses.
const (
	Draft    Status = "draft"
	Active   Status = "active"
	Archived Status = "archived"
)

// Available is a number of units; Known is false when stock did not answer.
type Available struct {
	Units int64
	Known bool
}

// Stocked is an item with what is available of it.
type Stocked struct {
	*Item
	Stock Available
}

// Patch changes the fields that it has; nil leaves one as it is.
// As JSON, what is nil is left out and what is emptied is null: a fingerprint
// tells them apart, and a new field changes none.
type Patch struct {
	SKU         *string   `json:",omitzero"`
	Title       *string   `json:",omitzero"`
	Description *string   `json:",omitzero"`
	Handle      *string   `json:",omitzero"`
	Options     *[]Option `json:",omitzero"`
	Vendor      *string   `json:",omitzero"`
	Type        *string   `json:",omitzero"`
	Tags        *[]string `json:",omitzero"`
	Price       **Money   `json:",omitzero"`
	Images      *[]string `json:",omitzero"`
	Status      *Status   `json:",omitzero"`
}

// Apply gives the fields with the patch on top.
func (p Patch) Apply(f Fields) Fields {
	set(&f.SKU, p.SKU)
	set(&f.Title, p.Title)
	set(&f.Description, p.Description)
	set(&f.Handle, p.Handle)
	set(&f.Options, p.Options)
	set(&f.Vendor, p.Vendor)
	set(&f.Type, p.Type)
	set(&f.Tags, p.Tags)
	set(&f.Price, p.Price)
	set(&f.Images, p.Images)
	set(&f.Status, p.Status)
	return f
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// Equal tells whether two sets of fields are the same.
func (f Fields) Equal(other Fields) bool {
	samePrice := f.Price == other.Price ||
		f.Price != nil && other.Price != nil && *f.Price == *other.Price
	return samePrice && f.SKU == other.SKU && f.Title == other.Title && f.Description == other.Description &&
		f.Handle == other.Handle && f.Vendor == other.Vendor && f.Type == other.Type && f.Status == other.Status &&
		slices.Equal(f.Options, other.Options) && slices.Equal(f.Tags, other.Tags) && slices.Equal(f.Images, other.Images)
}

// Values are the option values, which with the handle identify a variant.
func (f Fields) Values() []string {
	values := make([]string, len(f.Options))
	for i, option := range f.Options {
		values[i] = option.Value
	}
	return values
}

// DefaultSKU is the SKU of an item that was given none: <handle>-<option
// values>, or item-<id> without a handle.
func (f Fields) DefaultSKU(id int64) string {
	if f.Handle == "" {
		return "item-" + strconv.FormatInt(id, 10)
	}
	return strings.Join(append([]string{f.Handle}, f.Values()...), "-")
}

// Validate returns an InvalidArgument fault that lists everything that is wrong.
func (f Fields) Validate() error {
	var c checker
	c.text("title", f.Title, MaxTitle)
	if strings.TrimSpace(f.Title) == "" {
		c.wrong("title", "must not be empty")
	}
	c.text("description", f.Description, MaxDescription)
	c.text("sku", f.SKU, MaxSKU)
	c.text("handle", f.Handle, MaxName)
	c.text("vendor", f.Vendor, MaxName)
	c.text("type", f.Type, MaxName)
	c.options(f.Options)
	c.count("tags", len(f.Tags), MaxTags)
	for i, tag := range f.Tags {
		c.text(fmt.Sprintf("tags[%d]", i), tag, MaxName)
	}
	c.count("images", len(f.Images), MaxImages)
	for i, image := range f.Images {
		c.image(fmt.Sprintf("images[%d]", i), image)
	}
	c.price(f.Price)
	if !slices.Contains([]Status{Draft, Active, Archived}, f.Status) {
		c.wrong("status", "must be draft, active or archived")
	}
	return c.fault()
}

// checker collects what is wrong.
type checker struct{ fields []fault.Field }

func (c *checker) wrong(field, format string, args ...any) {
	c.fields = append(c.fields, fault.Field{Field: field, Reason: fmt.Sprintf(format, args...)})
}

func (c *checker) fault() error {
	if len(c.fields) == 0 {
		return nil
	}
	return fault.InvalidFields(c.fields...)
}

func (c *checker) text(field, value string, limit int) {
	if !utf8.ValidString(value) {
		c.wrong(field, "must be valid UTF-8")
	} else if strings.ContainsRune(value, 0) {
		c.wrong(field, "must not contain the character U+0000")
	} else if n := utf8.RuneCountInString(value); n > limit {
		c.wrong(field, "must have at most %d characters, not %d", limit, n)
	}
}

func (c *checker) count(field string, n, limit int) {
	if n > limit {
		c.wrong(field, "must have at most %d entries, not %d", limit, n)
	}
}

func (c *checker) options(options []Option) {
	c.count("options", len(options), MaxOptions)
	seen := map[string]bool{}
	for _, option := range options {
		field := "options." + option.Name
		c.text("options", option.Name, MaxName)
		c.text(field, option.Value, MaxName)
		if option.Name == "" || option.Value == "" {
			c.wrong("options", "must have names and values that are not empty")
		}
		if seen[option.Name] {
			c.wrong(field, "must be given once")
		}
		seen[option.Name] = true
	}
}

func (c *checker) image(field, image string) {
	c.text(field, image, MaxURL)
	u, err := url.Parse(image)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		c.wrong(field, "must be an http or https URL")
	}
}

func (c *checker) price(price *Money) {
	if price == nil {
		return
	}
	if price.Amount < 0 || price.Amount > MaxAmount {
		c.wrong("price.amount", "must be 0 to %d", int64(MaxAmount))
	}
	if !currency.IsValid(price.Currency) {
		c.wrong("price.currency", "must be an ISO 4217 code such as EUR, not %q", price.Currency)
	}
}
