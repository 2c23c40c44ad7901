package domain

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

const (
	// MaxWatchers is how many may watch at the same time, in this process.
	MaxWatchers = 20_000
	// watchPause is the least time between two looks at what changed, so that a
	// watcher is sent at most 20 states a second.
	watchPause = 50 * time.Millisecond
	// watchPoll is the time between two looks at all that is watched. What nobody
	// told of, as when a notice was lost, is seen after it at the latest.
	watchPoll = time.Second
	// watchChunk is how many items are looked at in one query, which may take watchTimeout.
	watchChunk   = 512
	watchTimeout = 5 * time.Second
)

// WatchState is the stock of an item as a watcher is sent it.
type WatchState struct {
	Stock
	// Behind tells that states were left out because the watcher was slow.
	Behind bool
}

// Watches tell watchers the stock of items whenever it has changed. One loop
// reads the items that changed and are watched, once for all their watchers.
type Watches struct {
	// woken says that there is something to read.
	woken chan struct{}

	mu     sync.Mutex
	topics map[int64]*topic // by item; only of those that are watched
	wanted map[int64]bool   // items that are to be read
	round  int64            // counts the times that wanted was taken
	// watchers are those of all topics.
	watchers int

	sent, leftOut atomic.Int64
}

// WatchCounts are what the watches have come to.
type WatchCounts struct {
	// Watchers are there now.
	Watchers int64
	// Sent are states; LeftOut are those that came and went while a watcher was sent one before.
	Sent, LeftOut int64
}

// topic is what the watchers of an item share. Watches.mu guards it.
type topic struct {
	news
	watchers int
	// awaited is the last round that somebody waits for, to have a first state.
	awaited int64
}

// news are what a topic has to tell.
type news struct {
	stock    Stock
	sequence int64 // counts the states that differ
	err      error // why the item could not be read the last time; nil when it could
	round    int64 // of the last time; 0: there was none
	// next is closed when there are other news.
	next chan struct{}
}

// NewWatches are without a watcher.
func NewWatches() *Watches {
	return &Watches{woken: make(chan struct{}, 1), topics: map[int64]*topic{}, wanted: map[int64]bool{}}
}

// Counts are those of now.
func (w *Watches) Counts() WatchCounts {
	w.mu.Lock()
	defer w.mu.Unlock()
	return WatchCounts{int64(w.watchers), w.sent.Load(), w.leftOut.Load()}
}

// Changed tells that the stock of items has changed, or that of some when none
// are given. It waits for nobody.
func (w *Watches) Changed(items ...int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range items {
		w.want(id)
	}
	if len(items) == 0 {
		for id := range w.topics {
			w.want(id)
		}
	}
}

// want has an item read, if it is watched.
func (w *Watches) want(itemID int64) {
	if w.topics[itemID] == nil {
		return
	}
	w.wanted[itemID] = true
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// Run reads what changed until ctx ends. What cannot be read is tried again
// with the next poll.
func (w *Watches) Run(ctx context.Context, read func(ctx context.Context, ids []int64) ([]Stock, error)) {
	poll := time.NewTicker(watchPoll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
			w.Changed()
			continue
		case <-w.woken:
		}
		w.look(ctx, read)
		select {
		case <-ctx.Done():
			return
		case <-time.After(watchPause):
		}
	}
}

func (w *Watches) look(ctx context.Context, read func(ctx context.Context, ids []int64) ([]Stock, error)) {
	ids, round := w.take()
	var err error
	for some := range slices.Chunk(ids, watchChunk) {
		var stocks []Stock
		if err == nil { // else the rest would have to wait for the same
			limited, cancel := context.WithTimeout(ctx, watchTimeout)
			stocks, err = read(limited, some)
			cancel()
		}
		w.publish(some, round, stocks, err)
	}
}

// take gives what is to be read, in order, and the number of the round.
func (w *Watches) take() (ids []int64, round int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids = slices.Sorted(maps.Keys(w.wanted))
	clear(w.wanted)
	w.round++
	return ids, w.round
}

// publish tells the watchers of items what was read in a round.
func (w *Watches) publish(ids []int64, round int64, stocks []Stock, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, id := range ids {
		t := w.topics[id]
		if t == nil { // its watchers have gone
			continue
		}
		t.round, t.err = round, err
		differs := err == nil && (t.sequence == 0 || stocks[i].Total().Version != t.stock.Total().Version)
		if differs {
			t.stock, t.sequence = stocks[i], t.sequence+1
		}
		if differs || round <= t.awaited {
			close(t.next)
			t.next = make(chan struct{})
		}
	}
}

// Watch sends the stock of an item as it is, unless cursor is its version, and
// then whenever it has changed, until send fails or ctx ends, which is no error.
// A cursor that is ahead of the version is that of a database which has been
// restored since: then too the watcher needs the state as it is.
func (w *Watches) Watch(ctx context.Context, itemID, cursor int64, send func(WatchState) error) error {
	if err := validItem(itemID); err != nil {
		return err
	}
	if cursor < 0 {
		return fault.Invalid("cursor", "must be that of the last state, or 0, not %d", cursor)
	}
	t, since, err := w.join(itemID)
	if err != nil {
		return err
	}
	defer w.leave(itemID, t)
	n, ok := w.await(ctx, t, func(n news) bool { return n.round > since })
	if !ok || n.err != nil {
		return n.err
	}
	known, leftOut := cursor != 0 && cursor == n.stock.Total().Version, int64(0)
	for ok {
		if !known {
			if err := send(WatchState{n.stock, leftOut > 0}); err != nil {
				return err
			}
			w.sent.Add(1)
		}
		last := n.sequence
		n, ok = w.await(ctx, t, func(n news) bool { return n.sequence > last })
		known, leftOut = false, n.sequence-last-1
		w.leftOut.Add(max(leftOut, 0))
	}
	return nil
}

// join gives the topic of an item, and the last round that began before.
func (w *Watches) join(itemID int64) (t *topic, since int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watchers >= MaxWatchers {
		return nil, 0, fault.New(fault.Overloaded, "%d watch already; try again later", MaxWatchers)
	}
	t = w.topics[itemID]
	if t == nil {
		t = &topic{news: news{next: make(chan struct{})}}
		w.topics[itemID] = t
	}
	w.watchers++
	t.watchers++
	t.awaited = w.round + 1
	w.want(itemID)
	return t, w.round, nil
}

func (w *Watches) leave(itemID int64, t *topic) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watchers--
	if t.watchers--; t.watchers == 0 {
		delete(w.topics, itemID)
	}
}

// await gives the news that are wanted, or ok false when ctx ends before.
func (w *Watches) await(ctx context.Context, t *topic, wanted func(news) bool) (n news, ok bool) {
	for {
		w.mu.Lock()
		n = t.news
		w.mu.Unlock()
		if wanted(n) {
			return n, true
		}
		select {
		case <-n.next:
		case <-ctx.Done():
			return news{}, false
		}
	}
}
