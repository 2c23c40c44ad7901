package domain

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// streams is a stock service that says nothing by itself: a test takes the
// streams that are opened, and says what comes over them.
type streams struct{ opened chan openedStream }

type openedStream struct {
	itemID, cursor int64
	take           func(StockState)
	broken         chan error
	closed         <-chan struct{}
}

func (s streams) Watch(ctx context.Context, itemID, cursor int64, take func(StockState)) error {
	opened := openedStream{itemID, cursor, take, make(chan error), ctx.Done()}
	s.opened <- opened
	select {
	case err := <-opened.broken:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o openedStream) isClosed() bool {
	select {
	case <-o.closed:
		return true
	default:
		return false
	}
}

func newStreams() streams { return streams{make(chan openedStream, maxWatched)} }

func state(cursor int64) StockState {
	return StockState{Stock: Stock{ItemID: 7, Balance: Balance{OnHand: 100 + cursor}}, Cursor: cursor}
}

// watched is an item with a first state and the reader that has taken it.
func watched(t *testing.T) (*Watches, *Reader, streams, openedStream) {
	t.Helper()
	source := newStreams()
	watches := NewWatches(source)
	first := make(chan openedStream, 1)
	go func() {
		stream := <-source.opened
		stream.take(state(3))
		first <- stream
	}()
	reader, err := watches.Open(t.Context(), 7, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantMoment(t, reader, "3")
	return watches, reader, source, <-first
}

// wantMoment takes what a reader has to take, as "5 behind" or "5 away", or "" for nothing.
func wantMoment(t *testing.T, r *Reader, want string) {
	t.Helper()
	synctest.Wait()
	got := ""
	select {
	case <-r.Changed():
		now, behind := r.Take()
		got = fmt.Sprint(now.Cursor)
		if behind {
			got += " behind"
		}
		if now.Away {
			got += " away"
		}
		if now.Stock.OnHand != 100+now.Cursor {
			t.Errorf("state %d has %d units on hand", now.Cursor, now.Stock.OnHand)
		}
	default:
	}
	if got != want {
		t.Errorf("taken %q, want %q", got, want)
	}
}

func wantCount(t *testing.T, w *Watches, items, readers int) {
	t.Helper()
	if i, r := w.Count(); i != items || r != readers {
		t.Errorf("%d items and %d readers, want %d and %d", i, r, items, readers)
	}
}

func TestAllReadersOfAnItemShareOneStreamWhichTheLastOneCloses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		watches, one, source, stream := watched(t)
		two, err := watches.Open(t.Context(), 7, 0)
		if err != nil {
			t.Fatal(err)
		}
		wantMoment(t, two, "3")
		stream.take(state(4))
		wantMoment(t, one, "4")
		wantMoment(t, two, "4")
		wantMoment(t, two, "")
		wantCount(t, watches, 1, 2)
		if stream.itemID != 7 || stream.cursor != 0 {
			t.Errorf("item %d was opened with the cursor %d", stream.itemID, stream.cursor)
		}

		one.Close()
		synctest.Wait()
		if stream.isClosed() {
			t.Error("the stream was closed while it had a reader")
		}
		two.Close()
		synctest.Wait()
		if !stream.isClosed() || len(source.opened) > 0 {
			t.Error("the stream outlives its readers")
		}
		wantCount(t, watches, 0, 0)
	})
}

func TestASlowReaderIsGivenTheLastStateAndToldSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, reader, _, stream := watched(t)
		defer reader.Close()
		for cursor := int64(4); cursor <= 6; cursor++ {
			stream.take(state(cursor))
		}
		wantMoment(t, reader, "6 behind")
		wantMoment(t, reader, "")
		stream.take(state(7))
		wantMoment(t, reader, "7")
	})
}

func TestStatesThatStockLeftOutAreToldToThoseWhoWatchedThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		watches, reader, _, stream := watched(t)
		defer reader.Close()
		late := state(9)
		late.Behind = true
		stream.take(late)
		wantMoment(t, reader, "9 behind")
		newcomer, err := watches.Open(t.Context(), 7, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer newcomer.Close()
		wantMoment(t, newcomer, "9")
	})
}

// A cursor that is ahead is that of a database which has been restored since.
func TestAReaderWithTheCursorOfTheStateThatIsNowWaitsForAnother(t *testing.T) {
	t.Parallel()
	for cursor, first := range map[int64]string{0: "3", 2: "3", 3: "", 4: "3"} {
		t.Run(fmt.Sprint(cursor), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				watches, other, _, stream := watched(t)
				defer other.Close()
				reader, err := watches.Open(t.Context(), 7, cursor)
				if err != nil {
					t.Fatal(err)
				}
				defer reader.Close()
				wantMoment(t, reader, first)
				stream.take(state(5))
				wantMoment(t, reader, "5")
				stream.take(state(1))
				wantMoment(t, reader, "1")
			})
		})
	}
}

func TestABrokenStreamIsOpenedAgainWhereItWasAndNobodyIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, reader, source, stream := watched(t)
		defer reader.Close()
		for cursor := int64(4); cursor < 9; cursor++ {
			stream.broken <- errors.New("the service was stopped")
			broke := time.Now()
			stream = <-source.opened
			if took := time.Since(broke); took > 3*minPause/2 {
				t.Errorf("it was opened again after %s", took)
			}
			if stream.cursor != cursor-1 {
				t.Errorf("it was opened with the cursor %d, want %d", stream.cursor, cursor-1)
			}
			wantMoment(t, reader, "")
			stream.take(state(cursor - 1)) // as a service would that knows no cursor
			wantMoment(t, reader, "")
			stream.take(state(cursor))
			wantMoment(t, reader, fmt.Sprint(cursor))
		}
	})
}

func TestReadersAreToldOnceThatStockIsAwayAndThatItIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		watches, reader, source, stream := watched(t)
		defer reader.Close()
		broke, tries := time.Now(), 0
		for time.Since(broke) < time.Minute {
			stream.broken <- errors.New("connection refused")
			synctest.Wait()
			select {
			case <-reader.Changed():
				if away := time.Since(broke); away < awayAfter || away > awayAfter+2*maxPause {
					t.Errorf("readers were told after %s", away)
				}
				wantMoment(t, reader, "3 away")
			default:
			}
			stream = <-source.opened
			tries++
		}
		if tries < 20 || tries > 70 {
			t.Errorf("%d tries within a minute", tries)
		}
		newcomer, err := watches.Open(t.Context(), 7, 3)
		if err != nil {
			t.Fatal(err)
		}
		defer newcomer.Close()
		wantMoment(t, newcomer, "3 away")

		if stream.cursor != 0 {
			t.Errorf("the cursor is %d, so that stock would say nothing", stream.cursor)
		}
		stream.take(state(3))
		wantMoment(t, reader, "3")
		wantMoment(t, newcomer, "3")
		stream.take(state(4))
		wantMoment(t, reader, "4")
	})
}

func TestAStreamThatHadNothingToTellForLongIsNoStockThatIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, reader, source, stream := watched(t)
		defer reader.Close()
		for range 5 {
			time.Sleep(time.Hour)
			stream.broken <- errors.New("the service was stopped")
			stream = <-source.opened
			wantMoment(t, reader, "")
		}
	})
}

func TestWithoutAFirstStateAReaderIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		broken error
		want   string
	}{
		"stock is away":      {fault.New(fault.Unavailable, "the stock service cannot be reached"), "unavailable: the stock service cannot be reached"},
		"stock says nothing": {nil, "unavailable: the stock service did not answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				source, began := newStreams(), time.Now()
				watches := NewWatches(source)
				go func() {
					for stream := range source.opened {
						if c.broken != nil {
							stream.broken <- c.broken
						}
					}
				}()
				_, err := watches.Open(t.Context(), 7, 0)
				if err == nil || err.Error() != c.want {
					t.Errorf("refused with %v, want %s", err, c.want)
				}
				if took := time.Since(began); took != firstWithin {
					t.Errorf("refused after %s, want %s", took, firstWithin)
				}
				wantCount(t, watches, 0, 0)
				synctest.Wait()
				close(source.opened)
			})
		})
	}
}

func TestAReaderThatGivesUpBeforeTheFirstStateLeavesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newStreams()
		watches := NewWatches(source)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := watches.Open(ctx, 7, 0); fault.CodeOf(err) != fault.Unavailable {
			t.Errorf("it ended with %v", err)
		}
		synctest.Wait()
		if stream := <-source.opened; !stream.isClosed() {
			t.Error("the stream is still open")
		}
		wantCount(t, watches, 0, 0)
	})
}

func TestItemsAndReadersAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newStreams()
		watches := NewWatches(source)
		go func() {
			for range maxWatched {
				(<-source.opened).take(state(1))
			}
		}()
		var readers []*Reader
		open := func(item int64) error {
			reader, err := watches.Open(t.Context(), item, 0)
			if err == nil {
				readers = append(readers, reader)
			}
			return err
		}
		for item := range int64(maxWatched) {
			if err := open(item + 1); err != nil {
				t.Fatal(err)
			}
		}
		if err := open(maxWatched + 1); err == nil || err.Error() != "overloaded: 1000 items are watched already; try again later" {
			t.Errorf("one item more: %v", err)
		}
		for len(readers) < maxReaders {
			if err := open(1); err != nil {
				t.Fatal(err)
			}
		}
		if err := open(1); err == nil || err.Error() != "overloaded: 20000 readers watch already; try again later" {
			t.Errorf("one reader more: %v", err)
		}
		wantCount(t, watches, 1000, 20000)
		for _, reader := range readers {
			reader.Close()
		}
		wantCount(t, watches, 0, 0)
	})
}
