// SPDX-License-Identifier: MIT OR Apache-2.0

package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/backup/archive"
	"github.com/blufio/blufio/services/internal/failpoint"
	"github.com/blufio/blufio/services/internal/sqlite"
)

// Source is what a backup is made of. It is the same with a daemon and without.
type Source struct {
	Version string
	Node    string
	DataDir string
	Device  func() (public string, err error)
	// Copy writes the database, as it is at one moment, to a new file.
	Copy func(ctx context.Context, path string, progress func(done, total int64)) error
	// Look reads what the manifest says of the copy and the rooms alone know.
	Look func(ctx context.Context, copied *sqlite.Store) (archive.Cut, archive.Vault, error)
	// Config gives the files of the configuration that are in force, in order, without
	// the secrets in them.
	Config    func() (files []ConfigFile, stripped []string, err error)
	Workspace string // directory
	Now       func() time.Time
}

// ConfigFile is one of them.
type ConfigFile struct {
	Name string // without directory
	Data []byte
}

// Wish is what a backup is to hold beside what all do, and who may read it.
type Wish struct {
	DeviceKey  bool
	Workspace  bool
	Recipients []archive.Recipient
}

// Tell hears how far a backup has come; total is 0 while nobody knows.
type Tell func(stage string, done, total int64)

// Cut is one moment of everything, in a directory of its own where nobody changes it.
type Cut struct {
	archive.Manifest
	dir        string
	recipients []archive.Recipient
	examined   *archive.Examined // nil: not yet
}

// Estimate is about how large an archive can become.
func (s Source) Estimate(w Wish) int64 {
	n := sizeOf(filepath.Join(s.DataDir, archive.DatabaseName)) + sizeOf(filepath.Join(s.DataDir, archive.DatabaseName+"-wal"))
	if w.Workspace {
		files := 0
		_ = filepath.WalkDir(s.Workspace, func(_ string, d fs.DirEntry, err error) error {
			if files++; files > 2*maxWorkspace { // directories too: it is refused later
				return filepath.SkipAll
			}
			if info, infoErr := infoOf(d, err); infoErr == nil && info.Mode().IsRegular() {
				n += info.Size()
			}
			return nil
		})
	}
	return n + 64<<10 // manifest, configuration and the rest
}

// space is what a backup of the daemon's own takes at most while it is made: in the data
// directory, and where it is to lie. The copy is gone before the archive is taken apart again,
// so no more than two of the three are there at a time.
func (s Source) space(w Wish, dir string) (data, target int64) {
	one := s.Estimate(w)
	if sameDisk(dir, s.DataDir) {
		return 2 * one, 2 * one
	}
	return one, one
}

// sameDisk reports whether what is written to a takes space from b, as far as that is known.
func sameDisk(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && x.Sys().(*syscall.Stat_t).Dev == y.Sys().(*syscall.Stat_t).Dev
}

func infoOf(d fs.DirEntry, err error) (fs.FileInfo, error) {
	if err != nil {
		return nil, err
	}
	return d.Info()
}

func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// Take makes the cut in scratch, which must not exist: the database is copied, the copy is
// hashed, and its check is under way. Close it in any case but an error.
func (s Source) Take(ctx context.Context, w Wish, scratch string, tell Tell) (*Cut, error) {
	c := &Cut{dir: scratch, recipients: w.Recipients}
	if err := s.take(ctx, c, w, tell); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (s Source) take(ctx context.Context, c *Cut, w Wish, tell Tell) error {
	tell(bus.BackupCopy, 0, 0)
	if err := os.MkdirAll(filepath.Dir(c.dir), 0o700); err != nil {
		return fmt.Errorf("make scratch directory: %w", err)
	}
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return fmt.Errorf("make scratch directory: %w", err)
	}
	if err := roomFor(c.dir, s.Estimate(w)); err != nil {
		return err
	}
	c.Manifest = archive.Manifest{Format: archive.Format, Created: s.Now().UTC().Truncate(time.Second), Version: s.Version, Node: s.Node, Stripped: []string{}}
	if err := s.Copy(ctx, c.path(archive.DatabaseName), func(done, total int64) { tell(bus.BackupCopy, done, total) }); err != nil {
		return err // which says that it was to be copied
	}
	failpoint.Hit("backup.copied")
	if err := s.gather(ctx, c, w); err != nil {
		return err
	}
	tell(bus.BackupCheck, 0, 0)
	if err := s.look(ctx, c); err != nil {
		return err
	}
	if err := c.describe(ctx); err != nil {
		return err
	}
	failpoint.Hit("backup.checked")
	return ctx.Err()
}

// roomFor refuses to begin what would not fit.
func roomFor(dir string, need int64) error {
	free, err := archive.Free(dir)
	if err != nil {
		return fmt.Errorf("look at the free space: %w", err)
	}
	if free < need {
		return fmt.Errorf("%w: %s has %d MiB, and about %d MiB are needed", archive.ErrSpace, dir, free>>20, need>>20+1)
	}
	return nil
}

// gather puts the small files beside the copy, in the archive's order.
func (s Source) gather(ctx context.Context, c *Cut, w Wish) error {
	public, err := s.Device()
	if err != nil {
		return fmt.Errorf("read the device key: %w", err)
	}
	c.Device = public
	if err := c.put(archive.DevicePubName, []byte(public+"\n")); err != nil {
		return err
	}
	files, stripped, err := s.Config()
	if err != nil {
		return err
	}
	for i, f := range files {
		if err := c.put(fmt.Sprintf("%s%02d-%s", archive.ConfigDir, i+1, configName(f.Name)), f.Data); err != nil {
			return err
		}
	}
	c.Stripped = append(c.Stripped, stripped...)
	if w.DeviceKey {
		seed, err := os.ReadFile(filepath.Join(s.DataDir, archive.DeviceKeyName))
		if err != nil {
			return fmt.Errorf("read the device key: %w", err)
		}
		if err := c.put(archive.DeviceKeyName, seed); err != nil {
			return err
		}
	}
	if w.Workspace {
		return c.copyWorkspace(ctx, s.Workspace, s.DataDir)
	}
	return nil
}

// path is where a file of the archive lies.
func (c *Cut) path(name string) string { return filepath.Join(c.dir, filepath.FromSlash(name)) }

func (c *Cut) put(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(c.path(name)), 0o700); err != nil {
		return fmt.Errorf("put %s aside: %w", name, err)
	}
	if err := os.WriteFile(c.path(name), data, 0o600); err != nil {
		return fmt.Errorf("put %s aside: %w", name, err)
	}
	return nil
}

// look reads in the copy what the manifest says of it.
func (s Source) look(ctx context.Context, c *Cut) (err error) {
	path := c.path(archive.DatabaseName)
	store, err := sqlite.Open(ctx, sqlite.Options{Path: path, ReadOnly: true, Readers: 1, CacheKiB: 128, Logger: silent()})
	if err != nil {
		return fmt.Errorf("open the copy: %w", err)
	}
	c.Cut, c.Vault, err = s.Look(ctx, store)
	err = errors.Join(err, store.Close())
	for _, side := range []string{"-wal", "-shm"} { // empty, of a reader
		if gone := os.Remove(path + side); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// describe hashes every file, and has the copy looked through.
func (c *Cut) describe(ctx context.Context) (err error) {
	if c.examined, err = archive.Examine(ctx, c.path(archive.DatabaseName)); err != nil {
		return notSound(err)
	}
	c.Schema, c.Rows, c.Files = c.examined.Schema, c.examined.Rows, []archive.File{c.examined.File}
	names, err := c.names()
	if err != nil {
		return err
	}
	for _, name := range names[1:] {
		f, err := archive.Describe(ctx, name, c.path(name))
		if err != nil {
			return err
		}
		c.Files = append(c.Files, f)
	}
	return c.Check()
}

func notSound(err error) error { return fmt.Errorf("check the copy: %w", err) }

// names are the files of the archive that are there, in its order.
func (c *Cut) names() (names []string, err error) {
	for _, name := range []string{archive.DatabaseName, archive.DevicePubName, archive.ConfigDir, archive.DeviceKeyName, archive.WorkspaceDir} {
		var group []string
		err := filepath.WalkDir(c.path(name), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(c.dir, path)
			group = append(group, filepath.ToSlash(rel))
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list scratch directory: %w", err)
		}
		slices.Sort(group) // by the whole name, as the archive wants it
		names = append(names, group...)
	}
	return names, nil
}

// Sound waits until the copy has been looked through, and says what is wrong with it. [Cut.Write] does so itself.
func (c *Cut) Sound() error {
	if err := c.examined.Sound(); err != nil {
		return notSound(err)
	}
	return nil
}

// Write writes the archive of the cut to w, and says how large it is and its hash. It fails as soon as the copy turns
// out to be damaged; what was written is then no archive.
func (c *Cut) Write(ctx context.Context, w io.Writer, tell Tell) (bytes int64, sum string, err error) {
	m := &meter{w: w, hash: sha256.New()}
	sealed, err := archive.Encrypt(m, c.recipients)
	if err != nil {
		return 0, "", fmt.Errorf("encrypt: %w", err)
	}
	total := c.Manifest.Bytes()
	tell(bus.BackupWrite, 0, total)
	err = archive.Write(ctx, sealed, c.Manifest, c.open, c.examined.Sound,
		func(done int64) { tell(bus.BackupWrite, done, total) })
	if err == nil {
		err = sealed.Close()
	}
	if bad := c.examined.Damage(); bad != nil && ctx.Err() == nil {
		tell(bus.BackupCheck, 0, 0) // which is what failed
		err = notSound(bad)
	}
	failpoint.Hit("backup.written")
	return m.n, hex.EncodeToString(m.hash.Sum(nil)), err
}

// open reads a file of the archive, until the copy is known to be damaged.
func (c *Cut) open(name string) (io.ReadCloser, error) {
	f, err := os.Open(c.path(name))
	return doubted{f, c.examined}, err
}

type doubted struct {
	io.ReadCloser
	examined *archive.Examined
}

func (d doubted) Read(p []byte) (int, error) {
	if err := d.examined.Damage(); err != nil {
		return 0, err
	}
	return d.ReadCloser.Read(p)
}

// meter counts and hashes what passes.
type meter struct {
	w    io.Writer
	hash hash.Hash
	n    int64
}

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	m.hash.Write(p[:n])
	m.n += int64(n)
	return n, err
}

// Close removes the scratch directory.
func (c *Cut) Close() error {
	if c.examined != nil {
		c.examined.Stop()
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("remove scratch directory: %w", err)
	}
	return nil
}

// Name is a name for the archive's file.
func (c *Cut) Name() string { return archive.Name(c.Node, c.Created, len(c.recipients) > 0) }

// Summary is what the archive holds, for people.
func (c *Cut) Summary(bytes int64) bus.BackupArchive {
	return Summary(c.Manifest, bytes, len(c.recipients) > 0)
}

// Summary is what an archive holds, for people.
func Summary(m archive.Manifest, bytes int64, encrypted bool) bus.BackupArchive {
	a := bus.BackupArchive{Created: m.Created, Bytes: bytes, Event: int64(m.Cut.Event), Files: []string{}, Encrypted: encrypted,
		VaultSource: m.Vault.Source, Secrets: m.Vault.Secrets, Stripped: m.Stripped, LinksLeftOut: m.LeftOut.Links}
	for _, n := range m.Rows {
		a.Rows += n
	}
	for _, f := range m.Files {
		if f.Name == archive.DatabaseName {
			a.DatabaseBytes = f.Size
		}
		if len(a.Files) < maxNamed {
			a.Files = append(a.Files, f.Name)
		}
	}
	return a
}

// maxNamed bounds the files that a summary names: it goes over the bus.
const maxNamed = 200
