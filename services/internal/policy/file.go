package policy

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds, in bytes, the file of changes.
const maxFile = 1 << 20

// Config says where changes of the policies are.
type Config struct {
	// File is a YAML file of changes, which is looked at again while the service
	// runs. What it does not name stays as it ships. "": nothing is changed.
	File string
}

// Flags declares -policies.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.File, "policies", c.File, "YAML `file` of changes to the policies, read again when it changes")
}

// Policies are the rules in force.
type Policies struct {
	shipped Set
	file    string
	now     atomic.Pointer[Set]

	mu      sync.Mutex
	read    bool // the file was, and is what was seen
	seen    []byte
	problem error // of what was seen
	apply   []func(*Set)
}

// Open reads what ships and the file of changes, and fails if one of them is wrong.
func Open(cfg Config, shipped []byte) (*Policies, error) {
	p := &Policies{file: cfg.File}
	if err := decode(shipped, &p.shipped); err != nil {
		return nil, err
	}
	if err := p.shipped.check(); err != nil {
		return nil, err
	}
	p.now.Store(&p.shipped)
	if _, err := p.Reload(); err != nil {
		return nil, err
	}
	return p, nil
}

// Now is all rules in force. Nobody changes it.
func (p *Policies) Now() *Set { return p.now.Load() }

// Of is the policy of a method, as StockService/Reserve, and whether there is one.
func (p *Policies) Of(method string) (Method, bool) {
	m, known := p.now.Load().Methods[method]
	return m, known
}

// OnChange has apply called at once and after each change, one call at a time.
func (p *Policies) OnChange(apply func(*Set)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.apply = append(p.apply, apply)
	apply(p.now.Load())
}

// Reload reads the file if it is another than before, and tells whether the
// rules have changed. It fails, and leaves them as they are, as long as the file
// is wrong; a file that has gone is wrong, too.
func (p *Policies) Reload() (changed bool, err error) {
	if p.file == "" {
		return false, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	text, err := readFile(p.file)
	if err != nil {
		p.read = false
		return false, fmt.Errorf("policies: %w", err)
	}
	if p.read && bytes.Equal(text, p.seen) {
		return false, p.problem
	}
	p.read, p.seen, p.problem = true, text, nil
	set, err := p.changed(text)
	if err != nil {
		p.problem = fmt.Errorf("policies: %s: %w", p.file, err)
		return false, p.problem
	}
	p.now.Store(set)
	for _, apply := range p.apply {
		apply(set)
	}
	return true, nil
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return text, err
}

// changed is what ships with the changes that text makes.
func (p *Policies) changed(text []byte) (*Set, error) {
	file := changes{Edge: p.shipped.Edge}
	if err := decode(text, &file); err != nil {
		return nil, err
	}
	set := &Set{Level: file.Level, SampleRatio: file.SampleRatio, Edge: file.Edge, Methods: maps.Clone(p.shipped.Methods)}
	for name, node := range file.Methods {
		shipped, known := set.Methods[name]
		if !known {
			return nil, fmt.Errorf("methods: there is no method %q; there are %s", name, listed(set.Methods))
		}
		text, err := standalone(node)
		if err != nil {
			return nil, fmt.Errorf("methods: %s: %w", name, err)
		}
		changed := shipped
		if err := decode(text, &changed); err != nil {
			return nil, fmt.Errorf("methods: %s: %w", name, err)
		}
		if changed.Effect != shipped.Effect || !slices.Equal(changed.Callers, shipped.Callers) {
			return nil, fmt.Errorf("methods: %s: effect and callers are what the program ships with; a file cannot change them", name)
		}
		set.Methods[name] = changed
	}
	return set, set.check()
}

// standalone is the text of a part of a file, without what it refers to in others.
func standalone(node yaml.Node) ([]byte, error) {
	var value any
	if err := node.Decode(&value); err != nil {
		return nil, err
	}
	return yaml.Marshal(value)
}

// changes is a file of changes.
type changes struct {
	Level       *slog.Level          `yaml:"log_level"`
	SampleRatio *float64             `yaml:"sample_ratio"`
	Edge        Edge                 `yaml:"edge"`
	Methods     map[string]yaml.Node `yaml:"methods"` // each changes what ships, member by member
}

// decode refuses members that nobody defined. Nothing, or nothing but comments, changes nothing.
func decode(text []byte, to any) error {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(to); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one YAML document")
	}
	return nil
}
