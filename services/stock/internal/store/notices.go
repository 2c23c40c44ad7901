package store

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
)

const (
	// channel is that of the notices of all processes that share the schema stock.
	channel = "kiteshop stock"
	// noticePause is the least time between two notices of this process.
	noticePause = 50 * time.Millisecond
	// noticeItems is how many items a payload names: PostgreSQL takes 8,000 bytes.
	noticeItems = 390
	// maxNoticed is how many items are named together. Of more it is said that some have changed.
	maxNoticed = 10 * noticeItems
	// someItems is the payload that names none.
	someItems = "*"
	// noticeTimeout bounds the statements; listenPause is the time between two tries to listen.
	noticeTimeout = 5 * time.Second
	listenPause   = 500 * time.Millisecond
)

// notices tell other processes which items this one has changed, and hear it
// from them. They are sent after the commits, on connections of their own: a
// transaction that notifies commits alone, under a lock of all databases, and
// batches must share their flushes. What is lost with a connection is lost; who
// listens must look at times.
type notices struct {
	pool  *pgxpool.Pool
	heard func(items ...int64)
	// listening is called with why nobody listens, once, and with nil when somebody does again.
	listening func(err error)
	stop      context.CancelFunc
	ended     sync.WaitGroup

	mu      sync.Mutex
	changed map[int64]bool
	woken   chan struct{}
}

func newNotices(ctx context.Context, db *sqldb.DB, options Options) (*notices, error) {
	cfg := db.Postgres().Config()
	cfg.ConnConfig.RuntimeParams["synchronous_commit"] = "off"
	cfg.MaxConns, cfg.MinConns = 2, 0 // one listens
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx)) // as long as the store is open
	n := &notices{
		pool: pool, heard: options.Changed, listening: options.Listening, stop: stop, changed: map[int64]bool{}, woken: make(chan struct{}, 1),
	}
	n.ended.Go(func() { n.send(ctx) })
	n.ended.Go(func() { n.listen(ctx) })
	return n, nil
}

func (n *notices) close() {
	n.stop()
	n.ended.Wait()
	n.pool.Close()
}

// add has items told to the others. It waits for nobody.
func (n *notices) add(items []int64) {
	n.mu.Lock()
	for _, id := range items {
		if len(n.changed) > maxNoticed {
			break
		}
		n.changed[id] = true
	}
	n.mu.Unlock()
	select {
	case n.woken <- struct{}{}:
	default:
	}
}

// take gives what is to be told, as payloads.
func (n *notices) take() (payloads []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer clear(n.changed)
	if len(n.changed) > maxNoticed {
		return []string{someItems}
	}
	for some := range slices.Chunk(slices.Sorted(maps.Keys(n.changed)), noticeItems) {
		var text []byte
		for _, id := range some {
			text = append(strconv.AppendInt(text, id, 10), ' ')
		}
		payloads = append(payloads, string(text))
	}
	return payloads
}

func (n *notices) send(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.woken:
		}
		limited, cancel := context.WithTimeout(ctx, noticeTimeout)
		_, _ = n.pool.Exec(limited, `SELECT pg_notify($1, payload) FROM unnest($2::text[]) payload`, channel, n.take()) // if it fails, the others see it when they look
		cancel()
		pause(ctx, noticePause)
	}
}

// listen hears the others until ctx ends, on one connection after the other.
func (n *notices) listen(ctx context.Context) {
	silent := false
	for {
		err := n.hear(ctx, func() {
			if silent {
				n.listening(nil)
			}
			silent = false
			n.heard() // nobody knows what was said meanwhile
		})
		if ctx.Err() != nil {
			return
		}
		if !silent {
			n.listening(sqldb.Explain(err))
		}
		silent = true
		pause(ctx, listenPause)
	}
}

// hear listens until its connection breaks.
func (n *notices) hear(ctx context.Context, began func()) error {
	limited, cancel := context.WithTimeout(ctx, noticeTimeout)
	defer cancel()
	conn, err := n.pool.Acquire(limited)
	if err != nil {
		return err
	}
	defer conn.Release()
	defer func() { _ = conn.Conn().Close(context.WithoutCancel(ctx)) }() // it must not go on listening in the pool
	if _, err := conn.Exec(limited, `LISTEN `+pgx.Identifier{channel}.Sanitize()); err != nil {
		return err
	}
	began()
	for {
		notice, err := conn.Conn().WaitForNotification(ctx)
		if err != nil {
			return err
		}
		n.heard(itemsIn(notice.Payload)...)
	}
}

// itemsIn are the items that a payload names; none when it says that some have
// changed, or says it in the words of another version.
func itemsIn(payload string) (items []int64) {
	for _, word := range strings.Fields(payload) {
		id, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return nil
		}
		items = append(items, id)
	}
	return items
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
