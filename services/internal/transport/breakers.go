package transport

import (
	"time"

	"github.com/bytedance/gopkg/cloud/circuitbreaker"
)

const (
	// breakerWindow is the time whose attempts a breaker looks at, and
	// breakerLeast how many there must be.
	breakerWindow = 10 * time.Second
	breakerLeast  = 20
	// breakerOpen is how long no call is made. Then one is, every breakerProbe,
	// until two in a row are answered.
	breakerOpen  = time.Second
	breakerProbe = 100 * time.Millisecond
)

// newBreakers makes one for each method, of all its instances.
func newBreakers(c *callRules) (circuitbreaker.Panel, error) {
	return circuitbreaker.NewPanel(nil, circuitbreaker.Options{
		BucketTime:        breakerWindow / 100,
		BucketNums:        100,
		CoolingTimeout:    breakerOpen,
		DetectTimeout:     breakerProbe,
		HalfOpenSuccesses: 2,
		EnableShardP:      true,
		ShouldTripWithKey: func(name string) circuitbreaker.TripFunc {
			part := c.byName[name].rule.Load().Breaker
			return func(seen circuitbreaker.Metricer) bool {
				return part > 0 && seen.Samples() >= breakerLeast && seen.ErrorRate() >= part
			}
		},
	})
}

// count tells the method's breaker how an attempt went. A service that is
// overloaded says so at once and serves as many as it can: that opens none.
func (c *callRules) count(m *method, rule *rule, how verdict) {
	switch {
	case rule.Breaker == 0 || how == unclear:
	case how == lost || how == unsent:
		c.breakers.Fail(m.name)
	default:
		c.breakers.Succeed(m.name)
	}
}

// states are those of the breakers that were asked lately, by method.
func (c *callRules) states() map[string]string {
	states := map[string]string{}
	for name, breaker := range c.breakers.DumpBreakers() {
		switch breaker.State() {
		case circuitbreaker.Open:
			states[name] = "open"
		case circuitbreaker.HalfOpen:
			states[name] = "trying"
		default:
			states[name] = "closed"
		}
	}
	return states
}
