// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"
)

const (
	window   = 512 << 10 // of the compression: larger ones are slower and no smaller
	copySize = 128 << 10 // bytes between two looks at the context
)

// Write writes an archive to w. It puts the files of m in order, opens each once, and each must
// be exactly as m says: give it files that nobody changes. Progress, unless nil, is told the bytes read
// of m.Bytes(), one call at a time, on a goroutine of Write's. Sound is asked when all is written but the seal, and its error
// keeps that back. Write does not close w, nor sync anything. After an error what was written is no archive.
func Write(ctx context.Context, w io.Writer, m Manifest, open func(name string) (io.ReadCloser, error), sound func() error, progress func(done int64)) error {
	if err := write(ctx, w, m, open, sound, progress); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

func write(ctx context.Context, w io.Writer, m Manifest, open func(name string) (io.ReadCloser, error), sound func() error, progress func(done int64)) error {
	text, err := m.encode()
	if err != nil {
		return err
	}
	sum := sha256.New()
	z, err := zstd.NewWriter(io.MultiWriter(w, sum), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(2), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(window))
	if err != nil {
		return err
	}
	t := &tarWriter{ctx: ctx, w: z, at: m.Created, progress: progress, ahead: newAhead()}
	err = t.all(m, text, open)
	if e := z.Close(); err == nil { // after an error it says the same again
		err = e
	}
	if err == nil {
		err = sound()
	}
	if err != nil {
		return err
	}
	_, err = w.Write(seal(sum.Sum(nil)))
	return err
}

// encode makes manifest.json of m, and m what is read from it.
func (m *Manifest) encode() ([]byte, error) {
	m.Format = Format
	m.Created = m.Created.UTC().Truncate(time.Second)
	m.Files = slices.Clone(m.Files)
	slices.SortFunc(m.Files, byOrder)
	if m.Stripped == nil {
		m.Stripped = []string{}
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	text, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, err
	}
	if len(text) > MaxManifest {
		return nil, fmt.Errorf("%d files are too many: their list takes %d bytes, and %d are permitted; leave the workspace out", len(m.Files), len(text), MaxManifest)
	}
	return text, nil
}

// manifestFile is the manifest's own entry.
func manifestFile(size int) File { return File{Name: ManifestName, Size: int64(size), Mode: 0o600} }

type tarWriter struct {
	ctx      context.Context
	w        io.Writer
	at       time.Time
	done     int64
	progress func(done int64)
	ahead    *ahead
}

func (t *tarWriter) all(m Manifest, text []byte, open func(name string) (io.ReadCloser, error)) error {
	entry := manifestFile(len(text))
	for _, b := range [][]byte{tarHeader(entry, t.at), text, make([]byte, padding(entry.Size))} {
		if _, err := t.w.Write(b); err != nil {
			return err
		}
	}
	for _, f := range m.Files {
		if err := t.file(f, open); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	_, err := t.w.Write(tarEnd())
	return err
}

func (t *tarWriter) file(f File, open func(name string) (io.ReadCloser, error)) (err error) {
	r, err := open(f.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if _, err := t.w.Write(tarHeader(f, t.at)); err != nil {
		return err
	}
	sum, same := f.seen()
	before := t.done
	content := &source{ctx: t.ctx, r: r, progress: func(n int64) { t.tell(before + n) }}
	n, err := t.ahead.copy(t.w, sum, io.LimitReader(content, f.Size+1))
	if err != nil {
		return err
	}
	if n != f.Size || !same() {
		return errors.New("the file has changed since its hash was made")
	}
	_, err = t.w.Write(make([]byte, padding(f.Size)))
	return err
}

// quickSeed makes the hashes by which this process knows its files again. No other process reads them, and to make one
// takes a tenth of what SHA-256 does, which is a ninth of a backup's time.
var quickSeed = maphash.MakeSeed()

// seen is a hash for the bytes of f, and what tells at their end whether they are those that were described.
func (f File) seen() (sum io.Writer, same func() bool) {
	if f.quick != 0 {
		quick := new(maphash.Hash)
		quick.SetSeed(quickSeed)
		return quick, func() bool { return quick.Sum64() == f.quick }
	}
	whole := sha256.New()
	return whole, func() bool { return hex.EncodeToString(whole.Sum(nil)) == f.SHA256 }
}

func (t *tarWriter) tell(done int64) {
	if t.done = done; t.progress != nil {
		t.progress(done)
	}
}

// Describe reads the file at path, which is to be called name in the archive, and says its size and hash.
func Describe(ctx context.Context, name, path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return File{}, err
	}
	sum, quick := sha256.New(), new(maphash.Hash)
	quick.SetSeed(quickSeed)
	n, err := io.CopyBuffer(io.MultiWriter(sum, quick), &source{ctx: ctx, r: f}, make([]byte, copySize))
	if err != nil {
		return File{}, fmt.Errorf("hash %s: %w", path, err)
	}
	return File{Name: name, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil)), Mode: uint32(info.Mode().Perm()), quick: quick.Sum64()}, nil
}
