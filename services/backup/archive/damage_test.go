// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// refused fails unless an error says in one line, by one of our kinds, what is wrong.
func refused(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: accepted", what)
		return
	}
	if text := err.Error(); strings.Contains(text, "\n") || len(text) > 700 {
		t.Errorf("%s: not one line: %q", what, text)
	}
	for _, kind := range []error{ErrNotArchive, ErrDamaged, ErrNewer, ErrEncrypted, ErrSpace} {
		if errors.Is(err, kind) {
			return
		}
	}
	t.Errorf("%s: no kind of ours: %v", what, err)
}

func TestEveryByteFlipped(t *testing.T) {
	id := identity(t)
	p := small(t)
	for name, b := range map[string][]byte{"plain": p.write(t), "encrypted": p.write(t, id.Recipient())} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := store(t, b)
			o := Options{Identities: []Identity{id}, Scratch: t.TempDir()}
			for i := range b {
				flip(t, path, int64(i), 1<<(i%8))
				_, err := Verify(t.Context(), path, o)
				refused(t, "byte flipped", err)
				flip(t, path, int64(i), 1<<(i%8))
			}
			if _, err := Verify(t.Context(), path, o); err != nil {
				t.Errorf("with every byte back: %v", err)
			}
			if left, err := os.ReadDir(o.Scratch); err != nil || len(left) > 0 {
				t.Errorf("left in the scratch directory: %v, %v", left, err)
			}
			t.Logf("%d bytes", len(b))
		})
	}
}

// flip changes bits of one byte of a file.
func flip(t *testing.T, path string, at int64, bits byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= bits
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

func TestEveryTruncation(t *testing.T) {
	id := identity(t)
	p := small(t)
	for name, b := range map[string][]byte{"plain": p.write(t), "encrypted": p.write(t, id.Recipient())} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, scratch := store(t, b), t.TempDir()
			for n := len(b) - 1; n >= 0; n-- {
				if err := os.Truncate(path, int64(n)); err != nil {
					t.Fatal(err)
				}
				_, err := Verify(t.Context(), path, Options{Identities: []Identity{id}, Scratch: scratch})
				refused(t, "cut off", err)
			}
		})
	}
}

// large is an archive of some bytes in a file.
func large(t testing.TB, bytes int64) (path string, size int64) {
	t.Helper()
	live := filepath.Join(t.TempDir(), "live.db")
	heavy(t, live, bytes)
	b := gather(t, openStore(t, live, messages)).write(t)
	return store(t, b), int64(len(b))
}

func TestRandomFlips(t *testing.T) { randomFlips(t, 200, 1<<20) }

func TestRandomFlipsLong(t *testing.T) {
	long(t)
	randomFlips(t, 10_000, 8<<20)
}

func randomFlips(t *testing.T, times int, bytes int64) {
	path, size := large(t, bytes)
	random := rand.New(rand.NewPCG(3, 4))
	for range times {
		at, bits := random.Int64N(size), byte(1+random.IntN(255))
		flip(t, path, at, bits)
		_, err := Verify(t.Context(), path, Options{})
		refused(t, "byte flipped", err)
		flip(t, path, at, bits)
	}
	if _, err := Verify(t.Context(), path, Options{}); err != nil {
		t.Errorf("with every byte back: %v", err)
	}
	t.Logf("%d flips in an archive of %d KiB", times, size>>10)
}

func TestTruncations(t *testing.T) { truncations(t, 1<<20) }

func TestTruncationsLong(t *testing.T) {
	long(t)
	truncations(t, 16<<20)
}

// truncations cuts a large archive off at every 4 KiB.
func truncations(t *testing.T, bytes int64) {
	path, size := large(t, bytes)
	for n := (size - 1) &^ 4095; n >= 0; n -= 4096 {
		if err := os.Truncate(path, n); err != nil {
			t.Fatal(err)
		}
		_, err := Verify(t.Context(), path, Options{})
		refused(t, "cut off", err)
	}
}
