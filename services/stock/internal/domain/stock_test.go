package domain

import (
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

func TestAMoveKeepsTheEquationTheFloorAndTheLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		available int64
		held      int64
		delta     int64
		policy    Policy
		want      int64 // available afterwards
		refused   bool
	}{
		{"receive", 3, 2, 4, Deny, 7, false},
		{"to the floor", 3, 2, -3, Deny, 0, false},
		{"below the floor", 3, 2, -4, Deny, 3, true},
		{"what is held is not available", 0, 5, -1, Deny, 0, true},
		{"backorder has no floor", 3, 0, -10, Backorder, -7, false},
		{"to the limit", MaxOnHand - 1, 0, 1, Deny, MaxOnHand, false},
		{"beyond the limit", MaxOnHand, 0, 1, Deny, MaxOnHand, true},
		{"beyond the most that may be owed", -MaxOnHand, 0, -1, Backorder, -MaxOnHand, true},
	} {
		before := Balance{OnHand: c.available + c.held, Available: c.available, Held: c.held, Version: 7}
		after, err := before.Move(c.delta, Rules{Policy: c.policy})
		want := Balance{OnHand: c.want + c.held, Available: c.want, Held: c.held, Version: 8}
		if c.refused {
			want = before
		}
		if after != want || (fault.CodeOf(err) == fault.Conflict) != c.refused {
			t.Errorf("%s: %+v, %v; want %+v", c.name, after, err, want)
		}
	}
}

func TestWhatWasExtendedBeyondTheCutoffDoesNotExpire(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for expires, want := range map[time.Duration]State{-time.Second: Expired, 0: Expired, time.Millisecond: Held} {
		r := Reservation{State: Held, ExpiresAt: now.Add(expires)}
		changes, err := r.Apply(Change{Step: Expire, Cutoff: now}, now)
		if r.State != want || changes != (want == Expired) || err != nil {
			t.Errorf("expiring %s after the cutoff: %s, %t, %v", expires, r.State, changes, err)
		}
	}
}
