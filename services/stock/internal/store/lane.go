package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

const (
	// maxBatch is how many commands share a commit, where a count of a sync is as
	// much as a command. A commit waits for the disk;
	// what has come meanwhile goes into the next one together.
	maxBatch = 512
	// maxQueue is how many calls may wait. More are refused: they would be
	// answered after their callers have given up.
	maxQueue = 8192
)

// lane runs the commands of many callers in batches, one batch after the
// other. It never waits for more: a lone caller's batch is its own call.
type lane struct {
	// apply runs commands in one transaction. Its error concerns all of them.
	apply func(ctx context.Context, commands []domain.Command) ([]domain.Outcome, error)
	calls chan *call
	ended chan struct{}
	stop  chan struct{}
	once  sync.Once // closes stop
	told  Measured
}

// Measured is told how a store works; it must not wait.
type Measured struct {
	// Waited is how long a call waited for its batch, or until it was given up.
	Waited func(ctx context.Context, waited time.Duration)
	// Batch is one that has ended.
	Batch func(ctx context.Context, batch Batch)
}

// Batch is what is told of commands that shared a commit.
type Batch struct {
	Commands int
	// Hottest is how many of them name the item that most of them name.
	Hottest int
	Took    time.Duration
	Err     error
}

// fill makes what nobody wants to be told do nothing.
func (m *Measured) fill() {
	if m.Waited == nil {
		m.Waited = func(context.Context, time.Duration) {}
	}
	if m.Batch == nil {
		m.Batch = func(context.Context, Batch) {}
	}
}

// call is what one caller wants done.
type call struct {
	commands []domain.Command
	state    atomic.Int32
	done     chan struct{} // closed when outcomes or err is set
	outcomes []domain.Outcome
	err      error
	span     trace.Span // from the call to its answer
	began    time.Time  // of its batch; set before done is closed
}

// size is how much of a batch a call takes.
func (c *call) size() int {
	size := len(c.commands)
	for _, command := range c.commands {
		if s, ok := command.(domain.Sync); ok {
			size += len(s.Counts) - 1
		}
	}
	return size
}

// The states of a call. Who changes it from waiting has it.
const (
	waiting int32 = iota
	taken
	givenUp
)

func newLane(apply func(context.Context, []domain.Command) ([]domain.Outcome, error), told Measured) *lane {
	told.fill()
	l := &lane{
		apply: apply, calls: make(chan *call, maxQueue), ended: make(chan struct{}), stop: make(chan struct{}), told: told,
	}
	go l.run()
	return l
}

// do runs commands with those of others. When ctx ends while they wait they are
// never run; when it ends later it is unknown what became of them.
func (l *lane) do(ctx context.Context, commands []domain.Command) ([]domain.Outcome, error) {
	c := &call{commands: commands, done: make(chan struct{}), span: callSpan(ctx)}
	defer c.span.End()
	start := time.Now()
	select {
	case <-l.stop:
		return nil, errClosed()
	case l.calls <- c:
	default:
		return nil, fault.New(fault.Overloaded, "%d calls wait already; try again later", maxQueue)
	}
	select {
	case <-c.done:
		l.told.Waited(ctx, c.began.Sub(start))
		return c.outcomes, c.err
	case <-ctx.Done():
		if c.state.CompareAndSwap(waiting, givenUp) {
			l.told.Waited(ctx, time.Since(start))
			return nil, fault.New(fault.Unavailable, "the time was over before the command's turn came").Because(ctx.Err())
		}
		return nil, fault.New(fault.OutcomeUnknown, "the time was over before the command's answer came").Because(ctx.Err())
	case <-l.ended:
		select {
		case <-c.done: // its answer came with the end
			return c.outcomes, c.err
		default:
			return nil, errClosed()
		}
	}
}

func errClosed() error { return fault.New(fault.Unavailable, "the service is stopping") }

// close waits for the batch that is under way.
func (l *lane) close() {
	l.once.Do(func() { close(l.stop) })
	<-l.ended
}

func (l *lane) run() {
	defer close(l.ended)
	for {
		select {
		case <-l.stop: // before what waits
			return
		default:
		}
		select {
		case <-l.stop:
			return
		case first := <-l.calls:
			if batch := l.gather(first); len(batch) > 0 {
				l.settle(batch)
			}
		}
	}
}

// gather takes what waits, until it is maxBatch, and drops what was given up.
func (l *lane) gather(next *call) (batch []*call) {
	size := 0
	for {
		if next.state.CompareAndSwap(waiting, taken) {
			next.began = time.Now()
			batch, size = append(batch, next), size+next.size()
		}
		if size >= maxBatch {
			return batch
		}
		select {
		case next = <-l.calls:
		default:
			return batch
		}
	}
}

// settle runs a batch and answers its callers. When the batch fails its halves
// are tried, so that a command that cannot be run fails alone.
func (l *lane) settle(batch []*call) {
	var commands []domain.Command
	for _, c := range batch {
		commands = append(commands, c.commands...)
	}
	ctx, span := batchSpan(context.Background(), batch) // callers may go, the batch stays
	start := time.Now()
	outcomes, err := l.apply(ctx, commands)
	l.told.Batch(ctx, Batch{Commands: len(commands), Hottest: hottest(commands), Took: time.Since(start), Err: err})
	endBatch(span, err)
	if err != nil && len(batch) > 1 && !isOutage(err) {
		half := len(batch) / 2
		l.settle(batch[:half])
		l.settle(batch[half:])
		return
	}
	for _, c := range batch {
		if c.err = err; err == nil {
			c.outcomes, outcomes = outcomes[:len(c.commands):len(c.commands)], outcomes[len(c.commands):]
		}
		close(c.done)
	}
}

// hottest is how many commands name the item that most of them name.
func hottest(commands []domain.Command) (most int) {
	if len(commands) == 1 {
		return min(1, len(commands[0].Concern().Items))
	}
	named := map[int64]int{}
	for _, command := range commands {
		items := command.Concern().Items
		for i, id := range items {
			if !slices.Contains(items[:i], id) { // one command may name an item at several locations
				named[id]++
				most = max(most, named[id])
			}
		}
	}
	return most
}

// isOutage tells whether an error concerns the database and not what it was asked for.
func isOutage(err error) bool {
	known, ok := errors.AsType[*fault.Error](err)
	return ok && (known.Code == fault.Unavailable || known.Code == fault.OutcomeUnknown)
}
