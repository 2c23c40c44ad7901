package transport

import (
	"context"
	"errors"
	"time"

	"github.com/cloudwego/kitex/pkg/kerrors"
	"github.com/cloudwego/kitex/pkg/rpcinfo"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// verdict is what an attempt says of the one that was asked.
type verdict int

const (
	answered   verdict = iota // whatever the answer says
	overloaded                // it was asked, and did not begin
	unsent                    // it was not asked
	lost                      // it was asked, and nobody knows what it did
	unclear                   // lost, but the caller left, or did not wait as long as an attempt may take
)

// judge looks at an attempt that took so long.
func judge(ctx context.Context, call rpcinfo.RPCInfo, err error, took time.Duration) verdict {
	if refused := call.Invocation().BizStatusErr(); err == nil && refused != nil {
		err = refused
	}
	patience := call.Config().RPCTimeout()
	if err == nil {
		if patience > 0 && took >= patience {
			return lost // nobody waited for it any more
		}
		return answered
	}
	if status, ok := kerrors.FromBizStatusError(err); ok {
		if codeOf(status) == fault.Overloaded {
			return overloaded
		}
		return answered
	}
	switch {
	case isUnsent(err):
		return unsent
	case isRefused(err):
		return answered
	case errors.Is(ctx.Err(), context.Canceled):
		return unclear
	case hurried(ctx):
		return unclear
	default:
		return lost
	}
}

// codeOf is the fault's code, over each protocol.
func codeOf(status kerrors.BizStatusErrorIface) fault.Code {
	if code := status.BizExtra()[extraCode]; code != "" {
		return fault.Code(code)
	}
	return decodeBiz(status).Code
}

// hurried tells whether the caller of ctx gave less time than the policy.
func hurried(ctx context.Context) bool {
	of := callOf(ctx)
	return of != nil && (of.hurried.Load() || errors.Is(of.caller.Err(), context.Canceled))
}
