// SPDX-License-Identifier: MIT OR Apache-2.0

// Package restore puts other files in the place of those in a data directory, so
// that whatever happens on the way there are either all of the old or all of the
// new.
//
// The new ones are laid out in a directory of their own within the data directory
// ([Staging]), so that moving them is a rename also where the data directory is a
// mount point. Then [Swap]
//
//  1. writes down what it is about to do, the [Intent], as restore.json;
//  2. moves the old files into pre-restore-<UTC>;
//  3. moves the new ones out of the staging directory;
//  4. removes restore.json.
//
// Each file's place tells whether its move is done, so an intent can be carried out
// again from wherever it was cut off: [Replay] does that, for whoever holds the data
// directory's lock and before anything in there is opened. Until step 1 is on disk
// the old files count, and from there on the new ones.
//
// A step that fails turns the swap around: restore.json becomes restore-back.json,
// which is a rename and needs no space, and the same moves are undone. A cut there is
// replayed as well, to the old files.
//
// Every directory is synced before the next step counts on it.
package restore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/blufio/blufio/services/internal/failpoint"
)

const (
	// Staging is the directory for the new files, within the data directory.
	Staging = "restore.new"

	forwardFile = "restore.json"
	backFile    = "restore-back.json"
	draftFile   = "restore.json.new"
	preName     = "pre-restore-"
	stamp       = "20060102T150405Z"

	format    = 1
	maxIntent = 64 << 10 // bytes
	maxNames  = 64       // of either kind
)

// Intent is what a swap does. All names are of files or directories directly within
// the data directory.
type Intent struct {
	Format int      `json:"format"`
	Pre    string   `json:"pre"`  // where the old files go
	From   string   `json:"from"` // where the new ones are
	Old    []string `json:"old"`  // [Swap] leaves out what is not there
	New    []string `json:"new"`
}

// Outcome is what became of an intent.
type Outcome string

// What Replay finds.
const (
	Nothing Outcome = ""     // nothing was pending
	Done    Outcome = "done" // the new files are in place
	Undone  Outcome = "back" // the old ones are in place again
)

// Ended says how a restore was ended that had been cut off.
type Ended struct {
	Outcome Outcome
	Pre     string // where the old files are; "" when they are in place
	Why     error  // it went back where it should have gone on
}

// Swap carries an intent out. When it returns an error the old files are in place
// again, unless that failed too, which the error says: the next Replay ends it then.
func Swap(dir string, in Intent) error {
	in.Format = format
	return open(dir, func(d *disk) error {
		if pending, _, err := d.pending(); err != nil || pending != nil {
			return errors.Join(err, errors.New("another restore is pending"))
		}
		return d.swap(in)
	})
}

// Replay ends what an earlier swap began, and removes what a restore left that did not
// come that far. Where it cannot go on it goes back. It is for whoever holds the data
// directory's lock.
func Replay(dir string) (ended Ended, err error) {
	err = open(dir, func(d *disk) error {
		ended, err = d.replay()
		return err
	})
	if err != nil {
		return ended, fmt.Errorf("end the restore that was cut off: %w", err)
	}
	return ended, nil
}

// Pending reports whether a swap was begun and has not ended.
func Pending(dir string) bool {
	for _, name := range []string{forwardFile, backFile} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// Look says how the swap ends that was begun and has not ended, and changes nothing.
// The error is that of an intent that cannot be read, with which no daemon starts.
func Look(dir string) (ends Outcome, err error) {
	if !Pending(dir) {
		return Nothing, nil
	}
	err = open(dir, func(d *disk) error {
		in, back, err := d.pending()
		switch {
		case err != nil || in == nil: // ended meanwhile
			return err
		case back:
			ends = Undone
		default:
			ends = Done
		}
		return nil
	})
	return ends, err
}

// PreName is a free name for the directory of the old files.
func PreName(dir string, now time.Time) string {
	base := preName + now.UTC().Format(stamp)
	name := base
	for n := 2; ; n++ {
		if _, err := os.Lstat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
			return name
		}
		name = fmt.Sprintf("%s-%d", base, n)
	}
}

// IsPre reports whether a name is that of a directory of old files.
func IsPre(name string) bool { return strings.HasPrefix(name, preName) && plain(name) }

// swap is Swap, once there is no other.
func (d *disk) swap(in Intent) error {
	if err := errors.Join(in.check(), d.ready(in)); err != nil {
		return err
	}
	old, err := d.present(in.Old)
	if err != nil {
		return err
	}
	in.Old = old
	if err := d.writeIntent(in); err != nil {
		return errors.Join(fmt.Errorf("note the restore: %w", err), d.dropIntent())
	}
	failpoint.Hit("restore.intent-written")
	err = d.forward(in)
	if err == nil {
		d.tidy(in)
		return nil
	}
	if undo := d.turn(in); undo != nil {
		return fmt.Errorf("%w; the old files are not all back yet either, the next start ends it: %w", err, undo)
	}
	return err
}

func (d *disk) replay() (Ended, error) {
	in, back, err := d.pending()
	switch {
	case err != nil:
		return Ended{}, err
	case in == nil:
		return Ended{}, d.sweep()
	case back:
		failpoint.Hit("restore.back-replayed")
		return Ended{Outcome: Undone}, d.back(*in)
	}
	failpoint.Hit("restore.replayed")
	why := d.forward(*in)
	if why == nil {
		d.tidy(*in)
		if len(in.Old) == 0 {
			in.Pre = ""
		}
		return Ended{Outcome: Done, Pre: in.Pre}, nil
	}
	if err := d.turn(*in); err != nil {
		return Ended{}, errors.Join(why, err)
	}
	return Ended{Outcome: Undone, Why: why}, nil
}

// forward moves what is not moved yet.
func (d *disk) forward(in Intent) error {
	if err := d.mkdir(in.Pre); err != nil {
		return err
	}
	for _, name := range in.Old {
		if err := d.leave(name, in.Pre); err != nil {
			return err
		}
		failpoint.HitOn("restore.old-moved", name)
	}
	if err := d.sync(in.Pre, "."); err != nil {
		return err
	}
	failpoint.Hit("restore.old-synced")
	for _, name := range in.New {
		if err := d.enter(name, in.From); err != nil {
			return err
		}
		failpoint.HitOn("restore.new-moved", name)
	}
	if err := d.sync(in.From, "."); err != nil {
		return err
	}
	failpoint.Hit("restore.new-synced")
	if len(in.Old) == 0 {
		_ = d.root.Remove(in.Pre) // empty
	}
	if err := d.remove(forwardFile); err != nil {
		return err
	}
	failpoint.Hit("restore.intent-removed")
	_ = d.sync(".") // should it come back, it finds nothing to do
	return nil
}

// turn makes the way that of back, and goes it.
func (d *disk) turn(in Intent) error {
	if err := d.rename(forwardFile, backFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.sync("."); err != nil {
		return err
	}
	failpoint.Hit("restore.turned-back")
	return d.back(in)
}

// back undoes what forward has moved.
func (d *disk) back(in Intent) error {
	for _, name := range slices.Backward(in.New) {
		if err := d.leave(name, in.From); err != nil {
			return err
		}
		failpoint.HitOn("restore.new-returned", name)
	}
	if err := d.sync(in.From, "."); err != nil {
		return err
	}
	for _, name := range slices.Backward(in.Old) {
		if err := d.enter(name, in.Pre); err != nil {
			return err
		}
		failpoint.HitOn("restore.old-returned", name)
	}
	if err := d.sync(in.Pre, "."); err != nil {
		return err
	}
	failpoint.Hit("restore.old-back-synced")
	_ = d.root.Remove(in.Pre) // empty now
	if err := d.remove(backFile); err != nil {
		return err
	}
	failpoint.Hit("restore.back-removed")
	_ = d.sync(".") // should it come back, it finds nothing to do
	d.tidy(in)
	return nil
}

// tidy removes the place that the new files came from. What is left of it disturbs
// nobody, and is removed by the next who looks.
func (d *disk) tidy(in Intent) {
	if in.From == Staging {
		_ = d.sweep()
		return
	}
	_ = d.root.Remove(in.From) // unless there is more in it
}

// check refuses what could reach beyond the data directory.
func (in Intent) check() error {
	switch {
	case in.Format > format:
		return fmt.Errorf("the restore was begun by a newer version (format %d)", in.Format)
	case in.Format != format, !IsPre(in.Pre), in.From != Staging && !IsPre(in.From), in.From == in.Pre,
		len(in.New) == 0, len(in.Old) > maxNames, len(in.New) > maxNames:
		return errors.New("it is not a restore's")
	}
	reserved := []string{"lock", Staging, doomed, forwardFile, backFile, draftFile, in.Pre, in.From}
	for _, name := range slices.Concat(in.Old, in.New) {
		if !plain(name) || slices.Contains(reserved, name) {
			return fmt.Errorf("%q cannot be restored", name)
		}
	}
	return nil
}

// ready refuses an intent that could not be carried out.
func (d *disk) ready(in Intent) error {
	if info, err := d.root.Lstat(in.From); err != nil || !info.IsDir() {
		return errors.Join(err, fmt.Errorf("%s is no directory", in.From))
	}
	if _, err := d.root.Lstat(in.Pre); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("there is a %s already", in.Pre))
	}
	for _, name := range in.New {
		if there, err := d.has(in.From, name); err != nil || !there {
			return errors.Join(err, fmt.Errorf("%s has no %s", in.From, name))
		}
	}
	return nil
}

// plain reports whether a name is of something directly within a directory.
func plain(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

// pending reads the intent that is there, nil if none is, and whether it goes back.
func (d *disk) pending() (*Intent, bool, error) {
	for _, name := range []string{backFile, forwardFile} {
		in, err := d.readIntent(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, false, fmt.Errorf("read %s: %w", filepath.Join(d.dir, name), err)
		}
		return in, name == backFile, nil
	}
	return nil, false, nil
}

func (d *disk) readIntent(name string) (*Intent, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxIntent))
	if err != nil {
		return nil, err
	}
	var in Intent
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, err
	}
	return &in, in.check()
}
