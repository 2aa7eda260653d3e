// SPDX-License-Identifier: MIT OR Apache-2.0

package embedded

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nats-io/nkeys"
)

func TestDeviceIsMadeOnceAndPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first, err := LoadOrCreateDevice(dir)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, keyFile): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v", path, info.Mode(), err)
		}
	}
	for _, load := range []func(string) (*Device, error){LoadOrCreateDevice, LoadDevice} {
		if again, err := load(dir); err != nil || again.PublicKey() != first.PublicKey() {
			t.Errorf("second load: %v, %v", again, err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("left in the directory: %v, %v", names, err)
	}
}

func TestDeviceSignsAsNATSExpects(t *testing.T) {
	d := device(t)
	sig, err := d.Sign([]byte("nonce"))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := nkeys.FromPublicKey(d.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if err := pair.Verify([]byte("nonce"), sig); err != nil {
		t.Errorf("nkeys does not accept the signature: %v", err)
	}
	if !ed25519.Verify(d.Private().Public().(ed25519.PublicKey), []byte("nonce"), sig) {
		t.Error("crypto/ed25519 does not accept the signature")
	}
}

func TestRacingStartsAgreeOnTheDevice(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	const starts = 8
	keys := make([]string, starts)
	var wg sync.WaitGroup
	for i := range starts {
		wg.Go(func() {
			if d, err := LoadOrCreateDevice(dir); err != nil {
				t.Error(err)
			} else {
				keys[i] = d.PublicKey()
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k != keys[0] || k == "" {
			t.Fatalf("keys differ: %q", keys)
		}
	}
}

func TestDeviceProblems(t *testing.T) {
	write := func(text string, mode fs.FileMode) func(string) error {
		return func(path string) error {
			return errors.Join(os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode))
		}
	}
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	accountSeed, err := account.Seed()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		make         func(path string) error
		problem, fix string
	}{
		"readable by all":    {write("x", 0o644), "open to others (mode 0644)", "chmod 600 "},
		"writable by group":  {write("x", 0o620), "open to others (mode 0620)", "chmod 600 "},
		"executable":         {write("x", 0o700), "open to others (mode 0700)", "chmod 600 "},
		"empty":              {write("", 0o600), "not a device key", "restore it"},
		"garbage":            {write("not a seed", 0o600), "not a device key", "restore it"},
		"longer than a seed": {write(strings.Repeat("S", 1<<20), 0o600), "not a device key", "restore it"},
		"seed of an account": {write(string(accountSeed), 0o600), "not a device key", "restore it"},
		"directory":          {func(p string) error { return os.Mkdir(p, 0o700) }, "not a regular file", "move it away"},
		"named pipe":         {func(p string) error { return syscall.Mkfifo(p, 0o600) }, "not a regular file", "move it away"},
		"symbolic link":      {func(p string) error { return os.Symlink("/dev/null", p) }, "symbolic link", "put the key itself"},
		"dangling link":      {func(p string) error { return os.Symlink("nowhere", p) }, "symbolic link", "put the key itself"},
		"wide directory": {func(p string) error { return os.Chmod(filepath.Dir(p), 0o755) },
			"directory is open to others (mode 0755)", "chmod 700 "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := errors.Join(os.Mkdir(dir, 0o700), tt.make(filepath.Join(dir, keyFile))); err != nil {
				t.Fatal(err)
			}
			for _, load := range []func(string) (*Device, error){LoadOrCreateDevice, LoadDevice} {
				_, err := load(dir)
				var keyErr *KeyError
				if !errors.As(err, &keyErr) {
					t.Fatalf("err = %v, want a KeyError", err)
				}
				if !strings.Contains(keyErr.Problem, tt.problem) || !strings.Contains(keyErr.Fix, tt.fix) {
					t.Errorf("problem %q, fix %q", keyErr.Problem, keyErr.Fix)
				}
				if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), dir) {
					t.Errorf("not one line that names the path: %q", err)
				}
			}
		})
	}
}

func TestLoadDeviceMakesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	_, err := LoadDevice(dir)
	var keyErr *KeyError
	if !errors.As(err, &keyErr) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
}

func TestMayOwn(t *testing.T) {
	for _, tt := range []struct {
		uid, dirUID, euid int
		want              bool
	}{
		{1000, 1000, 1000, true},  // the usual case
		{1001, 1000, 1000, false}, // someone else's key in our directory
		{1001, 1001, 1000, false}, // someone else's key in their directory
		{1000, 1000, 0, true},     // root looks at a daemon's directory
		{1001, 0, 0, false},       // someone else's key in root's directory
		{0, 1000, 0, true},        // root's own
	} {
		if got := mayOwn(tt.uid, tt.dirUID, tt.euid); got != tt.want {
			t.Errorf("mayOwn(%d, %d, %d) = %v", tt.uid, tt.dirUID, tt.euid, got)
		}
	}
}

func TestDeviceNeverPrintsItsKey(t *testing.T) {
	d := device(t)
	secret := d.Private()
	nested := struct {
		D  *Device
		d  Device
		dp *Device
	}{d, *d, d}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "device", d, "value", *d, "nested", nested)
	}
	encoded, err := json.Marshal(nested)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{log.String(), string(encoded), fmt.Sprint(d), d.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		out = append(out, fmt.Sprintf(verb, d), fmt.Sprintf(verb, *d), fmt.Sprintf(verb, nested))
	}
	raw := secret.Seed()
	seed, err := nkeys.EncodeSeed(nkeys.PrefixByteUser, raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range out {
		for _, leak := range []string{string(seed), string(raw), fmt.Sprintf("%x", raw), fmt.Sprintf("%X", raw),
			strings.Trim(fmt.Sprint(raw), "[]"), fmt.Sprintf("%q", raw)} {
			if strings.Contains(s, leak) {
				t.Errorf("the key is in %q", s)
			}
		}
	}
}

func FuzzParseDevice(f *testing.F) {
	seed, err := newSeed()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte("SU"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := parseDevice(text)
		if (d == nil) == (err == nil) {
			t.Fatalf("%v, %v", d, err)
		}
		if d != nil && !nkeys.IsValidPublicUserKey(d.PublicKey()) {
			t.Fatalf("public key %q", d.PublicKey())
		}
	})
}
