package upstream

import (
	"errors"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/apikey"
	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// Keys are those of a file.
type Keys struct{ *apikey.Keys }

// Caller implements domain.Keys.
func (k Keys) Caller(key string) (domain.Caller, error) {
	found, err := k.Find(key)
	switch {
	case errors.Is(err, apikey.ErrRevoked):
		return domain.Caller{}, fault.New(fault.Unauthenticated, "the key %s is revoked", found.ID).Because(err)
	case err != nil:
		return domain.Caller{}, fault.New(fault.Unauthenticated, "the key is not known")
	}
	return domain.Caller{ID: "key/" + found.ID, Scope: domain.ScopeOf(found.Scopes)}, nil
}
