// SPDX-License-Identifier: MIT OR Apache-2.0

package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/blufio/blufio/bus"
	"github.com/blufio/blufio/services/serve"
	"github.com/spf13/cobra"
)

func (a *app) recallExportCommand() *cobra.Command {
	var w whose
	var force bool
	cmd := &cobra.Command{
		Use:   "export [FILE]",
		Short: "Write what is remembered to a file, as lines of JSON",
		Long: "Write what is remembered to standard output, or to a file that only you may read: a line\n" +
			"of JSON that says what it is, then a line for each fact, history included. It is\n" +
			"what `blufio recall import` takes. The file bears its name only when it is whole.",
		Example: "  blufio recall export facts.jsonl\n  blufio recall export --all - | gzip > facts.jsonl.gz\n  blufio recall export --owner me | jq -r '.text // empty'",
		Args:    atMostOne("file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := stdoutPath
			if len(args) == 1 {
				path = args[0]
			}
			return a.exportRecall(cmd.Context(), w, path, force)
		},
	}
	w.flags(cmd, "facts of everybody")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that is there already")
	return cmd
}

func (a *app) exportRecall(ctx context.Context, w whose, path string, force bool) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	c, owner, err := a.dialAbout(ctx, &w, bus.RecallList)
	if err != nil {
		return err
	}
	defer hangUp(ctx, c)
	if w.stranger != nil {
		one, err := bus.RecallList.Ask(ctx, c, bus.RecallPageQuery{Owner: owner, History: true, Limit: 1})
		if err != nil || len(one.Entries) == 0 {
			return cmp.Or(err, w.stranger)
		}
	}
	if path == stdoutPath {
		_, err := a.writeFacts(ctx, c, owner, a.out)
		return err
	}
	f, err := serve.CreateBackup(path, force)
	if errors.Is(err, fs.ErrExist) {
		return errTaken(path)
	}
	if err != nil {
		return backupFailure(err)
	}
	n, err := a.writeFacts(ctx, c, owner, f)
	if err == nil {
		err = f.Commit()
	}
	if err != nil {
		return errors.Join(err, f.Abort())
	}
	if a.json {
		return a.printJSON(map[string]any{"schema": recallSchema, "path": path, "entries": n})
	}
	return a.print(fmt.Sprintf("%s %s: %s\n", a.ui(a.out).ok(), path, countFacts(n)))
}

func (a *app) writeFacts(ctx context.Context, c *bus.Conn, owner string, to io.Writer) (n int, err error) {
	out := bufio.NewWriter(to)
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	if err := e.Encode(exportHeader{recallSchema, a.now().UTC().Round(0)}); err != nil {
		return 0, fmt.Errorf("write export: %w", err)
	}
	err = eachFact(ctx, c, bus.RecallPageQuery{Owner: owner, History: true}, func(fact bus.RecallEntry) (bool, error) {
		n++
		if err := e.Encode(fact); err != nil {
			return false, fmt.Errorf("write export: %w", err)
		}
		return ctx.Err() == nil, nil
	})
	switch {
	case err != nil:
		return n, err
	case ctx.Err() != nil:
		return n, fail(exitInterrupted, "", "interrupted")
	}
	if err := out.Flush(); err != nil {
		return n, fmt.Errorf("write export: %w", err)
	}
	return n, nil
}

func (a *app) recallImportCommand() *cobra.Command {
	var w whose
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Have the facts of an export remembered here too",
		Long: "Have the facts of an export remembered here too, from a file or, for -, from standard\n" +
			"input. What is known already, by its id or word for word, stays as it is: the same file\n" +
			"can be imported again, after an interruption for instance. Facts stay with the person\n" +
			"whose they were, by the name that [people] gives that person here; --owner gives all of\n" +
			"them to one.",
		Example: "  blufio recall import facts.jsonl\n  gunzip -c facts.jsonl.gz | blufio recall import -\n  blufio recall import facts.jsonl --owner me",
		Args:    oneArg("file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.importRecall(cmd.Context(), w, args[0])
		},
	}
	w.flags(cmd, "")
	cmd.Flags().Lookup("owner").Usage = "give all facts to this `PERSON`: a name of [people], or as telegram:12345"
	return cmd
}

func (a *app) importRecall(ctx context.Context, w whose, path string) (err error) {
	ctx, stop := interruptible(ctx)
	defer stop()
	from, length := a.in, int64(0)
	if path != stdoutPath {
		f, err := os.Open(path)
		if err != nil {
			return openExport(err)
		}
		defer f.Close() //nolint:errcheck // only read
		if info, err := f.Stat(); err == nil {
			length = info.Size()
		}
		from = f
	}
	c, err := a.dial(bus.PersonGet, bus.RecallImport)
	if err != nil {
		return err
	}
	defer hangUp(ctx, c)
	m := &importer{c: c, p: a.newProgress(), length: length, people: map[string]string{}}
	if w.owner != "" {
		p, err := bus.PersonGet.Ask(ctx, c, bus.PersonQuery{Name: w.owner})
		if err != nil {
			return err
		}
		m.owner = p.Name
	}
	err = m.run(ctx, from)
	m.p.clear()
	return a.tellImport(m.done, path, err)
}

func openExport(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fail(exitFailed, "name a file that `blufio recall export` has made, or - for standard input", "%w", err)
	}
	return fmt.Errorf("open export: %w", err)
}

// importer hands an export over in batches.
type importer struct {
	c      *bus.Conn
	p      *progress
	owner  string            // gets all facts; "": they stay whose they are
	people map[string]string // who an owner in the export is here
	length int64             // of the file, 0 if it is not known
	read   int64
	batch  []bus.RecallEntry
	bytes  int
	done   bus.RecallImported
}

func (m *importer) run(ctx context.Context, from io.Reader) error {
	facts, err := newFactReader(io.TeeReader(from, m))
	for err == nil {
		var e bus.RecallEntry
		if e, err = facts.read(); err != nil {
			break
		}
		var name string
		if name, err = m.person(ctx, e.Owner); err != nil {
			break
		}
		e = givenTo(e, name)
		if n := factBytes(e); len(m.batch) == bus.RecallMaxBatch || m.bytes+n > bus.RecallPageBytes {
			if err := m.send(ctx); err != nil {
				return err
			}
		}
		m.batch, m.bytes = append(m.batch, e), m.bytes+factBytes(e)
	}
	if ctx.Err() != nil {
		return fail(exitInterrupted, "", "interrupted")
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(m.send(ctx), err) // also what is whole before a line that is broken
}

const maxAsked = 1000 // owners whose person is remembered

// person is who gets the facts of an owner: one, if --owner says so, and else the same, by
// the name that [people] gives them here. What nobody is called here stays as it was.
func (m *importer) person(ctx context.Context, owner string) (string, error) {
	if m.owner != "" {
		return m.owner, nil
	}
	if name, ok := m.people[owner]; ok {
		return name, nil
	}
	name, err := (&whose{owner: owner}).person(ctx, m.c)
	if err != nil {
		return "", err
	}
	if len(m.people) == maxAsked {
		clear(m.people)
	}
	m.people[owner] = name
	return name, nil
}

// Write counts what was read.
func (m *importer) Write(p []byte) (int, error) {
	m.read += int64(len(p))
	return len(p), nil
}

const importTries = 6 // for a batch whose answer does not come: it is imported once all the same

func (m *importer) send(ctx context.Context) (err error) {
	if len(m.batch) == 0 {
		return nil
	}
	var out bus.RecallImported
	for range importTries {
		out, err = bus.RecallImport.Ask(ctx, m.c, bus.RecallBatch{Entries: m.batch})
		if code := bus.CodeOf(err); ctx.Err() != nil || code != bus.CodeTimeout && code != bus.CodeBusy {
			break
		}
	}
	if err != nil {
		return err
	}
	m.done.Added += out.Added
	m.done.Known += out.Known
	m.batch, m.bytes = m.batch[:0], 0
	m.p.tell("import", m.read, m.length)
	return nil
}

// tellImport says what was imported, also when something was wrong in the end.
func (a *app) tellImport(done bus.RecallImported, path string, err error) error {
	if err != nil {
		f := explain(err)
		name := path
		if path == stdoutPath {
			name = "standard input"
		}
		hint := f.hint
		if n := done.Added + done.Known; n > 0 {
			hint = strings.TrimSpace(fmt.Sprintf("%s before that %s here now; mend it and import it again", countFacts(n), are(n)))
		}
		return fail(f.code, hint, "import %s: %w", name, err)
	}
	if a.json {
		return a.printJSON(struct {
			Schema string `json:"schema"`
			bus.RecallImported
		}{recallSchema, done})
	}
	u := a.ui(a.out)
	return a.print(fmt.Sprintf("%s imported: %s new%s%d known already\n", u.ok(), countFacts(done.Added), u.sep(), done.Known))
}

func are(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
