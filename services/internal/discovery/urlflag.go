package discovery

import "strings"

// urlFlag is the URL of a registry. It may have no password, and one that has is
// printed before it is refused.
type urlFlag string

// Set implements flag.Value.
func (u *urlFlag) Set(text string) error {
	*u = urlFlag(text)
	return nil
}

// String is the URL without a password.
func (u *urlFlag) String() string {
	scheme, rest, found := strings.Cut(string(*u), "://")
	at := strings.LastIndex(rest, "@")
	colon := strings.Index(rest[:max(at, 0)], ":")
	if !found || colon < 0 {
		return string(*u)
	}
	return scheme + "://" + rest[:colon] + ":***" + rest[at:]
}
