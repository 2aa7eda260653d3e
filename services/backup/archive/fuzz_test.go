// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"
)

// drain reads an archive to its end and returns what is in it.
func drain(t testing.TB, b []byte, ids ...Identity) (m Manifest, files map[string][]byte, err error) {
	t.Helper()
	r, err := NewReader(t.Context(), bytes.NewReader(b), ids...)
	if err != nil {
		return Manifest{}, nil, err
	}
	defer r.Close()
	files = make(map[string][]byte)
	for {
		f, content, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Manifest(), files, nil
		}
		if err != nil {
			return Manifest{}, nil, err
		}
		if files[f.Name], err = io.ReadAll(content); err != nil {
			return Manifest{}, nil, err
		}
	}
}

// tiny is a backup without a real database.
func tiny() *parts {
	p := &parts{files: map[string][]byte{}, m: Manifest{Created: created, Node: "n", Rows: map[string]int64{"t": 1}}}
	p.add(DatabaseName, "database")
	p.add(DevicePubName, "U")
	p.add(DeviceKeyName, "S")
	p.add(victim, "remember\n")
	return p
}

// FuzzTar: whatever passes is byte by byte what would be written.
func FuzzTar(f *testing.F) {
	tar := forge(tiny()).tar(f)
	f.Add(tar)
	f.Add(tar[:len(tar)-block])
	f.Add(append(slices.Clone(tar), 0))
	for _, tt := range hostile {
		spoiled := forge(tiny())
		tt.spoil(spoiled)
		if tar := spoiled.tar(f); len(tar) < 64<<10 {
			f.Add(tar)
		}
	}
	f.Fuzz(func(t *testing.T, tar []byte) {
		m, files, err := drain(t, sealed(compress(tar)))
		if err != nil {
			refused(t, "fuzzed", err)
			return
		}
		again := forge(&parts{m: m, files: files})
		if again.text = manifestText(tar); !bytes.Equal(again.tar(t), tar) {
			t.Errorf("accepted, and not what would be written: %q", again.text)
		}
	})
}

// manifestText cuts manifest.json out of a tar that was accepted.
func manifestText(tar []byte) []byte {
	size := 0
	for _, digit := range tar[124:135] {
		size = size<<3 | int(digit-'0')
	}
	return tar[block : block+size]
}

// FuzzReader: whatever comes, there is an error of ours or a right archive, and no panic.
func FuzzReader(f *testing.F) {
	whole := tiny().write(f)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte(ageIntro + "-> X25519 x\n\n--- x\n"))
	f.Add([]byte(ageIntro + "-> mmmmmmmv1\n-> \xb0000\x80\n"))
	f.Add([]byte(frameMagic + "\x24\x00"))
	f.Add([]byte{})
	id := identity(f)
	f.Add(tiny().write(f, id.Recipient()))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := drain(t, b, id); err != nil {
			refused(t, "fuzzed", err)
		}
	})
}

// FuzzManifest: what is accepted is accepted again when it has been written, and is the same.
func FuzzManifest(f *testing.F) {
	text, err := tiny().m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseManifest(text)
		if err != nil {
			refused(t, "fuzzed", err)
			return
		}
		again, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseManifest(again); err != nil || !reflect.DeepEqual(back, m) {
			t.Errorf("%v: %+v, want %+v", err, back, m)
		}
	})
}

// FuzzParseName: what is read is what would be written.
func FuzzParseName(f *testing.F) {
	f.Add(Name("home", created, true))
	f.Add("blufio--20260304T050607Z.tar.zst")
	f.Fuzz(func(t *testing.T, base string) {
		node, at, ok := ParseName(base)
		if ok && Name(node, at, false) != base && Name(node, at, true) != base {
			t.Errorf("%q is read as %q, %v", base, node, at)
		}
	})
}
