package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	modernc "modernc.org/sqlite"
)

// copyPages is how many pages are copied between two looks at ctx.
const copyPages = 4096

// Copied is a file that Copy has written.
type Copied struct {
	Name    string // without its directory
	Bytes   int64
	Version int64 // of the schema
	// Compared tells whether it was looked for drift: in an older schema it is not.
	Compared bool
	// Drifts is how many numbers do not add up, here as in the original.
	Drifts int64
}

// Copy copies the SQLite files of the schemas from a directory, also one in use,
// to one that it makes. Each is as it was at one moment, with all that was
// committed before Copy began; that of the first schema is the earliest, by
// the time between two statements. The directory appears at the end, when all
// is on the disk and was found whole.
func Copy(ctx context.Context, from, to string, schemas ...Schema) (copied []Copied, err error) {
	to = filepath.Clean(to)
	if err := wantFree(to, schemas); err != nil {
		return nil, err
	}
	var files []*file
	defer func() {
		for _, f := range files {
			err = errors.Join(err, f.close())
		}
	}()
	for _, schema := range schemas {
		f, err := openFile(ctx, from, schema)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	partial, err := os.MkdirTemp(filepath.Dir(to), "."+filepath.Base(to)+"-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(partial))
		}
	}()
	for _, f := range files {
		one, err := f.copyTo(ctx, partial)
		if err != nil {
			return nil, fmt.Errorf("copy of %s: %w", f.path, err)
		}
		copied = append(copied, one)
	}
	if err := flush(partial); err != nil {
		return nil, err
	}
	if err := os.Rename(partial, to); err != nil {
		return nil, err
	}
	return copied, flush(filepath.Dir(to))
}

// wantFree refuses a directory that exists.
func wantFree(dir string, schemas []Schema) error {
	if _, err := os.Lstat(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, schema := range schemas {
		path := filepath.Join(dir, schema.Name+".db")
		if _, err := os.Stat(path + ".lock"); err != nil {
			continue // nobody has ever opened it here
		}
		lock, err := lockFile(path)
		if err != nil {
			return err
		}
		if err := lock.Close(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s exists, and nothing is overwritten: name another directory, or move that one away", dir)
}

func (f *file) copyTo(ctx context.Context, dir string) (Copied, error) {
	target := filepath.Join(dir, filepath.Base(f.path))
	if err := f.copyPages(ctx, target); err != nil {
		return Copied{}, err
	}
	one := Copied{Name: filepath.Base(f.path), Version: f.version, Compared: f.schema.Drift != "" && f.version == f.known}
	if err := f.inspect(ctx, target, &one); err != nil {
		return Copied{}, err
	}
	info, err := os.Stat(target)
	if err != nil {
		return Copied{}, err
	}
	one.Bytes = info.Size()
	return one, errors.Join(os.Chmod(target, 0o600), flush(target))
}

func (f *file) copyPages(ctx context.Context, target string) error {
	return f.conn.Raw(func(raw any) error {
		backup, err := raw.(interface {
			NewBackup(target string) (*modernc.Backup, error)
		}).NewBackup(uri(target, ""))
		if err != nil {
			return err
		}
		for more := true; more && err == nil; {
			if more, err = backup.Step(copyPages); err == nil {
				err = ctx.Err()
			}
		}
		return errors.Join(err, backup.Finish())
	})
}

// inspect reads all of a copy. It leaves one file, without a log beside it.
func (f *file) inspect(ctx context.Context, path string, about *Copied) (err error) {
	db, err := sql.Open("sqlite", uri(path, "_pragma=journal_mode(DELETE)&_pragma=cache_size(-65536)"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var found string
	if err := db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&found); err != nil || found != "ok" {
		return errors.Join(fmt.Errorf("the file is damaged: %s", found), err)
	}
	var orphans int64
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM pragma_foreign_key_check`).Scan(&orphans); err != nil || orphans > 0 {
		return errors.Join(fmt.Errorf("%d rows refer to others that are missing", orphans), err)
	}
	if !about.Compared {
		return nil
	}
	return db.QueryRowContext(ctx, f.schema.countDrifts()).Scan(&about.Drifts)
}

func (s Schema) countDrifts() string { return `SELECT count(*) FROM (` + s.Drift + `) AS drift` }

// flush waits until a file, or the names in a directory, are on the disk.
func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
