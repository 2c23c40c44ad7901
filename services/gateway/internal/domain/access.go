package domain

import "context"

// Scope is what a caller may do. Each has those below it in it.
type Scope int

// The scopes.
const (
	NoScope Scope = iota
	Read
	Write
	Admin
)

// String is the name of the scope in keys, tokens and answers.
func (s Scope) String() string {
	return [...]string{"none", "read", "write", "admin"}[s]
}

// ScopeOf is the greatest scope among names; what is no scope counts nothing.
func ScopeOf(names []string) Scope {
	greatest := NoScope
	for _, name := range names {
		for _, scope := range []Scope{Read, Write, Admin} {
			if name == scope.String() {
				greatest = max(greatest, scope)
			}
		}
	}
	return greatest
}

// Caller is who asks, as a key or a token says.
type Caller struct {
	// ID is key/ and the key's id, or jwt/ and the token's subject. It tells
	// callers apart, and stands in the log.
	ID    string
	Scope Scope
}

// Keys knows the keys of the shop.
type Keys interface {
	// Any tells whether there has ever been one. Until then everything is open.
	Any() bool
	// Caller is whose key it is, or Unauthenticated.
	Caller(key string) (Caller, error)
}

// Tokens verifies what another has signed.
type Tokens interface {
	// Caller is whom a token is about, or Unauthenticated, or Unavailable as long
	// as nobody can tell.
	Caller(ctx context.Context, token string) (Caller, error)
}
