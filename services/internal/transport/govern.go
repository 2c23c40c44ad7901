package transport

import (
	"context"

	"github.com/kiteshop/kiteshop/services/internal/identity"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// Governance is what rules the calls of a service, those it makes and those it
// answers. nil rules nothing: that is for programs that call once and end.
type Governance struct {
	// Policies are by method, as StockService/Reserve.
	Policies *policy.Policies
	// Files are read again while the service runs.
	Files    *Files
	identity *identity.Identity // nil: nobody is asked who calls
	required bool               // calls without a token are refused
}

// Govern opens the rules that ship with the changes of a file, which apply as
// long as the service runs. A file that is wrong at the start is an error; one
// that becomes wrong is logged and counted, and the rules stay.
func Govern(cfg policy.Config, shipped []byte, tel *telemetry.Telemetry, life *lifecycle.Service) (*Governance, error) {
	policies, err := policy.Open(cfg, shipped)
	if err != nil {
		return nil, err
	}
	tel.Diagnosis.Add("policies", func() any { return policies.Now() })
	policies.OnChange(func(set *policy.Set) { tel.Adjust(context.Background(), set.Level, set.SampleRatio) })
	files, err := newFiles(tel, life)
	if err != nil {
		return nil, err
	}
	if cfg.File != "" {
		files.Follow("policies", policies.Reload)
	}
	return &Governance{Policies: policies, Files: files}, nil
}
