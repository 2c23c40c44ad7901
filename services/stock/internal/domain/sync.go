package domain

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// Limits of counts.
const (
	MaxCounts   = 500
	MaxSyncName = 100
	// maxProblems is how many are listed of those that a batch of counts has.
	maxProblems = 20
)

// Count is what somebody counted on the shelf.
type Count struct {
	ItemID int64
	OnHand int64
	// Location may be empty for the item's default.
	Location string
}

// Sync makes on_hand what was counted. Counts that the rules forbid are
// refused, and the others apply.
type Sync struct {
	// Name and Batch name the command: the same again has no second effect.
	Name   string
	Batch  int64
	Counts []Count
	Actor  string
}

// CountResult is what became of a count.
type CountResult struct {
	// Delta is how many units on_hand changed by.
	Delta int64
	// Problem says why the count was refused; empty when it was not.
	Problem string `json:",omitempty"`
}

// Validate implements Command. It lists the first of what is wrong.
func (s Sync) Validate() error {
	p := problems{}
	if s.Name == "" || len(s.Name) > MaxSyncName || !isPrintable(s.Name) {
		p.add("sync", "must be 1 to %d printable ASCII characters", MaxSyncName)
	}
	if s.Batch < 1 {
		p.add("batch", "must be a positive integer")
	}
	if len(s.Counts) < 1 || len(s.Counts) > MaxCounts {
		p.add("counts", "must be 1 to %d counts, not %d", MaxCounts, len(s.Counts))
	}
	p.text("actor", s.Actor)
	seen := map[Place]int{}
	for i, count := range s.Counts[:min(len(s.Counts), MaxCounts)] {
		if len(p) >= maxProblems {
			break
		}
		field := func(name string) string { return fmt.Sprintf("counts[%d].%s", i, name) }
		if count.ItemID < 1 {
			p.add(field("item_id"), "must be a positive integer")
		}
		if count.OnHand < 0 || count.OnHand > MaxQuantity {
			p.add(field("on_hand"), "must be 0 to %d", MaxQuantity)
		}
		p.text(field("location"), count.Location)
		place := Place{count.ItemID, count.Location}
		if first, twice := seen[place]; twice {
			p.add(field("item_id"), "is the same as in counts[%d]; count each item and location once", first)
		} else {
			seen[place] = i
		}
	}
	return p.fault()
}

// Concern implements Command.
func (s Sync) Concern() Concern {
	items := make([]int64, len(s.Counts))
	for i, count := range s.Counts {
		items[i] = count.ItemID
	}
	return Concern{Items: items, Receives: true, Key: CommandKey{"sync", s.reference()}}
}

// reference names the batch. Another name and number cannot give the same: the
// number is what follows the last slash.
func (s Sync) reference() string { return s.Name + "/" + strconv.FormatInt(s.Batch, 10) }

// Fingerprint implements Command. It is a hash, as the counts may be long.
func (s Sync) Fingerprint() string {
	var text strings.Builder
	for _, count := range s.Counts {
		fmt.Fprintf(&text, "%d %d %q ", count.ItemID, count.OnHand, count.Location)
	}
	sum := sha256.Sum256([]byte(text.String()))
	return hex.EncodeToString(sum[:])
}

func (s Sync) do(b *Books) (Answer, error) {
	counts, err := s.located(b)
	if err != nil {
		return Answer{}, err
	}
	results := make([]CountResult, len(counts))
	for i, count := range counts {
		var onHand int64
		if at := b.stock(count.ItemID).At(count.Location); at != nil {
			onHand = at.OnHand
		}
		if count.OnHand == onHand {
			continue
		}
		movement, err := b.move(Movement{
			ItemID: count.ItemID, Location: count.Location, Delta: count.OnHand - onHand, Reason: Counted, Reference: s.reference(), Actor: s.Actor,
		})
		if err != nil {
			results[i].Problem = fault.From(err).Message
			continue
		}
		results[i].Delta = movement.Delta
	}
	return Answer{Counts: results}, nil
}

// located gives the counts with their locations, or InvalidArgument when two are of one place.
func (s Sync) located(b *Books) ([]Count, error) {
	counts, seen := make([]Count, len(s.Counts)), map[Place]int{}
	for i, count := range s.Counts {
		if count.Location == "" {
			count.Location = b.stock(count.ItemID).DefaultLocation
		}
		place := Place{count.ItemID, count.Location}
		if first, twice := seen[place]; twice {
			return nil, fault.Invalid(fmt.Sprintf("counts[%d].location", i), "is %s, the item's default, as in counts[%d]; count each item and location once",
				count.Location, first)
		}
		counts[i], seen[place] = count, i
	}
	return counts, nil
}
