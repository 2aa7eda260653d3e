// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/blufio/blufio/bus/bustest"
	"github.com/blufio/blufio/services/roomtest"
)

// A renewal is seen file by file, and each half of it leaves the certificate that
// was read before in use.
func TestRenewalInSteps(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	writeCert(t, certFile, keyFile, 1, time.Now().Add(1000*time.Hour))
	newCert, newKey := filepath.Join(dir, "c2.pem"), filepath.Join(dir, "k2.pem")
	writeCert(t, newCert, newKey, 2, time.Now().Add(1000*time.Hour))
	clock := &fakeClock{at: time.Now()}
	c, err := loadCertificates(certFile, keyFile, clock.now)
	if err != nil {
		t.Fatal(err)
	}
	read := func(file string) []byte {
		t.Helper()
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	whole := read(newCert)
	steps := []struct {
		name, file string
		data       []byte
		serial     int64
		ok         bool
	}{
		{"half a certificate", certFile, whole[:len(whole)/2], 1, false},
		{"an empty one", certFile, nil, 1, false},
		{"the new one with the old key", certFile, whole, 1, false},
		{"half a key", keyFile, read(newKey)[:40], 1, false},
		{"both new", keyFile, read(newKey), 2, true},
		{"rubbish", keyFile, []byte("x"), 2, false},
	}
	for i, s := range steps {
		if err := os.WriteFile(s.file, s.data, 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(1_800_000_000+int64(i), 0) // two writes within one tick of the file system's clock must differ
		if err := os.Chtimes(s.file, at, at); err != nil {
			t.Fatal(err)
		}
		clock.add(certCheckEvery)
		cert, err := c.current()
		if got := cert.Leaf.SerialNumber.Int64(); got != s.serial || (err == nil) != s.ok {
			t.Errorf("%s: certificate %d, %v", s.name, got, err)
		}
		if p := c.problems(); (len(p) == 0) != s.ok || len(p) > 0 && (p[0].Code != "tls_unreadable" || p[0].Hint == "") {
			t.Errorf("%s: problems %+v", s.name, p)
		}
	}
}

// A certificate and a key that do not belong together are no reason to listen without.
func TestForeignKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	writeCert(t, certFile, filepath.Join(dir, "its.pem"), 1, time.Now().Add(time.Hour))
	writeCert(t, filepath.Join(dir, "other.pem"), keyFile, 2, time.Now().Add(time.Hour))
	cfg := Defaults()
	cfg.Listen, cfg.TLSCert, cfg.TLSKey = "0.0.0.0:0", certFile, keyFile
	_, err := New(cfg, Deps{Key: bustest.New(t).Device().Private, Store: roomtest.Store(t, Schema), Logger: bustest.Logger(t)})
	var refused *ConfigError
	if !errors.As(err, &refused) || refused.Key != "tls_cert" || refused.Hint == "" {
		t.Errorf("got %v", err)
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost.": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "[::1]": true, "::ffff:127.0.0.1": true,
		"": false, "0.0.0.0": false, "::": false, "192.168.1.2": false, "::ffff:10.0.0.1": false, "fe80::1": false, "127.1": false, "2130706433": false,
		"localhost.example": false, "127.0.0.1.example": false, "home.example": false,
	} {
		if got := isLoopback(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
	for _, listen := range []string{"localhost:1", "localhost.:1", "LOCALHOST:1"} { // no resolver is asked where that is
		if host, _, err := splitListen(listen); err != nil || host != "127.0.0.1" {
			t.Errorf("%s: listens on %q, %v", listen, host, err)
		}
	}
}

// A private key that everybody may read serves, for its owner may not be who started the
// daemon; it is told until that is mended. One that its group may read is fine.
func TestOpenPrivateKeyIsTold(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	writeCert(t, certFile, keyFile, 1, time.Now().Add(1000*time.Hour))
	clock := &fakeClock{at: time.Now()}
	c, err := loadCertificates(certFile, keyFile, clock.now)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		mode os.FileMode
		told bool
	}{{0o644, true}, {0o640, false}, {0o600, false}, {0o604, true}} {
		if err := os.Chmod(keyFile, s.mode); err != nil {
			t.Fatal(err)
		}
		clock.add(certCheckEvery)
		if p := c.problems(); (len(p) == 1 && p[0].Code == "tls_key_open") != s.told {
			t.Errorf("mode %04o: %+v", s.mode, p)
		}
	}
}
