// SPDX-License-Identifier: MIT OR Apache-2.0

package gateway

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/blufio/blufio/bus"
)

const (
	certCheckEvery = 10 * time.Second
	certWarnBefore = 14 * 24 * time.Hour // a renewal that works happens earlier
)

// certificates holds the certificate and reads it again when a file changes,
// so that a renewal needs no restart.
type certificates struct {
	certFile, keyFile string
	now               func() time.Time

	mu      sync.Mutex
	cert    *tls.Certificate
	stamp   [2]fileStamp // of the files that were read last
	checked time.Time
	err     error // why the files as they are now were not taken
}

// fileStamp changes when a file does.
type fileStamp struct {
	modified time.Time
	size     int64
	mode     os.FileMode
}

func loadCertificates(certFile, keyFile string, now func() time.Time) (*certificates, error) {
	c := &certificates{certFile: certFile, keyFile: keyFile, now: now}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh()
	return c, c.err
}

// refresh reads the files if they changed. While they cannot be read, as in
// the middle of a renewal, the certificate stays. c.mu is held.
func (c *certificates) refresh() {
	c.checked = c.now()
	stamp, err := c.stamps()
	if err != nil {
		c.err, c.stamp = err, [2]fileStamp{} // read them when they are back
		return
	}
	if stamp == c.stamp {
		return // read before, whether well or not
	}
	c.stamp = stamp
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		c.err = fmt.Errorf("read certificate %s with key %s: %w", c.certFile, c.keyFile, err)
		return
	}
	c.cert, c.err = &cert, nil
}

func (c *certificates) stamps() (s [2]fileStamp, err error) {
	for i, file := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(file)
		if err != nil {
			return s, fmt.Errorf("look at certificate: %w", err)
		}
		s[i] = fileStamp{info.ModTime(), info.Size(), info.Mode()}
	}
	return s, nil
}

// current returns the certificate and why a newer one was not taken. It looks
// at the files at most every certCheckEvery.
func (c *certificates) current() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now().Sub(c.checked) >= certCheckEvery {
		c.refresh()
	}
	return c.cert, c.err
}

// look looks at the files now.
func (c *certificates) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refresh()
}

func (c *certificates) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, _ := c.current() // health tells the error; the old certificate serves
			return cert, nil
		},
	}
}

// open reports whether everybody on this machine may read the private key. That its
// group may is how certificates are often shared.
func (c *certificates) open() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stamp[1].mode.Perm()&0o004 != 0
}

func (c *certificates) problems() []bus.Problem {
	var problems []bus.Problem
	cert, err := c.current()
	if c.open() {
		problems = append(problems, bus.Problem{Code: "tls_key_open", Title: "everybody on this machine may read the gateway's private key " + c.keyFile,
			Hint: "chmod o-rwx " + c.keyFile + "; if it was read, get a new certificate with another key"})
	}
	if err != nil {
		problems = append(problems, bus.Problem{Code: "tls_unreadable",
			Title: err.Error(), Hint: "the certificate read before is still in use; mend the files, no restart is needed"})
	}
	if left := cert.Leaf.NotAfter.Sub(c.now()); left < certWarnBefore {
		title := fmt.Sprintf("the gateway's certificate ends in %d days", int(left.Hours()/24))
		if left <= 0 {
			title = "the gateway's certificate has ended on " + cert.Leaf.NotAfter.Format(time.DateOnly)
		}
		problems = append(problems, bus.Problem{Code: "tls_expiring", Title: title,
			Hint: "renew " + c.certFile + "; it is read again by itself"})
	}
	return problems
}
