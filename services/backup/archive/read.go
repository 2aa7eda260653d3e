// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Reader reads an archive from beginning to end and refuses what is not exactly as the manifest says.
type Reader struct {
	src       *source
	frame     *frame
	z         *zstd.Decoder
	m         Manifest
	at        int // of m.Files
	body      *body
	encrypted bool
	err       error // of an earlier call
}

// NewReader reads the manifest. What it says is proved only when [Reader.Next] has returned [io.EOF].
// Reading ends with the context.
func NewReader(ctx context.Context, r io.Reader, identities ...Identity) (*Reader, error) {
	return newReader(&source{ctx: ctx, r: r}, identities)
}

func newReader(src *source, identities []Identity) (*Reader, error) {
	raw := bufio.NewReaderSize(src, copySize)
	r := &Reader{src: src}
	err := r.open(raw, identities)
	if err == nil {
		err = r.manifest()
	}
	if err != nil {
		r.Close()
		return nil, r.explain(err)
	}
	return r, nil
}

func (r *Reader) open(raw *bufio.Reader, identities []Identity) error {
	begin, err := raw.Peek(len(ageIntro))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if r.encrypted = Encrypted(begin); r.encrypted {
		plain, err := decrypt(raw, identities)
		if err != nil {
			return err
		}
		raw = bufio.NewReaderSize(plain, copySize)
	}
	r.frame = newFrame(raw)
	r.z, err = zstd.NewReader(r.frame, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
	return err
}

// explain says what kind of trouble err is: what the source itself met, a kind of ours, or damage.
func (r *Reader) explain(err error) error {
	if r.src.err != nil {
		return r.src.err
	}
	for _, kind := range []error{ErrNotArchive, ErrDamaged, ErrNewer, ErrEncrypted, ErrSpace} {
		if errors.Is(err, kind) {
			return err
		}
	}
	return foreign(err)
}

// manifest reads the first entry.
func (r *Reader) manifest() error {
	header := make([]byte, block)
	if _, err := io.ReadFull(r.z, header); err != nil {
		return cutOff(err)
	}
	if !bytes.HasPrefix(header, []byte(ManifestName+"\x00")) {
		return fmt.Errorf("%w: it does not begin with %s", ErrNotArchive, ManifestName)
	}
	size, err := strconv.ParseUint(strings.TrimRight(string(header[124:136]), "\x00"), 8, 33)
	if err != nil || size > MaxManifest {
		return fmt.Errorf("%w: %s is larger than %d bytes", ErrDamaged, ManifestName, MaxManifest)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r.z, text); err != nil {
		return cutOff(err)
	}
	if r.m, err = parseManifest(text); err != nil {
		return err
	}
	entry := manifestFile(len(text))
	if !bytes.Equal(header, tarHeader(entry, r.m.Created)) {
		return fmt.Errorf("%w: the header of %s is not one that blufio writes", ErrDamaged, ManifestName)
	}
	return r.expect(make([]byte, padding(entry.Size)), "after "+ManifestName)
}

// Manifest is what the archive says of itself. It has passed [Manifest.Check].
func (r *Reader) Manifest() Manifest { return r.m }

// Encrypted reports whether an identity was needed.
func (r *Reader) Encrypted() bool { return r.encrypted }

// Next returns the next file and its content, which fails instead of ending when its hash is
// not right. What the caller leaves unread is read and proved. After the last file, the seal and the end
// it returns [io.EOF]: every byte was as it should be.
func (r *Reader) Next() (File, io.Reader, error) {
	if r.err == nil {
		r.err = r.advance()
	}
	if r.err != nil {
		return File{}, nil, r.err
	}
	return r.m.Files[r.at-1], r.body, nil
}

func (r *Reader) advance() error {
	if r.body != nil {
		if _, err := io.Copy(io.Discard, r.body); err != nil {
			return err
		}
		f := r.m.Files[r.at-1]
		if err := r.expect(make([]byte, padding(f.Size)), "after "+strconv.Quote(f.Name)); err != nil {
			return r.explain(err)
		}
		r.body = nil
	}
	if r.at == len(r.m.Files) {
		if err := r.finish(); err != nil {
			return r.explain(err)
		}
		return io.EOF
	}
	f := r.m.Files[r.at]
	if err := r.expect(tarHeader(f, r.m.Created), "where "+strconv.Quote(f.Name)+" should begin"); err != nil {
		return r.explain(err)
	}
	r.at++
	r.body = &body{r: r, f: f, left: f.Size, sum: sha256.New()}
	return nil
}

// finish reads what comes after the last file.
func (r *Reader) finish() error {
	if err := r.expect(tarEnd(), "after the last file"); err != nil {
		return err
	}
	switch n, err := io.ReadFull(r.z, make([]byte, 1)); {
	case n > 0:
		return fmt.Errorf("%w: something follows the last file", ErrDamaged)
	case !errors.Is(err, io.EOF):
		return err
	}
	return r.frame.end()
}

// expect reads exactly want.
func (r *Reader) expect(want []byte, where string) error {
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r.z, got); err != nil {
		return cutOff(err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: %.200s stands something else than its manifest says", ErrDamaged, where)
	}
	return nil
}

// Close frees memory. It does not close the reader underneath.
func (r *Reader) Close() {
	if r.z != nil {
		r.z.Close()
	}
}

// body is the content of one file.
type body struct {
	r    *Reader
	f    File
	left int64
	sum  hash.Hash
}

func (b *body) Read(p []byte) (int, error) {
	if b.r.err != nil {
		return 0, b.r.err
	}
	if b.left == 0 {
		if hex.EncodeToString(b.sum.Sum(nil)) != b.f.SHA256 {
			b.r.err = fmt.Errorf("%w: the hash of %.200q is not that in its manifest", ErrDamaged, b.f.Name)
			return 0, b.r.err
		}
		return 0, io.EOF
	}
	n, err := b.r.z.Read(p[:min(int64(len(p)), b.left)])
	b.sum.Write(p[:n])
	b.left -= int64(n)
	if err != nil {
		b.r.err = b.r.explain(cutOff(err))
		return n, b.r.err
	}
	return n, nil
}
