// SPDX-License-Identifier: MIT OR Apache-2.0

package archive

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

var release = flag.Bool("release", false, "write the archive of the present format to testdata, once, when it is released")

// Archives of each released format stay in testdata, as that program wrote them, and are read for ever.
func TestReleasedFormats(t *testing.T) {
	ids, err := ReadIdentities("testdata/identity.txt") // of these files and nothing else
	if err != nil {
		t.Fatal(err)
	}
	if *release {
		writeRelease(t)
	}
	for format := 1; format <= Format; format++ {
		for _, suffix := range []string{nameSuffix, nameSuffix + nameAge} {
			path := fmt.Sprintf("testdata/v%d%s", format, suffix)
			t.Run(filepath.Base(path), func(t *testing.T) { readRelease(t, path, format, ids) })
		}
	}
}

func writeRelease(t *testing.T) {
	recipients, err := ReadRecipients("testdata/recipient.txt")
	if err != nil {
		t.Fatal(err)
	}
	to, err := ParseRecipients(recipients)
	if err != nil {
		t.Fatal(err)
	}
	p := small(t)
	for name, b := range map[string][]byte{nameSuffix: p.write(t), nameSuffix + nameAge: p.write(t, to...)} {
		if err := os.WriteFile(fmt.Sprintf("testdata/v%d%s", Format, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func readRelease(t *testing.T, path string, format int, ids []Identity) {
	report, err := Verify(t.Context(), path, Options{Identities: ids, Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	m := report.Manifest
	if m.Format != format || m.Node != "home" || !m.Created.Equal(created) || m.Cut.Event != 7 || m.Cut.Epoch != "e1" ||
		m.Vault != (Vault{Source: "file", Secrets: 2}) || !reflect.DeepEqual(m.Stripped, []string{"telegram.token"}) {
		t.Errorf("manifest %+v", m)
	}
	dir := t.TempDir()
	if _, err := Extract(t.Context(), path, dir, Options{Identities: ids}); err != nil {
		t.Fatal(err)
	}
	want(t, filepath.Join(dir, victim), "remember\n")
	s := openStore(t, filepath.Join(dir, DatabaseName))
	var text string
	if err := s.QueryRow(t.Context(), `SELECT text FROM reply JOIN letter ON letter.id = reply.letter`).Scan(&text); err != nil || text != "sir" {
		t.Errorf("the database says %q, %v", text, err)
	}
}
