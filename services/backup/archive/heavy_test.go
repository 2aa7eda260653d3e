// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blufio/blufio/services/internal/sqlite"
)

// long skips what takes minutes, unless make soak asks for it.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("SOAK_BACKUP") == "" {
		t.Skip("takes minutes: SOAK_BACKUP=1 runs it")
	}
}

var messages = sqlite.Schema{Room: "messages", Steps: []string{`
	CREATE TABLE piece (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
	CREATE TABLE message (id TEXT PRIMARY KEY, session TEXT NOT NULL, text TEXT NOT NULL) STRICT;
	CREATE INDEX message_session ON message (session, id)`}}

// heavy makes a database of some bytes at path, filled as a daemon does: text with an index, and pieces of files.
func heavy(t testing.TB, path string, bytes int64) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, CacheKiB: 32 << 10, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := s.Migrate(t.Context(), letters, messages); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	texts := make([]string, 2000)
	for i := range texts {
		texts[i] = prose(random, 1000)
	}
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	const blob, rows = 64 << 10, 512 // a third of it is pieces
	for written := int64(0); written < bytes; written += rows*1000*13/10 + rows/100*blob {
		err := s.Write(context.Background(), func(tx *sqlite.Tx) error {
			for i := range rows {
				_, err := tx.Exec(`INSERT INTO message (id, session, text) VALUES (?, ?, ?)`,
					fmt.Sprintf("%016x", written+int64(i)), fmt.Sprint("session", random.IntN(200)), texts[random.IntN(len(texts))])
				if err != nil {
					return err
				}
			}
			for range rows / 100 {
				at := random.IntN(len(noise) - blob)
				if _, err := tx.Exec(`INSERT INTO piece (data) VALUES (?)`, noise[at:at+blob]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// prose is words of no meaning.
func prose(random *rand.Rand, bytes int) string {
	words := strings.Fields(`the of and to in is you that it he was for on are as with his they at be this have from or one had by word
		but not what all were we when your can said there use an each which she do how their if will up other about out many then them
		these so some her would make like him into time has look two more write go see number no way could people my than first water`)
	var b strings.Builder
	for b.Len() < bytes {
		b.WriteString(words[random.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()
}

// whole makes a backup of a store as the command does: copy, check, hash, compress to a file. It leaves
// nothing else in dir.
func whole(ctx context.Context, s *sqlite.Store, dir, path string) error {
	return phases(ctx, s, dir, path, func(string) {})
}

// phases is whole, and says what it has done.
func phases(ctx context.Context, s *sqlite.Store, dir, path string, did func(string)) error {
	database := filepath.Join(dir, "copy.db")
	defer os.Remove(database)
	if err := s.Copy(ctx, database, nil); err != nil {
		return err
	}
	did("copy")
	e, err := Examine(ctx, database)
	if err != nil {
		return err
	}
	defer e.Stop()
	did("hash")
	p := &parts{files: map[string][]byte{}, m: Manifest{Created: created, Schema: e.Schema, Rows: e.Rows, Files: []File{e.File}}}
	p.add(DevicePubName, "U\n")
	out, err := Create(path, false)
	if err != nil {
		return err
	}
	defer out.Abort()
	err = Write(ctx, out, p.m, func(name string) (io.ReadCloser, error) {
		if name == DatabaseName {
			return os.Open(database)
		}
		return p.open(name)
	}, e.Sound, nil)
	if err != nil {
		return err
	}
	did("check, compress")
	defer did("sync")
	return out.Commit()
}
