package domain

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

const (
	// maxWatched bounds the items that are watched at a time: each is a stream from stock.
	maxWatched = 1_000
	// maxReaders bounds those who watch, of all items together.
	maxReaders = 20_000
	// firstWithin is how long a reader waits for the first state.
	firstWithin = 3 * time.Second
	// awayAfter is how long stock may be away before readers are told.
	awayAfter = 10 * time.Second
	// A stream that broke is opened again after minPause, and then after twice
	// the pause before, up to maxPause.
	minPause = 100 * time.Millisecond
	maxPause = 2 * time.Second
)

// StockState is the stock of an item as it was at one moment.
type StockState struct {
	Stock Stock
	// Cursor grows with every change, until the database is restored from a copy.
	Cursor int64
	// Behind: states before this one were left out.
	Behind bool
}

// StockWatcher follows the stock of items.
type StockWatcher interface {
	// Watch hands over the state as it is, unless cursor is that of it, and then
	// each later one, until ctx ends or stock breaks off. Cursor 0 is
	// that of no state. It always returns an error.
	Watch(ctx context.Context, itemID, cursor int64, take func(StockState)) error
}

// Watches opens one stream from stock for each item that is watched, however
// many readers it has. The first reader opens it, the last one closes it.
type Watches struct {
	source StockWatcher

	mu      sync.Mutex
	topics  map[int64]*topic
	readers int
}

// NewWatches makes Watches of which nobody reads anything yet.
func NewWatches(source StockWatcher) *Watches {
	return &Watches{source: source, topics: map[int64]*topic{}}
}

// Count says how many items are watched, and by how many readers.
func (w *Watches) Count() (items, readers int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.topics), w.readers
}

// Open waits until the stock of an item is known and gives a reader of it. With
// the cursor of the state that is now it reads what comes later; 0 is that of none.
func (w *Watches) Open(ctx context.Context, itemID, cursor int64) (*Reader, error) {
	t, err := w.join(itemID)
	if err != nil {
		return nil, err
	}
	r := &Reader{watches: w, topic: t}
	late := time.NewTimer(firstWithin)
	defer late.Stop()
	select {
	case <-t.known:
	case <-late.C:
		err = t.why()
	case <-ctx.Done():
		err = fault.New(fault.Unavailable, "the request was given up").Because(ctx.Err())
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	if now := t.now.Load(); cursor > 0 && cursor == now.Cursor && !now.Away {
		r.seen = now
	}
	return r, nil
}

// join adds a reader to the topic of an item, which it begins if there is none.
func (w *Watches) join(itemID int64) (*topic, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.readers == maxReaders {
		return nil, fault.New(fault.Overloaded, "%d readers watch already; try again later", maxReaders)
	}
	t, begun := w.topics[itemID]
	if !begun {
		if len(w.topics) == maxWatched {
			return nil, fault.New(fault.Overloaded, "%d items are watched already; try again later", maxWatched)
		}
		ctx, stop := context.WithCancel(context.Background()) // lives as long as it has readers
		t = &topic{itemID: itemID, source: w.source, stop: stop, known: make(chan struct{})}
		w.topics[itemID] = t
		go t.run(ctx)
	}
	t.readers++
	w.readers++
	return t, nil
}

// leave takes a reader from its topic, which ends with the last one.
func (w *Watches) leave(t *topic) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.readers--
	if t.readers--; t.readers == 0 {
		delete(w.topics, t.itemID)
		t.stop()
	}
}

// Moment is what readers of an item share: its state, or that stock is away.
// It never changes; another one follows it.
type Moment struct {
	StockState
	// Away: stock has not answered for a while, and the state is the last one known.
	Away bool

	count int64         // of the states that came until now
	over  chan struct{} // closed when another moment has come
	once  sync.Once
	text  []byte
	err   error // of making text
}

// Text is the stock as encode writes it, once for all readers.
func (m *Moment) Text(encode func(any) ([]byte, error)) ([]byte, error) {
	m.once.Do(func() { m.text, m.err = encode(m.Stock) })
	return m.text, m.err
}

// topic follows one item. Only run changes what now is.
type topic struct {
	itemID  int64
	source  StockWatcher
	stop    context.CancelFunc
	readers int // guarded by Watches.mu

	known chan struct{} // closed when there is a first moment
	now   atomic.Pointer[Moment]

	mu     sync.Mutex
	broken error // why the last stream ended
}

// run follows the item until ctx ends, over as many streams as that takes.
func (t *topic) run(ctx context.Context) {
	var since time.Time // when stock broke off; zero: it answers
	pause := minPause
	for {
		opened := time.Now()
		err := t.source.Watch(ctx, t.itemID, t.cursor(), func(state StockState) {
			since, pause = time.Time{}, minPause
			t.take(state)
		})
		if ctx.Err() != nil {
			return
		}
		t.mu.Lock()
		t.broken = err
		t.mu.Unlock()
		if time.Since(opened) >= awayAfter { // it held, but had nothing to tell
			since, pause = time.Time{}, minPause
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) >= awayAfter {
			t.away()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause)): //nolint:gosec // not all at once, when a stock service was stopped: no secret
		}
		pause = min(2*pause, maxPause)
	}
}

// cursor is where to go on. While stock is away it is 0: any state tells that it is back.
func (t *topic) cursor() int64 {
	if now := t.now.Load(); now != nil && !now.Away {
		return now.Cursor
	}
	return 0
}

func (t *topic) take(state StockState) {
	now := t.now.Load()
	switch {
	case now == nil:
		t.next(&Moment{StockState: state})
	case state.Cursor != now.Cursor:
		t.next(&Moment{StockState: state, count: now.count + 1})
	case now.Away:
		t.next(&Moment{StockState: now.StockState, count: now.count})
	}
}

func (t *topic) away() {
	if now := t.now.Load(); now != nil && !now.Away {
		t.next(&Moment{StockState: now.StockState, Away: true, count: now.count})
	}
}

func (t *topic) next(m *Moment) {
	m.over = make(chan struct{})
	if before := t.now.Swap(m); before != nil {
		close(before.over)
	} else {
		close(t.known)
	}
}

// why says why there is no state.
func (t *topic) why() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken == nil {
		return fault.New(fault.Unavailable, "the stock service did not answer in time")
	}
	return t.broken
}

// Reader reads the moments of an item, one after the other or, if it is
// slower than they come, with gaps.
type Reader struct {
	watches *Watches
	topic   *topic
	seen    *Moment // nil: none
}

// Changed is closed when there is a moment that was not taken.
func (r *Reader) Changed() <-chan struct{} {
	if r.seen == nil {
		return r.topic.known
	}
	return r.seen.over
}

// Take gives the moment that is now. behind: states came since the last one
// that was taken, and were left out.
func (r *Reader) Take() (now *Moment, behind bool) {
	now = r.topic.now.Load()
	if r.seen != nil && now.count > r.seen.count {
		behind = now.Behind || now.count > r.seen.count+1
	}
	r.seen = now
	return now, behind
}

// Close ends the reading. It is called once.
func (r *Reader) Close() { r.watches.leave(r.topic) }

// Watch gives a reader of the stock of an item, or not_found.
func (s *Shop) Watch(ctx context.Context, itemID, cursor int64) (*Reader, error) {
	if _, err := s.Items.Get(ctx, itemID); err != nil {
		return nil, err
	}
	return s.Watches.Open(ctx, itemID, cursor)
}
