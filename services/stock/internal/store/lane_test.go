package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// slow is an engine whose batches take a second. It refuses batches with a
// command whose delta is poisonous.
type slow struct {
	mu      sync.Mutex
	batches [][]int64 // deltas of the adjustments
}

const poisonous = 666

var errPoison = errors.New("poison")

func (s *slow) apply(_ context.Context, commands []domain.Command) ([]domain.Outcome, error) {
	var deltas []int64
	for _, command := range commands {
		deltas = append(deltas, delta(command))
	}
	s.mu.Lock()
	s.batches = append(s.batches, deltas)
	s.mu.Unlock()
	time.Sleep(time.Second)
	if slices.Contains(deltas, poisonous) {
		return nil, errPoison
	}
	outcomes := make([]domain.Outcome, len(commands))
	for i := range outcomes {
		outcomes[i].Answer.Movement = &domain.Movement{Delta: deltas[i]}
	}
	return outcomes, nil
}

func delta(command domain.Command) int64 {
	a, _ := command.(domain.Adjustment)
	return a.Delta
}

func (s *slow) lane(t *testing.T) *lane {
	t.Helper()
	l := newLane(s.apply, Measured{})
	t.Cleanup(l.close)
	return l
}

// ask sends adjustments by these deltas in one call.
func ask(ctx context.Context, l *lane, deltas ...int64) ([]int64, error) {
	var commands []domain.Command
	for _, delta := range deltas {
		commands = append(commands, domain.Adjustment{Delta: delta})
	}
	outcomes, err := l.do(ctx, commands)
	var answers []int64
	for _, outcome := range outcomes {
		answers = append(answers, outcome.Answer.Movement.Delta)
	}
	return answers, err
}

func TestALoneCallIsNotKeptWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := (&slow{}).lane(t)
		start := time.Now()
		if got, err := ask(t.Context(), l, 1); err != nil || !slices.Equal(got, []int64{1}) {
			t.Errorf("%v, %v", got, err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("it took %s, want the second of its batch", took)
		}
	})
}

func TestWhatComesDuringABatchSharesTheNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		l := s.lane(t)
		var all sync.WaitGroup
		for i := range int64(5) {
			all.Go(func() {
				if got, err := ask(t.Context(), l, i, 10+i); err != nil || !slices.Equal(got, []int64{i, 10 + i}) {
					t.Errorf("%v, %v; want its own answers", got, err)
				}
			})
			synctest.Wait()
		}
		all.Wait()
		if want := [][]int64{{0, 10}, {1, 11, 2, 12, 3, 13, 4, 14}}; !slices.EqualFunc(s.batches, want, slices.Equal) {
			t.Errorf("batches %v, want %v", s.batches, want)
		}
	})
}

func TestABatchIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		l := s.lane(t)
		var all sync.WaitGroup
		for range 1 + maxBatch + 1 {
			all.Go(func() { _, _ = ask(t.Context(), l, 1) })
			synctest.Wait()
		}
		all.Wait()
		var sizes []int
		for _, batch := range s.batches {
			sizes = append(sizes, len(batch))
		}
		if want := []int{1, maxBatch, 1}; !slices.Equal(sizes, want) {
			t.Errorf("batches of %v, want %v", sizes, want)
		}
	})
}

// Many long counts must not make one commit for which all others wait.
func TestACountIsAsMuchOfABatchAsACommand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		l := s.lane(t)
		var all sync.WaitGroup
		all.Go(func() { _, _ = ask(t.Context(), l, 1) })
		synctest.Wait()
		for range 3 {
			all.Go(func() {
				_, _ = l.do(t.Context(), []domain.Command{domain.Sync{Counts: make([]domain.Count, maxBatch/2)}})
			})
			synctest.Wait()
		}
		all.Go(func() { _, _ = ask(t.Context(), l, 2) })
		all.Wait()
		if want := [][]int64{{1}, {0, 0}, {0, 2}}; !slices.EqualFunc(s.batches, want, slices.Equal) {
			t.Errorf("batches %v, want %v: two syncs are a whole one", s.batches, want)
		}
	})
}

func TestACommandThatCannotBeRunFailsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := (&slow{}).lane(t)
		var all sync.WaitGroup
		for i := range int64(9) {
			delta := i
			if i == 5 {
				delta = poisonous
			}
			all.Go(func() {
				got, err := ask(t.Context(), l, delta)
				if i == 5 != errors.Is(err, errPoison) || i != 5 && !slices.Equal(got, []int64{i}) {
					t.Errorf("call %d: %v, %v", i, got, err)
				}
			})
			synctest.Wait()
		}
		all.Wait()
	})
}

func TestAnOutageIsNotTriedAgainForEachCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		l := newLane(func(context.Context, []domain.Command) ([]domain.Outcome, error) {
			tries++
			time.Sleep(time.Second)
			return nil, fault.New(fault.OutcomeUnknown, "the answer was lost")
		}, Measured{})
		defer l.close()
		var all sync.WaitGroup
		for range 9 {
			all.Go(func() {
				if _, err := ask(t.Context(), l, 1); fault.CodeOf(err) != fault.OutcomeUnknown {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		all.Wait()
		if tries != 2 {
			t.Errorf("%d tries, want one for the first call and one for the others", tries)
		}
	})
}

func TestACallThatIsGivenUpInTheQueueIsNeverRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		l := s.lane(t)
		var all sync.WaitGroup
		for i, want := range []fault.Code{fault.OutcomeUnknown, fault.Unavailable, ""} {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			if want == "" {
				ctx, cancel = context.WithCancel(t.Context())
			}
			all.Go(func() {
				defer cancel()
				if _, err := ask(ctx, l, int64(i)); fault.CodeOf(err) != want {
					t.Errorf("call %d: %v, want %q", i, err, want)
				}
			})
			synctest.Wait()
		}
		all.Wait()
		if want := [][]int64{{0}, {2}}; !slices.EqualFunc(s.batches, want, slices.Equal) {
			t.Errorf("batches %v, want %v", s.batches, want)
		}
	})
}

func TestMoreThanTheQueueHoldsIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := (&slow{}).lane(t)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { _, _ = ask(ctx, l, 1) }) // the batch that is under way
		synctest.Wait()
		for range maxQueue {
			all.Go(func() { _, _ = ask(ctx, l, 1) })
		}
		synctest.Wait()
		start := time.Now()
		if _, err := ask(ctx, l, 1); fault.CodeOf(err) != fault.Overloaded {
			t.Errorf("%v, want overloaded", err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %s", took)
		}
		cancel()
		all.Wait()
	})
}

func TestCloseFinishesTheBatchAndRefusesTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		l := s.lane(t)
		var all sync.WaitGroup
		for i, want := range []fault.Code{"", fault.Unavailable} {
			all.Go(func() {
				if _, err := ask(t.Context(), l, int64(i)); fault.CodeOf(err) != want {
					t.Errorf("call %d: %v, want %q", i, err, want)
				}
			})
			synctest.Wait()
		}
		l.close()
		all.Wait()
		if _, err := ask(t.Context(), l, 2); fault.CodeOf(err) != fault.Unavailable {
			t.Errorf("after the close: %v, want unavailable", err)
		}
		if want := [][]int64{{0}}; !slices.EqualFunc(s.batches, want, slices.Equal) {
			t.Errorf("batches %v, want %v", s.batches, want)
		}
	})
}
