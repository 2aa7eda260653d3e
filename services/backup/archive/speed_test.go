// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blufio/blufio/services/internal/sqlite"
)

// long skips what takes minutes, unless make soak asks for it.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("SOAK_BACKUP") == "" {
		t.Skip("takes minutes: SOAK_BACKUP=1 runs it")
	}
}

// heavy fills a database with some bytes as a daemon does: text with an index on it, and pieces of files.
func heavy(t testing.TB, path string, bytes int64) *sqlite.Store {
	t.Helper()
	s := openStore(t, path)
	run(t, s, `CREATE TABLE piece (id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
		CREATE TABLE message (id TEXT PRIMARY KEY, session TEXT NOT NULL, text TEXT NOT NULL) STRICT, WITHOUT ROWID;
		CREATE INDEX message_session ON message (session, id)`)
	random := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("the of and to in is you that it he was for on are as with his they at be this have from or one had by word but not what all were we when your can said there use an each which she do how their if will up other about out many then them these so some her would make like him into time has look two more write go see number no way could people my than first water been call who oil its now find")
	for written := int64(0); written < bytes; {
		err := s.Write(context.Background(), func(tx *sqlite.Tx) error {
			for range 64 {
				var text strings.Builder
				for text.Len() < 900 {
					text.WriteString(words[random.IntN(len(words))])
					text.WriteByte(' ')
				}
				id := fmt.Sprintf("%016x%06x", random.Uint64(), random.Uint32()>>8)
				if _, err := tx.Exec(`INSERT INTO message (id, session, text) VALUES (?, ?, ?)`, id, fmt.Sprint("session", random.IntN(200)), text.String()); err != nil {
					return err
				}
			}
			data := make([]byte, 64<<10)
			for i := range data {
				data[i] = byte(random.Uint32())
			}
			_, err := tx.Exec(`INSERT INTO piece (data) VALUES (?)`, data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		written += 64*1000 + 64<<10
	}
	return s
}

func TestSpeedX(t *testing.T) {
	long(t)
	dir := "/tmp/speedx"
	os.MkdirAll(dir, 0o700)
	path := filepath.Join(dir, "live.db")
	var s *sqlite.Store
	if _, err := os.Stat(path); err != nil {
		s = heavy(t, path, 1e9)
	} else {
		s = openStore(t, path)
	}
	_ = s
	step := func(name string, fn func() error) {
		begin := time.Now()
		if err := fn(); err != nil {
			t.Fatal(name, err)
		}
		t.Logf("%s: %.2f s", name, time.Since(begin).Seconds())
	}
	for range 2 {
		os.Remove(dir + "/cli.db")
		os.Remove(dir + "/copy.db")
		step("sqlite3 .backup", func() error {
			return exec.Command("sqlite3", "file:"+path+"?mode=ro", ".backup "+dir+"/cli.db").Run()
		})
		step("sync", func() error { return exec.Command("sync").Run() })
		step("Copy", func() error { return s.Copy(t.Context(), dir+"/copy.db", nil) })
		if os.Getenv("COPYONLY") != "" {
			continue
		}
		step("Check", func() error { c, err := sqlite.Check(t.Context(), dir+"/copy.db"); t.Log(c); return err })
		var f File
		step("hash", func() (err error) { f, err = Describe(t.Context(), DatabaseName, dir+"/copy.db"); return })
		m := Manifest{Created: created, Files: []File{f, {Name: DevicePubName, SHA256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}}
		step("write", func() error {
			out, err := os.Create(dir + "/out")
			if err != nil {
				return err
			}
			err = Write(t.Context(), out, m, func(name string) (io.ReadCloser, error) {
				if name == DatabaseName {
					return os.Open(dir + "/copy.db")
				}
				return io.NopCloser(strings.NewReader("")), nil
			}, nil)
			t.Log(out.Seek(0, 1))
			return err
		})
	}
}
