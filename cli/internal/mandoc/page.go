// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"go/doc/comment"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// pageName is the name of a command's page: "blufio-cost-stop".
func pageName(cmd *cobra.Command) string {
	return strings.ReplaceAll(cmd.CommandPath(), " ", "-")
}

// page is the manual page of a command, in the man macros that every roff knows.
// The page of the program itself has the sections that hold for all of them.
func page(cmd *cobra.Command, common []section) []byte {
	r := &roff{}
	r.line(`.\" SPDX-License-Identifier: MIT OR Apache-2.0`)
	r.line(`.\" Generated from the command's help by go generate; do not edit.`)
	r.line(`.TH %s 1 "" blufio "User Commands"`+"\n.nh\n.ad l", strings.ToUpper(r.code(pageName(cmd))))
	r.line(".SH NAME\n%s \\- %s", r.code(pageName(cmd)), r.text(cmd.Short))
	r.line(".SH SYNOPSIS\n.B %s", r.code(synopsis(cmd)))
	r.line(".SH DESCRIPTION")
	r.blocks(parse(cmd.Long))
	r.commands(cmd)
	r.flags("OPTIONS", cmd.NonInheritedFlags())
	r.flags("GLOBAL OPTIONS", cmd.InheritedFlags())
	if !cmd.HasParent() {
		for _, s := range common {
			r.line(".SH %s", strings.ToUpper(s.title))
			r.blocks(s.blocks)
		}
	}
	if cmd.Example != "" {
		r.line(".SH EXAMPLES")
		r.verbatim(unindent(cmd.Example))
	}
	r.seeAlso(cmd)
	return r.Bytes()
}

func synopsis(cmd *cobra.Command) string {
	if !cmd.Runnable() {
		return cmd.CommandPath() + " COMMAND [flags]"
	}
	return cmd.UseLine()
}

// unindent takes the two spaces off that help has before each line of an example.
func unindent(text string) string {
	return strings.ReplaceAll(strings.TrimPrefix(text, "  "), "\n  ", "\n")
}

// roff is a page half written.
type roff struct{ bytes.Buffer }

func (r *roff) line(format string, args ...any) { fmt.Fprintf(r, format+"\n", args...) }

func (r *roff) commands(cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	r.line(".SH COMMANDS")
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() {
			r.line(".TP\n.BR %s (1)\n%s.", r.code(pageName(child)), r.text(child.Short))
		}
	}
}

func (r *roff) flags(title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	r.line(".SH %s", title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := `\fB` + r.code("--"+f.Name) + `\fR`
		if value != "" {
			name += ` \fI` + r.code(value) + `\fR`
		}
		if d := defaultOf(f); d != "" && !strings.Contains(usage, "(default ") {
			usage += " (default " + d + ")"
		}
		r.line(".TP\n%s\n%s.", name, r.text(usage))
	})
}

// defaultOf is a flag's default, "" where that is nothing.
func defaultOf(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "0", "0s", "false", "[]":
		return ""
	}
	return strings.Trim(f.DefValue, "[]")
}

func (r *roff) seeAlso(cmd *cobra.Command) {
	var pages []string
	if cmd.HasParent() {
		pages = append(pages, `\fB`+r.code(pageName(cmd.Parent()))+`\fR(1)`)
	}
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() {
			pages = append(pages, `\fB`+r.code(pageName(child))+`\fR(1)`)
		}
	}
	if len(pages) > 0 {
		r.line(".SH SEE ALSO\n%s", strings.Join(pages, ",\n"))
	}
}

func (r *roff) blocks(blocks []comment.Block) {
	for i, block := range blocks {
		switch b := block.(type) {
		case *comment.Heading:
			r.line(".PP\n\\fB%s\\fR", r.text(plain(b.Text)))
		case *comment.Paragraph:
			if text := plain(b.Text); columns.MatchString(text) {
				r.verbatim(text)
				continue
			}
			if i > 0 {
				r.line(".PP")
			}
			r.line("%s", r.text(plain(b.Text)))
		case *comment.Code:
			r.verbatim(strings.TrimRight(b.Text, "\n"))
		case *comment.List:
			for _, item := range b.Items {
				r.line(".IP \\(bu 2")
				r.blocks(item.Content)
			}
		}
	}
}

// verbatim keeps lines as they are.
func (r *roff) verbatim(text string) {
	r.line(".PP\n.RS 4\n.nf\n%s\n.fi\n.RE", protect(r.code(text)))
}

// plain is text without the comment's own marks.
func plain(text []comment.Text) string {
	var b strings.Builder
	for _, t := range text {
		switch t := t.(type) {
		case comment.Plain:
			b.WriteString(string(t))
		case comment.Italic:
			b.WriteString(string(t))
		case *comment.Link:
			b.WriteString(plain(t.Text))
		case *comment.DocLink:
			b.WriteString(plain(t.Text))
		}
	}
	return b.String()
}

var (
	columns = regexp.MustCompile(`\S {2,}\S`) // lines that are set under each other
	quoted  = regexp.MustCompile("`[^`\n]+`")
	flag    = regexp.MustCompile(`--[a-z][a-z-]*`)
)

// text is prose: what stands in backticks, and flags, are to be typed and so bold.
func (r *roff) text(s string) string {
	bold := func(s string) string { return "\x00B" + s + "\x00R" }
	s = quoted.ReplaceAllStringFunc(s, func(s string) string { return bold(strings.ReplaceAll(strings.Trim(s, "`"), "-", "\x00-")) })
	s = flag.ReplaceAllStringFunc(s, func(s string) string { return strings.ReplaceAll(s, "-", "\x00-") })
	s = escape.Replace(s)
	return protect(strings.NewReplacer("\x00B", `\fB`, "\x00R", `\fR`, "\x00-", `\-`).Replace(s))
}

// code is what is to be typed, or copied, as it is.
func (r *roff) code(s string) string { return strings.ReplaceAll(escape.Replace(s), "-", `\-`) }

// escape writes characters that roff would print as others.
var escape = strings.NewReplacer(`\`, `\e`, "`", `\(ga`, "'", `\(aq`, "^", `\(ha`, "~", `\(ti`)

var lineStart = regexp.MustCompile(`(?m)^[.']`)

// protect keeps lines from being taken for requests.
func protect(s string) string { return lineStart.ReplaceAllString(s, `\&$0`) }
