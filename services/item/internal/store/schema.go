package store

import (
	"context"
	"embed"
	"io/fs"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
)

// indexPage is how many items are read at a time to cut their words. An item
// has up to a megabyte.
const indexPage = 100

//go:embed migrations/*/*.sql
var migrations embed.FS

// Schema is the database as those see it who copy all of it.
func Schema() (sqldb.Schema, error) {
	files, err := fs.Sub(migrations, "migrations")
	return sqldb.Schema{
		Name:       "item",
		Migrations: files,
		Tables:     []string{"items", "commands"},
		Finish:     finish,
	}, err
}

// finish makes the next item's id the one after the last that ever was, and
// the words of all items.
func finish(ctx context.Context, tx *sqldb.Tx, ids map[string]int64) error {
	if err := tx.Exec(ctx, `UPDATE last_deleted SET id = ?`, ids["items"]); err != nil {
		return err
	}
	for last := int64(0); ; {
		items, err := find(ctx, tx, `FROM items WHERE id > ? ORDER BY id LIMIT ?`, last, indexPage)
		if err != nil || len(items) == 0 {
			return err
		}
		for _, item := range items {
			tags, err := encodeList(item.Tags)
			if err != nil {
				return err
			}
			if err := indexWords(ctx, tx, item, tags); err != nil {
				return err
			}
		}
		last = items[len(items)-1].ID
	}
}
