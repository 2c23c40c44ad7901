package store

import (
	"context"
	"embed"
	"io/fs"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
)

//go:embed migrations/*/*.sql
var migrations embed.FS

// Schema is the database as those see it who copy all of it.
func Schema() (sqldb.Schema, error) {
	files, err := fs.Sub(migrations, "migrations")
	return sqldb.Schema{
		Name:       "stock",
		Migrations: files,
		Tables:     []string{"items", "stock", "movements", "reservations", "reservation_items", "commands", "imports", "checkpoints"},
		Instead: map[string]string{ // of NULL, which an older version wrote
			"stock.floor":      "coalesce(floor, -1000000000000)", // no limit
			"reservations.key": "coalesce(key, id)",               // the caller gave none
		},
		Finish: continueIDs,
		Drift:  reconciliation,
	}, err
}

// continueIDs makes the next movement's id the one after the last.
func continueIDs(ctx context.Context, tx *sqldb.Tx, ids map[string]int64) error {
	var next int64
	return sqldb.QueryRow(ctx, tx, `SELECT setval(pg_get_serial_sequence('movements', 'id'), ?, false)`, ids["movements"]+1).Scan(&next)
}
