// SPDX-License-Identifier: MIT OR Apache-2.0

package config

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Example writes an annotated configuration file from a struct that holds the
// defaults: every section with its doc, every key commented out with its doc, its
// bounds and its default. Removing the "#" in front of a key makes it count.
func Example(defaults any) string {
	root, _ := newSchema(defaults) // a bad field is left out; Undocumented names it
	var b strings.Builder
	root.section(&b, nil, "#")
	return strings.TrimLeft(b.String(), "\n")
}

// DefaultFile is Example with every key counting. Entries, of which there are none by
// default, stay commented out.
func DefaultFile(defaults any) string {
	root, _ := newSchema(defaults)
	var b strings.Builder
	root.section(&b, nil, "")
	return strings.TrimLeft(b.String(), "\n")
}

// section writes a section: values first, since in TOML they would otherwise
// belong to the subsection above them. Mark stands before each key.
func (n *node) section(b *strings.Builder, path []string, mark string) {
	for _, f := range n.fields {
		if f.isValue() {
			comment(b, sentence(f))
			fmt.Fprintf(b, "%s%s = %s\n", mark, f.name, f.defaultText())
		}
	}
	for _, f := range n.fields {
		if f.isValue() {
			continue
		}
		at := append(path[:len(path):len(path)], f.name)
		b.WriteByte('\n')
		comment(b, f.doc)
		if f.form == formSection {
			fmt.Fprintf(b, "[%s]\n", joinKey(at))
			f.section(b, at, mark)
			continue
		}
		f.exampleEntry(b, at)
	}
}

// exampleEntry shows one entry of a map, all of it commented out.
func (n *node) exampleEntry(b *strings.Builder, path []string) {
	if n.elem.isValue() {
		fmt.Fprintf(b, "[%s]\n#\"NAME\" = %s\n", joinKey(path), n.elem.defaultText())
		return
	}
	var inner strings.Builder
	n.elem.section(&inner, append(path[:len(path):len(path)], "NAME"), "#")
	fmt.Fprintf(b, "#[%s.\"NAME\"]\n", joinKey(path))
	for line := range strings.Lines(inner.String()) {
		if strings.HasPrefix(line, "[") {
			line = "#" + line
		}
		b.WriteString(line)
	}
}

// Reference writes a Markdown table of every key: type, default, meaning, bounds, and
// whether a change needs a restart.
func Reference(defaults any) string {
	root, _ := newSchema(defaults)
	var b strings.Builder
	b.WriteString("| Key | Type | Default | Meaning | Bounds | Takes effect |\n|---|---|---|---|---|---|\n")
	root.walk(nil, func(path []string, n *node) {
		if !n.isValue() {
			return
		}
		cell := strings.NewReplacer("|", `\|`, "\n", " ")
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s | %s | %s |\n", cell.Replace(joinKey(path)), n.typeName(),
			cell.Replace(n.defaultText()), cell.Replace(n.doc), cell.Replace(n.boundsText()), n.takesEffect())
	})
	return b.String()
}

// Undocumented names every key and section without a doc tag, and every field that
// cannot be configuration. A test of the program asserts that there is none.
func Undocumented(defaults any) []string {
	root, err := newSchema(defaults)
	var missing []string
	if err != nil {
		missing = append(missing, err.Error())
	}
	root.walk(nil, func(path []string, n *node) {
		if n.doc == "" && path[len(path)-1] != "NAME" {
			missing = append(missing, joinKey(path))
		}
	})
	return missing
}

// defaultText is the default as TOML, an unset secret or none at all as "".
func (n *node) defaultText() string { return literal(n.shown(n.def)) }

// takesEffect says when a change of the key counts.
func (n *node) takesEffect() string {
	if n.live {
		return "at once"
	}
	return "restart"
}

// typeName names the form for the documentation.
func (n *node) typeName() string {
	switch {
	case n.secret:
		return "secret"
	case n.form == formList:
		return "list of " + n.elem.typeName()
	case n.form == formOneOrMore:
		return "text or list"
	}
	return map[form]string{formString: "text", formText: "text", formDuration: "duration", formBool: "boolean",
		formInt: "integer", formUint: "integer", formFloat: "number"}[n.form]
}

// sentence joins a doc and the bounds.
func sentence(n *node) string {
	if bounds := n.boundsText(); bounds != "" {
		return strings.TrimSpace(n.doc + " " + strings.ToUpper(bounds[:1]) + bounds[1:] + ".")
	}
	return n.doc
}

// comment writes text as comment lines of at most 88 characters.
func comment(b *strings.Builder, text string) {
	const width = 88
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString("# "+line+" "+word) > width {
			fmt.Fprintf(b, "# %s\n", line)
			line = ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	if line != "" {
		fmt.Fprintf(b, "# %s\n", line)
	}
}
