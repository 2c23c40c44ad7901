package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// input is what is asked of an item.
type input struct {
	what string // stock, reservation, adjust, count, reserve, or a step
	n    int    // of the reservation
	// quantity is that of the reservation, the change of on_hand, or what was counted.
	quantity int64
}

// output is what is answered.
type output struct {
	unknown bool // whether it was done at all; nothing else is set
	code    fault.Code
	// balance is what was read, or is there after an adjustment.
	balance domain.Balance
	// state is that of the reservation, also as a refusal gives it.
	state domain.State
	// available is what a refusal gives.
	available int64
	// delta is what a count changed.
	delta int64
}

// situation is all that there is of an item.
type situation struct {
	domain.Balance
	states string // one letter for each reservation, the first of its state; a space: there is none
}

func (s situation) state(n int) byte {
	if n < len(s.states) {
		return s.states[n]
	}
	return ' '
}

// with is the situation after a reservation has got another state.
func (s situation) with(n int, state byte, balance domain.Balance) situation {
	letters := []byte(s.states + strings.Repeat(" ", max(0, n+1-len(s.states))))
	letters[n] = state
	balance.Version++
	return situation{balance, string(letters)}
}

// next tells whether the answer is the one that must be given, and what comes of it.
func (s situation) next(in input, out output) (bool, situation) {
	refused := func(code fault.Code) (bool, situation) {
		return out.unknown || out.code == code && out.available == s.Available, s
	}
	state, after := s.state(in.n), s
	switch in.what {
	case "stock":
		return out.balance == s.Balance, s
	case "reservation":
		return out.state != "" && out.state[0] == state, s
	case "adjust":
		if s.Available+in.quantity < 0 {
			return refused(fault.Conflict)
		}
		after.OnHand, after.Available, after.Version = s.OnHand+in.quantity, s.Available+in.quantity, s.Version+1
		return out.unknown || out.code == "" && out.balance == after.Balance, after
	case "count":
		delta := in.quantity - s.OnHand
		if delta < 0 && s.Available+delta < 0 {
			return refused(fault.Conflict)
		}
		if delta != 0 {
			after.OnHand, after.Available, after.Version = in.quantity, s.Available+delta, s.Version+1
		}
		return out.unknown || out.code == "" && out.delta == delta, after
	case "reserve":
		if s.Available < in.quantity {
			return refused(fault.SoldOut)
		}
		after.Available, after.Held = s.Available-in.quantity, s.Held+in.quantity
		return out.unknown || out.code == "" && out.state == domain.Held, s.with(in.n, 'H', after.Balance)
	}
	from, to := byte('H'), domain.Step(in.what).State()
	if in.what == string(domain.Fulfil) {
		from = 'C'
	}
	switch {
	case state == to[0]:
		return out.unknown || out.code == "" && out.state == to, s
	case state != from:
		return out.unknown || out.code == fault.WrongState && out.state[0] == state, s
	}
	switch to {
	case domain.Committed:
		after.Held, after.Committed = s.Held-in.quantity, s.Committed+in.quantity
	case domain.Released:
		after.Held, after.Available = s.Held-in.quantity, s.Available+in.quantity
	default:
		after.Committed, after.OnHand = s.Committed-in.quantity, s.OnHand-in.quantity
	}
	return out.unknown || out.code == "" && out.state == to, s.with(in.n, to[0], after.Balance)
}

// history is what callers of an item saw.
type history struct {
	itemID int64
	mu     sync.Mutex
	// reservations are those that are known, by their numbers.
	reservations map[int]domain.Reservation
	numbers      int
	onHand       int64 // as it was read last
	abandoned    int
	operations   []porcupine.Operation
}

// maxAbandoned is how many commands of an item are not repeated when their
// outcome is unknown: the checker must try each of them at every place.
const maxAbandoned = 6

// observer makes the callers' calls and writes down what they see.
type observer struct {
	stores  []*Store
	start   time.Time
	answers atomic.Int64
	errors  atomic.Int64 // of calls that were repeated or abandoned
	codes   sync.Map     // fault.Code of the answers
}

// choose says what is done next with an item.
func (h *history) choose() (in input, r domain.Reservation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	quantity := 1 + rand.Int64N(3)
	known := []int{}
	for n := max(0, h.numbers-8); n < h.numbers; n++ {
		if _, ok := h.reservations[n]; ok {
			known = append(known, n)
		}
	}
	switch dice := rand.IntN(100); {
	case dice < 20 || len(known) == 0 && dice < 50:
		return input{what: "stock"}, r
	case dice < 50:
		in.what = []string{"reservation", "commit", "commit", "fulfil", "fulfil", "release"}[rand.IntN(6)]
		in.n = known[rand.IntN(len(known))]
		r = h.reservations[in.n]
		in.quantity = r.Lines[0].Quantity
		return in, r
	case dice < 65:
		if h.onHand > 6 {
			quantity = -quantity
		}
		return input{what: "adjust", quantity: quantity}, r
	case dice < 70:
		return input{what: "count", quantity: rand.Int64N(10)}, r
	default:
		h.numbers++
		return input{what: "reserve", n: h.numbers - 1, quantity: quantity}, r
	}
}

// ask makes one call and gives its answer.
func (in input) ask(ctx context.Context, store *Store, itemID int64, r domain.Reservation, key string) (out output, made domain.Reservation, err error) {
	books := inventory(store)
	switch in.what {
	case "stock":
		var stocks []domain.Stock
		if stocks, err = store.Stock(ctx, []int64{itemID}); err == nil {
			out.balance = stocks[0].Total()
		}
	case "reservation":
		made, err = store.Reservation(ctx, r.ID)
	case "adjust":
		a := domain.Adjustment{ItemID: itemID, Delta: in.quantity, Reason: domain.Counted, Key: key}
		var answer domain.Answer
		if answer, err = books.Adjust(ctx, a); err == nil {
			out.balance = answer.Stock.Total()
		}
	case "count":
		var results []domain.CountResult
		if results, err = books.Sync(ctx, domain.Sync{Name: key, Batch: 1, Counts: []domain.Count{{ItemID: itemID, OnHand: in.quantity}}}); err == nil {
			if out.delta = results[0].Delta; results[0].Problem != "" {
				err = fault.New(fault.Conflict, "%s", results[0].Problem)
			}
		}
	case "reserve":
		made, err = books.Reserve(ctx, domain.Reserve{Lines: one(itemID, in.quantity), Key: key})
	default:
		made, err = books.Change(ctx, domain.Change{ID: r.ID, Step: domain.Step(in.what), Key: key})
	}
	out.code, out.state = fault.CodeOf(err), made.State
	switch out.code {
	case fault.SoldOut:
		var lines []domain.Shortage
		if json.Unmarshal(fault.From(err).Members["lines"], &lines) == nil && len(lines) == 1 && lines[0].Asked == in.quantity {
			out.available = lines[0].Available
		}
	case fault.Conflict:
		_, _ = fmt.Sscanf(fault.From(err).Message, "%d available", &out.available)
	case fault.WrongState:
		_ = json.Unmarshal(fault.From(err).Members["state"], &out.state)
	default:
	}
	return out, made, err
}

// observe does something with an item, again with the same key until its
// outcome is known. Sometimes it does not wait for the answer.
func (o *observer) observe(t *testing.T, h *history) {
	in, r := h.choose()
	key := newID()
	h.mu.Lock()
	abandon := h.abandoned < maxAbandoned && in.what != "stock" && in.what != "reservation" && rand.IntN(50) == 0
	if abandon {
		h.abandoned++
	}
	h.mu.Unlock()
	tries, wait := 100, 2*time.Second
	if abandon {
		tries, wait = 1, rand.N(3*time.Millisecond)
	}
	operation := porcupine.Operation{Input: in, Call: int64(time.Since(o.start))}
	unknown := false // whether it may have been done
	var (
		out  output
		made domain.Reservation
		err  error
	)
	for range tries {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		out, made, err = in.ask(ctx, o.stores[rand.IntN(len(o.stores))], h.itemID, r, key)
		cancel()
		if unknown = unknown || out.code == fault.OutcomeUnknown; out.code != fault.OutcomeUnknown && out.code != fault.Unavailable {
			unknown = false
			break
		}
		o.errors.Add(1)
	}
	operation.Return = int64(time.Since(o.start))
	switch out.code {
	case "", fault.SoldOut, fault.WrongState, fault.Conflict:
	case fault.Unavailable, fault.OutcomeUnknown:
		if !unknown {
			return // nothing was done
		}
		out, operation.Return = output{unknown: true}, math.MaxInt64
	default:
		t.Errorf("%+v: %v", in, err)
		return
	}
	if out.code == "" && !out.unknown && in.what != "stock" && in.what != "reservation" && rand.IntN(20) == 0 {
		again, _, err := in.ask(t.Context(), o.stores[rand.IntN(len(o.stores))], h.itemID, r, key)
		if again != out && !isOutage(err) {
			t.Errorf("%+v: %+v, and again: %+v, %v", in, out, again, err)
		}
	}
	o.answers.Add(1)
	o.codes.Store(out.code, true)
	operation.Output = out
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, operation)
	switch {
	case in.what == "stock":
		h.onHand = out.balance.OnHand
	case in.what == "reserve" && made.ID != "":
		h.reservations[in.n] = made
	}
}

func (h *history) check(t *testing.T) {
	model := porcupine.Model{
		Init: func() any { return situation{} },
		Step: func(state, in, out any) (bool, any) { return state.(situation).next(in.(input), out.(output)) },
	}
	const patience = 5 * time.Minute
	if porcupine.CheckOperationsTimeout(model, h.operations, patience) == porcupine.Ok {
		return
	}
	result, info := porcupine.CheckOperationsVerbose(model, h.operations, patience)
	file, err := os.CreateTemp("", "history*.html") //nolint:usetesting // it is for whoever reads the failure
	if err == nil {
		err = porcupine.Visualize(model, info, file)
	}
	t.Errorf("the history of item %d, %d operations, is %s: see %s, %v", h.itemID, len(h.operations), result, file.Name(), err)
}

// suffer strikes with one outage after the other, each after some answers, until over is closed.
func (o *observer) suffer(t *testing.T, s site, over chan struct{}) {
	for {
		for _, outage := range outages {
			before, ended := o.answers.Load(), false
			eventually(t, "callers are answered", func() bool {
				select {
				case <-over:
					ended = true
				default:
				}
				return ended || o.answers.Load() >= before+2_000
			})
			if ended {
				return
			}
			outage.strike(t, s, noticed(t, &o.errors, over))
		}
	}
}

// On PostgreSQL two replicas are called; in the long form they suffer all outages meanwhile.
func TestTheHistoryOfEveryItemIsLinearizable(t *testing.T) {
	t.Parallel()
	items, each := 4, 750 // operations of an item; beyond 10,000 the checker eats memory
	if torture {
		items, each = 100, 10_000
	}
	onEachEngine(t, func(t *testing.T, db database) {
		o, mend := &observer{start: time.Now()}, func() {}
		if db.server == nil {
			o.stores = []*Store{db.open(t, Options{})}
		} else {
			through := proxied(t, db)
			o.stores = []*Store{through.open(t, Options{}), through.open(t, Options{})}
			if torture {
				over, struck := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(struck)
					o.suffer(t, through, over)
				}()
				mend = func() { close(over); <-struck }
			}
		}
		histories := make([]*history, items)
		for i := range histories {
			histories[i] = &history{itemID: int64(i + 1), reservations: map[int]domain.Reservation{}}
		}
		var (
			next atomic.Int64
			all  sync.WaitGroup
		)
		for range 16 {
			all.Go(func() {
				for n := next.Add(1); n <= int64(items*each); n = next.Add(1) {
					o.observe(t, histories[n%int64(items)])
				}
			})
		}
		all.Wait()
		mend()
		for _, code := range []fault.Code{"", fault.SoldOut, fault.WrongState, fault.Conflict} {
			if _, seen := o.codes.Load(code); !seen {
				t.Errorf("no answer was %q", code)
			}
		}
		for _, h := range histories {
			h.check(t)
		}
		wantSound(t, o.stores[0])
	})
}
