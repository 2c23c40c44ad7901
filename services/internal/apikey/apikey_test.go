package apikey

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func noon() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) }

func file(t *testing.T) File {
	t.Helper()
	return File(filepath.Join(t.TempDir(), "data", "api-keys.yaml"))
}

func create(t *testing.T, f File, name string, scopes ...string) (string, Key) {
	t.Helper()
	text, key, err := f.Create(t.Context(), name, scopes, noon(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return text, key
}

func open(t *testing.T, f File) *Keys {
	t.Helper()
	keys, err := Open(f, false)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func reload(t *testing.T, keys *Keys) {
	t.Helper()
	if changed, err := keys.Reload(); err != nil || !changed {
		t.Fatalf("changed %t, %v", changed, err)
	}
}

func TestAKeyIsFoundAndOnlyItsHashIsKept(t *testing.T) {
	t.Parallel()
	f := file(t)
	text, made := create(t, f, "till", "read", "write")
	if len(text) != 3+16+1+64 || !strings.HasPrefix(text, "ks_"+made.ID+"_") {
		t.Errorf("the key is %q", text)
	}
	found, err := open(t, f).Find(text)
	if err != nil || found.ID != made.ID || found.Name != "till" || fmt.Sprint(found.Scopes) != "[read write]" {
		t.Errorf("found %+v, %v", found, err)
	}
	kept, err := os.ReadFile(string(f))
	if err != nil {
		t.Fatal(err)
	}
	if secret := strings.Split(text, "_")[2]; strings.Contains(string(kept), secret) || strings.Contains(string(kept), secret[:8]) {
		t.Errorf("the secret is in the file: %s", kept)
	}
	info, err := os.Stat(string(f))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has the mode %v, %v", info.Mode(), err)
	}
}

func TestWhatIsNoKeyIsNotFound(t *testing.T) {
	t.Parallel()
	f := file(t)
	text, made := create(t, f, "till", "write")
	other, _ := create(t, f, "desk", "write")
	keys := open(t, f)
	for _, wrong := range []string{
		"", "ks_", "ks__", "ks_" + made.ID, "ks_" + made.ID + "_", text[:len(text)-1], text + "0", strings.ToUpper(text), strings.TrimPrefix(text, "ks_"), " " + text,
		"ks_" + made.ID + "_" + strings.Split(other, "_")[2], "ks_0000000000000000_" + strings.Split(text, "_")[2], "ks_" + made.ID + "_" + made.SHA256,
	} {
		if found, err := keys.Find(wrong); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q is %+v, %v", wrong, found, err)
		}
	}
}

func TestARevokedKeyIsRevokedOnceAndKnownAsSuch(t *testing.T) {
	t.Parallel()
	f := file(t)
	text, made := create(t, f, "till", "write")
	keys := open(t, f)
	for _, at := range []time.Time{noon().Add(time.Hour), noon().Add(2 * time.Hour)} {
		if revoked, err := f.Revoke(t.Context(), made.ID, at); err != nil || !revoked.RevokedAt.Equal(noon().Add(time.Hour)) {
			t.Fatalf("%+v, %v", revoked, err)
		}
	}
	reload(t, keys)
	if _, err := keys.Find(text); !errors.Is(err, ErrRevoked) {
		t.Errorf("found with %v", err)
	}
	if _, err := keys.Find(text[:len(text)-1]); !errors.Is(err, ErrUnknown) {
		t.Errorf("with another secret found with %v", err)
	}
	if !keys.Any() {
		t.Error("revoking the last key says that there never was one")
	}
	if _, err := f.Revoke(t.Context(), "0000000000000000", noon()); err == nil || !strings.Contains(err.Error(), `has no key with the id "0000000000000000"`) {
		t.Errorf("revoking what is not there: %v", err)
	}
}

func TestAWrongFileIsRefusedAndTheLastKeysAreKept(t *testing.T) {
	t.Parallel()
	f := file(t)
	text, made := create(t, f, "till", "write")
	good, err := os.ReadFile(string(f))
	if err != nil {
		t.Fatal(err)
	}
	keys := open(t, f)
	entry := func(change ...string) string { return strings.NewReplacer(change...).Replace(string(good)) }
	for _, c := range []struct{ text, want string }{
		{"", "the file has no key; it must have one at least, which may be revoked"},
		{"keys: []", "the file has no key"},
		{"keys: 7", "cannot unmarshal"},
		{"key: []", "field key not found"},
		{entry("name: till", "name: ''"), `keys[0]: name is ""; it must be 1 to 100 printable characters`},
		{entry(made.ID, "till"), `keys[0]: id is "till"; it must be 16 hexadecimal digits`},
		{entry(made.SHA256, "hunter2"), "keys[0]: sha256 is no SHA-256 in hexadecimal"},
		{entry("- write", "- root"), `keys[0]: scopes has "root"; there are read, write, admin`},
		{string(good) + strings.TrimPrefix(string(good), "keys:\n"), "the id " + made.ID + " is there twice"},
		{strings.Repeat("#", maxFile+1), "is larger than 4194304 bytes"},
	} {
		if err := os.WriteFile(string(f), []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 { // it stays wrong until it is another
			if changed, err := keys.Reload(); changed || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%.40s: changed %t, %v; want %s", c.text, changed, err, c.want)
			}
		}
		if _, err := Open(f, true); err == nil {
			t.Errorf("%.40s is opened", c.text)
		}
	}
	if err := os.Remove(string(f)); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Reload(); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a file that has gone: %v", err)
	}
	if _, err := keys.Find(text); err != nil {
		t.Errorf("the key that was good is refused: %v", err)
	}
}

func TestAFileThatIsOptionalMayComeLater(t *testing.T) {
	t.Parallel()
	f := file(t)
	if _, err := Open(f, false); err == nil {
		t.Error("a file that is missing was opened")
	}
	keys, err := Open(f, true)
	if err != nil || keys.Any() {
		t.Fatalf("%v, any %t", err, keys.Any())
	}
	text, _ := create(t, f, "first", "admin")
	reload(t, keys)
	if _, err := keys.Find(text); err != nil || !keys.Any() {
		t.Errorf("%v, any %t", err, keys.Any())
	}
}

func TestAFileMayBeJSON(t *testing.T) {
	t.Parallel()
	f := file(t)
	text, made := create(t, f, "till", "write")
	asJSON, err := json.Marshal(map[string]any{"keys": []map[string]any{{
		"id": made.ID, "name": "till", "sha256": made.SHA256, "scopes": []string{"write"}, "created_at": "2026-01-02T12:00:00Z",
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(string(f), asJSON, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, f).Find(text); err != nil {
		t.Error(err)
	}
}

func TestCommandsAtTheSameTimeLoseNothing(t *testing.T) {
	t.Parallel()
	const commands = 20
	f := file(t)
	var all sync.WaitGroup
	for i := range commands {
		all.Go(func() {
			if _, _, err := f.Create(t.Context(), fmt.Sprintf("till %d", i), []string{"write"}, noon(), rand.Reader); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	keys, err := f.List()
	if err != nil || len(keys) != commands {
		t.Errorf("%d keys are left of %d, %v", len(keys), commands, err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(string(f)), "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("beside the file and its lock there is %v, %v", left, err)
	}
}

func TestAKeyIsFoundInAText(t *testing.T) {
	t.Parallel()
	text, made := create(t, file(t), "till", "write")
	for given, want := range map[string]int{
		"": -1, "ks_": -1, "hats ks_": -1, "ks_straw_hat": -1, "ks_" + made.ID: -1, "ks_ks_straw_": -1,
		text: 0, "hats=" + text: 5, "ks_" + text: 3, "ks_hat " + text[:21]: 7,
	} {
		if got := Index(given); got != want {
			t.Errorf("in %q it is at %d, want %d", given, got, want)
		}
	}
}

func TestWhatCannotBeAKeyIsNotMade(t *testing.T) {
	t.Parallel()
	f := file(t)
	for _, c := range []struct {
		name   string
		scopes []string
		want   string
	}{
		{"", []string{"read"}, `name is ""`},
		{strings.Repeat("x", 101), []string{"read"}, "it must be 1 to 100 printable characters"},
		{"a\nb", []string{"read"}, "printable"},
		{"till", nil, "scopes is empty; it must have one of read, write, admin"},
		{"till", []string{"read", "Write"}, `scopes has "Write"`},
	} {
		if _, _, err := f.Create(t.Context(), c.name, c.scopes, noon(), rand.Reader); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.20q %v: %v", c.name, c.scopes, err)
		}
	}
	if keys, err := f.List(); err != nil || len(keys) != 0 {
		t.Errorf("there are %v, %v", keys, err)
	}
}
