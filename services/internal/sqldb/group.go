package sqldb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// maxGroup is how many works share one commit at the most. A commit waits for
// the disk; what has come meanwhile goes into the next one together.
const maxGroup = 256

var errClosed = errors.New("the database is closed")

// work is what a caller of Update wants done.
type work struct {
	ctx  context.Context
	do   func(ctx context.Context, tx *Tx) error
	done chan struct{} // closed when err and cause are set
	err  error
	// cause is what do has panicked with.
	cause any
}

// queue holds works in the order in which they came.
type queue struct {
	mu    sync.Mutex
	works []*work
}

func (q *queue) add(w *work) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.works = append(q.works, w)
}

// take gives the next group.
func (q *queue) take() []*work {
	q.mu.Lock()
	defer q.mu.Unlock()
	group := slices.Clone(q.works[:min(len(q.works), maxGroup)])
	q.works = slices.Delete(q.works, 0, len(group))
	return group
}

// remove takes w out again, unless it has been taken.
func (q *queue) remove(w *work) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := slices.Index(q.works, w)
	if at >= 0 {
		q.works = slices.Delete(q.works, at, at+1)
	}
	return at >= 0
}

// Update runs a write transaction. When it returns nil the change survives a
// crash; otherwise nothing was changed. ctx bounds the wait for the turn; what
// has begun is not interrupted. Works that wait at the same time share a
// commit, each undone alone if it fails, and do may then run a second time: it
// must not do anything but read and write in tx and set variables.
func (db *DB) Update(ctx context.Context, do func(ctx context.Context, tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &work{ctx: context.WithoutCancel(ctx), do: do, done: make(chan struct{})}
	db.queue.add(w)
	for {
		select {
		case <-w.done:
			return w.outcome()
		case <-ctx.Done():
			if db.queue.remove(w) {
				return ctx.Err()
			}
			<-w.done // it has begun
			return w.outcome()
		case tx, open := <-db.write:
			if !open {
				db.queue.remove(w)
				return errClosed
			}
			tx.runGroup(db.queue.take())
			db.write <- tx
		}
	}
}

func (w *work) outcome() error {
	if w.cause != nil {
		panic(w.cause)
	}
	return w.err
}

// runGroup runs works in one transaction, and each in one of its own when that fails.
func (tx *Tx) runGroup(group []*work) {
	defer func() {
		for _, w := range group {
			close(w.done)
		}
	}()
	if len(group) > 1 {
		err := tx.run(context.Background(), func(ctx context.Context, tx *Tx) error { return tx.tryAll(ctx, group) })
		if err == nil {
			return
		}
	}
	for _, w := range group {
		w.err = tx.run(w.ctx, func(context.Context, *Tx) error { return w.try(tx) })
	}
}

// tryAll undoes what fails and goes on with the others.
func (tx *Tx) tryAll(ctx context.Context, group []*work) error {
	for _, w := range group {
		w.err = tx.Try(ctx, func() error { return w.try(tx) })
		if errors.Is(w.err, errSavepoint) {
			return w.err // what the others have done is gone too
		}
	}
	return nil
}

// try keeps a panic for the caller whose work it is.
func (w *work) try(tx *Tx) (err error) {
	w.cause = nil
	defer func() {
		if w.cause = recover(); w.cause != nil {
			err = fmt.Errorf("the work panicked: %v", w.cause)
		}
	}()
	return w.do(w.ctx, tx)
}
