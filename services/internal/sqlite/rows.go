// SPDX-License-Identifier: MIT OR Apache-2.0

package sqlite

import "context"

const copiedRows = 500 // in one transaction

// CopyRows makes insert of each row that query finds in another database, with its
// columns as arguments in their order, and returns how many rows that changed.
func CopyRows(ctx context.Context, from, to *Store, query, insert string) (changed int, err error) {
	rows, err := from.Query(ctx, query)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return 0, classify(err)
	}
	var page [][]any
	flush := func() error {
		n, err := to.insertAll(ctx, insert, page)
		changed, page = changed+n, page[:0]
		return err
	}
	for rows.Next() {
		values, places := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			places[i] = &values[i]
		}
		if err := rows.Scan(places...); err != nil {
			return changed, classify(err)
		}
		if page = append(page, values); len(page) == copiedRows {
			if err := flush(); err != nil {
				return changed, err
			}
		}
	}
	if err := rows.Err(); err != nil {
		return changed, classify(err)
	}
	return changed, flush()
}

func (s *Store) insertAll(ctx context.Context, insert string, page [][]any) (changed int, err error) {
	if len(page) == 0 {
		return 0, nil
	}
	n := 0
	err = s.Write(ctx, func(tx *Tx) error {
		n = 0
		for _, values := range page {
			done, err := tx.Exec(insert, values...)
			if err != nil {
				return err
			}
			one, err := done.RowsAffected()
			if err != nil {
				return err
			}
			n += int(one)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
