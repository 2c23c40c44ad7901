package transport

import (
	"sync/atomic"

	"github.com/bytedance/gopkg/cloud/circuitbreaker"
	"github.com/cloudwego/kitex/pkg/retry"
)

const (
	// callEarns and repetitionCosts let a fifth of a method's calls be repeated.
	callEarns       = 1
	repetitionCosts = 5
	// savedMost is what can be saved for worse times, and is there at the start: 50 repetitions.
	savedMost = 50 * repetitionCosts
)

// budget bounds the repetitions of a method, hedges included, by its calls.
// Kitex's retry believes that it asks for a rate of errors.
type budget struct {
	circuitbreaker.Metricer // only the two methods below are called
	spent                   atomic.Int64
	denied                  func()
}

func (b *budget) earn() {
	if spent := b.spent.Load(); spent > 0 {
		b.spent.CompareAndSwap(spent, max(spent-callEarns, 0)) // in a crowd some earn nothing
	}
}

func (b *budget) spend() { b.spent.Add(repetitionCosts) }

// Samples implements circuitbreaker.Metricer: there are enough.
func (*budget) Samples() int64 { return 1 << 20 }

// ErrorRate implements circuitbreaker.Metricer: 0 if a repetition may be made, else 1.
func (b *budget) ErrorRate() float64 {
	if b.spent.Load()+repetitionCosts <= savedMost {
		return 0
	}
	b.denied()
	return 1
}

// budgets is what Kitex's retry takes for a panel of circuit breakers.
type budgets struct {
	circuitbreaker.Panel // only GetMetricer is called
	methods              *callRules
}

// GetMetricer implements circuitbreaker.Panel.
func (b budgets) GetMetricer(method string) circuitbreaker.Metricer {
	return &b.methods.byName[method].budget
}

// stopPolicy bounds the attempts. That the call is for a repetition itself does not matter: budgets bound all.
func stopPolicy(attempts int) retry.StopPolicy {
	return retry.StopPolicy{MaxRetryTimes: attempts - 1, DisableChainStop: true, CBPolicy: retry.CBPolicy{ErrorRate: 0.3}}
}
