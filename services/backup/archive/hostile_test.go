// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// add puts a file into the manifest and the tar alike, as somebody would who
// wants it to be taken.
func (f *forgery) add(name, content string) {
	p := parts{files: f.files}
	p.add(name, content)
	file := p.m.Files[0]
	f.m.Files = append(f.m.Files, file)
	f.entries = append(f.entries, entry(tarHeader(file, created), []byte(content)))
}

// index finds a file of the forgery.
func (f *forgery) index(name string) int {
	return slices.IndexFunc(f.m.Files, func(file File) bool { return file.Name == name })
}

const victim = "workspace/notes/a.txt"

// instead puts another entry where the victim's is, written by Go's own tar writer.
func (f *forgery) instead(h *tar.Header, content string) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	h.Size = int64(len(content))
	h.ModTime = created
	if h.Name == "" {
		h.Name = victim
	}
	if err := errors.Join(w.WriteHeader(h), second(w.Write([]byte(content))), w.Flush()); err != nil {
		panic(err)
	}
	f.entries[f.index(victim)] = b.Bytes()
}

func second(_ int, err error) error { return err }

// edit changes the manifest's text.
func (f *forgery) edit(old, new string) {
	text, err := json.Marshal(f.m)
	if err != nil {
		panic(err)
	}
	if !bytes.Contains(text, []byte(old)) {
		panic("the manifest has no " + old)
	}
	f.text = bytes.Replace(text, []byte(old), []byte(new), 1)
}

// patch changes bytes of the victim's entry.
func (f *forgery) patch(at int, b ...byte) {
	e := slices.Clone(f.entries[f.index(victim)])
	copy(e[at:], b)
	f.entries[f.index(victim)] = e
}

// resum makes the victim's header's sum right again.
func (f *forgery) resum() {
	e := f.entries[f.index(victim)]
	copy(e[148:156], "        ")
	sum := 0
	for _, c := range e[:block] {
		sum += int(c)
	}
	octal(e[148:155], int64(sum))
}

var hostile = []struct {
	name  string
	spoil func(*forgery)
	kind  error
}{
	// Names.
	{"name leads out", func(f *forgery) { f.add("workspace/../../evil", "x") }, ErrDamaged},
	{"name leads up", func(f *forgery) { f.add("../evil", "x") }, ErrDamaged},
	{"absolute name", func(f *forgery) { f.add("/tmp/evil", "x") }, ErrDamaged},
	{"name with a dot", func(f *forgery) { f.add("workspace/./evil", "x") }, ErrDamaged},
	{"name with two slashes", func(f *forgery) { f.add("workspace//evil", "x") }, ErrDamaged},
	{"name of a directory", func(f *forgery) { f.add("workspace/evil/", "x") }, ErrDamaged},
	{"name with an escape", func(f *forgery) { f.add("workspace/\x1b[31m", "x") }, ErrDamaged},
	{"name with a zero byte", func(f *forgery) { f.add("workspace/a\x00b", "x") }, ErrDamaged},
	{"name too long", func(f *forgery) { f.add("workspace/"+strings.Repeat("x", 256), "x") }, ErrDamaged},
	{"path too long", func(f *forgery) { f.add("workspace/"+strings.Repeat("x/", 600)+"x", "x") }, ErrDamaged},
	{"empty name", func(f *forgery) { f.add("", "x") }, ErrDamaged},
	{"name without a place", func(f *forgery) { f.add("vault.key", "x") }, ErrDamaged},
	{"configuration in a directory", func(f *forgery) { f.add("config/00-a/b.toml", "x") }, ErrDamaged},
	{"file below a file", func(f *forgery) { f.add(victim+"/evil", "x") }, ErrDamaged},
	{"same name twice", func(f *forgery) { f.add(victim, "remember\n") }, ErrDamaged},
	{"database twice", func(f *forgery) { f.add(DatabaseName, "x") }, ErrDamaged},
	// The manifest.
	{"wrong order", func(f *forgery) {
		slices.Reverse(f.m.Files)
		slices.Reverse(f.entries)
	}, ErrDamaged},
	{"no database", func(f *forgery) { f.m.Files, f.entries = f.m.Files[1:], f.entries[1:] }, ErrDamaged},
	{"no device", func(f *forgery) {
		f.m.Files, f.entries = slices.Delete(f.m.Files, 1, 2), slices.Delete(f.entries, 1, 2)
	}, ErrDamaged},
	{"no files", func(f *forgery) { f.m.Files, f.entries = nil, nil }, ErrDamaged},
	{"negative size", func(f *forgery) { f.m.Files[f.index(victim)].Size = -1 }, ErrDamaged},
	{"sizes overflow", func(f *forgery) {
		f.m.Files[0].Size = 1 << 50
		f.m.Files[f.index(victim)].Size = 1 << 50
	}, ErrDamaged},
	{"large device key", func(f *forgery) { f.m.Files[f.index(DeviceKeyName)].Size = 1 << 20 }, ErrDamaged},
	{"setuid", func(f *forgery) { f.m.Files[f.index(victim)].Mode = 0o4755 }, ErrDamaged},
	{"no hash", func(f *forgery) { f.m.Files[0].SHA256 = "" }, ErrDamaged},
	{"wrong hash", func(f *forgery) { f.m.Files[f.index(victim)].SHA256 = strings.Repeat("0", 64) }, ErrDamaged},
	{"no time", func(f *forgery) { f.m.Created = time.Time{} }, ErrDamaged},
	{"node with an escape", func(f *forgery) { f.m.Node = "\x1b]0;x\a" }, ErrDamaged},
	{"long version", func(f *forgery) { f.m.Version = strings.Repeat("x", 300) }, ErrDamaged},
	{"negative rows", func(f *forgery) { f.m.Rows = map[string]int64{"letter": -1} }, ErrDamaged},
	{"negative count", func(f *forgery) { f.m.LeftOut.Links = -1 }, ErrDamaged},
	{"unknown vault", func(f *forgery) { f.m.Vault.Source = "moon" }, ErrDamaged},
	{"unknown field", func(f *forgery) { f.edit(`"format"`, `"surprise":1,"format"`) }, ErrDamaged},
	{"unknown field of a file", func(f *forgery) { f.edit(`"size"`, `"owner":0,"size"`) }, ErrDamaged},
	{"long unknown field", func(f *forgery) { f.edit(`"format"`, `"`+strings.Repeat("x", 100_000)+`":1,"format"`) }, ErrDamaged},
	{"invalid JSON", func(f *forgery) { f.edit(`"format"`, `format`) }, ErrDamaged},
	{"something after the JSON", func(f *forgery) { f.edit(`{"format"`, `{} {"format"`) }, ErrDamaged},
	{"another type", func(f *forgery) { f.edit(`"format":1`, `"format":"one"`) }, ErrDamaged},
	{"format zero", func(f *forgery) { f.m.Format = 0 }, ErrDamaged},
	{"next format", func(f *forgery) { f.edit(`"format":1`, `"colour":"blue","format":2`) }, ErrNewer},
	{"manifest too large", func(f *forgery) { f.m.Stripped = slices.Repeat([]string{strings.Repeat("x", 255)}, MaxManifest/255) }, ErrDamaged},
	{"manifest of nothing", func(f *forgery) { f.edit(`"files":[`, `"files":[`+strings.Repeat("{},", MaxManifest/4)) }, ErrDamaged},
	{"manifest nests", func(f *forgery) { f.edit(`"files":[`, `"files":`+strings.Repeat("[", 1<<20)) }, ErrDamaged},
	{"manifest's header", func(f *forgery) {
		compress := f.compress
		f.compress = func(tar []byte) []byte { tar[156] = tarLink; return compress(tar) }
	}, ErrDamaged},
	{"manifest not first", func(f *forgery) {
		f.compress = func(tar []byte) []byte { return compress(slices.Concat(f.entries[1], tar)) }
	}, ErrNotArchive},
	// The tar.
	{"symbolic link", func(f *forgery) { f.instead(&tar.Header{Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, "") }, ErrDamaged},
	{"hard link", func(f *forgery) { f.instead(&tar.Header{Typeflag: tar.TypeLink, Linkname: DatabaseName}, "") }, ErrDamaged},
	{"device", func(f *forgery) { f.instead(&tar.Header{Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, "") }, ErrDamaged},
	{"block device", func(f *forgery) { f.instead(&tar.Header{Typeflag: tar.TypeBlock}, "") }, ErrDamaged},
	{"pipe", func(f *forgery) { f.instead(&tar.Header{Typeflag: tar.TypeFifo}, "") }, ErrDamaged},
	{"directory", func(f *forgery) { f.instead(&tar.Header{Typeflag: tar.TypeDir, Name: victim + "/"}, "") }, ErrDamaged},
	{"another mode", func(f *forgery) { f.instead(&tar.Header{Mode: 0o666}, "remember\n") }, ErrDamaged},
	{"another owner", func(f *forgery) { f.instead(&tar.Header{Mode: 0o600, Uid: 1000}, "remember\n") }, ErrDamaged},
	{"another name", func(f *forgery) { f.instead(&tar.Header{Mode: 0o600, Name: "workspace/evil"}, "remember\n") }, ErrDamaged},
	{"longer content", func(f *forgery) { f.instead(&tar.Header{Mode: 0o600}, "remember\n\n") }, ErrDamaged},
	{"other content", func(f *forgery) { f.patch(block, 'R') }, ErrDamaged},
	{"long name of GNU", func(f *forgery) {
		f.instead(&tar.Header{Mode: 0o600, Format: tar.FormatGNU, Name: "workspace/" + strings.Repeat("x", 200)}, "remember\n")
	}, ErrDamaged},
	{"header of GNU", func(f *forgery) { f.instead(&tar.Header{Mode: 0o600, Format: tar.FormatGNU}, "remember\n") }, ErrDamaged},
	{"pax record", func(f *forgery) {
		f.instead(&tar.Header{Mode: 0o600, Format: tar.FormatPAX, PAXRecords: map[string]string{"path": "workspace/evil"}}, "remember\n")
	}, ErrDamaged},
	{"pax attribute", func(f *forgery) {
		f.instead(&tar.Header{Mode: 0o600, Format: tar.FormatPAX, PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}}, "remember\n")
	}, ErrDamaged},
	{"pax sparse file", func(f *forgery) {
		records := paxRecord("GNU.sparse.major", "1") + paxRecord("GNU.sparse.minor", "0") + paxRecord("GNU.sparse.realsize", "1000000000000")
		header := entry(tarBlock(paxName, "", paxTar, 0o600, int64(len(records)), created), []byte(records))
		i := f.index(victim)
		f.entries[i] = append(header, f.entries[i]...)
	}, ErrDamaged},
	{"global pax header", func(f *forgery) {
		record := paxRecord("comment", "x")
		f.entries[0] = append(entry(tarBlock(paxName, "", 'g', 0o600, int64(len(record)), created), []byte(record)), f.entries[0]...)
	}, ErrDamaged},
	{"sparse file of GNU", func(f *forgery) { f.patch(156, 'S'); f.resum() }, ErrDamaged},
	{"contiguous file", func(f *forgery) { f.patch(156, '7'); f.resum() }, ErrDamaged},
	{"size in base 256", func(f *forgery) { f.patch(124, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9); f.resum() }, ErrDamaged},
	{"wrong sum", func(f *forgery) { f.patch(148, '7') }, ErrDamaged},
	{"words in the padding", func(f *forgery) { f.patch(2*block-4, 'e', 'v', 'i', 'l') }, ErrDamaged},
	{"file that is not told", func(f *forgery) {
		f.entries = append(f.entries, entry(tarHeader(File{Name: "workspace/z", Size: 1, Mode: 0o600}, created), []byte("x")))
	}, ErrDamaged},
	{"file missing", func(f *forgery) { f.entries = f.entries[:len(f.entries)-1] }, ErrDamaged},
	{"files swapped", func(f *forgery) { f.entries[1], f.entries[2] = f.entries[2], f.entries[1] }, ErrDamaged},
	{"no end", func(f *forgery) { f.end = nil }, ErrDamaged},
	{"half an end", func(f *forgery) { f.end = f.end[:block] }, ErrDamaged},
	{"longer end", func(f *forgery) { f.end = make([]byte, 20*block) }, ErrDamaged},
	{"second tar", func(f *forgery) { f.end = append(f.end, entry(tarHeader(manifestFile(1), created), []byte("x"))...) }, ErrDamaged},
	{"bomb behind the end", func(f *forgery) { f.end = make([]byte, 32<<20) }, ErrDamaged},
	// The frames.
	{"large window", func(f *forgery) {
		f.add("workspace/z", strings.Repeat("x", 1<<20)) // a small archive has no window
		f.compress = func(tar []byte) []byte { return compressWith(tar, zstd.WithWindowSize(8<<20)) }
	}, ErrNotArchive},
	{"large segment", func(f *forgery) {
		f.end = make([]byte, 2<<20)
		f.compress = func(tar []byte) []byte {
			z, err := zstd.NewWriter(nil, zstd.WithSingleSegment(true))
			if err != nil {
				panic(err)
			}
			return z.EncodeAll(tar, nil)
		}
	}, ErrNotArchive},
	{"no checksum", func(f *forgery) {
		f.compress = func(tar []byte) []byte { return compressWith(tar, zstd.WithEncoderCRC(false)) }
	}, ErrNotArchive},
	{"dictionary", func(f *forgery) {
		f.compress = func(tar []byte) []byte { b := compress(tar); b[4] |= 1; return b }
	}, ErrNotArchive},
	{"second frame", func(f *forgery) {
		f.compress = func(tar []byte) []byte { return append(compress(tar), compress(make([]byte, 10*block))...) }
	}, ErrDamaged},
	{"empty second frame", func(f *forgery) {
		f.compress = func(tar []byte) []byte { return append(compress(tar), compress(nil)...) }
	}, ErrDamaged},
	{"tar in two frames", func(f *forgery) {
		f.compress = func(tar []byte) []byte { return append(compress(tar[:2*block]), compress(tar[2*block:])...) }
	}, ErrDamaged},
	{"skippable frame", func(f *forgery) {
		f.compress = func(tar []byte) []byte { return append(compress(tar), seal(make([]byte, 32))...) }
	}, ErrDamaged},
	{"reserved kind of block", func(f *forgery) {
		f.add("workspace/z", strings.Repeat("x", 1<<20))
		f.compress = func(tar []byte) []byte { b := compress(tar); b[6] |= 6; return b }
	}, ErrDamaged},
	{"no seal", func(f *forgery) { f.finish = func(frame []byte) []byte { return frame } }, ErrDamaged},
	{"seal of another", func(f *forgery) {
		f.finish = func(frame []byte) []byte { return append(slices.Clone(frame), seal(make([]byte, 32))...) }
	}, ErrDamaged},
	{"two seals", func(f *forgery) { f.finish = func(frame []byte) []byte { return sealed(sealed(frame)) } }, ErrDamaged},
	{"something behind the seal", func(f *forgery) {
		f.finish = func(frame []byte) []byte { return append(sealed(frame), 0) }
	}, ErrDamaged},
	{"longer seal", func(f *forgery) {
		f.finish = func(frame []byte) []byte {
			b := append(sealed(frame), 'x')
			binary.LittleEndian.PutUint32(b[len(frame)+4:], uint32(sealBytes-8+1))
			return b
		}
	}, ErrDamaged},
	// Other files.
	{"empty file", func(f *forgery) { f.finish = func([]byte) []byte { return nil } }, ErrNotArchive},
	{"one byte", func(f *forgery) { f.finish = func([]byte) []byte { return []byte{0x28} } }, ErrDamaged},
	{"text", func(f *forgery) { f.finish = func([]byte) []byte { return []byte("Dear diary") } }, ErrNotArchive},
	{"database itself", func(f *forgery) { f.finish = func([]byte) []byte { return f.files[DatabaseName] } }, ErrNotArchive},
	{"tar alone", func(f *forgery) { f.compress = slices.Clone[[]byte]; f.finish = slices.Clone[[]byte] }, ErrNotArchive},
	{"gzip", func(f *forgery) {
		f.finish = func([]byte) []byte {
			var b bytes.Buffer
			if err := gzip.NewWriter(&b).Close(); err != nil {
				panic(err)
			}
			return b.Bytes()
		}
	}, ErrNotArchive},
	{"zstd of something else", func(f *forgery) {
		f.finish = func([]byte) []byte { return sealed(compress(bytes.Repeat([]byte("x"), 5000))) }
	}, ErrNotArchive},
	{"encrypted for nobody", func(f *forgery) { f.finish = func([]byte) []byte { return []byte(ageIntro + "--- x\n") } }, ErrDamaged},
	{"encrypted for too many", func(f *forgery) {
		f.finish = func([]byte) []byte {
			return append([]byte(ageIntro), bytes.Repeat([]byte("-> x\n\n"), 4<<20)...)
		}
	}, ErrDamaged},
	{"seal alone", func(f *forgery) { f.finish = func([]byte) []byte { return sealed(nil) } }, ErrNotArchive},
}

const tarLink = '2'

func TestHostile(t *testing.T) {
	p, id := small(t), identity(t)
	path := store(t, forge(p).bytes(t))
	if _, err := Verify(t.Context(), path, Options{}); err != nil {
		t.Fatalf("what nobody spoiled: %v", err)
	}
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			f := forge(p)
			tt.spoil(f)
			outer := t.TempDir()
			path, dir := filepath.Join(outer, "archive"), filepath.Join(outer, "in", "new")
			if err := os.WriteFile(path, f.bytes(t), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			before := allocated()
			o := Options{Identities: []Identity{id}}
			_, err := Verify(t.Context(), path, o)
			refused(t, "Verify", err)
			if !errors.Is(err, tt.kind) {
				t.Errorf("Verify: %v, want %v", err, tt.kind)
			}
			_, err = Extract(t.Context(), path, dir, o)
			refused(t, "Extract", err)
			if took := allocated() - before; took > 64<<20 {
				t.Errorf("it took %d MiB of memory to say so", took>>20)
			}
			if m, err := Inspect(path); err == nil && m.Check() != nil {
				t.Error("Inspect returns a manifest that is not right")
			}
			wantOnly(t, outer, "archive", "in", "in/new")
		})
	}
}

// allocated is all memory ever taken from the heap.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// wantOnly fails when anything but names is below dir.
func wantOnly(t *testing.T, dir string, names ...string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if name, _ := filepath.Rel(dir, path); name != "." && !slices.Contains(names, name) {
			t.Errorf("left behind: %s", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A bomb that the manifest tells of is held against the disk before anything is written.
func TestDeclaredBomb(t *testing.T) {
	for name, spoil := range map[string]func(*forgery){
		"database": func(f *forgery) { f.m.Files[0].Size = 1 << 49 },
		"file":     func(f *forgery) { f.m.Files[len(f.m.Files)-1].Size = 1 << 49 },
	} {
		f := forge(small(t))
		spoil(f)
		path, dir := store(t, f.bytes(t)), t.TempDir()
		_, err := Extract(t.Context(), path, dir, Options{})
		if !errors.Is(err, ErrSpace) {
			t.Errorf("%s: %v", name, err)
		}
		wantOnly(t, dir)
		if _, err = Verify(t.Context(), path, Options{}); name == "database" && !errors.Is(err, ErrSpace) {
			t.Errorf("%s: Verify: %v", name, err)
		}
	}
}

// A database that does not fit its manifest, or is damaged, though every hash is right.
func TestVerifyLooksIntoTheDatabase(t *testing.T) {
	for name, spoil := range map[string]func(*parts){
		"other rows":     func(p *parts) { p.m.Rows["letter"]++ },
		"other tables":   func(p *parts) { p.m.Rows["more"] = 0 },
		"other versions": func(p *parts) { p.m.Schema["letters"]++ },
		"damaged": func(p *parts) {
			database := p.files[DatabaseName]
			for i := 4096; i < 4096+200; i++ { // the tables' first page after the schema
				database[i] ^= 0xff
			}
			p.m.Files = p.m.Files[1:]
			p.add(DatabaseName, string(database))
		},
		"no database": func(p *parts) { p.m.Files = p.m.Files[1:]; p.add(DatabaseName, "hello") },
	} {
		t.Run(name, func(t *testing.T) {
			p := small(t)
			spoil(p)
			path := store(t, p.write(t))
			_, err := Verify(t.Context(), path, Options{})
			refused(t, "Verify", err)
			if !errors.Is(err, ErrDamaged) {
				t.Error(err)
			}
			wantOnly(t, filepath.Dir(path), filepath.Base(path))
		})
	}
}
