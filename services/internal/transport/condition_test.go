package transport

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnInstanceIsPassedOverAfterThreeBadAttemptsAndTriedByOneCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out atomic.Int64
		h := &condition{out: &out}
		fail := func() { h.poor(time.Now(), time.Now()) }
		fail()
		fail()
		if h.passedOver() {
			t.Error("two are enough")
		}
		fail()
		for _, pause := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 8 * time.Second} {
			time.Sleep(pause - time.Nanosecond)
			if !h.passedOver() || out.Load() != 1 || h.try(time.Now()) {
				t.Errorf("it is called before %s are over", pause)
			}
			time.Sleep(time.Nanosecond)
			if !h.try(time.Now()) || h.try(time.Now()) {
				t.Errorf("after %s not exactly one call tries it", pause)
			}
			fail()
		}
		h.good(time.Now().Add(-time.Nanosecond))
		if !h.passedOver() {
			t.Error("an answer to what began before brings it back")
		}
		h.good(time.Now())
		if h.passedOver() || out.Load() != 0 {
			t.Error("an answer does not bring it back")
		}
	})
}

func TestSlowIsWhatTakesTenTimesAsLongAsTheFastOnes(t *testing.T) {
	t.Parallel()
	var u usual
	if u.slow(time.Hour) {
		t.Error("nothing is known, and something is slow")
	}
	for range 50 { // two of three instances are slow
		u.add(time.Second)
		u.add(time.Second)
		u.add(15 * time.Millisecond)
	}
	for took, want := range map[time.Duration]bool{time.Second: true, 99 * time.Millisecond: false, 15 * time.Millisecond: false} {
		if u.slow(took) != want {
			t.Errorf("%s: slow is %t", took, !want)
		}
	}
}
