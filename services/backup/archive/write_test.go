// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file that is not as the manifest says must not become part of a sealed archive.
func TestWriteRefuses(t *testing.T) {
	boom := errors.New("boom")
	for name, tt := range map[string]struct {
		spoil func(*parts)
		open  func(p *parts, name string) (io.ReadCloser, error)
		says  string
	}{
		"grown":    {func(p *parts) { p.files[victim] = []byte("remember\nme\n") }, nil, "has changed"},
		"shrunk":   {func(p *parts) { p.files[victim] = []byte("rem") }, nil, "has changed"},
		"changed":  {func(p *parts) { p.files[victim] = []byte("REMEMBER\n") }, nil, "has changed"},
		"no name":  {func(p *parts) { p.add("workspace/../x", "") }, nil, "not permitted"},
		"no node":  {func(p *parts) { p.m.Node = "a\nb" }, nil, "does not print"},
		"too many": {func(p *parts) { addMany(p, 40_000) }, nil, "too many"},
		"unreadable": {nil, func(p *parts, name string) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader("x"), broken{boom})), nil
		}, "boom"},
		"unopenable": {nil, func(*parts, string) (io.ReadCloser, error) { return nil, boom }, "boom"},
	} {
		t.Run(name, func(t *testing.T) {
			p := small(t)
			if tt.spoil != nil {
				tt.spoil(p)
			}
			open := p.open
			if tt.open != nil {
				open = func(name string) (io.ReadCloser, error) { return tt.open(p, name) }
			}
			var b bytes.Buffer
			err := Write(t.Context(), &b, p.m, open, sound, nil)
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %q", err, tt.says)
			}
			if _, _, err := drain(t, b.Bytes()); err == nil {
				t.Error("what was written until then is taken for an archive")
			}
		})
	}
}

// One bit of a file that was described is another when it is written.
func TestWriteSeesOneBit(t *testing.T) {
	p := small(t)
	path := filepath.Join(t.TempDir(), "file")
	content := bytes.Repeat([]byte("remember\n"), 100_000)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Describe(t.Context(), "workspace/large", path)
	if err != nil {
		t.Fatal(err)
	}
	p.m.Files = append(p.m.Files, f)
	p.files[f.Name] = content
	if err := Write(t.Context(), io.Discard, p.m, p.open, sound, nil); err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 4
	if err := Write(t.Context(), io.Discard, p.m, p.open, sound, nil); err == nil || !strings.Contains(err.Error(), "has changed") {
		t.Errorf("got %v", err)
	}
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func addMany(p *parts, n int) {
	for i := range n {
		p.m.Files = append(p.m.Files, File{Name: fmt.Sprintf("workspace/file-%06d", i), SHA256: strings.Repeat("0", 64), Mode: 0o600})
	}
}

func TestWriteIsGivenUp(t *testing.T) {
	p := small(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Write(ctx, io.Discard, p.m, p.open, sound, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	path := store(t, p.write(t))
	if _, err := Verify(ctx, path, Options{}); !errors.Is(err, context.Canceled) || errors.Is(err, ErrDamaged) {
		t.Errorf("Verify: %v", err)
	}
	dir := t.TempDir()
	if _, err := Extract(ctx, path, dir, Options{}); !errors.Is(err, context.Canceled) || errors.Is(err, ErrDamaged) {
		t.Errorf("Extract: %v", err)
	}
	wantOnly(t, dir)
}

// A manifest with as many files as it can tell of comes back.
func TestManyFiles(t *testing.T) {
	p := tiny()
	for i := range 20_000 {
		p.add(fmt.Sprintf("workspace/some/directory/file-%06d.txt", i), fmt.Sprint(i))
	}
	m, files, err := drain(t, p.write(t))
	if err != nil || len(m.Files) != len(p.files) || string(files["workspace/some/directory/file-019999.txt"]) != "19999" {
		t.Errorf("%d files, %v", len(m.Files), err)
	}
}

// Sizes and names beyond what a plain header can tell.
func TestLongHeaders(t *testing.T) {
	name := WorkspaceDir + strings.Repeat("d", 200) + "/" + strings.Repeat("f", 200)
	p := tiny()
	p.add(name, "far away")
	if _, files, err := drain(t, p.write(t)); err != nil || string(files[name]) != "far away" {
		t.Errorf("got %q, %v", files[name], err)
	}
	for _, size := range []int64{octalSize - 1, octalSize, 1 << 40} {
		h := tarHeader(File{Name: DatabaseName, Size: size, Mode: 0o600}, created)
		if len(h)%block != 0 || (len(h) > block) != (size >= octalSize) {
			t.Errorf("size %d has a header of %d bytes", size, len(h))
		}
		if got := stockSize(t, h); got != size {
			t.Errorf("size %d is read as %d", size, got)
		}
	}
}

func TestProgress(t *testing.T) {
	p := small(t)
	last := int64(-1)
	err := Write(t.Context(), io.Discard, p.m, p.open, sound, func(done int64) {
		if done < last {
			t.Errorf("progress went back from %d to %d", last, done)
		}
		last = done
	})
	if err != nil || last != p.m.Bytes() {
		t.Errorf("progress ended at %d of %d, %v", last, p.m.Bytes(), err)
	}
	path := store(t, p.write(t))
	var done, total int64
	if _, err := Verify(t.Context(), path, Options{Progress: func(d, n int64) { done, total = d, n }}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || done != info.Size() || total != info.Size() {
		t.Errorf("progress ended at %d of %d, %v", done, total, err)
	}
}

func TestRecipientsAndIdentities(t *testing.T) {
	dir := t.TempDir()
	id := identity(t)
	file := filepath.Join(dir, "keys")
	put(t, file, "# mine\n\n"+id.Recipient().String()+"\n")
	if all, err := ReadRecipients(file); err != nil || len(all) != 1 || all[0] != id.Recipient().String() {
		t.Errorf("recipients %q, %v", all, err)
	}
	put(t, file, "# mine\n"+id.String()+"\n")
	if all, err := ReadIdentities(file); err != nil || len(all) != 1 {
		t.Errorf("%d identities, %v", len(all), err)
	}
	_, err := ReadRecipients(file) // the wrong file: its secret must not be shown
	if err == nil || strings.Contains(err.Error(), id.String()[:20]) {
		t.Errorf("recipients of a file of identities: %v", err)
	}
	put(t, file, id.String()[:40]+"\n")
	if _, err = ReadIdentities(file); err == nil || strings.Contains(err.Error(), "AGE-SECRET") {
		t.Errorf("identities of a damaged file: %v", err)
	}
	for _, texts := range [][]string{{"age1"}, {""}, {"# " + id.Recipient().String()}, {id.Recipient().String() + "\n" + id.Recipient().String()}, {"ssh-ed25519 AAAA"}} {
		if _, err := ParseRecipients(texts); err == nil {
			t.Errorf("recipient %q is taken", texts)
		}
	}
	put(t, file, "\n")
	if _, err := ReadRecipients(file); err == nil {
		t.Error("a file without recipients is taken: the backup would not be encrypted")
	}
}
